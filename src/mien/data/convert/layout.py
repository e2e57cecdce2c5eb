"""What every converter gives: the rows of an official layout, good and bad, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core.errors import MienError, UnreadablePicture, printable
from mien.core.picture import Picture


class WrongLayout(MienError):
    """A folder or file that is not the official layout of a set."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")


@dataclass(frozen=True)
class Row:
    """A row that can be written.

    Attributes:
        split: where it goes.
        path: the picture's name.
        picture: the bytes of its file.
        labels: its label columns.
    """

    split: str
    path: str
    picture: bytes
    labels: Mapping[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that is left out.

    Attributes:
        where: the file, and the row in it.
        reason: what is wrong with it.
    """

    where: str
    reason: str


@dataclass(frozen=True)
class Layout:
    """An official layout that was recognised.

    Attributes:
        rows: its rows, made as they are asked for.
        count: how many there will be, good and bad.
        lacks: names of the optional columns that it has not.
        beside: text files to be laid beside the splits, by name.
    """

    rows: Iterator[Row | BadRow]
    count: int
    lacks: frozenset[str] = frozenset()
    beside: Mapping[str, str] = field(default_factory=dict)


def first_of(folder: Path, *names: str) -> Path | None:
    """Return the first of the names (with folders) that there is below a folder; None when there is none."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def one_of(folder: Path, *names: str) -> Path:
    """Return the first of the names (with folders) that there is below a folder.

    Raises:
        WrongLayout: there is none.
    """
    found = first_of(folder, *names)
    if found is None:
        raise WrongLayout(folder, f"has no {' or '.join(names)}")
    return found


def lines_of(file: Path) -> list[str]:
    """Return a text file's lines that are not empty.

    Raises:
        WrongLayout: it cannot be read as UTF-8 text.
    """
    try:
        # utf-8-sig: some copies begin with a mark of byte order
        return [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise WrongLayout(file, getattr(error, "strerror", None) or f"is no UTF-8 text ({error})") from error


def picture_row(file: Path, split: str, labels: Mapping[str, Any], name: str | None = None) -> Row | BadRow:
    """Return the row of a picture file, its bytes untouched, or say why it cannot be read."""
    try:
        data = file.read_bytes()
        Picture.read(data)
    except OSError as error:
        return BadRow(printable(file), error.strerror or str(error))
    except UnreadablePicture as error:
        return BadRow(printable(file), error.reason)
    return Row(split, name or file.name, data, labels)


def split_by_name(name: str) -> str:
    """Return the split of a picture whose set has no official ones: MD5 of its name modulo 10, 8 : 1 : 1."""
    tenth = int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % 10
    return "train" if tenth < 8 else "valid" if tenth == 8 else "test"


def whole(text: str, allowed: Iterable[int]) -> int:
    """Return a whole number out of text.

    Raises:
        ValueError: it is none, or not one of those allowed.
    """
    number = int(text)
    if number not in allowed:
        raise ValueError(f"{number} is not a label of this set")
    return number
