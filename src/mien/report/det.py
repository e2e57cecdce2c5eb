"""The detection error trade-off plot, as an SVG file."""

from __future__ import annotations

import os
from html import escape
from statistics import NormalDist
from typing import Any

import numpy.typing as npt

from mien.core import errorrates
from mien.core.atomic import writing

_SIDE, _EDGE = 420, 60
_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5)
_LEAST, _MOST = 5e-7, 0.6


def write_det(
    path: str | os.PathLike[str], mated: npt.NDArray[Any], other: npt.NDArray[Any], *, title: str
) -> None:
    """Write FNMR over FMR on normal-deviate axes (Martin et al., "The DET curve", 1997).

    Args:
        path: the .svg file.
        mated: (m,) similarities of the same persons.
        other: (n,) similarities of different persons.
        title: the plot's title.

    Raises:
        UnwritableOutput: the file cannot be written.
    """
    deviate = NormalDist().inv_cdf
    low, high = deviate(_LEAST), deviate(_MOST)

    def place(rate: float) -> float:
        return (deviate(min(max(rate, _LEAST), _MOST)) - low) / (high - low) * _SIDE

    points = errorrates.det_points(mated, other)
    line = " ".join(f"{_EDGE + place(fmr):.1f},{_EDGE + _SIDE - place(fnmr):.1f}" for _, fmr, fnmr in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE + 2 * _EDGE} {_SIDE + 2 * _EDGE}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_EDGE}" y="{_EDGE - 24}" font-size="15">{escape(title)}</text>',
    ]
    for tick in _TICKS:
        at, label = place(tick), f"{100 * tick:g} %"
        x, y = _EDGE + at, _EDGE + _SIDE - at
        parts += [
            f'<path d="M{x:.1f} {_EDGE}V{_EDGE + _SIDE}M{_EDGE} {y:.1f}H{_EDGE + _SIDE}" stroke="#ddd"/>',
            f'<text x="{x:.1f}" y="{_EDGE + _SIDE + 18}" text-anchor="middle">{label}</text>',
            f'<text x="{_EDGE - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    parts += [
        f'<text x="{_EDGE + _SIDE / 2}" y="{_EDGE + _SIDE + 42}" text-anchor="middle">'
        "false match rate</text>",
        f'<text transform="translate(14 {_EDGE + _SIDE / 2}) rotate(-90)" text-anchor="middle">'
        "false non-match rate</text>",
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>',
        "</svg>\n",
    ]
    with writing(path, text=True) as file:
        file.write("\n".join(parts))
