"""Poses of a set's faces, from the landmarks that are stored of them."""

from __future__ import annotations

from mien.core.fields import Floats
from mien.core.pose import from_landmarks
from mien.data.landmarks import landmarks
from mien.data.reader import Images

# The five landmarks as vertices of the mesh: the middles between the eyes' corners, the nose's tip and the
# corners of the mouth, the picture's left first.
_FIVE = ((33, 133), (263, 362), (4,), (61,), (291,))


def poses(images: Images) -> Floats:
    """Return (n, 3) yaw, pitch and roll of faces in degrees: coarse, within about ten degrees.

    Raises:
        LandmarksMissing: some rows have no landmarks stored yet; says how to find them.
    """
    _, height, width, _ = images.pixels.shape
    return from_landmarks(landmarks(images).points(_FIVE) * (width, height))
