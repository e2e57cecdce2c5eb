"""Open-set search against a literal one, a search at a time, and its intervals over people."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mien.core.errorrates import clustered, wilson
from mien.evaluate import identification
from mien.evaluate.identification import joined, search

Rows = npt.NDArray[np.float64]


def unit(rows: npt.NDArray[Any]) -> Rows:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def case(seed: int = 0) -> tuple[npt.NDArray[Any], ...]:
    """Return probes, who they are, a gallery of people 0..9 with two templates each, and who those are."""
    random = np.random.default_rng(seed)
    centres = unit(random.normal(size=(20, 16)))
    person = np.repeat(np.arange(20), 7)
    probes = unit(centres[person] + random.normal(size=(140, 16)) / 3)
    enrolled = np.repeat(np.arange(10), 2)
    gallery = unit(centres[enrolled] + random.normal(size=(20, 16)) / 3)
    probes[5] = 0  # no face was found
    gallery[7] = 0  # could not be enrolled
    return probes, person, gallery, enrolled


def literal(probes: Rows, person: Rows, gallery: Rows, enrolled: Rows) -> tuple[Rows, ...]:
    rows = []
    for probe, who in zip(probes, person, strict=True):
        mate: list[float] = []
        others: list[float] = []
        for template, owner in zip(gallery, enrolled, strict=True):
            similar = float(probe @ template) if probe.any() and template.any() else -1.0
            (mate if owner == who else others).append(similar)
        rank = 1 + sum(other >= max(mate) for other in others) if mate else 0
        rows.append((max(mate) if mate else np.nan, rank, max(others)))
    return tuple(np.array(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_searches_are_those_made_one_at_a_time(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "_BLOCK", block)
    made = search(*case())
    mate, rank, best = literal(*case())
    assert made.mate == pytest.approx(mate, nan_ok=True)
    assert made.rank.tolist() == rank.tolist()
    assert made.best == pytest.approx(best)
    assert (made.mated == (made.person < 10)).all()
    assert made.comparisons == 140 * 20


def test_rates_are_those_counted_by_nist() -> None:
    made = search(*case())
    mate, rank, best = literal(*case())
    mated = np.arange(140) // 7 < 10
    for wanted in (0.02, 0.1, 0.3):
        for most in (0, 1, 2):
            point = made.at_fpir(wanted, most)
            assert point.fmr == np.mean(best[~mated] >= point.threshold) <= wanted
            missed = (mate[mated] < point.threshold) | ((rank[mated] > most) & (most > 0))
            assert point.fnmr == pytest.approx(missed.mean())
            assert point.fmr_low <= point.fmr <= point.fmr_high
            assert point.fnmr_low <= point.fnmr <= point.fnmr_high
    assert made.hit_rate(1)[0] == pytest.approx((rank[mated] == 1).mean())
    # rank 1 whatever the similarity is FNIR(N, 1, 0) of an investigation
    assert made.at_threshold(-2.0, most=1).fnmr == pytest.approx(1 - made.hit_rate(1)[0])


def test_a_tie_with_somebody_else_is_lost() -> None:
    face = np.eye(2)[:1]
    made = search(face, np.array([0]), np.concatenate([face, face]), np.array([0, 1]))
    assert made.rank.tolist() == [2]


def test_rounds_are_joined() -> None:
    one = search(*case(0))
    both = joined([one, search(*case(1))])
    assert len(both) == 280
    assert both.comparisons == 2 * one.comparisons
    assert (both.rank[:140] == one.rank).all()


def test_an_interval_over_people_is_wider_when_one_person_makes_all_errors() -> None:
    person = np.repeat(np.arange(10), 100)
    spread = np.tile(np.arange(100) < 10, 10)
    together = person == 3
    assert spread.sum() == together.sum()
    narrow, wide = clustered(spread, person), clustered(together, person)
    assert narrow == pytest.approx(wilson(100, 1000))
    assert wide[0] == 0
    assert wide[1] > 0.25


def test_no_trials_say_nothing() -> None:
    assert clustered(np.zeros(0, bool), np.zeros(0, int)) == (0.0, 1.0)


def test_a_million_comparisons_are_one_product() -> None:
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(1000, 512))).astype(np.float32)
    made = search(vectors, np.arange(1000), vectors, np.arange(1000))
    assert made.comparisons == 1_000_000
    assert made.hit_rate()[0] == 1
    assert made.mate == pytest.approx(np.ones(1000), abs=1e-5)
