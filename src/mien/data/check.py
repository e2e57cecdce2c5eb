"""Looking through a set: are its rows there, can its pictures be read, which of them occur more than once."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import UnreadablePicture
from mien.core.picture import Picture
from mien.data.cache import hash_of
from mien.data.registry import Set, files_of, table
from mien.data.rows import Rows


@dataclass(frozen=True)
class Duplicates:
    """Pictures of equal pixels.

    Attributes:
        split: whose rows are counted.
        other: where their pictures occur, too; the same split for copies inside it, of which the first is not
            counted.
        rows: how many of the split's rows.
        examples: up to three pairs of names.
        known: whether the table of sets says so; copies inside a split never count as known.
    """

    split: str
    other: str
    rows: int
    examples: tuple[tuple[str, str], ...]
    known: bool


@dataclass(frozen=True)
class SplitReport:
    """What was found in a split.

    Attributes:
        file: of the split.
        rows: how many it has.
        official: how many the official release has; 0 where it is not official.
        sizes: how many pictures are of which width and height, the most frequent first.
        labels: how many rows have which class, by column.
        missing: columns that the table names and the file has not.
        unreadable: names of pictures that cannot be read, each with the reason.
        strange: what does not fit the table: labels outside their classes.
    """

    file: Path
    rows: int
    official: int
    sizes: dict[str, int]
    labels: dict[str, dict[str, int]]
    missing: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    strange: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was found in a set.

    Attributes:
        name: of the set.
        splits: by name.
        duplicates: inside and across splits.
    """

    name: str
    splits: dict[str, SplitReport]
    duplicates: tuple[Duplicates, ...]

    @property
    def sound(self) -> bool:
        """Whether every picture can be read, labels are what the table says, and overlaps are known ones."""
        return not any(s.unreadable or s.strange or s.missing for s in self.splits.values()) and all(
            d.known or d.split == d.other for d in self.duplicates
        )


def check(name: str, progress: Callable[[str, int, int], None] | None = None) -> Report:
    """Look through every picture of every split that is here.

    Args:
        name: of the set.
        progress: is told the split, how many of its rows are done, and of how many.

    Raises:
        UnknownSet, SetMissing: there is no such set, or nothing of it is here.
        DamagedSet: a file cannot be read at all.
    """
    splits, seen = {}, {}
    for split, file in files_of(name).items():
        splits[split], seen[split] = _split(table().get(name), split, file, progress)
    return Report(name, splits, _duplicates(table().get(name), seen))


_Seen = dict[bytes, list[str]]
"""Names of the pictures of each content."""


def _split(
    row: Set | None, split: str, file: Path, progress: Callable[[str, int, int], None] | None
) -> tuple[SplitReport, _Seen]:
    sizes: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []
    seen: _Seen = defaultdict(list)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        rows = Rows.open(file, Path(folder))
        for number, (name, data) in enumerate(rows.pictures()):
            try:
                pixels = Picture.read(data).pixels
                sizes[f"{pixels.shape[1]} x {pixels.shape[0]}"] += 1
                seen[hash_of(pixels)].append(name)
            except UnreadablePicture as error:
                unreadable.append((name, error.reason))
            if progress is not None:
                progress(split, number + 1, len(rows))
        columns = rows.columns()
        count = len(rows)
        del rows
    labels, strange = _labels(row, columns)
    official = next((s.rows for s in row.splits if s.name == split), 0) if row else 0
    wanted = [n for c in row.columns if not c.optional for n in c.all_names] if row else []
    missing = tuple(name for name in wanted if name not in columns)
    return (
        SplitReport(
            file, count, official, dict(sizes.most_common()), labels, missing, tuple(unreadable), strange
        ),
        seen,
    )


def _labels(
    row: Set | None, columns: dict[str, npt.NDArray[Any]]
) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    """Count the classes of every column that has them."""
    labels: dict[str, dict[str, int]] = {}
    strange: list[str] = []
    for column in row.columns if row else ():
        if not column.classes or column.name not in columns:
            continue
        values, counts = np.unique(columns[column.name], return_counts=True)
        found = dict(zip(values.tolist(), counts.tolist(), strict=True))
        unknown = found.pop(column.unknown, 0) if column.unknown is not None else 0
        labels[column.name] = {label: found.pop(i, 0) for i, label in enumerate(column.classes)}
        if unknown:
            labels[column.name]["(not known)"] = unknown
        strange += [
            f"{column.name} = {value} in {count} rows is no class" for value, count in sorted(found.items())
        ]
    return labels, tuple(strange)


def _duplicates(row: Set | None, seen: dict[str, _Seen]) -> tuple[Duplicates, ...]:
    found = []
    names = list(seen)
    for place, split in enumerate(names):
        copies = [(name, group[0]) for group in seen[split].values() for name in group[1:]]
        if copies:
            found.append(Duplicates(split, split, len(copies), tuple(copies[:3]), False))
        # Of two splits the later one is what is measured on: train stands first.
        for other in names[:place]:
            twins = [
                (name, seen[other][content][0])
                for content, group in seen[split].items()
                if content in seen[other]
                for name in group
            ]
            if twins:
                known = row is not None and row.known_overlap(split, other)
                found.append(Duplicates(split, other, len(twins), tuple(twins[:3]), known))
    return tuple(found)
