"""Ranks the first of a search again by the patches of faces: the Earth Mover's Distance between them.

Two faces whose embeddings differ, because one wears a mask or is cut off, may still have patches in common
(DeepFace-EMD, Phan and Nguyen 2022, arXiv 2112.04016). A search by cosine gives a short list; its order is
then that of a mixture of the cosine and of what it costs to turn one face's patches into the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mien.core.fields import Floats
from mien.core.transport import sinkhorn

Numbers = npt.NDArray[Any]
Weighting = Literal["uniform", "apc", "sc", "lmk"]


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of n faces.

    Attributes:
        vectors: (n, p, d), of unit length: what a network's last map says of p places.
        centres: (n, d), of unit length: the direction of the map's mean.
        marks: (n, p) part of the landmarks that lie in each patch; None where they are not known.
    """

    vectors: Floats
    centres: Floats
    marks: Floats | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Numbers) -> Patches:
        """Return some of the faces."""
        marks = None if self.marks is None else self.marks[rows]
        return Patches(self.vectors[rows], self.centres[rows], marks)


def patches(maps: Floats, marks: Floats | None = None) -> Patches:
    """Return the patches of (n, d, h, w) maps, row by row; `marks` as in `Patches`."""
    flat = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
    return Patches(_unit(flat), _unit(flat.mean(axis=1)), marks)


def marks(points: Floats, grid: int) -> Floats:
    """Return (n, grid * grid) part of the landmarks that lie in each patch (the authors' LMK).

    Args:
        points: (n, k, 2) x y in parts of the width and height; those outside 0..1 are passed over.
        grid: patches along each side.
    """
    place = np.floor(points * grid).astype(np.int64)
    inside = ((place >= 0) & (place < grid)).all(axis=2)
    face = np.broadcast_to(np.arange(len(points))[:, None], inside.shape)
    counts = np.zeros((len(points), grid * grid), np.float32)
    np.add.at(counts, (face[inside], (place[..., 1] * grid + place[..., 0])[inside]), 1)
    return _shares(counts)


@dataclass(frozen=True)
class Rerank:
    """How the first of a search are ranked again.

    How much of a face each patch is counts by `weighting`:
    - uniform: all alike;
    - apc: by its correlation with the mean of the other face, where that is above 0 (average pooling
      correlation);
    - sc: by the sum of its distances to the other face's patches, as the authors' code has it
      (`utils/emd.py`): patches that the other face has not, such as a mask's, weigh more;
    - lmk: by the part of the landmarks that lie in it.

    Attributes:
        weighting: of the patches.
        alpha: weight of the patches' similarity, that of the cosine being 1 - alpha; the authors' scripts
            take 0.7 for changed queries and 0.3 for ordinary ones.
        most: how many candidates are ranked again (k).
        regularisation: of the transport.
    """

    weighting: Weighting = "apc"
    alpha: float = 0.7
    most: int = 100
    regularisation: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.most < 1:
            raise ValueError(f"alpha {self.alpha} must be in 0..1, most {self.most} 1 or more")

    def __call__(self, similar: Numbers, query: Patches, gallery: Patches) -> npt.NDArray[np.int64]:
        """Return the (g,) rows of a gallery in their order for one query, the most similar first.

        Args:
            similar: (g,) cosines of the query and the gallery, or -inf for what must not be found.
            query: patches of one face.
            gallery: of g faces.
        """
        order = np.argsort(-np.asarray(similar), kind="stable").astype(np.int64)
        top = order[: self.most]
        mixed = self.alpha * self.similarities(query, gallery.take(top)) + (1 - self.alpha) * similar[top]
        order[: self.most] = top[np.argsort(-mixed, kind="stable")]
        return order

    def similarities(self, query: Patches, candidates: Patches) -> npt.NDArray[np.float64]:
        """Return (k,) 1 - EMD of one face's patches and those of each of k candidates; 1 for equal ones.

        Moving one patch to another costs 1 - their cosine, so this is their mean cosine under the plan.
        """
        count, places, size = candidates.vectors.shape
        # One product of two matrices: many small ones take several times as long.
        alike = (candidates.vectors.reshape(-1, size) @ query.vectors[0].T).reshape(count, places, -1)
        alike = np.ascontiguousarray(alike.transpose(0, 2, 1))
        supply, demand = self.weights(query, candidates, alike)
        plan = sinkhorn(1 - alike, supply, demand, regularisation=self.regularisation)
        similar: npt.NDArray[np.float64] = (plan * alike).sum(axis=(1, 2))
        return similar

    def weights(self, query: Patches, candidates: Patches, alike: Numbers) -> tuple[Numbers, Numbers]:
        """Return (k, p) weights of the query's patches beside each candidate, and (k, p) of the candidates'.

        Args:
            query: patches of one face.
            candidates: of k faces.
            alike: (k, p, p) cosines of the query's patches (rows) and each candidate's (columns).

        Raises:
            ValueError: weights by landmarks that are not known.
        """
        if self.weighting == "apc":
            supply = np.maximum(candidates.centres @ query.vectors[0].T, 0)
            demand = np.maximum(candidates.vectors @ query.centres[0], 0)
        elif self.weighting == "sc":
            supply, demand = (1 - alike).sum(axis=2), (1 - alike).sum(axis=1)
        elif self.weighting == "lmk":
            if query.marks is None or candidates.marks is None:
                raise ValueError("weights by landmarks need the marks of both faces")
            supply, demand = np.broadcast_to(query.marks, candidates.marks.shape), candidates.marks
        else:
            supply, demand = np.ones(alike.shape[:2]), np.ones((len(alike), alike.shape[2]))
        return _shares(supply), _shares(demand)


def _shares(weights: Numbers) -> Numbers:
    """Return weights as parts of their sum along the last axis; all alike where they say nothing."""
    # Rounding makes the distance of equal patches a little less than 0.
    weights = np.maximum(weights, 0)
    total = weights.sum(axis=-1, keepdims=True)
    even = np.full_like(weights, 1 / weights.shape[-1])
    shares: Numbers = np.divide(weights, total, out=even, where=total > 1e-6)
    return shares


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: Floats = vectors / np.maximum(length, 1e-12)
    return made
