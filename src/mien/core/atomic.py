"""Writing files so that they are complete or absent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mien.core.errors import UnwritableOutput


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that takes the place of `path` only when the block ends well.

    Args:
        path: the file; its folder is made when it is missing.
        text: open for UTF-8 text (newlines as given) instead of bytes.

    Raises:
        UnwritableOutput: full disk, read-only folder, a folder of that name; nothing half-written is left.
    """
    with replacing(path) as temporary:
        file: IO[Any]
        if text:
            file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        else:
            file = temporary.open("wb")
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, of the same ending, that takes its place when the block ends well.

    For libraries that insist on opening the file themselves.

    Raises:
        UnwritableOutput: as `writing`.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".mien-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes private files; the result should be as readable as any other new file
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise UnwritableOutput(target, error.strerror or str(error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    # The mask can only be read by setting it, which threads would race for; Linux tells it without.
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0o022
    found = next((line.split()[1] for line in text.splitlines() if line.startswith("Umask:")), "0022")
    return int(found, 8)
