"""Grouping faces by links between their embeddings: nearest neighbours, connected parts, Chinese whispers.

It is arithmetic on numpy and nothing else, and it is here because both floors need it: galleries are grouped
by it without the lab, and the lab compares what it learns with it; neither floor may import the other. What
needs scikit-learn (DBSCAN, HDBSCAN, k-means) is in `mien.evaluate.grouping`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Cosines that are looked at together: 80 MB, and twice as much to sort them.
_BLOCK = 20_000_000


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of each face.

    Attributes:
        indices: (n, k) rows, the face itself first, then the others by falling cosine.
        cosines: (n, k) of them with the face.
    """

    indices: Ids
    cosines: Floats

    def __len__(self) -> int:
        return len(self.indices)

    def links(self, least: float) -> tuple[Ids, Ids, Floats]:
        """Return the pairs of faces whose cosine is at least this, each once.

        Returns:
            (m,) and (m,) rows, the lower one of each pair first, and (m,) cosines.
        """
        row = np.repeat(np.arange(len(self), dtype=np.int64), self.indices.shape[1])
        other, cosine = self.indices.ravel(), self.cosines.ravel()
        kept = (cosine >= least) & (row != other)
        low, high = np.minimum(row, other)[kept], np.maximum(row, other)[kept]
        _, once = np.unique(low * len(self) + high, return_index=True)
        return low[once], high[once], cosine[kept][once]


def nearest(vectors: Floats, k: int) -> Neighbours:
    """Find the nearest neighbours of each face among all, exactly: by every product.

    Args:
        vectors: (n, d) of unit length.
        k: how many, the face itself counted; fewer where there are not so many.
    """
    count = len(vectors)
    k = min(k, count)
    indices, cosines = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    step = max(1, min(1024, _BLOCK // max(1, count)))
    for first in range(0, count, step):
        similar = vectors[first : first + step] @ vectors.T
        rows = np.arange(len(similar))
        own = similar[rows, first + rows]
        # A copy of the same picture is as near, and yet is somebody else's row.
        similar[rows, first + rows] = np.inf
        found = np.argpartition(similar, count - k, axis=1)[:, count - k :]
        values = np.take_along_axis(similar, found, axis=1)
        # By number where cosines are equal, so that the order is the same on every machine.
        order = np.lexsort((found, -values))
        indices[first : first + step] = np.take_along_axis(found, order, axis=1)
        cosines[first : first + step] = np.take_along_axis(values, order, axis=1)
        cosines[first : first + step, 0] = own
    return Neighbours(indices, cosines)


def connected(count: int, first: Ids, second: Ids) -> Ids:
    """Return the connected part that each face is in: (n,) from 0, in the order of their lowest faces.

    Args:
        count: n, of faces.
        first: (m,) of the linked pairs.
        second: (m,) likewise.
    """
    root = np.arange(count, dtype=np.int64)
    while True:
        one, other = root[first], root[second]
        apart = one != other
        if not apart.any():
            return np.unique(root, return_inverse=True)[1].astype(np.int64)
        # Of two parts that are linked, the root of the later one hangs itself below the earlier one.
        np.minimum.at(root, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        while not np.array_equal(root, above := root[root]):
            root = above


def chinese_whispers(
    count: int, first: Ids, second: Ids, weights: Floats, *, rounds: int = 30, seed: int = 0
) -> Ids:
    """Group faces by Chinese whispers (Biemann 2006): each takes the class that is strongest around it.

    Each face begins in a class of its own. In each round, in an order drawn anew, each face takes the class
    whose linked faces have the greatest sum of weights; the lowest of equals. It ends when nothing changes.

    Args:
        count: n, of faces.
        first: (m,) of the linked pairs, each pair once.
        second: (m,) likewise.
        weights: (m,) of the links, above 0.
        rounds: the most there may be.
        seed: of the orders.

    Returns:
        (n,) groups from 0, in the order of their lowest faces.
    """
    around: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for one, other, weight in zip(first.tolist(), second.tolist(), weights.tolist(), strict=True):
        around[one].append((other, weight))
        around[other].append((one, weight))
    linked = np.array([row for row in range(count) if around[row]], np.int64)
    heard = list(range(count))
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        changed = False
        for row in random.permutation(linked).tolist():
            strength: dict[int, float] = {}
            for other, weight in around[row]:
                strength[heard[other]] = strength.get(heard[other], 0.0) + weight
            best = min(strength, key=lambda name: (-strength[name], name))
            changed |= best != heard[row]
            heard[row] = best
        if not changed:
            break
    return numbered(np.array(heard, np.int64))


def numbered(groups: Ids) -> Ids:
    """Return (n,) groups numbered from 0 in the order of their lowest faces."""
    _, lowest, place = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(lowest), np.int64)
    rank[np.argsort(lowest)] = np.arange(len(lowest))
    return rank[place]
