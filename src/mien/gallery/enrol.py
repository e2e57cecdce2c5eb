"""Whether a face is fit to stand for a person: large, sharp and frontal enough to be compared with others."""

from __future__ import annotations

import numpy as np

from mien.core.faces import Faces
from mien.core.quality import sharpness_at_own_size

# Of photos that were made smaller, the cosine with the large one fell by 0.01 at 18 px between the eyes, by
# 0.02 at 14 px and by 0.04 at 10 px (dlib-resnet 3; ten times fewer strangers pass at 0.018 more).
LEAST_EYES = 12.0
"""px between the eyes."""

# Blurred by a Gaussian of 5, 8 and 12 % of the distance between the eyes, they fell by 0.03, 0.08 and 0.12;
# the sharpness was then 58, 46 and 38, and of CelebA's pictures one in a hundred has less than 45.
LEAST_SHARPNESS = 45.0
"""0..100, at the face's own size."""

MOST_YAW, MOST_PITCH = 45.0, 35.0
"""Degrees."""

WORDS = {
    "no_face": "no face was found",
    "second_face": "it shows more than one face, and only one can be the person's: cut it out",
    "too_small": f"the face is too small (less than {LEAST_EYES:.0f} px between the eyes)",
    "too_blurred": "the face is too blurred",
    "extreme_pose": f"the face is turned by more than {MOST_YAW:.0f} degrees, or {MOST_PITCH:.0f} up or down",
}
"""Each fault in words."""


def faults(faces: Faces) -> list[tuple[str, ...]]:
    """Return for each face why it is unfit to say who others are; () is a fit one.

    Judged is what is known: size by the landmarks, else by the box; sharpness and pose where they were asked
    for.
    """
    return [tuple(_faults(face)) for face in faces]


def _faults(face: Faces) -> list[str]:
    found = []
    eyes = _eyes(face)
    if eyes < LEAST_EYES:
        found.append("too_small")
    sharpness = _sharpness(face, eyes)
    if sharpness is not None and sharpness < LEAST_SHARPNESS:
        found.append("too_blurred")
    if face.pose is not None and (abs(face.pose[0, 0]) > MOST_YAW or abs(face.pose[0, 1]) > MOST_PITCH):
        found.append("extreme_pose")
    return found


def _eyes(face: Faces) -> float:
    if face.landmarks is not None:
        return float(np.hypot(*(face.landmarks[0, 1] - face.landmarks[0, 0])))
    # Of a box as high as forehead to chin the eyes are about two fifths apart.
    return 0.4 * float(face.boxes[0, 2] - face.boxes[0, 0])


def _sharpness(face: Faces, eyes: float) -> float | None:
    if face.quality is None or "Sharpness" not in face.labels("quality"):
        return None
    component = float(face.quality[0, face.labels("quality").index("Sharpness")])
    return sharpness_at_own_size(component, max(eyes, 1e-3))
