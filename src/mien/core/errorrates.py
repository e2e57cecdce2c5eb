"""Error rates of comparisons: false matches and false non-matches with intervals, thresholds, DET points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_Z = 1.959964  # two-sided 95 % of the normal distribution


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

    Comparisons are taken as independent, which those that share a picture are not: the true intervals are
    wider.

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
