"""How the expressions of tracked faces change over a video: collected frame by frame, drawn as SVG."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from mien.core.atomic import writing
from mien.core.errors import printable
from mien.report.formats.convert import NAMES_OF_EXPRESSIONS
from mien.runtime.stream import Result

Numbers = npt.NDArray[np.float64]

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "neutral": "#9aa3ad",
        "happiness": "#e3a008",
        "surprise": "#33a9c9",
        "sadness": "#4d6fe3",
        "anger": "#d4483b",
        "disgust": "#5c9d3f",
        "fear": "#8f5fc7",
        "contempt": "#b0713d",
    }
)
"""One colour an expression, to be told apart on paper and on a dark screen."""

_OTHERS = ("#c2578f", "#2f9e83", "#7a8b2a", "#6b7280")

SMOOTHED = 0.3
"""Standard deviation of the bell over which plots are smoothed, seconds; tables are not smoothed at all."""

MOST_TRACKS = 60
"""A plot shows up to so many tracks of a video, those seen longest, and says how many it leaves out."""

# A track that is not found for longer than this is not drawn as if it had been there, seconds.
_LONGEST_GAP = 1.0
# More columns than this show nothing more in a plot of this width.
_MOST_COLUMNS = 400
_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 176, 46, 14, 34, 40


def colours_of(labels: Sequence[str]) -> list[str]:
    """Return each label's colour; other names of an expression have its colour."""
    other_names = {name: known for known, names in NAMES_OF_EXPRESSIONS.items() for name in names}
    spare = iter(_OTHERS * (1 + len(labels) // len(_OTHERS)))
    return [COLOURS.get(other_names.get(label.lower(), label.lower())) or next(spare) for label in labels]


@dataclass
class _Track:
    """The expressions of one track: time stamps in seconds, and after each other each frame's numbers."""

    seconds: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("f"))


class Timeline:
    """What the faces of one video expressed, frame by frame.

    It takes 40 bytes a face a frame, some 4 MB for an hour of one face.

    Attributes:
        labels: the classes in order; empty as long as no face's expression was noted.
    """

    def __init__(self) -> None:
        """Begin without frames."""
        self.labels: tuple[str, ...] = ()
        self._tracks: dict[int, _Track] = {}

    def note(self, result: Result) -> None:
        """Take the next frame of the video, its tracks known."""
        faces = result.faces
        if result.seconds is None or not result.track or faces.expression is None:
            return
        self.labels = faces.labels("expression")
        for number, values in zip(result.track, faces.expression.tolist(), strict=True):
            if all(map(math.isfinite, values)):
                track = self._tracks.setdefault(number, _Track())
                track.seconds.append(result.seconds)
                track.values.extend(values)

    def tracks(self) -> list[int]:
        """Return the numbers of the tracks that have an expression."""
        return sorted(self._tracks)

    def of(self, track: int) -> tuple[Numbers, Numbers]:
        """Return a track's (n,) time stamps in seconds and its (n, classes) probabilities, as they were."""
        noted = self._tracks[track]
        values = np.array(noted.values, np.float64).reshape(len(noted.seconds), -1)
        return np.array(noted.seconds, np.float64), values


def smoothed(seconds: Numbers, values: Numbers, at: Numbers, width: float = SMOOTHED) -> Numbers:
    """Return values at other times: means weighted by a bell around each, whatever the frame rate is.

    Probabilities stay probabilities: every mean is one of sets that sum to one.

    Args:
        seconds: (n,) rising.
        values: (n, c).
        at: (m,) rising.
        width: standard deviation of the bell, seconds.

    Returns:
        (m, c).
    """
    made = np.empty((len(at), values.shape[1]))
    for index, time in enumerate(at):
        low, high = np.searchsorted(seconds, (time - 4 * width, time + 4 * width))
        # Where no frame is near the nearest one stands for itself.
        low, high = (low, high) if high > low else (max(0, low - 1), max(1, low))
        weights = np.exp(-0.5 * ((seconds[low:high] - time) / width) ** 2) + 1e-12
        made[index] = weights @ values[low:high] / weights.sum()
    return made


def figures(timeline: Timeline) -> Iterator[tuple[str, str]]:
    """Yield a heading and an `<svg>` for each track, those that are seen longest if they are many.

    Bands are stacked: at each moment they are as high as the expressions are probable, together 1.
    """
    colours = colours_of(timeline.labels)
    for number in _shown(timeline):
        seconds, values = timeline.of(number)
        yield f"Track {number}", _figure(number, seconds, values, timeline.labels, colours)


def _shown(timeline: Timeline) -> list[int]:
    tracks = timeline.tracks()
    if len(tracks) > MOST_TRACKS:
        tracks = sorted(tracks, key=lambda number: -len(timeline.of(number)[0]))[:MOST_TRACKS]
    return sorted(tracks)


def key(timeline: Timeline) -> list[tuple[str, str]]:
    """Return the name and the colour of each class that any drawn track shows at all (1 in 20 and more)."""
    most = np.zeros(len(timeline.labels))
    for number in _shown(timeline):
        most = np.maximum(most, timeline.of(number)[1].max(axis=0))
    named = zip(timeline.labels, colours_of(timeline.labels), most, strict=True)
    return [(label, colour) for label, colour, value in named if value >= 0.05]


def left_out(timeline: Timeline) -> int:
    """Return how many tracks are too many to be drawn."""
    return max(0, len(timeline.tracks()) - MOST_TRACKS)


def _step(seconds: Numbers) -> float:
    """Return how long a frame of a track is usually shown; 0 where there is only one."""
    return float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0


def _pieces(seconds: Numbers) -> list[slice]:
    """Return the parts of a track between its gaps."""
    longest = max(_LONGEST_GAP, 2.5 * _step(seconds))
    cuts = [index + 1 for index, (a, b) in enumerate(pairwise(seconds)) if b - a > longest]
    return [slice(a, b) for a, b in pairwise([0, *cuts, len(seconds)])]


def _figure(
    number: int, seconds: Numbers, values: Numbers, labels: Sequence[str], colours: Sequence[str]
) -> str:
    first, last = float(seconds[0]), float(seconds[-1])
    length = max(last - first, 0.2)
    wide, high = _WIDE - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM
    base = _TOP + high

    def x(time: float) -> float:
        return _LEFT + wide * (time - first) / length

    parts = []
    for piece in _pieces(seconds):
        times, numbers = seconds[piece], values[piece]
        columns = min(_MOST_COLUMNS, max(2, len(times)))
        # A face seen in one frame only is drawn as wide as can be seen.
        end = max(float(times[-1]), float(times[0]) + length / 150)
        at = np.linspace(times[0], end, columns)
        # In a long video one column stands for many frames: none of them is to be passed over.
        means = smoothed(times, numbers, at, max(SMOOTHED, (at[1] - at[0]) / 2, _step(seconds) / 2))
        edges = np.cumsum(np.pad(means, ((0, 0), (1, 0))), axis=1).clip(0, 1)
        for index, (label, colour) in enumerate(zip(labels, colours, strict=True)):
            upper, lower = edges[:, index + 1], edges[:, index]
            if float((upper - lower).max()) < 0.002:
                continue
            way = [f"{x(t):.1f} {base - high * v:.1f}" for t, v in zip(at, upper, strict=True)]
            back = [f"{x(t):.1f} {base - high * v:.1f}" for t, v in zip(at[::-1], lower[::-1], strict=True)]
            mean = float(numbers[:, index].mean())
            parts.append(
                f'<path class="band" fill="{colour}" d="M{"L".join(way + back)}Z">'
                f"<title>{escape(label)}: {100 * mean:.0f} % on average</title></path>"
            )
    for share in (0, 0.5, 1):
        y = base - high * share
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 7}" y="{y + 4:.1f}">{100 * share:.0f} %</text>')
    for time in _ticks(first, last):
        parts.append(f'<path class="axis" d="M{x(time):.1f} {base}v4"/>')
        parts.append(f'<text class="mid" x="{x(time):.1f}" y="{base + 17}">{_clock(time)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {base}H{_WIDE - _RIGHT}"/>')
    shares = values.mean(axis=0)
    order = np.argsort(-shares)[:3]
    mostly = ", ".join(f"{labels[i]} {100 * shares[i]:.0f} %" for i in order if shares[i] >= 0.1)
    heading = f"Track {number}"
    about = f"{_clock(first)} to {_clock(last)}, {len(seconds):,} frames: {mostly}"
    parts.append(f'<text class="head" x="{_LEFT}" y="20">{heading}</text>')
    parts.append(f'<text class="dim" x="{_LEFT + 12 + 8 * len(heading)}" y="20">{escape(about)}</text>')
    said = escape(f"{heading}, {about}")
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _ticks(first: float, last: float) -> list[float]:
    """Return round times in seconds within a span, at most eight."""
    length = max(last - first, 0.2)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    step = next((step for step in steps if length / step <= 8), math.ceil(length / 8 / 3600) * 3600)
    return [step * n for n in range(math.ceil(first / step - 1e-9), math.floor(last / step + 1e-9) + 1)]


