"""Reading sets: `load` gives a split as arrays, its pixels mapped into memory."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import printable
from mien.core.picture import Pixels
from mien.core.system import DataUsed
from mien.data.cache import Crop, Decoding, Progress, decoded, open_pixels
from mien.data.registry import DamagedSet, find

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Images:
    """Rows of a set, decoded. Sent to another process, pixels that are mapped are mapped there, not copied.

    Attributes:
        name: of the set.
        split: of the set; in words when rows of it were left out.
        pixels: (n, H, W, C) uint8, C is 3 (RGB) or 1 (grey); mapped into memory and read-only, or in memory
            after `take` with rows that are not neighbours.
        columns: label columns by name, each of n rows; `path` is the picture's name in the set.
        hashes: (n,) of each picture's content at full size, 32 hexadecimal digits: equal for equal pixels,
            whatever size they were loaded at.
        mapped: the file of pixels and the first of the neighbouring rows in it that these are; None for
            pixels in memory.
    """

    name: str
    split: str
    pixels: Pixels
    columns: Mapping[str, npt.NDArray[Any]]
    hashes: npt.NDArray[np.bytes_]
    mapped: tuple[Path, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        rows = {"pixels": len(self.pixels), "hashes": len(self.hashes)}
        rows |= {name: len(column) for name, column in self.columns.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"{self.name}/{self.split}: all must have as many rows: {rows}")

    def __len__(self) -> int:
        return len(self.hashes)

    def __reduce__(self) -> tuple[Any, ...]:
        pixels = None if self.mapped else self.pixels
        return _again, (self.name, self.split, pixels, dict(self.columns), self.hashes, self.mapped)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of what the rows hold, in their order: pictures at full size and every label.

        It says nothing of the file's format, nor of the size that the pictures were loaded at. The pictures'
        names count, too.
        """
        digest = hashlib.sha256(self.hashes.tobytes())
        for name in sorted(self.columns):
            column = self.columns[name]
            # Text is stored as wide as its longest entry, which rows that are not here may have.
            data = "\0".join(column.tolist()).encode() if column.dtype.kind == "U" else column.tobytes()
            digest.update(f"\n{name} {column.dtype.kind} {len(data)}\n".encode() + data)
        return digest.hexdigest()

    @property
    def used(self) -> DataUsed:
        """These rows as evidence names them."""
        return DataUsed(self.name, self.split, len(self), self.sha256)

    def take(self, indices: npt.ArrayLike, split: str | None = None) -> Images:
        """Return some of the rows, in the order asked for.

        Args:
            indices: (m,) numbers of rows, or (n,) bools. Neighbouring ascending rows stay mapped; others are
                read into memory.
            split: what to call them; None keeps the split's name.

        Raises:
            IndexError: a row that there is not.
        """
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise IndexError(f"{chosen.shape} bools for {len(self)} rows")
            chosen = np.flatnonzero(chosen)
        chosen = np.arange(len(self))[chosen.astype(np.int64)]
        mapped, pixels = self.mapped, self.pixels
        if len(chosen) and np.array_equal(chosen, np.arange(chosen[0], chosen[0] + len(chosen))):
            first = int(chosen[0])
            pixels = pixels[first : first + len(chosen)]
            mapped = (mapped[0], mapped[1] + first) if mapped else None
        else:
            pixels, mapped = np.asarray(pixels)[chosen], None
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Images(
            self.name, split or self.split, pixels, MappingProxyType(columns), self.hashes[chosen], mapped
        )


def _again(
    name: str,
    split: str,
    pixels: Pixels | None,
    columns: dict[str, npt.NDArray[Any]],
    hashes: npt.NDArray[np.bytes_],
    mapped: tuple[Path, int] | None,
) -> Images:
    if mapped:
        file, first = mapped
        pixels = open_pixels(file)[first : first + len(hashes)]
    assert pixels is not None
    return Images(name, split, pixels, MappingProxyType(columns), hashes, mapped)


def load(
    name: str,
    split: str,
    *,
    size: int | None = None,
    grey: bool = False,
    crop: Crop | None = None,
    progress: Progress | None = None,
) -> Images:
    """Read a split of a set.

    It is decoded once, into the user's cache; after that it is a matter of milliseconds.

    Args:
        name: of the set: one of the table's (`mien data` lists them), or any folder in `MIEN_DATA`.
        split: of the set, such as "train".
        size: px; the largest square in the middle of each picture (of its crop) is scaled to this, with
            antialiasing. None keeps pictures as they are, which must then all be of one size.
        grey: one channel of luma instead of RGB.
        crop: keep this part of each picture: x1, y1, x2, y2 in parts of its width and height.
        progress: is told how many rows are decoded, and of how many, while the split is decoded.

    Raises:
        UnknownSet, SetMissing: there is no such set or split, or it is not here.
        DamagedSet: its file cannot be read, or pictures in it; names them.
        UnwritableOutput: the cache cannot be written.
    """
    found = decoded(find(name, split), Decoding(size, grey, crop), progress)
    pixels = open_pixels(found.pixels)
    return Images(name, split, pixels, MappingProxyType(found.columns), found.hashes, (found.pixels, 0))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pictures to be told the same or different.

    Attributes:
        first: (m,) rows of the set's `Images`.
        second: (m,) rows of the set's `Images`.
        same: (m,) bool.
        fold: (m,) the part that the pair belongs to, from 0.
    """

    first: Indices
    second: Indices
    same: npt.NDArray[np.bool_]
    fold: Indices

    def __len__(self) -> int:
        return len(self.same)


def load_pairs(images: Images) -> Pairs:
    """Read the pairs that lie beside a set of pictures, such as those of `lfw_pairs`.

    Args:
        images: all pictures of the set, with their names in the column `name`.

    Raises:
        DamagedSet: there is no pairs.csv beside them, or it names a picture that is not in the set.
    """
    file = find(images.name, images.split).with_name("pairs.csv")
    rows = {str(name): row for row, name in enumerate(images.columns["name"])}
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            found = [
                (rows[line["name_a"]], rows[line["name_b"]], int(line["same"]), int(line["fold"]))
                for line in csv.DictReader(opened)
            ]
    except OSError as error:
        raise DamagedSet(f"{printable(file)}: {error.strerror}") from error
    except KeyError as error:
        raise DamagedSet(f"{printable(file)}: names {error}, which the set has not") from error
    except (TypeError, ValueError) as error:
        raise DamagedSet(f"{printable(file)}: {error}") from error
    table = np.array(found, np.int64).reshape(-1, 4)
    return Pairs(table[:, 0], table[:, 1], table[:, 2].astype(bool), table[:, 3])
