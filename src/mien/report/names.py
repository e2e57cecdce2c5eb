"""Names of persons from a table that somebody wrote: which face of which picture is who."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien.core import geometry
from mien.core.columns import BOX
from mien.core.errors import UnreadableNames
from mien.core.faces import Faces

# A box in the table is that of a face at this IoU.
_SAME = 0.4


@dataclass
class _Row:
    line: int
    name: str
    face: int | None
    box: tuple[float, ...] | None


@dataclass
class Names:
    """The names that a table gives to faces.

    Attributes:
        path: the table's.
        unused: the lines of the table whose face was not met yet.
    """

    path: Path
    unused: set[int] = field(default_factory=set)
    _rows: dict[str, list[_Row]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Names:
        """Read a CSV with a header: `source` and `name`, and to tell faces apart `face` or x1, y1, x2, y2.

        `source` is the picture's path (a relative one is relative to where the command runs), or its file's
        name alone. `face` is the number that `mien analyze` gives, from 0; the box is in px of the upright
        picture. A picture with one face needs neither. Rows without a name are left out, so that a table of
        `mien analyze` with a column `name` added to it will do.

        Raises:
            UnreadableNames: says what is wrong in which line.
        """
        names = cls(Path(path))
        try:
            with names.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                missing = {"source", "name"} - set(reader.fieldnames or ())
                if missing:
                    raise UnreadableNames(path, f"has no column {' and '.join(sorted(missing))}")
                for row in reader:
                    if (row["name"] or "").strip():
                        names._add(reader.line_num, row)
        except OSError as error:
            raise UnreadableNames(path, error.strerror or str(error)) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UnreadableNames(path, f"is no CSV in UTF-8: {error}") from error
        return names

    def _add(self, line: int, row: dict[str, str]) -> None:
        source = (row["source"] or "").strip()
        if not source:
            raise UnreadableNames(self.path, f"line {line}: the source is empty")
        corners = [row.get(name) or "" for name in BOX]
        try:
            face = int(float(row["face"])) if row.get("face") else None
            box = tuple(map(float, corners)) if all(corners) else None
        except ValueError as error:
            raise UnreadableNames(self.path, f"line {line}: face and box must be numbers: {error}") from error
        key = os.path.abspath(source) if os.path.dirname(source) else source  # noqa: PTH100, PTH120
        self._rows[key].append(_Row(line, row["name"].strip(), face, box))
        self.unused.add(line)

    def of(self, picture: str | os.PathLike[str], faces: Faces) -> dict[int, str]:
        """Return the names of a picture's faces by their index."""
        name = os.fspath(picture)
        rows = [
            *self._rows.get(os.path.abspath(name), ()),  # noqa: PTH100
            *self._rows.get(os.path.basename(name), ()),  # noqa: PTH119
        ]
        found: dict[int, str] = {}
        for row in rows:
            index = self._index(row, faces)
            if index is not None:
                found[index] = row.name
                self.unused.discard(row.line)
        return found

    def _index(self, row: _Row, faces: Faces) -> int | None:
        if row.box is not None and len(faces):
            overlap = geometry.iou(np.array([row.box]), faces.boxes)[0]
            return int(overlap.argmax()) if overlap.max() >= _SAME else None
        if row.face is not None:
            return row.face if 0 <= row.face < len(faces) else None
        return 0 if len(faces) == 1 else None
