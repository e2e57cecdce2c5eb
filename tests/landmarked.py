"""Landmarks of the few faces that tests train on: found where they are not in the cache yet."""

from __future__ import annotations

from mien.cli.landmarks import find
from mien.data.landmarks import missing
from mien.data.reader import Images
from mien.runtime.model import Model


def with_landmarks(images: Images) -> Images:
    """Return pictures after seeing to it that their landmarks are stored."""
    if missing(images).any():
        find(Model.load("face-mesh", threads=1), images)
    return images
