"""When a claim holds: the paired bootstrap that every comparison uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mien.core.system import Verdict
from mien.evaluate.metrics import Metric, Numbers

TEST = (
    "paired bootstrap: test items and seeds drawn with replacement, the same ones for both arms; 95 % "
    "percentile interval of the difference of the means over seeds; holds if it lies wholly on the claim's "
    "side of zero"
)
"""The test in words, as results quote it."""

TEST_UNITS = TEST.replace("test items", "the people of the test items")
"""The same where items share people: a pair counts as often as both of its people were drawn."""


def described(units: Numbers | None, tolerance: float) -> str:
    """Return the test of a comparison in words."""
    words = TEST if units is None else TEST_UNITS
    if not tolerance:
        return words
    return words.replace("side of zero", f"side of {tolerance:g} worse (non-inferiority)")


@dataclass(frozen=True)
class Comparison:
    """What comparing two arms gave.

    Attributes:
        first: the metric of the first arm for each seed.
        second: likewise.
        difference: mean of the first minus mean of the second.
        interval: its 95 % interval.
        holds: whether the first arm is better, in the metric's direction, or as good within the tolerance.
    """

    first: tuple[float, ...]
    second: tuple[float, ...]
    difference: float
    interval: tuple[float, float]
    holds: Verdict


def compare(
    metric: Metric,
    targets: Numbers,
    first: Sequence[Numbers],
    second: Sequence[Numbers],
    *,
    units: Numbers | None = None,
    tolerance: float = 0.0,
    rounds: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Test whether the first arm is better than the second one.

    Args:
        metric: what is compared.
        targets: (n, ...) of the test items.
        first: for each seed the first arm's (n, ...) predictions.
        second: for each seed the second arm's, with the same seeds in the same order.
        units: (n,) or (n, 2) numbers of what each item is of, such as the two people of a pair: they are
            drawn instead of items, as those that share a person are not independent (Bolle et al. 2004).
        tolerance: by how much the first arm may be worse and still count as good; 0 asks for better.
        rounds: how often items and seeds are drawn.
        seed: of the draws.

    Raises:
        ValueError: arms with different numbers of seeds, or predictions of another length than the targets.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} seeds of the first arm, {len(second)} of the second one")
    if any(len(part) != len(targets) for part in (*first, *second)):
        raise ValueError("predictions and targets differ in length")
    random = np.random.default_rng(seed)
    differences = np.zeros(rounds)
    for index in range(rounds):
        items = random.integers(0, len(targets), len(targets)) if units is None else _drawn(units, random)
        seeds = random.integers(0, len(first), len(first))
        drawn = targets[items]
        # each seed's value once, however often it was drawn
        gains = {
            s: metric.compute(drawn, first[s][items]) - metric.compute(drawn, second[s][items])
            for s in set(seeds.tolist())
        }
        differences[index] = np.mean([gains[s] for s in seeds.tolist()])
    low, high = np.quantile(differences, (0.025, 0.975)).tolist()
    sign = 1 if metric.higher_is_better else -1
    values = [tuple(metric.compute(targets, part) for part in arm) for arm in (first, second)]
    return Comparison(
        first=values[0],
        second=values[1],
        difference=float(np.mean(values[0]) - np.mean(values[1])),
        interval=(low, high),
        holds=verdict(
            (low + sign * tolerance, high + sign * tolerance), higher_is_better=metric.higher_is_better
        ),
    )


def _drawn(units: Numbers, random: np.random.Generator) -> Numbers:
    """Return items, each as often as the units that it is of are drawn together."""
    names, place = np.unique(units, return_inverse=True)
    times = random.multinomial(len(names), np.full(len(names), 1 / len(names)))
    counts = times[place.reshape(units.shape)]
    if counts.ndim == 2:
        # Of a pair of one person, that person counts once.
        counts = np.where(units[:, 0] == units[:, 1], counts[:, 0], counts.prod(axis=1))
    return np.repeat(np.arange(len(units)), counts)


def verdict(interval: tuple[float, float], *, higher_is_better: bool = True) -> Verdict:
    """Return "yes" when the interval of first minus second lies wholly on the better side of zero."""
    low, high = interval if higher_is_better else (-interval[1], -interval[0])
    if low > 0:
        return "yes"
    return "no" if high < 0 else "inconclusive"
