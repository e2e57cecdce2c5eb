"""Groupings that learn nothing: what scikit-learn's say of all pairs, and settings chosen by known people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from mien.core.grouping import Neighbours, nearest
from mien.evaluate.clustering import bcubed_f, pairwise_f
from mien.evaluate.grouping import GROUPINGS, alone, choose, dbscan, k_means

Floats = npt.NDArray[np.float32]


def faces(people: int, seed: int, spread: float = 0.5) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return embeddings of people who are easy to tell apart, three to nine faces each."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), random.integers(3, 10, people))
    vectors = random.standard_normal((people, 32))[person]
    vectors += spread * random.standard_normal(vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), person


@pytest.mark.parametrize("method", sorted(GROUPINGS))
def test_people_who_are_easy_to_tell_apart_are_grouped(method: str) -> None:
    vectors, person = faces(20, 0, 0.3)
    near = nearest(vectors, 12)
    chosen = GROUPINGS[method]
    setting, score = choose(chosen.settings, lambda s: chosen.group(vectors, near, s, 0), person)
    assert setting in chosen.settings
    # k-means begins anywhere, and ends in a state that parts some people.
    assert score > (0.7 if method == "k-means" else 0.98)
    groups = chosen.group(vectors, near, setting, 0)
    assert groups.shape == person.shape
    assert groups.min() >= 0


@pytest.mark.parametrize("samples", [2, 3, 5])
@pytest.mark.parametrize("least", [0.5, 0.7, 0.8])
def test_dbscan_of_the_neighbours_is_dbscan_of_all_pairs(least: float, samples: int) -> None:
    vectors, _ = faces(15, 1)
    near = nearest(vectors, len(vectors))
    theirs = (
        DBSCAN(eps=1 - least, min_samples=samples, metric="cosine").fit(vectors.astype(np.float64)).labels_
    )
    assert len(np.unique(theirs)) > 3
    ours = dbscan(vectors, near, (least, samples), 0)
    assert adjusted_rand_score(alone(theirs), ours) == 1


def test_noise_is_alone() -> None:
    assert alone(np.array([0, -1, 1, -1])).tolist() == [0, 2, 1, 3]
    assert alone(np.array([-1, -1])).tolist() == [0, 1]


def test_k_means_makes_as_many_groups_as_the_setting_asks_for() -> None:
    vectors, person = faces(12, 2)
    near = Neighbours(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32))
    for setting in (2.0, 5.0):
        groups = k_means(vectors, near, (setting,), 0)
        assert len(np.unique(groups)) == round(len(person) / setting)
        assert groups.tolist() == k_means(vectors, near, (setting,), 0).tolist()


def test_the_best_setting_is_taken_and_the_first_of_equals() -> None:
    person = np.array([0, 0, 1, 1])
    made = {0.1: [0, 0, 0, 0], 0.2: [0, 0, 1, 1], 0.3: [5, 5, 2, 2], 0.4: [0, 1, 2, 3]}
    setting, score = choose(tuple((s,) for s in made), lambda s: np.array(made[s[0]]), person)
    assert (setting, score) == ((0.2,), 1.0)
    _, score = choose(((0.1,),), lambda s: np.array(made[s[0]]), person)
    assert score == pytest.approx(
        (pairwise_f(person, np.zeros(4, int)) + bcubed_f(person, np.zeros(4, int))) / 2
    )
