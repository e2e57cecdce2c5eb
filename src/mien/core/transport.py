"""Optimal transport between two sets of weights: Sinkhorn's plan, of many pairs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
Floats64 = npt.NDArray[np.float64]

# Scalings beyond this move into the potentials, long before a float64 overflows (1e308).
_LARGE = 1e50


def sinkhorn(
    cost: Numbers,
    supply: Numbers,
    demand: Numbers,
    *,
    regularisation: float,
    rounds: int = 100,
    tolerance: float = 1e-3,
) -> Floats64:
    """Return the plan of least cost minus `regularisation` times its entropy (Cuturi 2013, arXiv 1306.0895).

    Rows and columns of exp(-cost / regularisation) are scaled in turn until they sum to supply and demand.
    For small regularisations large scalings are kept as potentials, in logarithms (Schmitzer 2019, arXiv
    1610.06519, Algorithm 2), so that nothing overflows or vanishes. The plan's cost is at most
    regularisation * log(min(p, q)) above the least one, which is the Earth Mover's Distance.

    Args:
        cost: (n, p, q) of moving one unit from each place to each other, for n pairs of sets.
        supply: (n, p) weights, 0 or more, summing to 1.
        demand: (n, q) likewise.
        regularisation: in the unit of the cost; above 0.
        rounds: after which to stop at the latest.
        tolerance: how far a plan's rows may be from the supply, summed over them; the columns are exact.

    Returns:
        (n, p, q) plans, of sum 1.

    Raises:
        ValueError: regularisation not above 0, no round, or weights whose sums differ from 1.
    """
    if regularisation <= 0 or rounds < 1:
        raise ValueError(f"regularisation must be above 0, not {regularisation}, rounds {rounds} 1 or more")
    cost = np.asarray(cost, np.float64)
    supply, demand = np.asarray(supply, np.float64), np.asarray(demand, np.float64)
    for weights in (supply, demand):
        if (weights < 0).any() or not np.allclose(weights.sum(axis=1), 1, atol=1e-4):
            raise ValueError("weights must be 0 or more and sum to 1")
    # Places without weight are as far away as can be: they decide nothing below.
    cost = np.where((supply > 0)[:, :, None] & (demand > 0)[:, None], cost, np.inf)
    # Each row and each column gets a place of no cost: none of the sums below vanishes.
    above = _least(cost, 2)
    left = _least(cost - above[:, :, None], 1)
    kernel = _kernel(cost, above, left, regularisation)
    sums = kernel.sum(axis=2)
    # A row vector times matrices that lie as they are read is many times faster than a column vector.
    turned = np.ascontiguousarray(kernel.transpose(0, 2, 1))
    for _ in range(rounds):
        rows = _over(supply, sums)
        columns = _over(demand, np.matmul(rows[:, None], kernel)[:, 0])
        sums = np.matmul(columns[:, None], turned)[:, 0]
        if np.abs(rows * sums - supply).sum(axis=1).max(initial=0.0) < tolerance:
            break
        if max(rows.max(initial=0.0), columns.max(initial=0.0)) > _LARGE:
            above, left = above + _potential(rows, regularisation), left + _potential(columns, regularisation)
            kernel = _kernel(cost, above, left, regularisation)
            turned = np.ascontiguousarray(kernel.transpose(0, 2, 1))
            rows, columns = (rows > 0).astype(np.float64), (columns > 0).astype(np.float64)
            sums = kernel.sum(axis=2)
    plan: Floats64 = rows[:, :, None] * kernel * columns[:, None]
    return plan


def _least(cost: Floats64, axis: int) -> Floats64:
    """Return the least cost along an axis; 0 where none is finite."""
    least = cost.min(axis=axis, initial=np.inf)
    return np.where(np.isfinite(least), least, 0.0)


def _kernel(cost: Floats64, above: Floats64, left: Floats64, regularisation: float) -> Floats64:
    made: Floats64 = np.exp((above[:, :, None] + left[:, None] - cost) / regularisation)
    return made


def _over(weights: Floats64, sums: Floats64) -> Floats64:
    """Return weights / sums; 0 where there is no weight, whatever the sum."""
    return np.divide(weights, sums, out=np.zeros_like(weights), where=weights > 0)


def _potential(scaling: Floats64, regularisation: float) -> Floats64:
    """Return what scalings are as potentials; those of 0 stay outside."""
    return regularisation * np.log(scaling, out=np.zeros_like(scaling), where=scaling > 0)
