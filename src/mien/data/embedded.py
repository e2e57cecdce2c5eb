"""Embeddings of faces with their people: real ones, and made ones of people who do not exist."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from mien.core.atomic import writing
from mien.core.grouping import Neighbours, nearest
from mien.core.places import cache_folder
from mien.core.system import DataUsed

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
# Of the cosines of pairs of one person, what a fit is to meet.
_QUANTILES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
# Pairs that are drawn to fit.
_TRIED = 4000
_STEP = 65536
# Faces from which on looking for neighbours takes longer than reading them.
_STORED = 5000


@dataclass(frozen=True, eq=False)
class Embedded:
    """Faces as a recogniser sees them.

    Attributes:
        name: of the set.
        split: of the set, in words.
        vectors: (n, d) of unit length.
        person: (n,) number of each face's person.
    """

    name: str
    split: str
    vectors: Floats
    person: Ids

    def __post_init__(self) -> None:
        if len(self.vectors) != len(self.person):
            raise ValueError(f"{len(self.vectors)} embeddings of {len(self.person)} faces")

    def __len__(self) -> int:
        return len(self.person)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the people and, to three digits, the embeddings: libraries differ in the last ones."""
        rounded = np.round(self.vectors * 1000).astype("<i2")
        return hashlib.sha256(self.person.astype("<i8").tobytes() + rounded.tobytes()).hexdigest()

    @property
    def used(self) -> DataUsed:
        """These rows as evidence names them."""
        return DataUsed(self.name, self.split, len(self), self.sha256)


@dataclass(frozen=True, eq=False)
class Population:
    """How embeddings of real people are spread: a Gaussian of people, and of the faces around each.

    The two-covariance model of speaker recognition (Brümmer and de Villiers 2010), with faces that stray by
    different amounts: a face is mu + b + s w, scaled to unit length; b is drawn for its person, w and s for
    the face. log s is normal: most faces are near their person's, a few far from all, as blurred ones are.

    Attributes:
        mean: mu, (d,).
        between: (d, d) A, such that A z is b for a normal z.
        within: (d, d) likewise of w.
        stray: of s, the median.
        tail: of s, the standard deviation of its logarithm.
        sizes: (p,) how many faces real people have.
    """

    mean: npt.NDArray[np.float64]
    between: npt.NDArray[np.float64]
    within: npt.NDArray[np.float64]
    stray: float
    tail: float
    sizes: Ids

    @classmethod
    def fit(cls, real: Embedded) -> Population:
        """Estimate it: covariances by moments, s by the quantiles of the cosines of pairs of one person.

        People of a single face tell of sizes alone.

        Raises:
            ValueError: fewer than two people with two faces.
        """
        _, place, sizes = np.unique(real.person, return_inverse=True, return_counts=True)
        vectors = real.vectors.astype(np.float64)
        means = np.zeros((len(sizes), vectors.shape[1]))
        np.add.at(means, place, vectors)
        means /= sizes[:, None]
        several = sizes > 1
        if several.sum() < 2:
            raise ValueError("a population needs two people with two faces")
        rest = (vectors - means[place])[several[place]]
        within = rest.T @ rest / (len(rest) - several.sum())
        mean = means[several].mean(axis=0)
        apart = means[several] - mean
        # Means of few faces stray by a part of what faces do.
        between = apart.T @ apart / (several.sum() - 1) - within * np.mean(1 / sizes[several])
        order = np.argsort(place, kind="stable")
        first = order[np.cumsum(sizes) - sizes]
        second = order[np.minimum(np.cumsum(sizes) - sizes + 1, len(order) - 1)]
        cosines = np.einsum("nd,nd->n", vectors[first[several]], vectors[second[several]])
        stray, tail = _strayed(mean, _root(between), _root(within), np.quantile(cosines, _QUANTILES))
        return cls(mean, _root(between), _root(within), stray, tail, sizes.astype(np.int64))

    def draw(self, count: int, seed: int, split: str) -> Embedded:
        """Make faces of people who do not exist; others for every seed.

        Args:
            count: of faces; the last person may have fewer than were drawn.
            seed: of the draws.
            split: what to call them.
        """
        random = np.random.default_rng((seed, 23))
        sizes = random.choice(self.sizes, int(2 * count / self.sizes.mean()) + 100)
        while sizes.sum() < count:
            sizes = np.concatenate([sizes, sizes])
        person = np.repeat(np.arange(len(sizes)), sizes)[:count]
        # Not in the order of people, which a method could take advantage of.
        person = person[random.permutation(count)].astype(np.int64)
        dimensions = len(self.mean)
        people = int(person.max()) + 1
        centres = self.mean + random.standard_normal((people, dimensions)) @ self.between.T
        vectors = np.empty((count, dimensions), np.float32)
        for first in range(0, count, _STEP):
            rows = person[first : first + _STEP]
            far = self.stray * np.exp(self.tail * random.standard_normal(len(rows)))
            faces = random.standard_normal((len(rows), dimensions)) @ self.within.T
            faces = centres[rows] + far[:, None] * faces
            vectors[first : first + _STEP] = faces / np.linalg.norm(faces, axis=1, keepdims=True)
        return Embedded("made embeddings", split, vectors, person)


def _strayed(
    mean: npt.NDArray[np.float64],
    between: npt.NDArray[np.float64],
    within: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Return median and tail of s that make pairs of one person as similar as real ones are."""
    random = np.random.default_rng(41)
    normal = random.standard_normal((3, _TRIED, len(mean)))
    centre = mean + normal[0] @ between.T
    one, other = normal[1] @ within.T, normal[2] @ within.T
    z = random.standard_normal((2, _TRIED))

    def product(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.einsum("nd,nd->n", a, b))

    parts = [product(centre, centre), product(centre, one), product(centre, other)]
    parts += [product(one, other), product(one, one), product(other, other)]
    best = (np.inf, 1.0, 0.0)
    for stray in np.arange(0.4, 1.5, 0.05):
        for tail in np.arange(0.0, 1.5, 0.05):
            s, t = stray * np.exp(tail * z)
            top = parts[0] + s * parts[1] + t * parts[2] + s * t * parts[3]
            lengths = (parts[0] + 2 * s * parts[1] + s**2 * parts[4]) * (
                parts[0] + 2 * t * parts[2] + t**2 * parts[5]
            )
            missed = float(np.square(np.quantile(top / np.sqrt(lengths), _QUANTILES) - wanted).sum())
            best = min(best, (missed, float(stray), float(tail)))
    return best[1:]


def _root(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return A with A A' the nearest covariance: estimates may have eigenvalues below zero."""
    values, axes = np.linalg.eigh(covariance)
    return np.asarray(axes * np.sqrt(np.maximum(values, 0)))


def neighbours(faces: Embedded, k: int) -> Neighbours:
    """Return the nearest neighbours of each face, itself first; those of many faces are kept in the cache."""
    if len(faces) < _STORED:
        return nearest(faces.vectors, k)
    folder = cache_folder() / "neighbours"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{faces.sha256[:16]}-{k}.npz"
    with FileLock(file.with_suffix(".lock")):
        if not file.is_file():
            found = nearest(faces.vectors, k)
            with writing(file) as out:
                np.savez(out, indices=found.indices.astype(np.int32), cosines=found.cosines)
    with np.load(file, allow_pickle=False) as stored:
        return Neighbours(stored["indices"].astype(np.int64), stored["cosines"])
