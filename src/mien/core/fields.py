"""The fields that can be known of a face: the one table of their names, shapes, units and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""An array of 32-bit floats, the type of every field."""


class Kind(Enum):
    """How a field behaves when a model's output becomes it; the runtime has one code path for each."""

    BOX = "box"
    """(n, 4) x1 y1 x2 y2 in pixels of the picture."""
    POINTS = "points"
    """(n, k, 2 or 3) in pixels of the picture; a third coordinate is depth in the same unit."""
    SCALAR = "scalar"
    """(n,) one number a face."""
    PROBABILITIES = "probabilities"
    """(n, c) one number in 0..1 for each label; they sum to one."""
    VALUES = "values"
    """(n, c) one number for each label."""
    EMBEDDING = "embedding"
    """(n, d) of unit length."""


@dataclass(frozen=True)
class Field:
    """What a field is.

    Attributes:
        name: the attribute of `Faces`.
        kind: its shape and behaviour.
        unit: the unit of its numbers, in words.
        about: one sentence for people.
        labels: the names of its columns where they are the same for every model; else the card gives them.
        goes_with: the field that it says something about: only what makes that one may make it too.
    """

    name: str
    kind: Kind
    unit: str
    about: str
    labels: tuple[str, ...] = ()
    goes_with: str = ""


FIVE_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""The five landmarks' order. Left and right are those of the upright picture, not the subject's."""

QUALITY = (
    "UnifiedQualityScore",
    "Sharpness",
    "UnderExposurePrevention",
    "OverExposurePrevention",
    "IlluminationUniformity",
    "DynamicRange",
    "InterEyeDistance",
    "HeadPoseYaw",
    "HeadPosePitch",
    "HeadPoseRoll",
    "FaceInsidePicture",
    "LandmarksAgreement",
)
"""Quality components, each 0..100 (100 is best). Names follow ISO/IEC 29794-5:2025 where it has one;
FaceInsidePicture and LandmarksAgreement are ours. The numbers are ours too: they are not OFIQ's."""

FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("boxes", Kind.BOX, "px", "where the face is: x1, y1, x2, y2"),
        Field("scores", Kind.SCALAR, "0..1", "the detector's confidence that this is a face"),
        Field("keypoints", Kind.POINTS, "px", "five points as the detector saw them, coarse", FIVE_POINTS),
        Field(
            "landmarks", Kind.POINTS, "px", "the five landmarks: eyes, nose tip, mouth corners", FIVE_POINTS
        ),
        Field("landmarks68", Kind.POINTS, "px", "the 68 landmarks of the iBUG order"),
        Field("mesh", Kind.POINTS, "px", "468 points of the face's surface, x y z"),
        Field(
            "irises",
            Kind.POINTS,
            "px",
            "each iris: its centre and four points of its rim, picture-left eye first",
        ),
        Field("presence", Kind.SCALAR, "0..1", "the mesh model's own confidence that it looks at a face"),
        Field("pose", Kind.VALUES, "degrees", "where the head turns", ("yaw", "pitch", "roll")),
        Field(
            "quality", Kind.VALUES, "0..100", "how fit the picture of this face is for recognition", QUALITY
        ),
        Field("embeddings", Kind.EMBEDDING, "unit vector", "the identity: near for the same person"),
        Field("expression", Kind.PROBABILITIES, "0..1", "the facial expression's class"),
        Field("affect", Kind.VALUES, "-1..1", "valence and arousal", ("valence", "arousal")),
        Field("action_units", Kind.VALUES, "0..5", "intensity of facial action units"),
        Field("age", Kind.SCALAR, "years", "apparent age"),
        Field("age_interval", Kind.VALUES, "years", "the age's 5-95 % interval", ("low", "high"), "age"),
        Field("gender", Kind.PROBABILITIES, "0..1", "apparent gender", ("female", "male")),
        Field("attributes", Kind.VALUES, "0..1", "probability of each visible attribute"),
        Field("liveness", Kind.SCALAR, "0..1", "probability of a live face rather than a picture of one"),
    )
}
"""Every field by name. A new kind of answer about a face is one line here and a model with a card."""
