"""Figures of groups against their definitions by pairs and by faces, literally."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

from mien.evaluate import clustering
from mien.evaluate.clustering import Numbers
from mien.evaluate.metrics import METRICS


def cases(seed: int) -> tuple[Numbers, Numbers]:
    """Return persons of uneven sizes, and groups that are split and mixed at random."""
    random = np.random.default_rng(seed)
    persons = np.repeat(np.arange(12), random.integers(1, 9, 12))
    groups = np.where(random.random(len(persons)) < 0.6, persons, random.integers(0, 20, len(persons)))
    order = random.permutation(len(persons))
    return persons[order] * 7 + 3, groups[order] - 5


def literal_pairs(persons: Numbers, groups: Numbers) -> tuple[float, float]:
    pairs = list(itertools.combinations(range(len(persons)), 2))
    both = sum(persons[i] == persons[j] and groups[i] == groups[j] for i, j in pairs)
    return both / sum(groups[i] == groups[j] for i, j in pairs), both / sum(
        persons[i] == persons[j] for i, j in pairs
    )


def literal_bcubed(persons: Numbers, groups: Numbers) -> tuple[float, float]:
    precision, recall = [], []
    for i in range(len(persons)):
        group, person = np.flatnonzero(groups == groups[i]), np.flatnonzero(persons == persons[i])
        both = len(set(group.tolist()) & set(person.tolist()))
        precision.append(both / len(group))
        recall.append(both / len(person))
    return float(np.mean(precision)), float(np.mean(recall))


def harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(6))
def test_counts_give_what_all_pairs_give(seed: int) -> None:
    persons, groups = cases(seed)
    precision, recall = literal_pairs(persons, groups)
    assert clustering.pairwise_precision(persons, groups) == pytest.approx(precision)
    assert clustering.pairwise_recall(persons, groups) == pytest.approx(recall)
    assert clustering.pairwise_f(persons, groups) == pytest.approx(harmonic(precision, recall))
    # An independent library, which counts ordered pairs.
    (_, wrong), (missed, right) = pair_confusion_matrix(persons, groups)
    assert clustering.pairwise_precision(persons, groups) == pytest.approx(right / (right + wrong))
    assert clustering.pairwise_recall(persons, groups) == pytest.approx(right / (right + missed))


@pytest.mark.parametrize("seed", range(6))
def test_counts_give_what_each_face_says(seed: int) -> None:
    persons, groups = cases(seed)
    precision, recall = literal_bcubed(persons, groups)
    assert clustering.bcubed_precision(persons, groups) == pytest.approx(precision)
    assert clustering.bcubed_recall(persons, groups) == pytest.approx(recall)
    assert clustering.bcubed_f(persons, groups) == pytest.approx(harmonic(precision, recall))


def test_the_example_that_can_be_done_by_hand() -> None:
    # Two people of three and two faces; one face of the first is with the second.
    persons, groups = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])
    assert clustering.pairwise_precision(persons, groups) == 2 / 4
    assert clustering.pairwise_recall(persons, groups) == 2 / 4
    assert clustering.bcubed_precision(persons, groups) == pytest.approx((1 + 1 + 1 / 3 + 2 / 3 + 2 / 3) / 5)
    assert clustering.bcubed_recall(persons, groups) == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1) / 5)


def test_faces_that_are_all_alone_find_no_pair() -> None:
    persons = np.array([0, 0, 1, 1])
    assert clustering.pairwise_f(persons, np.arange(4)) == 0
    assert clustering.bcubed_precision(persons, np.arange(4)) == 1
    assert clustering.bcubed_recall(persons, np.arange(4)) == 0.5


def test_they_are_metrics_by_their_names_and_names_of_groups_do_not_matter() -> None:
    persons, groups = cases(0)
    renamed = 1000 - groups
    for name in ("pairwise F", "pairwise precision", "pairwise recall", "B-cubed F", "B-cubed precision"):
        metric = METRICS[name]
        assert metric.higher_is_better
        assert metric.compute(persons, persons + 1) == pytest.approx(1)
        assert metric.compute(persons, groups) == pytest.approx(metric.compute(persons, renamed))
        assert metric.compute(persons, groups) < 0.95
    assert METRICS["NMI"].compute(persons, groups) == normalized_mutual_info_score(persons, groups)
