"""Plots of a reproduction as a paper would print them: SVG, the same bytes from the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.core import errorrates
from mien.core.decades import decade_name, decades
from mien.core.system import Evidence
from mien.evaluate.differentials import Differentials
from mien.evaluate.metrics import Numbers
from mien.train.run import Curve

# Okabe and Ito's colours, which people with any kind of colour blindness tell apart; dark enough for white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
_MARKS = "os^DvPX"
_GREY = "#595959"
_WIDTH = 6.4

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _GREY,
    "axes.labelcolor": "black",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "white",  # a plot stays a white sheet on a dark page, so that it reads on both
    "font.family": "DejaVu Sans",  # which comes with matplotlib
    "font.size": 9,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "mien",
}


def arms(evidence: Evidence) -> bytes:
    """Return the metric of each arm: every seed, the mean, and one standard deviation to both sides."""
    with _figure(_WIDTH, 1.0 + 0.42 * len(evidence.arms)) as (figure, made):
        axes = figure.add_subplot()
        for row, arm in enumerate(evidence.arms):
            colour = _COLOURS[row % len(_COLOURS)]
            axes.errorbar(
                arm.mean, row, xerr=arm.deviation, fmt="|", ms=16, mew=2, capsize=4, color=colour, zorder=2
            )
            axes.plot(arm.values, [row] * len(arm.values), _MARKS[row % 7], ms=5, color=colour, alpha=0.6)
            axes.annotate(
                f"{arm.mean:.4g} ± {arm.deviation:.2g}",
                (1.0, row),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        if evidence.paper_value is not None:
            _paper(axes, evidence.paper_value, [value for arm in evidence.arms for value in arm.values])
        axes.set_yticks(range(len(evidence.arms)), [arm.name for arm in evidence.arms])
        axes.set_ylim(len(evidence.arms) - 0.5, -0.5)
        axes.margins(x=0.08)
        axes.grid(axis="x", color="#e0e0e0", lw=0.6)
        axes.set_axisbelow(True)
        data = evidence.data[0]
        axes.set_xlabel(f"{evidence.metric} on {data.name}/{data.split}, {data.rows} rows")
    return made.getvalue()


def _paper(axes: Any, value: float, ours: Sequence[float]) -> None:
    """Mark the paper's number: by a line, unless that would push all of ours into a corner."""
    low, high = min(ours), max(ours)
    span = max(high - low, 1e-9)
    near = low - 2 * span <= value <= high + 2 * span
    if near:
        axes.axvline(value, color=_GREY, ls=":", lw=1.2)
    axes.annotate(
        f"the paper's own: {value:g}" if near else f"the paper's own, off this scale: {value:g}",
        (value if near else float(value > high), 1.0),
        xycoords=("data" if near else "axes fraction", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center" if near else "right" if value > high else "left",
        color=_GREY,
        fontsize=8,
    )


def learning(curves: Mapping[str, Sequence[Curve]]) -> bytes:
    """Return training loss and validation score by rounds.

    Args:
        curves: of each arm by seed; lines are the means, bands reach from the least to the largest.
    """
    has_loss = any(np.isfinite(curve.loss).any() for all_ in curves.values() for curve in all_)
    with _figure(_WIDTH, 2.9) as (figure, made):
        panels = figure.subplots(1, 2 if has_loss else 1, squeeze=False)[0]
        names = ("loss", "valid") if has_loss else ("valid",)
        for axes, name in zip(panels, names, strict=True):
            for row, (arm, all_) in enumerate(curves.items()):
                rounds = max(len(curve.valid) for curve in all_)
                values = np.full((len(all_), rounds), np.nan)
                for seed, curve in enumerate(all_):
                    one = curve.loss if name == "loss" else curve.valid
                    values[seed, : len(one)] = one
                some = np.isfinite(values).any(axis=0)
                at, values = np.arange(1, rounds + 1)[some], values[:, some]
                colour, dashes = _COLOURS[row % len(_COLOURS)], _DASHES[row % len(_DASHES)]
                axes.plot(at, np.nanmean(values, axis=0), color=colour, ls=dashes, lw=1.6, label=arm)
                low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
                axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
            axes.set_xlabel("round")
            axes.set_title("training loss" if name == "loss" else "validation score")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(color="#e0e0e0", lw=0.6)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return made.getvalue()


def confusion(targets: Numbers, predictions: Sequence[Numbers], classes: Sequence[str], title: str) -> bytes:
    """Return the confusion matrix: of each true class (row) the share that is taken for each class, in %.

    Args:
        targets: (n,) classes.
        predictions: for each seed (n,) classes; all seeds are counted together.
        classes: c names.
        title: what was measured.
    """
    count = len(classes)
    table = np.zeros((count, count))
    for one in predictions:
        np.add.at(table, (targets, one), 1)
    rows = table.sum(axis=1, keepdims=True)
    shares = 100 * table / np.maximum(rows, 1)
    side = 1.9 + 0.48 * count
    with _figure(side + 0.6, side) as (figure, made):
        axes = figure.add_subplot()
        # not imshow, which would embed a bitmap
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=1)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        for true in range(count):
            for given in range(count):
                value = shares[true, given]
                colour = "white" if value > 55 else "black"
                axes.text(
                    given + 0.5,
                    true + 0.5,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=8,
                )
        seen = [f"{name} ({int(n) // len(predictions)})" for name, n in zip(classes, rows[:, 0], strict=True)]
        middle = np.arange(count) + 0.5
        axes.set_xticks(middle, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(middle, seen)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true (rows)")
        axes.set_title(title)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return made.getvalue()


def reliability(targets: Numbers, predictions: Sequence[Numbers], title: str, bins: int = 15) -> bytes:
    """Return the reliability diagram: how often predictions of each confidence are right (Guo et al. 2017).

    Args:
        targets: (n,) classes.
        predictions: for each seed (n, c) probabilities; all seeds are counted together.
        title: what was measured.
        bins: of equal width, as those of `metrics.ece`.
    """
    sure = np.concatenate([one.max(axis=1) for one in predictions])
    right = np.concatenate([one.argmax(axis=1) == targets for one in predictions])
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(sure, edges, right=True) - 1, 0, bins - 1)
    number = np.bincount(place, minlength=bins)
    some = number > 0
    truth = np.bincount(place, right, bins)[some] / number[some]
    said = np.bincount(place, sure, bins)[some] / number[some]
    error = float(np.abs(truth - said) @ number[some] / number.sum())
    with _figure(4.2, 4.4) as (figure, made):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        middle = (edges[:-1] + edges[1:]) / 2
        upper.bar(middle[some], truth, 0.9 / bins, color="#56B4E9", label="right")
        upper.plot(said, truth, "o", ms=3.5, color=_COLOURS[0], label="mean confidence")
        upper.plot((0, 1), (0, 1), color=_GREY, ls="--", lw=1, label="calibrated")
        upper.set_ylabel("share that is right")
        upper.set_title(f"{title}: ECE {error:.3f}")
        upper.legend(loc="upper left", fontsize=8)
        upper.set(xlim=(0, 1), ylim=(0, 1))
        lower.bar(middle, 100 * number / number.sum(), 0.9 / bins, color=_GREY)
        lower.set_ylabel("% of rows")
        lower.set_xlabel("confidence")
    return made.getvalue()


