"""Error rates of comparisons: false matches and false non-matches with intervals, thresholds, DET points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

NO_FACE = -1.0
"""The similarity to a picture in which no face was found: the least that a cosine can be."""

MOST_OTHER = 5_000_000
"""So many comparisons of two people are looked at; more would not narrow the intervals usefully."""

_Z = 1.959964  # two-sided 95 % of the normal distribution
# Rows that are compared with all others at once: the product of matrices is as fast as it gets.
_BLOCK = 256


def wilson(errors: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Wilson 1927), which is sound down to zero errors.

    Args:
        errors: how often it happened.
        trials: how often it could have; 0 gives (0, 1).
    """
    if trials <= 0:
        return 0.0, 1.0
    rate = errors / trials
    spread = _Z * math.sqrt(rate * (1 - rate) / trials + _Z**2 / (4 * trials**2))
    middle, scale = rate + _Z**2 / (2 * trials), 1 + _Z**2 / trials
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return (0.0 if errors == 0 else max(0.0, low)), (1.0 if errors == trials else min(1.0, high))


def clustered(
    errors: npt.NDArray[Any], unit: npt.NDArray[Any], *, rounds: int = 400, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a rate whose trials come in clusters, such as several of one person.

    The units are drawn again with replacement; the interval covers both the 2.5 to 97.5 % range of the rounds
    and Wilson's interval, so that zero errors still have an upper bound.

    Args:
        errors: (n,) bool, whether each trial was one.
        unit: (n,) what each trial is of.
        rounds: how often units are drawn.
        seed: of the draws.
    """
    low, high = wilson(int(errors.sum()), len(errors))
    names, place = np.unique(unit, return_inverse=True)
    if not len(names):
        return low, high
    wrong, tried = np.bincount(place, errors), np.bincount(place).astype(np.float64)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), rounds)
    ends = np.quantile((drawn @ wrong) / (drawn @ tried), (0.025, 0.975))
    return min(low, float(ends[0])), max(high, float(ends[1]))


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the errors measured at it.

    Attributes:
        threshold: two faces match at this similarity and above.
        fmr: false match rate, 0..1, with its 95 % interval.
        fmr_low: lower bound.
        fmr_high: upper bound.
        fnmr: false non-match rate, 0..1, with its 95 % interval.
        fnmr_low: lower bound.
        fnmr_high: upper bound.
    """

    threshold: float
    fmr: float
    fmr_low: float
    fmr_high: float
    fnmr: float
    fnmr_low: float
    fnmr_high: float


def at_threshold(mated: npt.NDArray[Any], other: npt.NDArray[Any], threshold: float) -> OperatingPoint:
    """Return the errors at a threshold.

    Comparisons are taken as independent, which those that share a person are not: `Comparisons.at` gives
    the wider, true intervals.

    Args:
        mated: (m,) similarities of pictures of the same person.
        other: (n,) similarities of pictures of two persons.
        threshold: match at this similarity and above.
    """
    # In double precision: a threshold just above a 32-bit similarity would be rounded down onto it.
    false_matches = int((np.asarray(other, np.float64) >= threshold).sum())
    misses = int((np.asarray(mated, np.float64) < threshold).sum())
    return OperatingPoint(
        float(threshold),
        false_matches / max(len(other), 1),
        *wilson(false_matches, len(other)),
        misses / max(len(mated), 1),
        *wilson(misses, len(mated)),
    )


def at_fmr(mated: npt.NDArray[Any], other: npt.NDArray[Any], fmr: float) -> OperatingPoint:
    """Return the lowest threshold whose measured false match rate is at most `fmr`, and the errors there.

    Raises:
        ValueError: there are no comparisons between persons.
    """
    descending = np.sort(np.asarray(other, np.float64))[::-1]
    if not len(descending):
        raise ValueError("no comparisons between different persons")
    allowed = math.floor(fmr * len(descending) + 1e-9)
    if allowed >= len(descending):
        threshold = float(descending[-1])
    else:
        # Just above the first comparison that must not match.
        threshold = float(np.nextafter(descending[allowed], np.inf))
    return at_threshold(mated, other, threshold)


def det_points(mated: npt.NDArray[Any], other: npt.NDArray[Any], most: int = 200) -> npt.NDArray[np.float64]:
    """Return (k, 3) threshold, FMR, FNMR along the detection error trade-off curve, thresholds rising."""
    every = np.unique(np.concatenate([np.asarray(mated, np.float64), np.asarray(other, np.float64)]))
    if len(every) > most:
        every = every[np.linspace(0, len(every) - 1, most).round().astype(int)]
    mated, other = np.sort(mated), np.sort(other)
    misses = np.searchsorted(mated, every, side="left") / max(len(mated), 1)
    matches = 1 - np.searchsorted(other, every, side="left") / max(len(other), 1)
    return np.stack([every, matches, misses], axis=1)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Similarities with who was compared: what honest intervals need.

    Attributes:
        similar: (n,) similarities.
        first: (n,) number of the one person, from 0.
        second: (n,) number of the other one.
    """

    similar: npt.NDArray[np.float64]
    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]

    @property
    def mated(self) -> npt.NDArray[np.float64]:
        """Similarities of pictures of the same person."""
        return np.asarray(self.similar[self.first == self.second])

    @property
    def other(self) -> npt.NDArray[np.float64]:
        """Similarities of pictures of two persons."""
        return np.asarray(self.similar[self.first != self.second])

    def at(self, thresholds: Sequence[float], *, rounds: int = 400, seed: int = 0) -> list[OperatingPoint]:
        """Return the errors at thresholds, with intervals that hold for other people than these.

        People are drawn again with replacement (a bootstrap over the persons, both of a pair at once, as
        Bolle et al., "Error analysis of pattern recognition systems - the subsets bootstrap", CVIU 2004): one
        person who resembles everybody, or has many pictures, moves many comparisons together. The interval
        given covers both the 2.5 to 97.5 % range of the rounds and Wilson's interval, so that zero errors
        still have an upper bound.

        Args:
            thresholds: match at this similarity and above.
            rounds: how often people are drawn.
            seed: of the draws.
        """
        points = [at_threshold(self.mated, self.other, threshold) for threshold in thresholds]
        people = int(max(self.first.max(initial=-1), self.second.max(initial=-1))) + 1
        if not people or not points:
            return points
        apart = self.first != self.second
        low, high = np.minimum(self.first, self.second), np.maximum(self.first, self.second)
        pairs, place = np.unique(low[apart] * people + high[apart], return_inverse=True)
        limits = np.asarray([point.threshold for point in points])
        matches = np.stack([np.bincount(place, self.other >= t, len(pairs)) for t in limits])
        misses = np.stack([np.bincount(low[~apart], self.mated < t, people) for t in limits])
        tried_other = np.bincount(place, minlength=len(pairs)).astype(np.float64)
        tried_mated = np.bincount(low[~apart], minlength=people).astype(np.float64)
        random = np.random.default_rng(seed)
        drawn = random.multinomial(people, np.full(people, 1 / people), rounds).astype(np.float64)
        false_matches, false_misses = np.zeros((rounds, len(limits))), np.zeros((rounds, len(limits)))
        for index, times in enumerate(drawn):
            weights = times[pairs // people] * times[pairs % people]
            false_matches[index] = matches @ weights / max(float(tried_other @ weights), 1.0)
            false_misses[index] = misses @ times / max(float(tried_mated @ times), 1.0)
        fmr = np.quantile(false_matches, (0.025, 0.975), axis=0)
        fnmr = np.quantile(false_misses, (0.025, 0.975), axis=0)
        return [
            replace(
                point,
                fmr_low=min(point.fmr_low, float(fmr[0, i])),
                fmr_high=max(point.fmr_high, float(fmr[1, i])),
                fnmr_low=min(point.fnmr_low, float(fnmr[0, i])),
                fnmr_high=max(point.fnmr_high, float(fnmr[1, i])),
            )
            for i, point in enumerate(points)
        ]


def compare_all(
    vectors: npt.NDArray[Any], people: npt.NDArray[Any], *, most_other: int = MOST_OTHER
) -> Comparisons:
    """Compare all pictures with one another.

    Args:
        vectors: (n, d) embeddings of unit length; rows of zeros are pictures without a found face, which are
            like nobody (`NO_FACE`).
        people: (n,) who each shows.
        most_other: comparisons of two people to keep.

    Returns:
        All comparisons of the same person; of those of two people an even sample when there are too many.
    """
    _, numbers = np.unique(people, return_inverse=True)
    missing = np.asarray(~vectors.any(axis=1))
    total = len(numbers) * (len(numbers) - 1) // 2
    step = max(1, total // most_other)
    kept: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for start in range(0, len(numbers), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors[start:].T
        block[:, missing[start:]] = NO_FACE
        block[missing[start : start + _BLOCK]] = NO_FACE
        for index, row in enumerate(block, start=start):
            rest = np.arange(index + 1, len(numbers))
            same = numbers[rest] == numbers[index]
            chosen = np.concatenate([rest[same], rest[~same][index % step :: step]])
            first = np.full(len(chosen), numbers[index])
            kept.append((row[chosen - start].astype(np.float64), first, numbers[chosen]))
    similar, one, other = (np.concatenate(part) for part in zip(*kept, strict=True))
    return Comparisons(similar, one, other)
