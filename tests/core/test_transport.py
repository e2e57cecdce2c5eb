"""Sinkhorn's plans against POT's, and against the exact Earth Mover's Distance."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest

from mien.core.transport import sinkhorn

RANDOM = np.random.default_rng(7)
SETS, P, Q = 4, 9, 12
COST = RANDOM.random((SETS, P, Q)) * 2
SUPPLY = RANDOM.dirichlet(np.ones(P), SETS)
DEMAND = RANDOM.dirichlet(np.ones(Q), SETS)


@pytest.mark.parametrize("regularisation", [1.0, 0.05, 0.02])
def test_plans_are_those_of_pot(regularisation: float) -> None:
    plans = sinkhorn(COST, SUPPLY, DEMAND, regularisation=regularisation, rounds=20_000, tolerance=1e-10)
    for cost, supply, demand, plan in zip(COST, SUPPLY, DEMAND, plans, strict=True):
        theirs = ot.sinkhorn(
            supply, demand, cost, regularisation, method="sinkhorn_log", numItermax=20_000, stopThr=1e-10
        )
        np.testing.assert_allclose(plan, theirs, atol=1e-8)


@pytest.mark.parametrize("regularisation", [0.05, 0.002, 0.0005])
def test_the_cost_is_between_the_earth_movers_distance_and_its_bound(regularisation: float) -> None:
    # Costs of up to 2 are 4,000 regularisations: exp(-4000) is 0 even as a float64.
    plans = sinkhorn(COST, SUPPLY, DEMAND, regularisation=regularisation, rounds=20_000, tolerance=1e-5)
    for cost, supply, demand, plan in zip(COST, SUPPLY, DEMAND, plans, strict=True):
        least = ot.emd2(supply, demand, cost)
        assert least - 1e-5 <= (plan * cost).sum() <= least + regularisation * math.log(P) + 1e-5


def test_rows_and_columns_sum_to_the_weights() -> None:
    plans = sinkhorn(COST, SUPPLY, DEMAND, regularisation=0.05, rounds=10_000, tolerance=1e-4)
    np.testing.assert_allclose(plans.sum(axis=1), DEMAND, atol=1e-12)
    assert np.abs(plans.sum(axis=2) - SUPPLY).sum(axis=1).max() <= 1e-4
    assert (plans >= 0).all()


@pytest.mark.parametrize("regularisation", [0.05, 0.001])
def test_places_without_weight_move_nothing_and_change_nothing(regularisation: float) -> None:
    plans = sinkhorn(COST, SUPPLY, DEMAND, regularisation=regularisation, rounds=5_000, tolerance=1e-9)
    wider = np.concatenate([COST, np.zeros((SETS, 2, Q))], axis=1)
    wider = np.concatenate([wider, np.zeros((SETS, P + 2, 1))], axis=2)
    supply = np.concatenate([SUPPLY, np.zeros((SETS, 2))], axis=1)
    demand = np.concatenate([DEMAND, np.zeros((SETS, 1))], axis=1)
    with_empty = sinkhorn(wider, supply, demand, regularisation=regularisation, rounds=5_000, tolerance=1e-9)
    assert not with_empty[:, P:].any()
    assert not with_empty[:, :, Q:].any()
    np.testing.assert_allclose((with_empty[:, :P, :Q] * COST).sum(), (plans * COST).sum(), rtol=1e-5)


def test_a_pair_does_not_depend_on_those_beside_it() -> None:
    together = sinkhorn(COST, SUPPLY, DEMAND, regularisation=0.05, rounds=5_000, tolerance=1e-10)
    alone = sinkhorn(COST[:1], SUPPLY[:1], DEMAND[:1], regularisation=0.05, rounds=5_000, tolerance=1e-10)
    np.testing.assert_allclose(alone[0], together[0], atol=1e-8)


def test_weights_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        sinkhorn(COST, 2 * SUPPLY, DEMAND, regularisation=0.05)
    with pytest.raises(ValueError, match="regularisation must be above 0"):
        sinkhorn(COST, SUPPLY, DEMAND, regularisation=0.0)
    assert sinkhorn(COST[:0], SUPPLY[:0], DEMAND[:0], regularisation=0.05).shape == (0, P, Q)
