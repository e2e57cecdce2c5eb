"""Charts as SVG text to put inside a page: counts over a number line, and the spread of several scores."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from math import ceil
from types import MappingProxyType

# Every chart is drawn in these units and scaled to its place by the page; 12 units make readable
# letters there.
_WIDE, _HIGH = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 20, 14, 48


def histogram(
    title: str,
    axis: str,
    values: Sequence[float],
    edges: Sequence[float],
    *,
    ticks: Sequence[tuple[float, str]] = (),
) -> str:
    """Return a figure that counts faces over a number line.

    Args:
        title: its heading.
        axis: what the number line measures, with its unit.
        values: the numbers; those outside the edges count in the first or last bin.
        edges: of the bins, rising; each bin is drawn equally wide, its lower edge belongs to it.
        ticks: edges to write a text at; all of them when empty.
    """
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(max(bisect_right(edges, value) - 1, 0), len(counts) - 1)] += 1
    step, top = _scale(max(counts))
    plot_wide, plot_high = _WIDE - _LEFT - _RIGHT, _HIGH - _TOP - _BOTTOM
    bin_wide = plot_wide / len(counts)
    labels = dict(ticks) or {edge: f"{edge:g}" for edge in edges}
    parts = [_count_axis(top, step, plot_high)]
    for index, (count, (low, high)) in enumerate(zip(counts, pairwise(edges), strict=True)):
        tall = plot_high * count / top
        x, y = _LEFT + index * bin_wide, _TOP + plot_high - tall
        said = f"{_span(low, high, index, len(counts), labels)}: {_faces(count)}"
        parts.append(
            f'<g><rect class="hit" x="{x:.1f}" y="{_TOP}" width="{bin_wide:.1f}" height="{plot_high}"/>'
            f'<rect class="bar" x="{x + 1:.1f}" y="{y:.1f}" width="{bin_wide - 2:.1f}" height="{tall:.1f}"/>'
            f"<title>{escape(said)}</title></g>"
        )
        if count and len(counts) <= 10:
            parts.append(f'<text class="mid" x="{x + bin_wide / 2:.1f}" y="{y - 3:.1f}">{count:,}</text>')
    base = _TOP + plot_high
    for index, edge in enumerate(edges):
        if labels.get(edge):
            x = _LEFT + index * bin_wide
            parts.append(f'<path class="axis" d="M{x:.1f} {base}v4"/>')
            parts.append(f'<text class="mid" x="{x:.1f}" y="{base + 17}">{escape(labels[edge])}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {base}H{_WIDE - _RIGHT}"/>')
    parts.append(f'<text class="mid dim" x="{_LEFT + plot_wide / 2}" y="{_HIGH - 8}">{escape(axis)}</text>')
    summary = "; ".join(
        f"{_span(low, high, index, len(counts), labels)}: {count}"
        for index, (count, (low, high)) in enumerate(zip(counts, pairwise(edges), strict=True))
        if count
    )
    return _figure(title, f"{title}: faces by {axis}. {summary}", _HIGH, parts)


def bars(
    title: str,
    axis: str,
    counts: Sequence[tuple[str, int]],
    colours: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return a figure that counts faces by kind, a bar each, from above in the order given.

    Args:
        title: its heading.
        axis: what is counted.
        counts: name and number of faces of each kind.
        colours: of the kinds; those without one have the page's own.
    """
    left, row_high, top = 104, 24, max(1, *(count for _, count in counts))
    total = max(1, sum(count for _, count in counts))
    high = _TOP + row_high * len(counts) + 34
    plot_wide = _WIDE - left - 74
    parts, said = [], []
    for index, (name, count) in enumerate(counts):
        y = _TOP + row_high * index
        share = f"{100 * count / total:.0f} %"
        fill = f' fill="{colours[name]}"' if name in colours else ""
        wide = plot_wide * count / top
        said.append(f"{name}: {count}")
        parts.append(
            f'<g><rect class="hit" x="0" y="{y}" width="{_WIDE}" height="{row_high}"/>'
            f'<text class="end" x="{left - 10}" y="{y + 16}">{escape(name)}</text>'
            f'<rect class="{"kind" if fill else "bar"}"{fill} x="{left}" y="{y + 4}" width="{wide:.1f}" '
            f'height="{row_high - 8}" rx="2"/>'
            f'<text x="{left + wide + 7:.1f}" y="{y + 16}">{count:,} '
            f'<tspan class="dim">{share if count else ""}</tspan></text>'
            f"<title>{escape(f'{name}: {_faces(count)}, {share}')}</title></g>"
        )
    base = _TOP + row_high * len(counts)
    parts.append(f'<path class="axis" d="M{left} {_TOP}V{base}"/>')
    parts.append(f'<text class="mid dim" x="{_WIDE / 2:g}" y="{high - 8}">{escape(axis)}</text>')
    return _figure(title, f"{title}: {axis}. " + "; ".join(said), high, parts)


