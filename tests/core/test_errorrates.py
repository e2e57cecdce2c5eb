"""Error rates against literal counts and published interval values."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core import errorrates


def test_wilson_interval_of_ten_in_a_hundred() -> None:
    # Newcombe (1998), table I gives 0.0552 to 0.1744 for 10 of 100 by Wilson's method.
    assert np.allclose(errorrates.wilson(10, 100), (0.0552, 0.1744), atol=5e-5)


def test_wilson_interval_at_the_ends() -> None:
    assert errorrates.wilson(0, 50)[0] == 0.0
    assert errorrates.wilson(50, 50)[1] == 1.0
    assert errorrates.wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("fmr", [0.5, 0.1, 0.01, 0.001, 0.0])
def test_threshold_keeps_the_false_match_rate_and_is_the_lowest_that_does(fmr: float, kind: type) -> None:
    random = np.random.default_rng(3)
    mated: np.ndarray = random.normal(0.7, 0.1, 500).astype(kind)
    other: np.ndarray = random.normal(0.2, 0.15, 3000).astype(kind)
    point = errorrates.at_fmr(mated, other, fmr)
    assert point.fmr == np.mean(other.astype(np.float64) >= point.threshold) <= fmr
    assert point.fnmr == np.mean(mated.astype(np.float64) < point.threshold)
    below = other[other < point.threshold].max()
    assert np.mean(other >= below) > fmr


def test_no_comparisons_between_persons_is_an_error() -> None:
    with pytest.raises(ValueError, match="different persons"):
        errorrates.at_fmr(np.ones(3), np.zeros(0), 0.1)


def test_det_points_are_the_literal_rates() -> None:
    random = np.random.default_rng(5)
    mated, other = random.normal(1, 1, 40), random.normal(0, 1, 60)
    for threshold, fmr, fnmr in errorrates.det_points(mated, other):
        assert fmr == pytest.approx(np.mean(other >= threshold))
        assert fnmr == pytest.approx(np.mean(mated < threshold))


def _compared(people: int, pictures: int, spread: float, seed: int) -> errorrates.Comparisons:
    """Compare made embeddings in which each person has a place of their own, `spread` apart."""
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(people), pictures)
    places = random.normal(0, spread, (people, 4))
    points = places[owner] + random.normal(0, 1, (len(owner), 4))
    first, second = np.triu_indices(len(owner), 1)
    similar = -np.linalg.norm(points[first] - points[second], axis=1)
    return errorrates.Comparisons(similar, owner[first], owner[second])


def test_intervals_over_people_cover_the_rates_of_other_people() -> None:
    threshold = -2.0
    everybody = _compared(400, 4, 2.0, seed=1)
    true_fmr = errorrates.at_threshold(everybody.mated, everybody.other, threshold).fmr
    points = [_compared(25, 8, 2.0, seed).at([threshold])[0] for seed in range(2, 42)]
    plain = [
        errorrates.at_threshold(c.mated, c.other, threshold)
        for c in (_compared(25, 8, 2.0, seed) for seed in range(2, 42))
    ]
    covered = np.mean([point.fmr_low <= true_fmr <= point.fmr_high for point in points])
    covered_plain = np.mean([point.fmr_low <= true_fmr <= point.fmr_high for point in plain])
    assert covered >= 0.85
    assert covered_plain < 0.7  # why the bootstrap is there


def test_intervals_over_people_keep_the_rates_and_bound_zero_errors() -> None:
    compared = _compared(12, 4, 3.0, seed=7)
    point = compared.at([0.5])[0]
    assert point.fmr == 0.0
    assert point.fmr_high > 0.0
    assert point.fnmr == 1.0
    at = errorrates.at_threshold(compared.mated, compared.other, -2.0)
    assert compared.at([-2.0])[0].fmr == at.fmr
    assert compared.at([-2.0])[0].fnmr == at.fnmr
