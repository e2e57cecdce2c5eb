"""The table of data sets, and where each of them is on this machine."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from mien.core import labels, strict
from mien.core.errors import MienError, printable

DATA = "MIEN_DATA"
"""The environment variable that names the folders of sets, separated as `PATH` is."""


class UnknownSet(MienError):
    """A set, or a split of one, that nobody knows."""


class SetMissing(MienError):
    """A set that is known but not on this machine."""


class DamagedSet(MienError):
    """A set whose file is not what the table of sets says, or that cannot be read."""


@dataclass(frozen=True)
class Column:
    """A column of labels.

    Attributes:
        type: "bool", "int8", "int16", "int32", "float32" or "string".
        about: what it says.
        name: of the column; empty where `names` is given.
        names: the tuple of `mien.core.labels` whose every entry is a column like this one.
        labels: the tuple of `mien.core.labels` that the number is a place in; empty for plain values.
        unit: of the value.
        length: how many values a row has; 0 means one, not a list.
        unknown: the value that says "not known"; None where all are known.
        optional: copies of the set may lack it.
    """

    type: str
    about: str
    name: str = ""
    names: str = ""
    labels: str = ""
    unit: str = ""
    length: int = 0
    unknown: float | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.type not in ("bool", "int8", "int16", "int32", "float32", "string"):
            raise ValueError(f"the type {self.type!r} is unknown")
        if bool(self.name) == bool(self.names):
            raise ValueError("give either `name` or `names`")

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names of the columns that are meant."""
        return _order(self.names) if self.names else (self.name,)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their numbers; empty for plain values."""
        return _order(self.labels) if self.labels else ()


@dataclass(frozen=True)
class Split:
    """A part of a set.

    Attributes:
        name: of the split and its file.
        rows: how many the official release has; 0 where the split is not official.
        about: where it comes from.
    """

    name: str
    rows: int
    about: str


@dataclass(frozen=True)
class Overlap:
    """Two splits of which it is known that they share pictures.

    Attributes:
        split: the one that a figure is measured on.
        other: the one that a system saw.
    """

    split: str
    other: str


@dataclass(frozen=True)
class Set:
    """A row of the table.

    Attributes:
        name: of the set and its folder.
        title: for people.
        task: what its labels are about.
        paper: that presented it.
        source: where it is to be had.
        terms: under which.
        commercial: whether the terms allow commercial use.
        size: of the pictures.
        splits: its parts.
        columns: its labels.
        layout: what `mien data convert` takes; empty where it has no official layout.
        overlaps: splits that share pictures.
        defects: what else is known to be wrong with it.
    """

    name: str
    title: str
    task: str
    paper: str
    source: str
    terms: str
    commercial: bool
    size: str
    splits: tuple[Split, ...]
    columns: tuple[Column, ...]
    layout: str = ""
    overlaps: tuple[Overlap, ...] = ()
    defects: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """Return what a column means.

        Raises:
            KeyError: the set has none of that name.
        """
        for column in self.columns:
            if name in column.all_names:
                return column
        raise KeyError(name)

    def known_overlap(self, split: str, other: str) -> bool:
        """Tell whether it is known that two splits share pictures, whichever of them was trained on."""
        return any({o.split, o.other} == {split, other} for o in self.overlaps)


def _order(name: str) -> tuple[str, ...]:
    order: tuple[str, ...] = getattr(labels, name)
    return order


@cache
def table() -> dict[str, Set]:
    """Return every set by name, in the order of the table."""
    rows = tomllib.loads(resources.files("mien").joinpath("data", "sets.toml").read_text("utf-8"))
    return {name: strict.read(Set, {"name": name, **row}, f"sets.toml: {name}") for name, row in rows.items()}


def known(name: str) -> Set:
    """Return a set's row.

    Raises:
        UnknownSet: there is none of that name.
    """
    try:
        return table()[name]
    except KeyError:
        raise UnknownSet(f"no data set {name!r}; there are: {', '.join(table())}") from None


def folders() -> list[Path]:
    """Return the folders that `MIEN_DATA` names, in order."""
    return [Path(part) for part in os.environ.get(DATA, "").split(os.pathsep) if part]


def here(name: str) -> dict[str, Path]:
    """Return the files of a set on this machine by split, those that the table knows in its order first.

    The first folder of `MIEN_DATA` that has any of it counts: splits of different copies are never mixed.
    """
    for folder in _places(name):
        # Hidden ones are still being written, or were when somebody was killed.
        files = {path.stem: path for path in sorted(folder.glob("[!.]*.parquet"))}
        if files:
            order = [split.name for split in table()[name].splits] if name in table() else []
            return {split: files[split] for split in [*order, *files] if split in files}
    return {}


def _places(name: str) -> Iterator[Path]:
    # A name with a slash or dots would lead out of the folders of sets.
    if re.fullmatch(r"\w[\w.-]*", name):
        yield from (folder / name for folder in folders())


def files_of(name: str) -> dict[str, Path]:
    """Return the files of a set by split, as `here` does; there is at least one.

    A set that the table does not know is one of the user's own, as long as its folder is there.

    Raises:
        UnknownSet: neither the table nor a folder knows the set.
        SetMissing: it is known, but not here.
    """
    files = here(name)
    if files:
        return files
    row = known(name)
    make = f"make it with `mien data convert {name} PATH`, or " if row.layout else ""
    places = ", ".join(printable(folder) for folder in folders()) or f"{DATA} is not set"
    raise SetMissing(
        f"the data set {name!r} is not here ({places}); {make}set {DATA} to the folder that holds {name}/"
    )


def find(name: str, split: str) -> Path:
    """Return the file of a split.

    Raises:
        UnknownSet: neither the table nor a folder knows the set, or it has no such split.
        SetMissing: it is known, but not here.
    """
    files = files_of(name)
    if split in files:
        return files[split]
    names = [part.name for part in table()[name].splits] if name in table() else list(files)
    if split not in names:
        raise UnknownSet(f"the data set {name!r} has no split {split!r}; it has: {', '.join(names)}")
    where = printable(next(iter(files.values())).parent)
    raise SetMissing(f"the split {split!r} of {name!r} is not here: {where} has {', '.join(files)}")