def spreads(title: str, axis: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Return a figure of how each of several scores in 0..100 is spread over the faces.

    A dot is the median, the thick line holds the middle half of the faces, the thin one nine of ten.

    Args:
        title: its heading.
        axis: what is measured.
        rows: name and values of each score; those without values are left out.
    """
    rows = [(name, sorted(values)) for name, values in rows if values]
    left, row_high = 184, 24
    high = _TOP + row_high * len(rows) + _BOTTOM
    plot_wide = _WIDE - left - _RIGHT
    base = _TOP + row_high * len(rows)

    def place(value: float) -> float:
        return left + plot_wide * min(max(value, 0.0), 100.0) / 100

    parts = []
    for tick in range(0, 101, 25):
        x = place(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{base}"/>')
        parts.append(f'<text class="mid" x="{x:.1f}" y="{base + 17}">{tick}</text>')
    said = []
    for index, (name, values) in enumerate(rows):
        y = _TOP + row_high * (index + 0.5)
        p5, p25, p50, p75, p95 = (_quantile(values, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
        words = (
            f"{name}: median {p50:.0f}, middle half {p25:.0f} to {p75:.0f}, nine of ten {p5:.0f} to {p95:.0f}"
        )
        said.append(words)
        parts.append(
            f'<g><rect class="hit" x="0" y="{y - row_high / 2:.1f}" width="{_WIDE}" height="{row_high}"/>'
            f'<text class="end" x="{left - 10}" y="{y + 4:.1f}">{escape(name)}</text>'
            f'<path class="thin" d="M{place(p5):.1f} {y:.1f}H{place(p95):.1f}"/>'
            f'<path class="thick" d="M{place(p25):.1f} {y:.1f}H{place(p75):.1f}"/>'
            f'<circle class="dot" cx="{place(p50):.1f}" cy="{y:.1f}" r="4.5"/>'
            f"<title>{escape(words)}</title></g>"
        )
    parts.append(f'<text class="mid dim" x="{_WIDE / 2:g}" y="{high - 8}">{escape(axis)}</text>')
    return _figure(title, f"{title}. " + "; ".join(said), high, parts)


def _figure(title: str, said: str, high: float, parts: Sequence[str]) -> str:
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDE} {high:g}" role="img" aria-label="{escape(said)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _count_axis(top: int, step: int, plot_high: int) -> str:
    parts = []
    for count in range(0, top + 1, step):
        y = _TOP + plot_high * (1 - count / top)
        if count:
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 7}" y="{y + 4:.1f}">{count:,}</text>')
    middle = _TOP + plot_high / 2
    parts.append(f'<text class="mid dim" transform="translate(11 {middle:.0f}) rotate(-90)">faces</text>')
    return "".join(parts)


def _scale(most: int) -> tuple[int, int]:
    """Return a round step and a whole number of steps that the highest bar fits under, four steps at most."""
    step = 1
    while ceil(most / step) > 4:
        # 1, 2, 5, 10, 20, 50 ...
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step, max(1, ceil(most / step)) * step


def _span(low: float, high: float, index: int, count: int, labels: dict[float, str]) -> str:
    if index == 0 and labels.get(low) == "":
        return f"below {high:g}"
    if index == count - 1 and labels.get(high) == "":
        return f"{low:g} and more"
    return f"{low:g} to {high:g}"


def _faces(count: int) -> str:
    return "1 face" if count == 1 else f"{count:,} faces"


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values by linear interpolation."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
