"""Retrieval, are the first that a search finds of the right person: P@1, R-precision and MAP@R.

The measures of "A Metric Learning Reality Check" (Musgrave et al. 2020, arXiv 2003.08505, Section 3.2), for q
queries. Targets are (q, 2): the person of each query, and R, how many pictures of that person the gallery
has. Predictions are (q, m): the persons of the first m that were found, the best first; m is at least the
largest R. Queries of R = 0 have nothing to find and are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


def precision_at_1(targets: Numbers, found: Numbers) -> float:
    """Return P@1: the share of the queries whose first find is right."""
    right, _ = _within(targets, found)
    return float(right[:, 0].mean())


def r_precision(targets: Numbers, found: Numbers) -> float:
    """Return RP: the mean share of the first R finds that are right."""
    right, most = _within(targets, found)
    return float((right.sum(axis=1) / most).mean())


def map_at_r(targets: Numbers, found: Numbers) -> float:
    """Return MAP@R: the mean over the first R places of the precision there, which is 0 at wrong finds."""
    right, most = _within(targets, found)
    precision = right.cumsum(axis=1) / (1 + np.arange(right.shape[1]))
    return float(((precision * right).sum(axis=1) / most).mean())


def _within(targets: Numbers, found: Numbers) -> tuple[npt.NDArray[np.bool_], Numbers]:
    """Return (q, m) whether a find is right and among the first R, and (q,) R."""
    person, most = targets[targets[:, 1] > 0].T
    found = found[targets[:, 1] > 0]
    if found.shape[1] < most.max(initial=1):
        raise ValueError(f"R is up to {most.max()}, but only {found.shape[1]} finds are given")
    return (found == person[:, None]) & (np.arange(found.shape[1]) < most[:, None]), most
