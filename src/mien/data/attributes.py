"""Faces with CelebA's forty attributes to learn from, and other people's faces to judge by."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.core.labels import CELEBA_ATTRIBUTES
from mien.data.people import hashed
from mien.data.reader import Images, load

# Of ten parts of the people, which are for testing and which for choosing among runs.
_PARTS = {"test": (0, 1), "valid": (2,), "train": (3, 4, 5, 6, 7, 8, 9)}


def attributed(part: Literal["train", "valid", "test"], size: int) -> Images:
    """Return faces of `celeba10k`'s train split, the one that is at hand; no person is in two parts.

    Args:
        part: a fifth of the people, by the hash of their number, is "test", a tenth "valid".
        size: side of the faces, px.
    """
    images = load("celeba10k", "train", size=size)
    place = np.array([hashed(person) % 10 for person in images.columns["identity"].tolist()])
    names = {"train": "most people", "valid": "a tenth of the people", "test": "a fifth of the people"}
    return images.take(np.isin(place, _PARTS[part]), names[part])


def attributes(images: Images) -> npt.NDArray[np.int64]:
    """Return (n, 40) whether each face has each of `CELEBA_ATTRIBUTES`, 0 or 1."""
    return np.stack([images.columns[name] for name in CELEBA_ATTRIBUTES], axis=1).astype(np.int64)
