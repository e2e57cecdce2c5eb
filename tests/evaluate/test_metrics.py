"""Every metric equals an independent, literal computation on random cases, or a published value."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mien.evaluate import metrics
from mien.evaluate.metrics import METRICS, Numbers

SEEDS = range(8)


def classes(seed: int, count: int = 120, kinds: int = 4) -> tuple[Numbers, Numbers]:
    """Return targets and predictions that agree in about half of the items; the last class is rare."""
    random = np.random.default_rng(seed)
    targets = random.choice(kinds, count, p=[0.4, 0.3, 0.25, 0.05])
    predictions = np.where(random.random(count) < 0.5, targets, random.integers(0, kinds, count))
    return targets, predictions


def values(seed: int, count: int = 90) -> tuple[Numbers, Numbers]:
    random = np.random.default_rng(seed)
    targets = random.normal(0.1, 0.5, count)
    return targets, 0.6 * targets + random.normal(0.05, 0.2, count)


def probabilities(seed: int, count: int = 150, kinds: int = 4) -> tuple[Numbers, Numbers]:
    random = np.random.default_rng(seed)
    targets = random.integers(0, kinds, count)
    logits = random.normal(0, 1, (count, kinds)) + 1.5 * np.eye(kinds)[targets]
    shares = np.exp(logits)
    return targets, shares / shares.sum(axis=1, keepdims=True)


def literal_accuracy(targets: Numbers, predictions: Numbers) -> float:
    return sum(int(t == p) for t, p in zip(targets, predictions, strict=True)) / len(targets)


def literal_balanced(targets: Numbers, predictions: Numbers) -> float:
    recalls = []
    for kind in sorted(set(targets.tolist())):
        mine = [p for t, p in zip(targets, predictions, strict=True) if t == kind]
        recalls.append(sum(p == kind for p in mine) / len(mine))
    return float(np.mean(recalls))


def literal_f1(targets: Numbers, predictions: Numbers) -> float:
    scores = []
    for kind in sorted(set(targets.tolist()) | set(predictions.tolist())):
        both = int(((targets == kind) & (predictions == kind)).sum())
        scores.append(2 * both / (int((targets == kind).sum()) + int((predictions == kind).sum())))
    return float(np.mean(scores))


def literal_kappa(targets: Numbers, predictions: Numbers) -> float:
    agreed = literal_accuracy(targets, predictions)
    kinds = set(targets.tolist()) | set(predictions.tolist())
    chance = sum(float((targets == k).mean()) * float((predictions == k).mean()) for k in kinds)
    return (agreed - chance) / (1 - chance)


def literal_alpha(ratings: Numbers, distance: Callable[[float, float], float]) -> float:
    """Return 1 - D_o / D_e, written over pairs of ratings rather than coincidences."""
    units = [[v for v in column if not np.isnan(v)] for column in ratings.T]
    units = [unit for unit in units if len(unit) >= 2]
    pool = [v for unit in units for v in unit]
    observed = sum(
        sum(distance(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(pool)
    expected = sum(distance(a, b) for a, b in itertools.permutations(pool, 2)) / (len(pool) * (len(pool) - 1))
    return 1 - observed / expected


def literal_auc(positive: Numbers, scores: Numbers) -> float:
    """Return the Mann-Whitney share of pairs in the right order."""
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    return float(np.mean(pairs))


def literal_average_precision(positive: Numbers, scores: Numbers) -> float:
    order = np.argsort(-scores, kind="stable")
    hits, total = 0, 0.0
    for rank, index in enumerate(order, start=1):
        if positive[index]:
            hits += 1
            total += hits / rank
    return float(total / hits)


def literal_icc(targets: Numbers, predictions: Numbers) -> float:
    """Return ICC(3,1) from the two-way table of analysis of variance, sums written out."""
    n, table = len(targets), list(zip(targets.tolist(), predictions.tolist(), strict=True))
    grand = sum(map(sum, table)) / (2 * n)
    total = sum((v - grand) ** 2 for row in table for v in row)
    rows = 2 * sum((sum(row) / 2 - grand) ** 2 for row in table)
    columns = n * sum((float(np.mean(c)) - grand) ** 2 for c in (targets, predictions))
    between, error = rows / (n - 1), (total - rows - columns) / (n - 1)
    return float((between - error) / (between + error))


def literal_ece(targets: Numbers, shares: Numbers, bins: int = 15) -> float:
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == targets
    total = 0.0
    for index in range(bins):
        inside = (sure > index / bins) & (sure <= (index + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(float(right[inside].mean()) - float(sure[inside].mean()))
    return total


@pytest.mark.parametrize("seed", SEEDS)
def test_classes(seed: int) -> None:
    targets, predictions = classes(seed)
    assert metrics.accuracy(targets, predictions) == pytest.approx(literal_accuracy(targets, predictions))
    assert metrics.balanced_accuracy(targets, predictions) == pytest.approx(
        literal_balanced(targets, predictions)
    )
    assert metrics.macro_f1(targets, predictions) == pytest.approx(literal_f1(targets, predictions))
    assert metrics.cohen_kappa(targets, predictions) == pytest.approx(literal_kappa(targets, predictions))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("interval", [False, True])
def test_krippendorff_alpha_with_missing_ratings(seed: int, interval: bool) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 4, 12)
    ratings = np.where(random.random((5, 12)) < 0.6, truth, random.integers(0, 4, (5, 12))).astype(float)
    ratings[random.random((5, 12)) < 0.25] = np.nan

    def nominal(a: float, b: float) -> float:
        return float(a != b)

    def squared(a: float, b: float) -> float:
        return (a - b) ** 2

    expected = literal_alpha(ratings, squared if interval else nominal)
    assert metrics.krippendorff_alpha(ratings, interval=interval) == pytest.approx(expected)


def test_krippendorff_alpha_of_his_own_example() -> None:
    # Krippendorff (2011), section C: four observers, twelve units; nominal 0.743, interval 0.849.
    gap = np.nan
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, gap, gap, gap],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gap, 3],
            [gap, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gap],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gap],
        ]
    )
    assert metrics.krippendorff_alpha(ratings) == pytest.approx(0.743, abs=5e-4)
    assert metrics.krippendorff_alpha(ratings, interval=True) == pytest.approx(0.849, abs=5e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_curves(seed: int) -> None:
    targets, shares = probabilities(seed)
    curves = [literal_auc(targets == c, shares[:, c]) for c in range(4)]
    assert metrics.roc_auc(targets, shares) == pytest.approx(np.mean(curves))
    precisions = [literal_average_precision(targets == c, shares[:, c]) for c in range(4)]
    assert metrics.average_precision(targets, shares) == pytest.approx(np.mean(precisions))
    assert metrics.roc_auc(targets == 1, shares[:, 1]) == pytest.approx(curves[1])
    assert metrics.ece(targets, shares) == pytest.approx(literal_ece(targets, shares), abs=1e-5)


def test_mean_average_precision_is_scikit_learns_of_each_attribute() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((60, 5)) < 0.3).astype(int)
    targets[:, 3] = 0  # of which nothing can be told
    told = [0, 1, 2, 4]
    # Equal scores among them, as draws with replacement have.
    scores = random.integers(0, 12, (60, 5)) / 12 + 0.3 * targets
    for rows in (np.arange(60), random.integers(0, 60, 200)):
        expected = average_precision_score(targets[rows][:, told], scores[rows][:, told], average="macro")
        assert metrics.mean_average_precision(targets[rows], scores[rows]) == pytest.approx(expected)


def test_a_class_that_no_item_has_is_left_out_of_the_curves() -> None:
    targets, shares = probabilities(0)
    assert metrics.roc_auc(targets, np.pad(shares, ((0, 0), (0, 1)))) == metrics.roc_auc(targets, shares)


@pytest.mark.parametrize("seed", SEEDS)
def test_values(seed: int) -> None:
    targets, predictions = values(seed)
    error = targets - predictions
    assert metrics.mae(targets, predictions) == pytest.approx(np.abs(error).mean())
    assert metrics.rmse(targets, predictions) == pytest.approx(np.sqrt((error**2).mean()))
    x, y = targets - targets.mean(), predictions - predictions.mean()
    slope = (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
    assert metrics.correlation(targets, predictions) == pytest.approx(slope)
    # Lin's own form: correlation times the bias correction factor
    v = targets.std() / predictions.std()
    u = (targets.mean() - predictions.mean()) / np.sqrt(targets.std() * predictions.std())
    assert metrics.ccc(targets, predictions) == pytest.approx(slope * 2 / (v + 1 / v + u**2))
    assert metrics.icc31(targets, predictions) == pytest.approx(literal_icc(targets, predictions))
    agreed = sum((t >= 0) == (p >= 0) for t, p in zip(targets, predictions, strict=True))
    assert metrics.sagr(targets, predictions) == pytest.approx(agreed / len(targets))
    within = sum(abs(e) <= 0.2 for e in error)
    assert metrics.cumulative_score(targets, predictions, 0.2) == pytest.approx(within / len(targets))


def test_icc_of_shrout_and_fleiss_own_table() -> None:
    # Shrout and Fleiss (1979), table 2: the ratings of the first two judges
    first, second = np.array([9, 6, 8, 7, 10, 6]), np.array([2, 1, 4, 1, 5, 2])
    assert metrics.icc31(first, second) == pytest.approx(literal_icc(first, second))
    assert metrics.icc31(first, first + 3) == pytest.approx(1.0)  # a constant offset does not count


def test_perfect_predictions_are_perfect_in_every_metric() -> None:
    targets, _ = classes(0)
    sure = np.eye(4)[targets]
    numbers, _ = values(0)
    for name in ("accuracy", "balanced accuracy", "macro F1", "Cohen's kappa", "Krippendorff's alpha"):
        assert METRICS[name].compute(targets, targets) == pytest.approx(1.0)
    for name in ("ROC AUC", "AUC-PR"):
        assert METRICS[name].compute(targets, sure) == pytest.approx(1.0)
    for name in ("CORR", "CCC", "SAGR", "ICC(3,1)", "CS@5"):
        assert METRICS[name].compute(numbers, numbers) == pytest.approx(1.0)
    for name in ("MAE", "RMSE"):
        assert METRICS[name].compute(numbers, numbers) == 0.0
    assert METRICS["ECE"].compute(targets, sure) == pytest.approx(0.0)


def test_constant_predictions_are_no_error() -> None:
    numbers, _ = values(0)
    constant = np.zeros_like(numbers)
    assert metrics.correlation(numbers, constant) == 0.0
    assert metrics.ccc(numbers, constant) == pytest.approx(0.0)
    assert metrics.ccc(constant, constant) == 0.0
    assert metrics.icc31(constant, constant) == 0.0


def test_the_error_over_decades_weighs_each_decade_alike() -> None:
    ages = np.array([1, 2, 3, 9, 10, 45, 89, 90, 101, 116])
    off = np.array([1, 1, 1, 1, 2, 3, 4, 6, 7, 8.0])
    assert metrics.decades(ages).tolist() == [0, 0, 0, 0, 1, 4, 8, 9, 9, 9]
    assert metrics.mae_over_decades(ages, ages - off) == pytest.approx((1 + 2 + 3 + 4 + 7) / 5)


def test_the_similarity_of_one_person_does_not_see_two_people() -> None:
    targets, similar = np.array([1, 0, 1, 0]), np.array([0.5, 0.9, 0.7, -0.2])
    assert METRICS["similarity of one person"].compute(targets, similar) == pytest.approx(0.6)