def _clock(seconds: float) -> str:
    """Return a time as people read it: 4.2 s, 1:04, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


SMOOTHING_NOTE = (
    f"Smoothed for the eye, over {SMOOTHED:g} s and more in long videos; "
    "the table holds each frame's numbers as they are."
)

_STYLE = (
    "svg{background:#fff}"
    "text{font:12px system-ui,'Segoe UI',Roboto,'Noto Sans',Arial,sans-serif;fill:#1d2024}"
    ".title{font-size:17px;font-weight:600}.head{font-weight:600}.dim{fill:#5c6268}"
    ".mid{text-anchor:middle}.end{text-anchor:end}"
    ".grid,.axis{fill:none}.grid{stroke:#1d2024;stroke-opacity:.16}.axis{stroke:#8b9096}"
    "@media (prefers-color-scheme:dark){svg{background:#131518}text{fill:#ece9e4}.dim{fill:#a2a8ae}"
    ".grid{stroke:#131518;stroke-opacity:.35}}"
)


def write_plot(path: str | os.PathLike[str], videos: Sequence[tuple[str, Timeline]]) -> None:
    """Write one SVG: a panel for each track of each video; it stands alone, in light and dark.

    Args:
        path: the .svg file, complete or absent.
        videos: the name of each and what its faces expressed.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    parts: list[str] = []
    y = 16.0
    for name, timeline in videos:
        parts.append(f'<text class="title" x="16" y="{y + 14}">{escape(printable(name))}</text>')
        y += 30
        if not timeline.tracks():
            parts.append(f'<text class="dim" x="16" y="{y + 12}">No face was found.</text>')
            y += 34
            continue
        x = 16.0
        for label, colour in key(timeline):
            parts.append(f'<rect x="{x}" y="{y}" width="11" height="11" rx="2" fill="{colour}"/>')
            parts.append(f'<text x="{x + 16}" y="{y + 10}">{escape(label)}</text>')
            x += 34 + 7 * len(label)
        y += 20
        for _, figure in figures(timeline):
            moved = figure.replace("<svg ", f'<svg x="8" y="{y}" width="{_WIDE}" height="{_HIGH}" ', 1)
            parts.append(moved)
            y += _HIGH
        if rest := left_out(timeline):
            parts.append(
                f'<text class="dim" x="16" y="{y + 8}">{rest:,} shorter tracks are not drawn.</text>'
            )
            y += 24
        y += 10
    parts.append(f'<text class="dim" x="16" y="{y + 6}">{escape(SMOOTHING_NOTE)}</text>')
    height, width = y + 24, _WIDE + 16
    with writing(path, text=True) as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" '
            f'height="{height:g}"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
        )
