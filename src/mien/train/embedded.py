"""What a recogniser of others sees in the faces of known people, computed once and stored."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import torch

from mien.data.embedded import Embedded
from mien.data.people import Part, people
from mien.data.reader import Images
from mien.train.distil import Teacher, kept

_log = logging.getLogger("mien")

RECOGNISER = "mobilefacenet_foamliu"
"""Whose embeddings systems that see no pictures learn from."""

_SIDE = 112
_STEP = 256


def embedded(part: Part, *, many: bool = False, most: int = 0) -> Embedded:
    """Return embeddings of a part of the people, none of whom is in another part.

    Args:
        part: as `mien.data.people.people` has them.
        many: `celeba10k`'s people of a few pictures each, too.
        most: the first people only, this many, so that tests need not wait; 0 is all.

    Raises:
        NoTeacher: the recogniser's file is not on this machine.
    """
    images = people(part, _SIDE, many=many)
    if most:
        images = images.take(np.isin(images.columns["person"], np.unique(images.columns["person"])[:most]))
    teacher = Teacher(RECOGNISER)
    key = hashlib.sha256(f"{teacher.sha256} {images.sha256} {_SIDE}".encode()).hexdigest()[:16]
    vectors = kept(f"people-{key}", lambda: _computed(teacher, images))
    return Embedded(images.name, images.split, vectors, images.columns["person"])


def _computed(teacher: Teacher, images: Images) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    made = []
    for first in range(0, len(images), _STEP):
        faces = np.ascontiguousarray(images.pixels[first : first + _STEP].transpose(0, 3, 1, 2))
        made.append(teacher.embed(torch.as_tensor(faces).float()))
        _log.info("faces embedded: %d of %d", min(first + _STEP, len(images)), len(images))
    return np.concatenate(made)
