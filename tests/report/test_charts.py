"""Charts: counts land in the right bins, axes are round numbers, spreads are numpy's quantiles."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mien.report.charts import _quantile, _scale, bars, histogram, spreads


def test_counts_land_in_their_bins_and_those_outside_in_the_outer_ones() -> None:
    figure = histogram("T", "px", [-5, 0, 9.9, 10, 19, 20, 99], [0, 10, 20, 30])
    assert re.findall(r"<title>(.*?)</title>", figure) == [
        "0 to 10: 3 faces",
        "10 to 20: 2 faces",
        "20 to 30: 2 faces",
    ]
    heights = [float(value) for value in re.findall(r'class="bar"[^>]*height="([\d.]+)"', figure)]
    assert heights[0] == pytest.approx(1.5 * heights[1], abs=0.2)


def test_open_ends_are_said_in_words() -> None:
    edges = [0, 20, 40, math.inf]
    figure = histogram("T", "px", [1, 50], edges, ticks=[(0, ""), (20, "20"), (40, "40"), (math.inf, "")])
    assert "below 20: 1 face<" in figure
    assert "40 and more: 1 face<" in figure
    assert "inf" not in figure


@pytest.mark.parametrize("most", [*range(1, 60), 99, 100, 101, 4999, 123456])
def test_axes_have_a_few_round_steps_that_hold_the_highest_bar(most: int) -> None:
    step, top = _scale(most)
    assert top >= most
    assert top % step == 0
    assert top // step <= 4
    assert str(step).rstrip("0") in ("1", "2", "5")


def test_quantiles_are_those_of_numpy() -> None:
    values = sorted(np.random.default_rng(0).uniform(0, 100, 37).tolist())
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert _quantile(values, share) == pytest.approx(np.quantile(values, share))
    assert _quantile([7.0], 0.95) == 7


def test_bars_are_as_long_as_the_counts_and_keep_their_order() -> None:
    figure = bars("T", "faces", [("b", 6), ("a", 3), ("none", 0)], {"b": "#123456"})
    assert re.findall(r"<title>(.*?)</title>", figure) == [
        "b: 6 faces, 67 %",
        "a: 3 faces, 33 %",
        "none: 0 faces, 0 %",
    ]
    widths = [float(value) for value in re.findall(r'x="104" y="\d+" width="([\d.]+)"', figure)]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert widths[2] == 0
    assert figure.count('fill="#123456"') == 1


def test_charts_are_whole_markup_and_names_are_escaped() -> None:
    for figure in (
        histogram("<b>&", "a < b", [1.0], [0, 1, 2]),
        spreads("<b>&", "a < b", [("<i>", [1.0, 2.0]), ("none", [])]),
        bars("<b>&", "a < b", [("<i>", 1)]),
    ):
        tree = ElementTree.fromstring(figure)
        assert tree.findtext("figcaption") == "<b>&"
        label = tree.find("svg")
        assert label is not None
        assert label.get("role") == "img"
        assert str(label.get("aria-label")).startswith("<b>&")
    assert "none" not in spreads("T", "x", [("kept", [1.0]), ("none", [])])
