"""Compares two faces: similarity, decision, and how often such a decision is wrong."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mien.core.errors import NoFace
from mien.core.faces import Faces
from mien.runtime.pipeline import Pipeline


@dataclass(frozen=True)
class Verification:
    """What comparing two faces gave.

    Attributes:
        similarity: cosine of the two embeddings, -1..1. It is no probability.
        same: whether the similarity reaches the threshold; None when there is no threshold.
        threshold: match at this similarity and above; None when the model's card has none.
        fmr: rate of false matches measured at the threshold, 0..1.
        fmr_low: lower bound of its 95 % interval.
        fmr_high: upper bound of its 95 % interval.
        fnmr: rate of false non-matches measured at the threshold, 0..1.
        data: on what the rates were measured.
        model: name and version of the recogniser.
        first: the face compared in the first picture (the largest one).
        second: the face compared in the second picture.
    """

    similarity: float
    same: bool | None
    threshold: float | None
    fmr: float | None
    fmr_low: float | None
    fmr_high: float | None
    fnmr: float | None
    data: str
    model: str
    first: Faces
    second: Faces

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; of the faces only their boxes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("first", "second")}
        return {
            **plain,
            "first_box": self.first.boxes[0].tolist(),
            "second_box": self.second.boxes[0].tolist(),
        }


def largest(faces: Faces) -> Faces:
    """Return the largest of the faces, as `Faces` of length one.

    Raises:
        NoFace: there is none.
    """
    if not len(faces):
        raise NoFace(faces.source)
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return faces[int(np.argmax(sides[:, 0] * sides[:, 1]))]


def verify(pipeline: Pipeline, first: Any, second: Any, *, threshold: float | None = None) -> Verification:
    """Compare the largest faces of two pictures.

    Args:
        pipeline: one whose fields hold `embeddings`.
        first: a picture.
        second: a picture.
        threshold: decide at this similarity instead of the card's; its error rates are then unknown.

    Raises:
        NoFace: one of the pictures shows none.
        UnreadablePicture: one of the pictures cannot be read.
    """
    faces = [largest(pipeline.analyze(picture)) for picture in (first, second)]
    left, right = (face.embeddings for face in faces)
    assert left is not None
    assert right is not None
    similarity = float(np.clip(left[0] @ right[0], -1, 1))
    model = pipeline.model_for("embeddings")
    mirrored = pipeline.options.mirror
    known = model.card.threshold("embeddings", mirrored=mirrored) if model and threshold is None else None
    limit = known.value if known else threshold
    return Verification(
        similarity=similarity,
        same=None if limit is None else similarity >= limit,
        threshold=limit,
        fmr=known.fmr if known else None,
        fmr_low=known.fmr_low if known else None,
        fmr_high=known.fmr_high if known else None,
        fnmr=known.fnmr if known else None,
        data=known.data if known else "",
        model=pipeline.makers["embeddings"],
        first=faces[0],
        second=faces[1],
    )
