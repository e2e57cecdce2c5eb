"""Plots show the numbers that they are given, and are the same bytes from the same numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from mien.core.system import Arm, DataUsed, Evidence
from mien.evaluate import plots
from mien.evaluate.metrics import decades, ece
from mien.train.run import Curve

EVIDENCE = Evidence(
    evidence=1,
    system="toy",
    claim="wide beats narrow",
    metric="accuracy",
    data=(DataUsed("points", "test", 80, "0" * 64),),
    seeds=(0, 1),
    arms=(Arm("wide", (0.71, 0.73)), Arm("narrow", (0.61, 0.62))),
    difference=0.1,
    interval=(0.05, 0.15),
    holds="yes",
    test="paired bootstrap",
    paper_value=0.85,
    code="",
    version="",
    packages=(),
    machine="",
    seconds=1.0,
    finished="",
)


def texts(svg: bytes) -> list[str]:
    """Return the texts of a plot, which stand as comments beside their outlines."""
    return [text.strip() for text in re.findall(r"<!-- (.*?) -->", svg.decode())]


def test_arms_show_mean_spread_rows_and_whose_number_the_papers_is() -> None:
    shown = texts(plots.arms(EVIDENCE))
    assert "0.72 ± 0.014" in shown
    assert "accuracy on points/test, 80 rows" in shown
    assert "the paper&apos;s own: 0.85" in shown or "the paper's own: 0.85" in shown


def test_a_papers_number_far_away_does_not_squeeze_ours() -> None:
    shown = texts(plots.arms(replace(EVIDENCE, paper_value=73.2)))
    assert any("off this scale: 73.2" in text for text in shown)
    assert not any(text in ("40", "60", "80") for text in shown)


def test_confusion_shows_shares_of_each_true_class() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1])
    given = [np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1])]
    shown = texts(plots.confusion(targets, given, ("calm", "glad"), "toy"))
    assert "calm (4)" in shown
    assert "glad (2)" in shown
    assert [text for text in shown if text.isdigit()] == ["88", "12", "0", "100"]


def test_reliability_tells_the_error_that_the_metric_gives() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 400)
    scores = np.exp(2 * np.eye(3)[targets] + random.normal(0, 2, (400, 3)))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    expected = f"toy: ECE {ece(targets, probabilities):.3f}"
    assert expected in texts(plots.reliability(targets, [probabilities], "toy"))


def test_decades_count_their_rows_and_only_those_that_occur() -> None:
    ages = np.array([5, 7, 31, 32, 33])
    shown = texts(plots.error_by_decade(ages, {"toy": [ages + 2.0]}))
    assert [text for text in shown if re.fullmatch(r"\d+-\d+", text)] == ["0-9", "30-39"]


def test_decades_are_those_of_the_metric_and_their_names_do_not_touch() -> None:
    ages = np.arange(0, 117, dtype=np.float64)
    shown = texts(plots.error_by_decade(ages, {"toy": [ages + 2.0]}))
    names = [text for text in shown if re.fullmatch(r"\d+(-\d+|\+)", text)]
    assert names == [f"{10 * decade}-{10 * decade + 9}" for decade in range(9)] + ["90+"]
    assert len(names) == len(np.unique(decades(ages)))


@pytest.mark.parametrize("loss", [(2.0, 1.0), (float("nan"),) * 2])
def test_learning_leaves_the_loss_out_where_none_was_logged(loss: tuple[float, ...]) -> None:
    shown = texts(plots.learning({"toy": [Curve(loss, (0.5, 0.6))]}))
    assert "validation score" in shown
    assert ("training loss" in shown) == (loss[0] == 2.0)


def test_planes_show_each_loss_with_its_name_and_the_boundary_where_its_level_is_zero() -> None:
    at = np.linspace(0, 1, 21)
    across, up = np.meshgrid(at, at)
    planes = {name: plots.Plane(across, up, across - place) for name, place in (("one", 0.5), ("two", 0.3))}
    plot = plots.planes(planes, at, "s_n", "s_p")
    assert {"one", "two", "s_n", "s_p", "length of a step"} <= set(texts(plot))
    lines = re.findall(r'<path d="([^"]*)"[^>]*#d55e00', plot.decode())
    ends = [{point.split()[0] for point in re.findall(r"[ML] (\S+ \S+)", line)} for line in lines]
    assert [len(places) for places in ends] == [1, 1]  # upright


def test_the_same_numbers_give_the_same_bytes_without_a_date() -> None:
    made = plots.arms(EVIDENCE)
    assert made == plots.arms(EVIDENCE)
    assert b"dc:date" not in made
