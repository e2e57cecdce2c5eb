"""The paired bootstrap finds real differences, does not find absent ones, and knows directions."""

from __future__ import annotations

import numpy as np
import pytest

from mien.evaluate.metrics import METRICS, Numbers
from mien.evaluate.statistics import _drawn, compare, described, verdict

ACCURACY, MAE = METRICS["accuracy"], METRICS["MAE"]


def guesses(targets: Numbers, right: float, seed: int) -> Numbers:
    random = np.random.default_rng(seed)
    return np.where(random.random(len(targets)) < right, targets, (targets + 1) % 3)


@pytest.fixture(scope="module")
def targets() -> Numbers:
    return np.random.default_rng(0).integers(0, 3, 600)


def test_a_real_difference_holds_and_its_opposite_does_not(targets: Numbers) -> None:
    good = [guesses(targets, 0.8, seed) for seed in (1, 2, 3)]
    bad = [guesses(targets, 0.6, seed) for seed in (4, 5, 6)]
    ours = compare(ACCURACY, targets, good, bad, rounds=300)
    assert ours.holds == "yes"
    assert ours.difference == pytest.approx(np.mean(ours.first) - np.mean(ours.second))
    assert ours.interval[0] < ours.difference < ours.interval[1]
    assert compare(ACCURACY, targets, bad, good, rounds=300).holds == "no"


def test_equal_arms_are_inconclusive_nearly_always(targets: Numbers) -> None:
    verdicts = []
    for trial in range(20):
        first, second = ([guesses(targets, 0.7, 10 * trial + k + side) for k in range(3)] for side in (0, 5))
        verdicts.append(compare(ACCURACY, targets, first, second, rounds=200).holds)
    assert verdicts.count("inconclusive") >= 17


def test_pairing_sees_what_unpaired_spread_would_hide(targets: Numbers) -> None:
    base = [guesses(targets, 0.7, seed) for seed in (1, 2, 3)]
    better = [np.where(np.arange(len(targets)) % 40 == 0, targets, part) for part in base]
    assert compare(ACCURACY, targets, better, base, rounds=300).holds == "yes"


def test_lower_is_better_for_errors() -> None:
    random = np.random.default_rng(0)
    ages = random.normal(40, 10, 400)
    near = [ages + random.normal(0, 3, 400) for _ in range(3)]
    far = [ages + random.normal(0, 6, 400) for _ in range(3)]
    assert compare(MAE, ages, near, far, rounds=200).holds == "yes"
    assert compare(MAE, ages, far, near, rounds=200).holds == "no"


def test_the_same_draws_give_the_same_interval(targets: Numbers) -> None:
    first, second = ([guesses(targets, 0.7, k + side) for k in range(2)] for side in (0, 5))
    assert compare(ACCURACY, targets, first, second, rounds=50) == compare(
        ACCURACY, targets, first, second, rounds=50
    )


@pytest.mark.parametrize(
    ("interval", "higher", "lower"),
    [((0.1, 0.2), "yes", "no"), ((-0.2, -0.1), "no", "yes"), ((-0.1, 0.1), "inconclusive", "inconclusive")],
)
def test_verdicts(interval: tuple[float, float], higher: str, lower: str) -> None:
    assert verdict(interval) == higher
    assert verdict(interval, higher_is_better=False) == lower


def test_arms_that_do_not_fit_are_refused(targets: Numbers) -> None:
    part = guesses(targets, 0.5, 1)
    with pytest.raises(ValueError, match="seeds"):
        compare(ACCURACY, targets, [part], [])
    with pytest.raises(ValueError, match="length"):
        compare(ACCURACY, targets, [part[:5]], [part])


def test_pairs_of_few_people_are_less_certain_than_as_many_of_strangers() -> None:
    # One of ten people decides: all of his pairs are right in one arm and wrong in the other.
    random = np.random.default_rng(0)
    units = random.integers(0, 10, (900, 2))
    targets = np.zeros(900, int)
    second = np.where((units == 3).any(axis=1), 1, 0)
    first = [targets] * 3
    by_pairs = compare(ACCURACY, targets, first, [second] * 3, rounds=300)
    by_people = compare(ACCURACY, targets, first, [second] * 3, units=units, rounds=300)
    assert by_pairs.holds == "yes"
    assert by_people.holds == "inconclusive"
    assert by_people.difference == by_pairs.difference


def test_a_pair_counts_as_often_as_both_of_its_people_were_drawn() -> None:
    units = np.array([[0, 1], [0, 0], [1, 2], [2, 2]])
    random = np.random.default_rng(3)
    for _ in range(20):
        again = np.random.default_rng()
        again.bit_generator.state = random.bit_generator.state
        times = again.multinomial(3, np.full(3, 1 / 3))
        counts = np.bincount(_drawn(units, random), minlength=4)
        assert counts.tolist() == [times[0] * times[1], times[0], times[1] * times[2], times[2]]


@pytest.mark.parametrize(("name", "sign"), [("accuracy", 1), ("MAE", -1)])
def test_an_arm_that_is_as_good_is_within_the_tolerance_and_no_better(name: str, sign: int) -> None:
    targets = np.random.default_rng(0).integers(0, 2, 4000)
    place = np.arange(4000) % 100
    good, a_bit_worse = (np.where(place < wrong, 1 - targets, targets) for wrong in (20, 21))

    def holds(tolerance: float) -> str:
        compared = compare(METRICS[name], targets, [a_bit_worse], [good], tolerance=tolerance, rounds=200)
        assert compared.difference == pytest.approx(-0.01 * sign)
        return compared.holds

    assert [holds(tolerance) for tolerance in (0.0, 0.03)] == ["no", "yes"]
    assert "0.03 worse" in described(None, 0.03)
    assert "people" in described(targets, 0.03)
    assert "zero" in described(None, 0.0)
