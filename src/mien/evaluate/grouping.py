"""Ways of grouping faces that learn nothing: what a learned one is compared with.

DBSCAN, HDBSCAN and k-means are scikit-learn's, which the light floor does without; Chinese whispers is in
`mien.core.grouping`, beside what galleries are grouped by. The command line may call all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from mien.core.grouping import Floats, Ids, Neighbours, chinese_whispers
from mien.evaluate.clustering import bcubed_f, pairwise_f

Setting = tuple[float, ...]


@dataclass(frozen=True)
class Grouping:
    """A way of grouping faces that has a few numbers to be chosen.

    Attributes:
        group: of (n, d) embeddings of unit length, their neighbours, the numbers, and a seed: (n,) groups.
        settings: the numbers that are tried.
    """

    group: Callable[[Floats, Neighbours, Setting, int], Ids]
    settings: tuple[Setting, ...]


def goodness(targets: Ids, groups: Ids) -> float:
    """Return what settings are chosen by: the mean of pairwise and B-cubed F; arguments as theirs."""
    return (pairwise_f(targets, groups) + bcubed_f(targets, groups)) / 2


def choose(
    settings: tuple[Setting, ...], group: Callable[[Setting], Ids], targets: Ids
) -> tuple[Setting, float]:
    """Return the setting that groups faces of known people best, and how good it is; the first of equals."""
    scores = [goodness(targets, group(setting)) for setting in settings]
    best = int(np.argmax(scores))
    return settings[best], scores[best]


def alone(groups: npt.NDArray[np.int64]) -> Ids:
    """Return (n,) groups in which every face of -1, scikit-learn's noise, has a group of its own."""
    groups = np.asarray(groups, np.int64).copy()
    noise = np.flatnonzero(groups < 0)
    groups[noise] = groups.max(initial=-1) + 1 + np.arange(len(noise))
    return groups


def dbscan(vectors: Floats, near: Neighbours, setting: Setting, seed: int) -> Ids:
    """Group by DBSCAN (Ester et al. 1996); the setting is the least cosine of a link, and `min_samples`.

    Its distances are those of the neighbours, so that it does not need all pairs; of `min_samples`, which
    counts the face itself, there must not be more than neighbours.
    """
    from scipy.sparse import coo_array
    from sklearn.cluster import DBSCAN

    least, samples = setting
    first, second, cosines = near.links(least)
    # A distance of zero would not be stored.
    distances = np.maximum(1 - cosines.astype(np.float64), 1e-9)
    both = (np.concatenate([first, second]), np.concatenate([second, first]))
    table = coo_array((np.concatenate([distances, distances]), both), shape=(len(near), len(near))).tocsr()
    # All that is stored is near enough; the rest only keeps rounding from losing a link.
    found = DBSCAN(eps=max(1 - least, 0.0) + 1e-6, min_samples=int(samples), metric="precomputed").fit(table)
    return alone(found.labels_)


def hdbscan(vectors: Floats, near: Neighbours, setting: Setting, seed: int) -> Ids:
    """Group by HDBSCAN (Campello et al. 2013).

    The setting is the smallest size of a group, `min_samples`, and 1 to take the leaves of its tree, which
    are many and small, or 0 to take the groups that last longest.
    """
    from sklearn.cluster import HDBSCAN

    size, samples, leaves = setting
    method = "leaf" if leaves else "eom"
    found = HDBSCAN(int(size), min_samples=int(samples), cluster_selection_method=method, copy=True)
    return alone(found.fit(vectors).labels_)


def k_means(vectors: Floats, near: Neighbours, setting: Setting, seed: int) -> Ids:
    """Group by k-means; the setting is how many faces a group shall have on average, which makes k."""
    from sklearn.cluster import KMeans

    count = min(len(vectors), max(1, round(len(vectors) / setting[0])))
    found = KMeans(count, init="random", n_init=1, max_iter=20, random_state=seed).fit(vectors)
    return np.asarray(found.labels_, np.int64)


def whispers(vectors: Floats, near: Neighbours, setting: Setting, seed: int) -> Ids:
    """Group by Chinese whispers; the setting is the least cosine of a link, above 0."""
    first, second, cosines = near.links(setting[0])
    return chinese_whispers(len(near), first, second, cosines, seed=seed)


COSINES = tuple(np.round(np.arange(0.30, 0.86, 0.025), 3).tolist())
"""The least cosines of a link that are tried."""

GROUPINGS: Mapping[str, Grouping] = MappingProxyType(
    {
        "dbscan": Grouping(dbscan, tuple((least, n) for n in (2, 3, 5) for least in COSINES)),
        "chinese-whispers": Grouping(whispers, tuple((least,) for least in COSINES)),
        "hdbscan": Grouping(hdbscan, ((2, 1, 0), (2, 2, 0), (3, 2, 0), (2, 1, 1), (2, 2, 1), (3, 2, 1))),
        "k-means": Grouping(k_means, tuple((n,) for n in (1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0))),
    }
)
"""Ways of grouping by their names."""
