"""Verification, is it the same person: LFW's accuracy, true accepts at a false accept rate, equal errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import errorrates
from mien.core.errorrates import NO_FACE

Numbers = npt.NDArray[Any]

# Comparisons of which the embeddings are gathered at once: 2 x 64 MB at 512 numbers.
_BLOCK = 1 << 15


def similarities(vectors: Numbers, first: Numbers, second: Numbers) -> npt.NDArray[np.float64]:
    """Return the (m,) cosines of pairs; `NO_FACE` where one of the two has no embedding.

    Args:
        vectors: (n, d) of unit length; rows of zeros are pictures without a found face.
        first: (m,) rows of `vectors`.
        second: (m,) rows of `vectors`.
    """
    made = np.empty(len(first), np.float64)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        made[part] = np.einsum("md,md->m", vectors[first[part]], vectors[second[part]])
    found = np.asarray(vectors.any(axis=1))
    made[~(found[first] & found[second])] = NO_FACE
    return made


def ten_folds(similar: Numbers, same: Numbers, folds: Numbers) -> tuple[float, float]:
    """Return accuracy and its standard error: each fold judged by the best threshold of the others.

    The protocol of Labeled Faces in the Wild, view 2 (Huang et al. 2007, Section III), for any
    number of folds.

    Args:
        similar: (n,) similarities.
        same: (n,) bool, pairs of one person.
        folds: (n,) the part that each pair belongs to.
    """
    names = np.unique(folds)
    accuracies = []
    for fold in names:
        rest = folds != fold
        candidates = np.unique(similar[rest])
        hits = np.searchsorted(np.sort(similar[rest & ~same]), candidates, side="left")
        hits = (
            hits + same[rest].sum() - np.searchsorted(np.sort(similar[rest & same]), candidates, side="left")
        )
        threshold = candidates[hits.argmax()]
        accuracies.append(float(((similar[~rest] >= threshold) == same[~rest]).mean()))
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1) / np.sqrt(len(names)))


def accept_rate(targets: Numbers, similar: Numbers, false_accepts: float) -> float:
    """Return TAR@FAR: the share of pairs of one person that match where false accepts have this rate.

    Args:
        targets: (n,) 1 for pairs of one person, 0 for others.
        similar: (n,) similarities.
        false_accepts: share of the pairs of two people that may match.
    """
    same = np.asarray(targets).astype(bool)
    return 1 - errorrates.at_fmr(similar[same], similar[~same], false_accepts).fnmr


def equal_error_rate(targets: Numbers, similar: Numbers) -> float:
    """Return the error rate where false accepts and false rejects are as frequent; arguments as above.

    Between two thresholds the rates are taken to change in a line.
    """
    same = np.asarray(targets).astype(bool)
    points = errorrates.det_points(similar[same], similar[~same], most=len(similar))
    accepts = np.append(points[:, 1], 0.0)
    rejects = np.append(points[:, 2], 1.0)
    after = int(np.argmax(rejects >= accepts))
    if after == 0:
        return float(rejects[0] + accepts[0]) / 2
    before = after - 1
    gap, next_gap = accepts[before] - rejects[before], rejects[after] - accepts[after]
    share = gap / (gap + next_gap) if gap + next_gap > 0 else 0.0
    return float(rejects[before] + share * (rejects[after] - rejects[before]))
