"""Retrieval's measures against pytorch-metric-learning's, and by their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from mien.evaluate.metrics import METRICS
from mien.evaluate.retrieval import map_at_r, precision_at_1, r_precision


def test_they_are_those_of_pytorch_metric_learning() -> None:
    random = np.random.default_rng(0)
    person = np.concatenate([np.arange(9), random.integers(0, 9, 51)])
    vectors = np.eye(9)[person] + random.normal(0, 0.4, (60, 9))
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=_neighbours,
    )
    theirs = calculator.get_accuracy(
        torch.as_tensor(vectors), torch.as_tensor(person), ref_includes_query=True
    )
    away = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(away, np.inf)
    counts = np.bincount(person)
    targets = np.stack([person, counts[person] - 1], axis=1)
    assert len(set(targets[:, 1])) > 3
    found = person[np.argsort(away, axis=1)[:, : counts.max() - 1]]
    ours = (precision_at_1, r_precision, map_at_r)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    for name, measure in zip(names, ours, strict=True):
        assert 0.2 < theirs[name] < 0.9
        assert measure(targets, found) == pytest.approx(theirs[name], abs=1e-6)
    assert [METRICS[name].compute for name in ("P@1", "R-precision", "MAP@R")] == list(ours)


def _neighbours(
    query: torch.Tensor, k: int, reference: torch.Tensor, same: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Search by all distances: faiss, which the library takes otherwise, is not part of the lab."""
    away = torch.cdist(query, reference)
    if same:
        away.fill_diagonal_(-1)
    found = away.topk(k + same, largest=False)
    return found.values[:, int(same) :], found.indices[:, int(same) :]


def test_an_example_by_hand() -> None:
    # Musgrave et al. 2020: of R = 3, right at places 1 and 3: RP 2/3, MAP@R (1 + 2/3) / 3.
    targets, found = np.array([[7, 3]]), np.array([[7, 1, 7, 7, 7]])
    assert precision_at_1(targets, found) == 1
    assert r_precision(targets, found) == pytest.approx(2 / 3)
    assert map_at_r(targets, found) == pytest.approx((1 + 2 / 3) / 3)


def test_queries_without_anything_to_find_are_left_out() -> None:
    targets, found = np.array([[1, 2], [2, 0]]), np.array([[1, 1], [3, 4]])
    for measure in (precision_at_1, r_precision, map_at_r):
        assert measure(targets, found) == 1


def test_too_few_finds_are_refused() -> None:
    with pytest.raises(ValueError, match="R is up to 3, but only 2"):
        r_precision(np.array([[1, 3]]), np.array([[1, 1]]))
