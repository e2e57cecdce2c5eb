"""Confirms a detector's candidates by what another model says of them, and drops second boxes of one face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import geometry
from mien.core.card import Confirm
from mien.core.fields import Floats
from mien.core.picture import Pixels
from mien.runtime.describe import Known
from mien.runtime.model import Model
from mien.runtime.plan import Step, follow

# The part from the eyes to the mouth is one face's alone: even cheek to cheek those of two people lie
# apart. Boxes on a forehead or a chin lead a landmark model to points that share more than this with the
# face's own ...
_SAME_POINTS = 0.3
# ... or that lie in its box by more than this.
_IN_BOX = 0.5


@dataclass(frozen=True)
class Confirmation:
    """The second opinion of a pipeline.

    Attributes:
        rule: what the detector's card asks for.
        steps: what makes the rule's field out of the detector's fields, in order. Whatever else their makers
            make counts for the opinion, too, so that it is the same whichever fields a pipeline is asked for.
        models: the steps' models by `maker`.
    """

    rule: Confirm
    steps: Sequence[Step]
    models: Mapping[str, Model]

    def __call__(self, pixels: Pixels, known: Known) -> Known:
        """Return what is known of the candidates that are faces, each face once.

        Args:
            pixels: (H, W, 3) uint8.
            known: the detector's fields of n candidates, in px of `pixels`.

        Returns:
            The same fields and those of the steps, for the k candidates that pass, best score first.
        """
        whole = dict(known)
        follow([Step(step.by, step.by.fields) for step in self.steps], self.models, [(pixels, whole)])
        sure = known["scores"] >= self.rule.sure
        passed = np.flatnonzero(sure | (whole[self.rule.field] >= self.rule.least))
        scores = known["scores"][passed]
        points = next((whole[name] for name in ("landmarks", "keypoints") if name in whole), None)
        if points is None:
            kept = passed[np.argsort(-scores, kind="stable")]
        else:
            kept = passed[_distinct(known["boxes"][passed], points[passed], scores)]
        names = dict.fromkeys((*known, *(name for step in self.steps for name in step.fields)))
        return {name: whole[name][kept] for name in names}


def _distinct(boxes: Floats, points: Floats, scores: Floats) -> npt.NDArray[np.intp]:
    """Return the indices of the candidates that are no part of a better one's face, best score first."""
    inner = np.array([geometry.box_of(face) for face in points], np.float32).reshape(-1, 4)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        own = inner[index : index + 1]
        same = (geometry.overlap_of_smaller(own, inner[kept]) > _SAME_POINTS).any()
        if not same and not (geometry.overlap_of_smaller(own, boxes[kept]) > _IN_BOX).any():
            kept.append(int(index))
    return np.asarray(kept, np.intp)
