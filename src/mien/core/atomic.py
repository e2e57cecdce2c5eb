"""Writing files so that they are complete or absent, and by one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
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


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, of the same ending, that takes its place when the block ends well.

    For libraries that insist on opening the file themselves.

    Raises:
        UnwritableOutput: as `writing`.
    """
    target = Path(path)
    temporary: Path | None = None
    lock: int | None = None
    try:
        if target.is_dir():
            raise UnwritableOutput(target, "a folder has this name")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _temporary(target)
        # mkstemp makes private files; the result should be as readable as any other new file
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        _to_disk(temporary)
        temporary.replace(target)
        temporary = None  # from here on the name may be another writer's
    except OSError as error:
        raise UnwritableOutput(target, error.strerror or str(error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _to_disk(path: Path) -> None:
    # Without this a power failure soon after could leave the new name with nothing in it.
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _temporary(target: Path) -> tuple[Path, int | None]:
    """Make an empty file beside the target; with the lock that the writer holds on it, if any.

    Its name follows from the target's, so that what a killed process left behind is used up by the next one
    instead of lying there for ever. Only when another writer is at it, the name is a new one.
    """
    usual = leftover(target)
    lock = _locked(usual) if sys.platform != "win32" else None
    if lock is not None:
        return usual, lock
    handle, name = tempfile.mkstemp(prefix=".mien-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    return Path(name), None


def leftover(path: str | os.PathLike[str]) -> Path:
    """Return where a writer of `path` that was killed may have left what it had written so far."""
    target = Path(path)
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".mien-{digest}{target.suffix}")


def _locked(path: Path) -> int | None:
    """Make or take over a file of ours and lock it; None when that cannot be."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    status = os.fstat(file)
    with contextlib.suppress(OSError):
        # A writer that held the lock before us may have moved its file away: then the name means another one.
        if status.st_uid == os.geteuid() and try_lock(file) and os.path.samestat(status, path.lstat()):
            os.ftruncate(file, 0)
            return file
    os.close(file)
    return None


def try_lock(file: int) -> bool:
    """Lock an open file without waiting; the system frees it when the process ends, however it ends.

    Returns:
        Whether it is locked; False when another process, or another opening in this one, holds it.

    Raises:
        OSError: the disk knows no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _umask() -> int:
    # The mask can only be read by setting it, which threads would race for; Linux tells it without.
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0o022
    found = next((line.split()[1] for line in text.splitlines() if line.startswith("Umask:")), "0022")
    return int(found, 8)
