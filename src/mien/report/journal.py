"""The journal of a run over many pictures: what is finished survives any stop, and is not done again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from mien.core.atomic import try_lock
from mien.core.errors import UnwritableOutput
from mien.core.fingerprint import Fingerprint, fingerprint

Rows = list[dict[str, Any]]


class Journal:
    """An append-only file of finished pictures beside the output, `NAME.journal`.

    Every picture is one line, written by one call: a process killed at any moment leaves whole lines and at
    most one broken one at the end, which is cut off when the journal is opened again. A journal made by
    another contract (other models, fields or options) is begun anew. One process at a time holds a journal.
    """

    def __init__(self, output: str | os.PathLike[str], contract: str) -> None:
        """Open the journal of an output, or begin it.

        Args:
            output: the file or folder that the run is to make.
            contract: a digest of all that decides the rows.

        Raises:
            UnwritableOutput: the journal cannot be written, or another process is at it.
        """
        target = Path(output)
        self.path = target.with_name(target.name + ".journal")
        self._offsets: dict[str, tuple[Fingerprint, int, int]] = {}
        self._failed: set[str] = set()
        try:
            if target.is_dir():
                raise UnwritableOutput(target, "a folder has this name")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._hold(target)
                self._load(contract)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise UnwritableOutput(self.path, error.strerror or str(error)) from error

    def _hold(self, target: Path) -> None:
        with contextlib.suppress(OSError):  # some network disks have no locks; work goes on without
            if not try_lock(self._file):
                raise UnwritableOutput(target, "another process is writing it; wait until that has ended")

    def _load(self, contract: str) -> None:
        header = (json.dumps({"journal": 1, "contract": contract}) + "\n").encode()
        with os.fdopen(os.dup(self._file), "rb") as file:
            good = 0
            if file.readline() == header:
                good = len(header)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    try:
                        entry = json.loads(line)
                        key, mark = entry["key"], (int(entry["mark"][0]), int(entry["mark"][1]))
                        self._remember(key, mark, good, len(line), entry["rows"])
                    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                        break
                    good += len(line)
        os.ftruncate(self._file, good)
        os.lseek(self._file, 0, os.SEEK_END)
        if not good:
            self._append(header)

    def __len__(self) -> int:
        return len(self._offsets)

    def has(self, path: str | os.PathLike[str], part: str = "") -> bool:
        """Tell whether a picture, or a part of a file such as a frame, is finished and has not changed since.

        One that could not be read is not finished: its permissions, or what can be read here, may
        have changed.
        """
        key = _key(path, part)
        entry = self._offsets.get(key)
        return entry is not None and key not in self._failed and entry[0] == fingerprint(path)

    def add(self, path: str | os.PathLike[str], rows: Rows, mark: Fingerprint, part: str = "") -> None:
        """Write down a finished picture.

        Args:
            path: the picture.
            rows: its rows, plain JSON values.
            mark: its fingerprint from before it was read.
            part: the part of the file that is finished, such as a frame's number; empty: all of it.

        Raises:
            UnwritableOutput: full disk; what was written down before stays good.
        """
        key = _key(path, part)
        line = (json.dumps({"key": key, "mark": mark, "rows": rows}, ensure_ascii=True) + "\n").encode()
        start = os.lseek(self._file, 0, os.SEEK_END)
        try:
            self._append(line)
        except OSError as error:
            os.ftruncate(self._file, start)
            raise UnwritableOutput(self.path, error.strerror or str(error)) from error
        finally:
            # Ctrl-C may come behind the write: what is on the disk is finished.
            if os.fstat(self._file).st_size == start + len(line):
                self._remember(key, mark, start, len(line), rows)

    def _remember(self, key: str, mark: Fingerprint, start: int, length: int, rows: Rows) -> None:
        failed = any(row.get("error") for row in rows)
        self._offsets[key] = (mark, start, length)
        (self._failed.add if failed else self._failed.discard)(key)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def rows(self, paths: Iterator[Path]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the pictures given, in their order; those not finished are left out."""
        for path in paths:
            yield from self.entry(path) or ()

    def entry(self, path: str | os.PathLike[str], part: str = "") -> Rows | None:
        """Return the rows of a picture or of a part of a file; None when it is not finished."""
        entry = self._offsets.get(_key(path, part))
        if entry is None:
            return None
        _, start, length = entry
        rows: Rows = json.loads(os.pread(self._file, length, start))["rows"]
        return rows

    def failed(self, paths: Iterator[Path]) -> int:
        """Count the pictures given whose rows hold an error."""
        return sum(1 for row in self.rows(paths) if row.get("error"))

    def close(self) -> None:
        """Bring all to the disk and close the file.

        Raises:
            UnwritableOutput: the disk does not take it.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise UnwritableOutput(self.path, error.strerror or str(error)) from error
        finally:
            os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(path: str | os.PathLike[str], part: str = "") -> str:
    # As it is, not `printable`: two names must never become one. JSON's escapes hold any name.
    name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - must not follow links
    return f"{name}\0{part}" if part else name