def error_by_decade(targets: Numbers, predictions: Mapping[str, Sequence[Numbers]]) -> bytes:
    """Return the mean absolute error by the decade of the true age, over how many rows each has.

    Args:
        targets: (n,) ages, years; decades are those of `metrics.decades`.
        predictions: of each arm for each seed (n,) ages; bars on points are the least and largest seed.
    """
    decade = decades(targets)
    shown = np.unique(decade)
    with _figure(_WIDTH, 3.6) as (figure, made):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        step = 0.5 / max(1, len(predictions))
        for row, (arm, all_) in enumerate(predictions.items()):
            errors = np.array(
                [[np.abs(one - targets)[decade == each].mean() for each in shown] for one in all_]
            )
            mean = errors.mean(axis=0)
            spread = np.stack([mean - errors.min(axis=0), errors.max(axis=0) - mean])
            at = np.arange(len(shown)) + (row - (len(predictions) - 1) / 2) * step
            colour = _COLOURS[row % len(_COLOURS)]
            upper.errorbar(at, mean, spread, fmt=_MARKS[row % 7], ms=5, capsize=2, color=colour, label=arm)
        upper.set_ylabel("MAE, years")
        upper.set_ylim(bottom=0)
        upper.grid(axis="y", color="#e0e0e0", lw=0.6)
        figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        lower.bar(range(len(shown)), [(decade == each).sum() for each in shown], 0.7, color=_GREY)
        lower.set_ylabel("rows")
        lower.set_xticks(range(len(shown)), [decade_name(each) for each in shown.tolist()])
        lower.set_xlabel("true age, years")
    return made.getvalue()


