"""Neighbours, connected parts and whispers against slower and others' ways."""

from __future__ import annotations

import dlib
import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mien.core import grouping
from mien.core.grouping import chinese_whispers, connected, nearest, numbered


def unit(count: int, dimensions: int, seed: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_neighbours_are_those_of_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks of seven rows, so that the last one is smaller.
    monkeypatch.setattr(grouping, "_BLOCK", 7 * 60)
    vectors = unit(60, 5, 0)
    found = nearest(vectors, 9)
    for row in range(60):
        cosines = vectors @ vectors[row]
        order = [row, *(o for o in np.argsort(-cosines, kind="stable").tolist() if o != row)][:9]
        assert found.indices[row].tolist() == order
        assert found.cosines[row] == pytest.approx(cosines[order], abs=1e-6)


def test_a_face_comes_before_its_copies() -> None:
    vectors = unit(6, 4, 1)
    vectors[[2, 4]] = vectors[0]
    found = nearest(vectors, 3)
    assert found.indices[[0, 2, 4]].tolist() == [[0, 2, 4], [2, 0, 4], [4, 0, 2]]
    assert found.cosines[4] == pytest.approx([1, 1, 1], abs=1e-6)


def test_there_may_be_fewer_faces_than_neighbours() -> None:
    assert nearest(unit(3, 4, 1), 10).indices.shape == (3, 3)


def test_a_link_is_told_once_and_never_with_itself() -> None:
    vectors = unit(40, 3, 2)
    near = nearest(vectors, 12)
    first, second, cosines = near.links(0.4)
    expected = {
        (min(row, other), max(row, other))
        for row in range(40)
        for other in near.indices[row].tolist()
        if row != other and float(vectors[row] @ vectors[other]) >= 0.4
    }
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert set(pairs) == expected
    assert len(pairs) == len(expected) > 20
    assert cosines == pytest.approx([float(vectors[a] @ vectors[b]) for a, b in pairs], abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_connected_parts_are_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, links = 200, int(random.integers(0, 260))
    first, second = random.integers(0, count, (2, links))
    table = coo_array((np.ones(links), (first, second)), shape=(count, count))
    assert connected(count, first, second).tolist() == connected_components(table, directed=False)[1].tolist()


def test_a_long_chain_in_any_order_is_one_part() -> None:
    order = np.random.default_rng(0).permutation(5000)
    assert not connected(5000, order[:-1], order[1:]).any()


def tied(sizes: list[int], seed: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Return who is in which of some full groups, their links, and a weak bridge between each two."""
    random = np.random.default_rng(seed)
    who = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    first, second = np.triu_indices(len(who), 1)
    same = who[first] == who[second]
    bridges = np.zeros(len(first), bool)
    bridges[random.choice(np.flatnonzero(~same), len(sizes) - 1, replace=False)] = True
    kept = same | bridges
    return who, first[kept], second[kept], np.where(same, 0.9, 0.3)[kept]


@pytest.mark.parametrize("seed", range(5))
def test_whispers_part_groups_that_a_weak_link_joins_as_dlibs_do(seed: int) -> None:
    who, first, second, weights = tied([5, 8, 6, 4], seed)
    groups = chinese_whispers(len(who), first, second, weights.astype(np.float32), seed=seed)
    assert groups.tolist() == numbered(who).tolist()
    # The links alone would make one part of all, or hardly fewer.
    assert connected(len(who), first, second).max() < who.max()
    pairs = list(zip(first.tolist(), second.tolist(), weights.tolist(), strict=True))
    theirs = np.array(dlib.chinese_whispers(pairs), np.int64)
    assert numbered(theirs).tolist() == groups.tolist()


def test_whispers_are_the_same_for_a_seed_and_leave_faces_without_links_alone() -> None:
    random = np.random.default_rng(3)
    first, second = np.triu_indices(80, 1)
    kept = random.random(len(first)) < 0.06
    kept &= (first != 7) & (second != 7)
    weights = random.random(int(kept.sum())).astype(np.float32) + 0.1
    one, again = (chinese_whispers(80, first[kept], second[kept], weights, seed=1) for _ in range(2))
    assert one.tolist() == again.tolist()
    assert (one == one[7]).sum() == 1


def test_groups_are_numbered_by_their_lowest_faces() -> None:
    assert numbered(np.array([9, 4, 9, 2, 4])).tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("seed", range(6))
def test_two_weak_links_to_a_class_are_stronger_than_one_to_another(seed: int) -> None:
    links = {(0, 1): 2.0, (2, 3): 2.0, (0, 4): 0.5, (1, 4): 0.5, (2, 4): 0.8}
    first, second = np.array(list(links)).T
    weights = np.array(list(links.values()), np.float32)
    assert chinese_whispers(5, first, second, weights, seed=seed).tolist() == [0, 0, 1, 1, 0]
