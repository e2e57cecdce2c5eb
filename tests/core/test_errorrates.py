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
