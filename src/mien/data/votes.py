"""What people's votes for expressions say: the majority, and valence and arousal that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.labels import AFFECT, FERPLUS_VOTES
from mien.data.reader import Images


def votes_of(images: Images) -> npt.NDArray[Any]:
    """Return (n, 10) the votes of FER+, in the order of `FERPLUS_VOTES`."""
    return np.stack([images.columns[name] for name in FERPLUS_VOTES], axis=1)


def majority(votes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the (n,) column that has more than half of the votes of (n, c); -1 where none has.

    Single votes count as slips and are dropped first (Barsoum et al. 2016, arXiv 1608.01041).
    """
    counts = np.where(votes > 1, votes, 0)
    sure = counts.max(axis=1) > 0.5 * counts.sum(axis=1)
    return np.where(sure, counts.argmax(axis=1), -1)


def expected_affect(votes: npt.NDArray[Any], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the expectation of the words' valence and arousal under the votes for them.

    They are derived, nobody annotated them. Two faces of one majority differ where their other votes do, so
    the values say more than the majority; they say nothing of how strong an expression is.

    Args:
        votes: (n, c) counts; single ones count, as the doubt of people is what the expectation is made of.
        names: of the c columns. Those without a place in `AFFECT` (contempt, unknown, no face) are left out.

    Returns:
        (n, 2) valence and arousal, -1..1; NaN where half of the votes or more have no place.
    """
    places = np.array([AFFECT.get(name, (np.nan, np.nan)) for name in names])
    placed = ~np.isnan(places[:, 0])
    counts = votes[:, placed].astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    mean = counts @ places[placed] / np.maximum(total, 1)
    known = total > 0.5 * votes.sum(axis=1, keepdims=True)
    return np.where(known, mean, np.nan).astype(np.float32)
