"""Rates by group against counting, their spread by hand, and what groups without two pictures cannot tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mien.core.errorrates import NO_FACE, compare_all
from mien.evaluate import plots
from mien.evaluate.differentials import by_group, summary


def case() -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return embeddings, people and their groups; the people of group b are like each other."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(30, 12))
    centres[15:] += 2
    people = np.repeat(np.arange(30), 4)
    vectors = centres[people] + random.normal(size=(120, 12)) / 2
    return (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        people,
        np.repeat(["a", "b", "c"], [15, 9, 6]),
    )


def test_rates_are_those_counted_in_each_group() -> None:
    vectors, people, group = case()
    found = by_group(compare_all(vectors, people), group, 0.8)
    similar = vectors @ vectors.T
    tried: dict[tuple[str, str], list[float]] = {(g, h): [] for g in "abc" for h in "abc"}
    mated: dict[str, list[float]] = {g: [] for g in "abc"}
    for i in range(120):
        for j in range(i + 1, 120):
            g, h = sorted((group[people[i]], group[people[j]]))
            (mated[g] if people[i] == people[j] else tried[g, h]).append(similar[i, j])
    for name, (count, point) in found.groups.items():
        assert count == (group == name).sum()
        assert point.fmr == pytest.approx(np.mean(np.array(tried[name, name]) >= 0.8))
        assert point.fnmr == pytest.approx(np.mean(np.array(mated[name]) < 0.8))
        assert point.fmr_low <= point.fmr <= point.fmr_high
    for one, row in zip("abc", found.across, strict=True):
        for other, rate in zip("abc", row, strict=True):
            g, h = sorted((one, other))
            assert rate == pytest.approx(np.mean(np.array(tried[g, h]) >= 0.8))
    assert found.groups["b"][1].fmr > found.groups["a"][1].fmr
    assert found.fnmr is not None
    assert found.garbe == pytest.approx((found.fmr.gini + found.fnmr.gini) / 2)


def test_how_far_rates_are_apart() -> None:
    assert summary(np.array([0.01, 0.01, 0.01])).gini == pytest.approx(0)
    apart = summary(np.array([0.01, 0.04]))
    assert apart.over_least == pytest.approx(4)
    assert apart.over_mean == pytest.approx(2)
    # |0.01 - 0.04| counted twice, over 2 x 4 x the mean, times 2 / 1
    assert apart.gini == pytest.approx(2 * 0.03 / (2 * 4 * 0.025) * 2)
    one = summary(np.array([0, 0, 0.3]))
    assert one.gini == pytest.approx(1)
    assert one.over_least is None
    assert one.over_mean is None
    assert summary(np.zeros(3)).gini == 0
    with pytest.raises(ValueError, match="two groups"):
        summary(np.array([0.1]))


def test_pictures_that_name_nobody_have_no_false_non_matches() -> None:
    vectors, _, _ = case()
    group = np.repeat(["x", "y"], 60)
    found = by_group(compare_all(vectors, np.arange(120)), group, 0.8)
    assert found.fnmr is None
    assert found.garbe is None
    assert found.groups["x"][1].fnmr_high == 1
    assert plots.differentials(found, "title").startswith(b"<?xml")


def test_all_pictures_are_compared_once_and_those_without_a_face_are_like_nobody() -> None:
    vectors, people, _ = case()
    vectors[3] = 0
    compared = compare_all(vectors, people)
    assert len(compared.similar) == 120 * 119 // 2
    assert len(compared.mated) == 30 * 6
    assert (compared.similar == NO_FACE).sum() == 119
    some = compare_all(vectors, people, most_other=1000)
    assert len(some.mated) == 30 * 6
    assert 900 < len(some.other) < 1200
    assert set(some.other.tolist()) <= set(compared.other.tolist())


def test_curves_are_the_same_bytes_from_the_same_numbers() -> None:
    vectors, people, _ = case()
    compared = compare_all(vectors, people)
    drawn = [plots.det({"one": (compared.mated, compared.other)}) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith(b"<?xml")
