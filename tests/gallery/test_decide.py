"""Rates of a search follow from those of one comparison as the formulas say, and never from nothing."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core.card import Threshold
from mien.gallery.decide import Curve, needed_rate, positive_rate


def point(value: float, fmr: float, *, mirrored: bool = False, metric: str = "cosine") -> Threshold:
    return Threshold(
        "embeddings",
        "cosine" if metric == "cosine" else "value",
        value,
        fmr,
        fmr / 2,
        fmr * 2,
        0.1,
        "pictures",
        mirrored,
    )


CURVE = Curve.of([point(0.93, 0.001), point(0.91, 0.01)], mirrored=False)


def test_positive_rate_is_what_throwing_dice_gives() -> None:
    random = np.random.default_rng(0)
    hit = (random.random((20000, 50)) < 0.01).any(axis=1).mean()
    assert positive_rate(0.01, 50) == pytest.approx(hit, abs=0.01)
    assert positive_rate(1e-18, 1000) == pytest.approx(1e-15)
    assert (positive_rate(1.0, 3), positive_rate(1.0, 0), positive_rate(0.5, 0)) == (1.0, 0.0, 0.0)


@given(st.floats(1e-9, 0.999), st.integers(1, 10**7))
def test_needed_rate_is_the_inverse(fpir: float, comparisons: int) -> None:
    assert positive_rate(needed_rate(fpir, comparisons), comparisons) == pytest.approx(fpir, rel=1e-6)


def test_rate_meets_the_calibrated_points_and_runs_between_and_beyond() -> None:
    assert CURVE.rate(0.91) == pytest.approx(0.01)
    assert CURVE.rate(0.93) == pytest.approx(0.001)
    assert CURVE.rate(0.92) == pytest.approx(math.sqrt(0.01 * 0.001))
    assert CURVE.rate(0.95) == pytest.approx(0.0001)
    assert CURVE.rate(0.93, high=True) == pytest.approx(0.002)
    assert CURVE.rate(0.9099) == 1.0
    assert (CURVE.beyond(0.9301), CURVE.beyond(0.93)) == (True, False)


@given(st.floats(1e-12, 1.0))
def test_threshold_is_the_inverse_of_rate(fmr: float) -> None:
    limit = CURVE.threshold(fmr)
    assert limit is not None
    assert CURVE.rate(limit) <= fmr * (1 + 1e-6)
    if fmr < 0.01:
        assert CURVE.rate(limit) == pytest.approx(fmr, rel=1e-6)


def test_beyond_the_highest_point_the_rate_of_normal_scores_is_rather_too_high() -> None:
    scores = NormalDist(0.5, 0.1)
    points = [point(scores.inv_cdf(1 - rate), rate) for rate in (1e-3, 1e-2)]
    curve = Curve.of(points, mirrored=False)
    for similarity in (0.85, 0.9, 0.95):
        true = 1 - scores.cdf(similarity)
        assert true < curve.rate(similarity) < 10 * true


def test_nothing_is_known_without_points_and_little_with_one() -> None:
    none = Curve.of([], mirrored=False)
    assert (none.rate(0.99), none.threshold(0.5), none.beyond(0.99)) == (1.0, None, False)
    one = Curve.of([point(0.93, 0.001)], mirrored=False)
    assert (one.rate(0.92), one.rate(0.93), one.rate(0.99)) == (1.0, 0.001, 0.001)
    assert (one.threshold(0.001), one.threshold(0.0009)) == (0.93, None)


def test_only_thresholds_of_such_embeddings_count() -> None:
    mixed = [point(0.93, 0.001), point(0.94, 0.001, mirrored=True), point(0.5, 0.1, metric="value")]
    assert [one[0] for one in Curve.of(mixed, mirrored=False).points] == [0.93]
    assert [one[0] for one in Curve.of(mixed, mirrored=True).points] == [0.94]
    rising = [point(0.91, 0.001), point(0.93, 0.01)]
    assert [one[0] for one in Curve.of(rising, mirrored=False).points] == [0.91]