@dataclass(frozen=True)
class Plane:
    """What a loss does over a plane of two similarities.

    Attributes:
        across: (g, g) step that is taken along the first one; rows are of the second one.
        up: (g, g) along the second one.
        level: (g, g) whose zero is the boundary of a decision.
    """

    across: Numbers
    up: Numbers
    level: Numbers


def planes(panels: Mapping[str, Plane], at: Numbers, across: str, up: str) -> bytes:
    """Return a panel for each loss: arrows are steps, shades their lengths, the line the boundary.

    Args:
        panels: by the names of the losses.
        at: (g,) places on both axes.
        across: name of the first axis.
        up: name of the second axis.
    """
    with _figure(_WIDTH, 3.4) as (figure, made):
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        lengths = [np.hypot(plane.across, plane.up) for plane in panels.values()]
        levels = np.linspace(0, max(float(length.max()) for length in lengths), 13)
        thin = slice(2, None, 4)
        for one, length, (name, plane) in zip(axes, lengths, panels.items(), strict=True):
            shades = one.contourf(at, at, length, levels, cmap="Blues")
            one.quiver(at[thin], at[thin], plane.across[thin, thin], plane.up[thin, thin], color=_GREY)
            one.contour(at, at, plane.level, [0.0], colors=_COLOURS[1], linewidths=2)
            one.set_title(name)
            one.set_xlabel(across)
            one.set_aspect("equal")
        axes[0].set_ylabel(up)
        figure.colorbar(shades, ax=axes.tolist(), label="length of a step", format="%.2g", shrink=0.72)
    return made.getvalue()


def det(curves: Mapping[str, tuple[Numbers, Numbers]], across: str = "FMR", up: str = "FNMR") -> bytes:
    """Return the detection error trade-off on two logarithmic axes, as NIST's FRVT draws it.

    Args:
        curves: of each algorithm (m,) similarities that should match and (n,) that should not. Each is drawn
            down to the rate of a single error.
        across: the rate of the horizontal axis.
        up: the rate of the vertical axis.
    """
    with _figure(_WIDTH, 4.2) as (figure, made):
        axes = figure.add_subplot()
        for row, (name, (mated, other)) in enumerate(curves.items()):
            points = errorrates.det_points(mated, other, most=2000)
            # Beyond these a rate is 0, which has no place on the axis, or says nothing.
            shown = (points[:, 1] >= 1 / max(len(other), 1)) & (points[:, 2] >= 1 / max(len(mated), 1))
            colour, dashes = _COLOURS[row % len(_COLOURS)], _DASHES[row % len(_DASHES)]
            drawn = points[shown]
            axes.plot(drawn[:, 1], drawn[:, 2], color=colour, ls=dashes, lw=1.6, label=name, ds="steps-post")
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(color="#e0e0e0", lw=0.6, which="both")
        axes.legend(fontsize=8)
    return made.getvalue()


def differentials(found: Differentials, title: str) -> bytes:
    """Return FMR and FNMR of each group at one threshold, with their 95 % intervals, on logarithmic axes.

    A rate of 0 is drawn as an open mark at the upper end of its interval.
    """
    names = list(found.groups)
    rates = ("fmr", "fnmr") if any(found.mated.values()) else ("fmr",)
    with _figure(_WIDTH, 1.2 + 0.3 * len(names)) as (figure, made):
        panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
        for axes, rate, colour in zip(panels, rates, _COLOURS, strict=False):
            for row, (_, point) in enumerate(found.groups.values()):
                value, low, high = (getattr(point, rate + end) for end in ("", "_low", "_high"))
                at = value if value > 0 else high
                axes.plot(
                    [low if low > 0 else at / 10, high],
                    [row, row],
                    color=colour,
                    lw=1.2,
                    solid_capstyle="butt",
                )
                axes.plot(at, row, "o", ms=5, color=colour, mfc=colour if value > 0 else "white")
            axes.set_xscale("log")
            axes.set_xlabel(rate.upper())
            axes.grid(axis="x", color="#e0e0e0", lw=0.6)
            axes.set_axisbelow(True)
        people = [f"{name} ({count})" for name, (count, _) in found.groups.items()]
        panels[0].set_yticks(range(len(names)), people)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        panels[0].set_title(title)
    return made.getvalue()


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, io.BytesIO]]:
    """Give a figure of so many inches, and the buffer that holds it as SVG afterwards."""
    import matplotlib
    from matplotlib.figure import Figure

    made = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure = Figure((width, height), layout="constrained")
        yield figure, made
        # Without date and version the file changes only when its numbers do.
        figure.savefig(made, format="svg", metadata={"Date": None, "Creator": None})
