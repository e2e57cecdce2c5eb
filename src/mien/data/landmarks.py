"""Landmarks of a set's pictures: found once by the mesh that ships, stored in the cache, read by content.

The lab does not run models of the light floor: `mien data landmarks NAME` does, and lays down here what it
found. What is stored belongs to a picture's content, not to its row, so any rows of any split find theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core.atomic import writing
from mien.core.errors import MienError
from mien.core.fields import Floats
from mien.core.places import cache_folder
from mien.data.reader import Images

VERSION = 1
"""Raise it when what finds landmarks changes: those of other versions are not looked at."""

VERTICES = 468


class LandmarksMissing(MienError):
    """Rows whose landmarks have not been found yet."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks of n pictures, all of one face each.

    Attributes:
        mesh: (n, 468, 2) x y of MediaPipe's mesh, in parts of the picture's width and height: 0..1 inside it,
            to a 2000th.
        presence: (n,) 0..1, the detector's confidence that it looks at a face; where it is low the points are
            a guess.
    """

    mesh: Floats
    presence: Floats

    def __len__(self) -> int:
        return len(self.presence)

    def points(self, vertices: Sequence[Sequence[int]]) -> Floats:
        """Return (n, k, 2): for each of k tuples of vertices of the mesh their mean."""
        return np.stack([self.mesh[:, list(of)].mean(axis=1) for of in vertices], axis=1)


def folder_of(name: str) -> Path:
    """Return where the landmarks of a set are stored."""
    return cache_folder() / "landmarks" / f"{name}-{VERSION}"


def missing(images: Images) -> npt.NDArray[np.bool_]:
    """Tell which rows have no landmarks yet: (n,)."""
    return _places(images, _stored(images.name)[0]) < 0


def landmarks(images: Images) -> Landmarks:
    """Return the landmarks of rows.

    Raises:
        LandmarksMissing: some rows have none; says how to make them.
    """
    hashes, mesh, presence = _stored(images.name)
    places = _places(images, hashes)
    lacking = int((places < 0).sum())
    if lacking:
        raise LandmarksMissing(
            f"{lacking:,} of {len(images):,} pictures of {images.name}/{images.split} have no landmarks yet:"
            f" find them with `mien data landmarks {images.name}`"
        )
    return Landmarks(mesh[places].astype(np.float32), presence[places])


def store(images: Images, found: Landmarks) -> Path:
    """Write down the landmarks of some rows, in a file of their own.

    Args:
        images: the rows.
        found: their landmarks.

    Raises:
        UnwritableOutput: the cache cannot be written.
    """
    if found.mesh.shape != (len(images), VERTICES, 2) or len(found) != len(images):
        raise ValueError(f"{found.mesh.shape} and {len(found)} landmarks for {len(images)} rows")
    digest = hashlib.sha256(images.hashes.tobytes()).hexdigest()[:24]
    file = folder_of(images.name) / f"{digest}.npz"
    with writing(file) as opened:
        np.savez(opened, hashes=images.hashes, mesh=found.mesh.astype(np.float16), presence=found.presence)
    return file


_Stored = tuple[npt.NDArray[np.bytes_], npt.NDArray[np.float16], Floats]


def _stored(name: str) -> _Stored:
    """Return the content, the mesh and the presence of all that is stored, in the order of the content."""
    parts: list[_Stored] = [
        (np.zeros(0, "S32"), np.zeros((0, VERTICES, 2), np.float16), np.zeros(0, np.float32))
    ]
    for file in sorted(folder_of(name).glob("[!.]*.npz")):
        with np.load(file) as part:
            parts.append((part["hashes"], part["mesh"], part["presence"]))
    hashes, mesh, presence = (np.concatenate(column) for column in zip(*parts, strict=True))
    hashes, first = np.unique(hashes, return_index=True)
    return hashes, mesh[first], presence[first]


def _places(images: Images, hashes: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
    """Return (n,) where each row is among sorted hashes; -1 where it is not."""
    places = np.searchsorted(hashes, images.hashes).astype(np.int64)
    if not len(hashes):
        return np.full(len(images), -1)
    found = hashes[np.minimum(places, len(hashes) - 1)] == images.hashes
    return np.where(found, places, -1)
