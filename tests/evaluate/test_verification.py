"""Verification's figures against scikit-learn's curve and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mien.evaluate import verification
from mien.evaluate.metrics import METRICS
from mien.evaluate.verification import accept_rate, equal_error_rate, ten_folds


def case(seed: int, gap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    same = random.random(800) < 0.5
    return same.astype(int), random.normal(0, 1, 800) + gap * same


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_the_roc_curve(seed: int) -> None:
    targets, similar = case(seed)
    false, true, _ = roc_curve(targets, similar, drop_intermediate=False)
    for rate in (0.01, 0.1):
        assert accept_rate(targets, similar, rate) == pytest.approx(true[false <= rate].max())
    crossing = np.argmin(np.abs(false - (1 - true)))
    assert equal_error_rate(targets, similar) == pytest.approx(
        (false[crossing] + 1 - true[crossing]) / 2, abs=0.003
    )


def test_perfect_and_hopeless_similarities() -> None:
    targets = np.array([1, 1, 0, 0])
    assert equal_error_rate(targets, np.array([0.9, 0.8, 0.2, 0.1])) == 0
    assert equal_error_rate(targets, np.array([0.1, 0.2, 0.8, 0.9])) == pytest.approx(1.0)
    assert equal_error_rate(targets, np.array([0.5, 0.5, 0.5, 0.5])) == pytest.approx(0.5)
    assert METRICS["TAR at FAR 1 %"].compute(targets, np.array([0.9, 0.8, 0.2, 0.1])) == 1


def test_each_fold_is_judged_by_the_threshold_of_the_others() -> None:
    # The third fold's similarities are shifted: its own threshold would be right, that of the others is not.
    same = np.tile([True, False], 6)
    similar = np.where(same, 0.8, 0.2)
    folds = np.repeat([0, 1, 2], 4)
    similar[folds == 2] += 1.0
    accuracy, error = ten_folds(similar, same, folds)
    assert accuracy == pytest.approx((1 + 1 + 0.5) / 3)
    assert error == pytest.approx(np.std([1, 1, 0.5], ddof=1) / np.sqrt(3))


def test_similarities_are_cosines_and_least_without_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_BLOCK", 7)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(30, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[4] = 0
    first, second = random.integers(0, 30, (2, 100))
    first[0] = second[1] = 4
    made = verification.similarities(vectors, first, second)
    for value, one, other in zip(made, first, second, strict=True):
        wanted = -1 if 4 in (one, other) else float(vectors[one] @ vectors[other])
        assert value == pytest.approx(wanted, abs=1e-6)
