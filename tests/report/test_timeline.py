"""Expressions over time: numbers stay as found, smoothing keeps probabilities, plots stand alone."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mien.core.faces import Faces
from mien.core.labels import FERPLUS_EXPRESSIONS
from mien.report import timeline
from mien.report.timeline import Timeline, colours_of, figures, key, left_out, smoothed, write_plot
from mien.runtime.stream import Result

SVG = "{http://www.w3.org/2000/svg}"


def frame(number: int, seconds: float, *tracks: int, happy: float = 0.7) -> Result:
    """Return a frame whose faces are happy so far and neutral for the rest."""
    count = len(tracks)
    expression = np.zeros((count, 8), np.float32)
    expression[:, 0], expression[:, 1] = 1 - happy, happy
    faces = Faces(
        boxes=np.zeros((count, 4), np.float32),
        scores=np.ones(count, np.float32),
        expression=expression,
        label_names={"expression": FERPLUS_EXPRESSIONS},
    )
    return Result("film", faces, None, number, seconds, tracks)


def noted(*results: Result) -> Timeline:
    made = Timeline()
    for result in results:
        made.note(result)
    return made


def bands(figure: str) -> dict[str, list[tuple[float, float]]]:
    """Return the corners of each band by the name in its title."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in ElementTree.fromstring(figure).iter("path"):
        if path.get("class") == "band":
            name = str(path.findtext("title")).partition(":")[0]
            numbers = [float(text) for text in re.findall(r"-?[\d.]+", str(path.get("d")))]
            found[name] = found.get(name, []) + list(zip(numbers[::2], numbers[1::2], strict=True))
    return found


def test_each_track_s_numbers_are_kept_as_they_were_found() -> None:
    seen = noted(frame(0, 0.0, 1, happy=0.2), frame(1, 0.5, 1, 2, happy=0.9), frame(2, 0.6), frame(3, 2.0, 2))
    assert seen.tracks() == [1, 2]
    assert seen.labels == FERPLUS_EXPRESSIONS
    seconds, values = seen.of(1)
    assert seconds.tolist() == [0.0, 0.5]
    assert values[:, 1] == pytest.approx([0.2, 0.9])
    assert seen.of(2)[0].tolist() == [0.5, 2.0]


def test_faces_without_an_expression_and_pictures_are_passed_over() -> None:
    bare = Result("film", Faces(np.zeros((1, 4), np.float32), np.ones(1, np.float32)), None, 0, 0.0, (1,))
    broken = frame(1, 0.1, 1, happy=math.nan)
    assert noted(bare, broken, Result("a.jpg", frame(0, 0, 1).faces)).tracks() == []


def test_smoothing_is_the_bell_weighted_mean_and_keeps_probabilities() -> None:
    random = np.random.default_rng(0)
    seconds = np.sort(random.uniform(0, 5, 80))
    values = random.dirichlet(np.ones(8), 80)
    at = np.linspace(0, 5, 31)
    made = smoothed(seconds, values, at, width=0.3)
    assert made.sum(axis=1) == pytest.approx(np.ones(31))
    assert made.min() >= 0
    for time, mean in zip(at, made, strict=True):
        weights = np.exp(-((seconds - time) ** 2) / (2 * 0.3**2))
        assert mean == pytest.approx(weights @ values / weights.sum(), abs=2e-3)
    assert smoothed(seconds, np.ones((80, 1)) * 0.4, at) == pytest.approx(np.full((31, 1), 0.4))
    assert np.ptp(made[:, 0]) < np.ptp(values[:, 0]) / 2


def test_smoothing_does_not_depend_on_the_frame_rate() -> None:
    def wave(rate: int) -> np.ndarray:
        seconds = np.arange(0, 4, 1 / rate)
        return smoothed(seconds, (0.5 + 0.4 * np.sin(seconds))[:, None], np.linspace(1, 3, 9))

    assert wave(60) == pytest.approx(wave(10), abs=0.01)


def test_bands_are_stacked_as_high_as_the_probabilities() -> None:
    ((heading, figure),) = figures(noted(*(frame(i, i / 10, 7, happy=0.75) for i in range(20))))
    assert heading == "Track 7"
    found = bands(figure)
    assert set(found) == {"neutral", "happiness"}
    lowest, highest = (max(y for _, y in found["neutral"]), min(y for _, y in found["happiness"]))
    border = min(y for _, y in found["neutral"])
    assert (lowest - border) / (lowest - highest) == pytest.approx(0.25, abs=0.01)
    assert border == pytest.approx(max(y for _, y in found["happiness"]))
    assert "happiness: 75 % on average" in figure


def test_nothing_is_drawn_where_a_track_was_away() -> None:
    times = [*np.arange(0, 2, 0.1), *np.arange(6, 8, 0.1)]
    ((_, figure),) = figures(noted(*(frame(i, float(t), 1) for i, t in enumerate(times))))
    across = sorted({x for x, _ in bands(figure)["happiness"]})
    left, right = across[0], across[-1]
    inside = [(x - left) / (right - left) * 7.9 for x in across]
    assert not [t for t in inside if 2.0 < t < 5.9]
    assert max(t for t in inside if t < 3) == pytest.approx(1.9, abs=0.05)


def test_a_plot_of_one_frame_or_of_an_hour_stays_small() -> None:
    ((_, small),) = figures(noted(frame(0, 3.0, 1)))
    assert bands(small)["happiness"]
    # happy every other frame: each column of an hour is the mean of all its frames, not one of them
    hour = noted(*(frame(i, 1.2 * i, 1, happy=i % 2) for i in range(3000)))
    ((_, large),) = figures(hour)
    assert len(large) < 60_000
    assert "50:00" in large
    heights = {y for x, y in bands(large)["neutral"] if 60 < x < 740}
    base, border = max(heights), heights - {max(heights)}
    top = min(y for _, y in bands(large)["happiness"])
    assert [(base - y) / (base - top) for y in border] == pytest.approx([0.5] * len(border), abs=0.02)


def test_the_key_names_what_is_drawn_and_many_tracks_are_counted() -> None:
    many = noted(*(frame(i, float(i), *range(timeline.MOST_TRACKS + 3 - (i > 0) * 3)) for i in range(2)))
    assert [name for name, _ in key(many)] == ["neutral", "happiness"]
    assert left_out(many) == 3
    assert [heading for heading, _ in figures(many)] == [f"Track {i}" for i in range(timeline.MOST_TRACKS)]


def test_one_expression_has_one_colour_whatever_a_model_calls_it() -> None:
    assert colours_of(["Happy", "sad"]) == colours_of(["happiness", "sadness"])
    assert len(set(colours_of([*FERPLUS_EXPRESSIONS, "boredom", "pride"]))) == 10


def test_the_file_is_svg_of_its_own_with_names_as_they_are(tmp_path: Path) -> None:
    videos = [("<b>&.mp4", noted(*(frame(i, i / 10, 1, 2) for i in range(5)))), ("none.mp4", Timeline())]
    write_plot(tmp_path / "expressions.svg", videos)
    tree = ElementTree.parse(tmp_path / "expressions.svg").getroot()
    assert tree.tag == f"{SVG}svg"
    texts = [element.text for element in tree.iter(f"{SVG}text")]
    assert {"<b>&.mp4", "none.mp4", "No face was found.", "Track 1", "Track 2", "happiness"} <= set(texts)
    assert timeline.SMOOTHING_NOTE in texts
    assert len([panel for panel in tree.iter(f"{SVG}svg") if panel.get("role") == "img"]) == 2
    assert "prefers-color-scheme:dark" in str(tree.findtext(f"{SVG}style"))
