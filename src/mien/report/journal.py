"""The journal of a run over many pictures: what is finished survives any stop, and is not done again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from mien.core.errors import UnwritableOutput, printable

Rows = list[dict[str, Any]]
Fingerprint = tuple[int, int]


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Return what changes when a file does: its size and time of change; (0, 0) when it cannot be asked."""
    try:
        status = os.stat(path)  # noqa: PTH116 - works for names that are no UTF-8 and for broken links alike
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


class Journal:
    """An append-only file of finished pictures beside the output, `NAME.journal`.

    Every picture is one line, written by one call: a process killed at any moment leaves whole lines and at
    most one
    broken one at the end, which is cut off when the journal is opened again. A journal made by another
    contract
    (other models, fields or options) is begun anew.
    """

    def __init__(self, output: str | os.PathLike[str], contract: str) -> None:
        """Open the journal of an output, or begin it.

        Args:
            output: the file or folder that the run is to make.
            contract: a digest of all that decides the rows.

        Raises:
            UnwritableOutput: the journal cannot be written.
        """
        target = Path(output)
        self.path = target.with_name(target.name + ".journal")
        self._offsets: dict[str, tuple[Fingerprint, int, int]] = {}
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            self._load(contract)
        except OSError as error:
            raise UnwritableOutput(self.path, error.strerror or str(error)) from error

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
                    except (ValueError, KeyError, TypeError, IndexError):
                        break
                    self._offsets[key] = (mark, good, len(line))
                    good += len(line)
        os.ftruncate(self._file, good)
        os.lseek(self._file, 0, os.SEEK_END)
        if not good:
            self._append(header)

    def __len__(self) -> int:
        return len(self._offsets)

    def has(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether a picture is finished and has not changed since."""
        entry = self._offsets.get(_key(path))
        return entry is not None and entry[0] == fingerprint(path)

    def add(self, path: str | os.PathLike[str], rows: Rows, mark: Fingerprint) -> None:
        """Write down a finished picture.

        Args:
            path: the picture.
            rows: its rows, plain JSON values.
            mark: its fingerprint from before it was read.

        Raises:
            UnwritableOutput: full disk; what was written down before stays good.
        """
        key = _key(path)
        line = (json.dumps({"key": key, "mark": mark, "rows": rows}, ensure_ascii=True) + "\n").encode()
        start = os.lseek(self._file, 0, os.SEEK_END)
        try:
            self._append(line)
        except OSError as error:
            os.ftruncate(self._file, start)
            raise UnwritableOutput(self.path, error.strerror or str(error)) from error
        self._offsets[key] = (mark, start, len(line))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def rows(self, paths: Iterator[Path]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the pictures given, in their order; those not finished are left out."""
        for path in paths:
            entry = self._offsets.get(_key(path))
            if entry is not None:
                _, start, length = entry
                yield from json.loads(os.pread(self._file, length, start))["rows"]

    def failed(self, paths: Iterator[Path]) -> int:
        """Count the pictures given whose rows hold an error."""
        return sum(1 for row in self.rows(paths) if row.get("error"))

    def close(self) -> None:
        """Bring all to the disk and close the file."""
        os.fsync(self._file)
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(path: str | os.PathLike[str]) -> str:
    return printable(os.path.abspath(path))  # noqa: PTH100 - must not follow links
