"""How well faces are grouped: pairwise and B-cubed precision, recall and F, by counts, not by pairs.

Everywhere `targets` are (n,) numbers of persons and `groups` (n,) numbers of the groups that faces were put
into; a face that is in no group must have a number of its own. All that is needed is how many faces of each
person are in each group, so that 100,000 faces take milliseconds and not 5,000,000,000 pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


def _counted(targets: Numbers, groups: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return how many faces of a person are in a group, where some are; and of that person, of that group."""
    from sklearn.metrics.cluster import contingency_matrix

    table = contingency_matrix(targets, groups, sparse=True).tocoo()
    persons, sizes = (np.asarray(table.sum(axis=axis), np.float64).ravel() for axis in (1, 0))
    return table.data.astype(np.float64), persons[table.row], sizes[table.col]


def _pairs(counts: Numbers) -> float:
    return float((counts * (counts - 1)).sum() / 2)


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def pairwise_precision(targets: Numbers, groups: Numbers) -> float:
    """Return the share of the pairs of faces in one group that show one person; 0 where no group has two."""
    shared, _, _ = _counted(targets, groups)
    found = _pairs(np.unique(groups, return_counts=True)[1].astype(np.float64))
    return _pairs(shared) / found if found else 0.0


def pairwise_recall(targets: Numbers, groups: Numbers) -> float:
    """Return the share of the pairs of faces of one person that are in one group; 0 where nobody has two."""
    return pairwise_precision(groups, targets)


def pairwise_f(targets: Numbers, groups: Numbers) -> float:
    """Return the harmonic mean of pairwise precision and recall, F_P."""
    return _harmonic(pairwise_precision(targets, groups), pairwise_recall(targets, groups))


def bcubed_precision(targets: Numbers, groups: Numbers) -> float:
    """Return the mean over the faces of how much of their group shows their person (Bagga and Baldwin 1998).

    The face itself counts, as in Amigó et al. 2009.
    """
    shared, _, sizes = _counted(targets, groups)
    return float((shared**2 / sizes).sum() / len(targets))


def bcubed_recall(targets: Numbers, groups: Numbers) -> float:
    """Return the mean over the faces of how much of their person is in their group."""
    return bcubed_precision(groups, targets)


def bcubed_f(targets: Numbers, groups: Numbers) -> float:
    """Return the harmonic mean of B-cubed precision and recall, F_B."""
    shared, persons, sizes = _counted(targets, groups)
    square = shared**2
    return _harmonic(
        float((square / sizes).sum() / len(targets)), float((square / persons).sum() / len(targets))
    )


def mutual_information(targets: Numbers, groups: Numbers) -> float:
    """Return the mutual information, divided by the mean of both entropies (scikit-learn's NMI)."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(targets, groups))
