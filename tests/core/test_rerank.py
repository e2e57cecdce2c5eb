"""Ranking again by patches: the authors' formulas in loops, the exact distance, and what must not change."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import ot
import pytest

from mien.core.rerank import Patches, Rerank, Weighting, marks, patches

GRID, DEPTH, FACES = 3, 8, 5
WEIGHTINGS = get_args(Weighting)


def made(seed: int = 0, faces: int = FACES) -> tuple[npt.NDArray[np.float32], Patches]:
    """Return (n, d, 3, 3) maps, partly negative, and their patches with landmarks."""
    random = np.random.default_rng(seed)
    maps = (random.random((faces, DEPTH, GRID, GRID)) - 0.3).astype(np.float32)
    return maps, patches(maps, marks(random.random((faces, 20, 2)).astype(np.float32), GRID))


def cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(one @ other / math.sqrt(float(one @ one) * float(other @ other)))


def literal_weights(
    weighting: str, own: npt.NDArray[Any], other: npt.NDArray[Any], shares: npt.NDArray[Any] | None
) -> list[float]:
    """Return the weight of each patch of a (d, h, w) map beside another one, by the formulas, one by one."""
    places = [own[:, y, x] for y in range(GRID) for x in range(GRID)]
    others = [other[:, y, x] for y in range(GRID) for x in range(GRID)]
    mean = sum(others) / len(others)
    if weighting == "uniform":
        found = [1.0] * len(places)
    elif weighting == "apc":
        found = [max(0.0, cosine(place, np.asarray(mean))) for place in places]
    elif weighting == "sc":
        found = [sum(1 - cosine(place, one) for one in others) for place in places]
    else:
        assert shares is not None
        found = shares.tolist()
    return [weight / sum(found) for weight in found]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_are_those_of_the_formulas(weighting: Weighting) -> None:
    (queries, query), (candidates, gallery) = made(1, 1), made(2)
    assert query.marks is not None
    assert gallery.marks is not None
    alike = query.vectors[0] @ gallery.vectors.transpose(0, 2, 1)
    supply, demand = Rerank(weighting).weights(query, gallery, alike)
    for k in range(FACES):
        expected = literal_weights(weighting, queries[0], candidates[k], query.marks[0])
        np.testing.assert_allclose(supply[k], expected, rtol=1e-4, atol=1e-6)
        expected = literal_weights(weighting, candidates[k], queries[0], gallery.marks[k])
        np.testing.assert_allclose(demand[k], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_similarities_are_those_of_pots_plan_and_near_the_exact_distance(weighting: Weighting) -> None:
    (queries, query), (candidates, gallery) = made(3, 1), made(4)
    assert query.marks is not None
    assert gallery.marks is not None
    found = Rerank(weighting).similarities(query, gallery)
    for k in range(FACES):
        own, other = queries[0].reshape(DEPTH, -1).T, candidates[k].reshape(DEPTH, -1).T
        cost = np.array([[1 - cosine(a, b) for b in other] for a in own])
        supply = np.array(literal_weights(weighting, queries[0], candidates[k], query.marks[0]))
        demand = np.array(literal_weights(weighting, candidates[k], queries[0], gallery.marks[k]))
        plan = ot.sinkhorn(supply, demand, cost, 0.05, numItermax=10_000)
        assert found[k] == pytest.approx(1 - float((plan * cost).sum()), abs=1e-3)
        exact = 1 - ot.emd2(supply, demand, cost)
        assert exact - 0.05 * math.log(GRID**2) <= found[k] <= exact + 1e-3


def test_the_order_is_that_of_the_mixture_and_only_of_the_first() -> None:
    (_, query), (_, gallery) = made(7, 1), made(8, 40)
    similar = np.random.default_rng(9).random(40).astype(np.float32)
    similar[17] = -np.inf
    again = Rerank("apc", alpha=0.7, most=12)
    order = again(similar, query, gallery)
    assert sorted(order.tolist()) == list(range(40))
    first = np.argsort(-similar)
    np.testing.assert_array_equal(order[12:], first[12:])
    emd = again.similarities(query, gallery)
    expected = sorted(first[:12].tolist(), key=lambda row: -(0.7 * emd[row] + 0.3 * float(similar[row])))
    assert order[:12].tolist() == expected
    assert order[:12].tolist() != first[:12].tolist()
    np.testing.assert_array_equal(Rerank("apc", alpha=0.0, most=12)(similar, query, gallery), first)
    # What must not be found stays last, however many are ranked again.
    assert Rerank("apc", most=100)(similar, query, gallery)[-1] == 17


def test_patches_that_changed_places_are_found_where_they_are() -> None:
    maps, _ = made(10, 2)
    turned = patches(np.concatenate([maps[:1, :, ::-1, ::-1], maps[1:]]))
    query = patches(maps[:1])
    similar = Rerank("uniform", regularisation=0.01).similarities(query, turned)
    assert similar[0] == pytest.approx(1, abs=0.02)
    assert similar[1] < 0.9


def test_faces_that_have_nothing_in_common_are_weighed_evenly() -> None:
    maps = np.zeros((2, DEPTH, GRID, GRID), np.float32)
    maps[0, 0], maps[1, 1] = 1, 1
    found = patches(maps)
    one, other = found.take(np.array([0])), found.take(np.array([1]))
    for weights in Rerank("apc").weights(one, other, np.zeros((1, 9, 9))):
        np.testing.assert_allclose(weights, 1 / 9)
    assert Rerank("apc").similarities(one, other)[0] == pytest.approx(0, abs=1e-6)
    # Equal patches are at no distance from each other.
    np.testing.assert_allclose(Rerank("sc").weights(one, one, np.full((1, 9, 9), 1 + 1e-7))[0], 1 / 9)


def test_landmarks_are_counted_where_they_lie() -> None:
    points = np.array([[[0.1, 0.1], [0.2, 0.4], [0.9, 0.4], [0.9, 0.95], [1.0, 0.5], [-0.01, 0.5]]])
    expected = np.zeros((3, 3))
    expected[0, 0], expected[1, 0], expected[1, 2], expected[2, 2] = 1, 1, 1, 1
    np.testing.assert_allclose(marks(points.astype(np.float32), 3)[0], expected.ravel() / 4)
    np.testing.assert_allclose(marks(np.full((1, 4, 2), 2.0, np.float32), 2), 0.25)


def test_what_cannot_be_done_is_refused() -> None:
    maps, _ = made(11, 2)
    unmarked = patches(maps)
    with pytest.raises(ValueError, match="need the marks"):
        Rerank("lmk").similarities(unmarked.take(np.array([0])), unmarked)
    with pytest.raises(ValueError, match=r"alpha 1\.5"):
        Rerank(alpha=1.5)
