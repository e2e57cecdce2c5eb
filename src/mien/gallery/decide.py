"""Somebody or nobody: from the error rates of one comparison to those of a search through a gallery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mien.core.card import Threshold

WANTED = 0.01
"""The rate at which strangers may be taken for somebody of the gallery, unless told otherwise."""


def positive_rate(fmr: float, comparisons: int) -> float:
    """Return the false positive identification rate: how often a stranger is taken for somebody.

    1 - (1 - FMR)^N, as if the N comparisons of a search were independent (ISO/IEC 19795-1). It is an
    approximation: those with several faces of one person are not, which makes the true rate smaller, and
    relatives and look-alikes make it larger.

    Args:
        fmr: false match rate of one comparison, 0..1.
        comparisons: N, the faces compared with.
    """
    if fmr >= 1:
        return 1.0 if comparisons else 0.0
    return -math.expm1(comparisons * math.log1p(-fmr))


def needed_rate(fpir: float, comparisons: int) -> float:
    """Return the false match rate at which a search has this false positive identification rate."""
    if comparisons < 1 or fpir >= 1:
        return 1.0
    return -math.expm1(math.log1p(-fpir) / comparisons)


@dataclass(frozen=True)
class Curve:
    """The false match rate at each similarity, from the thresholds that a card was calibrated at.

    Between two of them the logarithm of the rate is taken as linear, and so it is beyond the highest one. The
    tail of a distribution such as the normal one falls off faster than that: the rate beyond is rather too
    high than too low. Below the lowest one nothing is known, and the rate is taken as 1.

    Attributes:
        points: (similarity, rate, upper bound of its 95 % interval), rising; rates above 0.
        data: on what they were measured.
    """

    points: tuple[tuple[float, float, float], ...]
    data: str = ""

    @classmethod
    def of(cls, thresholds: Sequence[Threshold], *, mirrored: bool) -> Curve:
        """Take a card's thresholds for embeddings."""
        cosines = (one for one in thresholds if one.field == "embeddings" and one.metric == "cosine")
        fit = [one for one in cosines if one.mirrored == mirrored and one.fmr > 0]
        points = sorted((one.value, one.fmr, max(one.fmr_high, one.fmr)) for one in fit)
        # Rates that do not fall with the similarity cannot be of one measurement.
        falling = [
            point for place, point in enumerate(points) if all(point[1] < one[1] for one in points[:place])
        ]
        return cls(tuple(falling), fit[0].data if fit else "")

    def rate(self, similarity: float, *, high: bool = False) -> float:
        """Return the false match rate of a threshold at this similarity, 0..1.

        Args:
            similarity: cosine, -1..1.
            high: from the upper bounds of the 95 % intervals instead.
        """
        column = 2 if high else 1
        if not self.points or similarity < self.points[0][0]:
            return 1.0
        if len(self.points) == 1:
            return self.points[0][column]
        above = (place for place, point in enumerate(self.points) if point[0] > similarity)
        right = max(next(above, len(self.points) - 1), 1)
        (x1, *first), (x2, *second) = self.points[right - 1], self.points[right]
        y1, y2 = math.log(first[column - 1]), math.log(second[column - 1])
        return min(1.0, math.exp(y1 + (y2 - y1) * (similarity - x1) / (x2 - x1)))

    def threshold(self, fmr: float) -> float | None:
        """Return the lowest similarity at which the rate is at most `fmr`; None when none is known to be."""
        if not self.points:
            return None
        if fmr >= self.points[0][1]:
            return self.points[0][0]
        if len(self.points) == 1:
            return None
        pairs = list(zip(self.points, self.points[1:], strict=False))
        (x1, y1, _), (x2, y2, _) = next((pair for pair in pairs if pair[1][1] <= fmr), pairs[-1])
        return x1 + (x2 - x1) * (math.log(fmr) - math.log(y1)) / (math.log(y2) - math.log(y1))

    def beyond(self, similarity: float) -> bool:
        """Tell whether the rate at this similarity was never measured but follows from the ones below it."""
        return bool(self.points) and similarity > self.points[-1][0]
