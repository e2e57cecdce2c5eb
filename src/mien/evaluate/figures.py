"""The figures of a system on its test rows: every metric that fits, of all rows and of each group."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from mien.core.card import Card
from mien.core.errors import MienError
from mien.core.system import DataUsed
from mien.evaluate.metrics import METRICS, Numbers, interval_coverage
from mien.train.lab import Lab, TestPart

OF_CLASSES = ("accuracy", "balanced accuracy", "macro F1", "Cohen's kappa", "ECE")
"""What is told of predicted classes; ECE of probabilities only."""

OF_VALUES = ("MAE", "RMSE", "CORR", "CCC")
"""What is told of predicted values."""

_AGE = ("MAE over decades", "CS@5")
_SIGNED = ("SAGR",)
# Of one group: what depends on the mixture of classes in it would not compare with the others.
_OF_GROUPS = ("accuracy", "MAE", "CS@5")
_INTERVAL = "_interval"


class Misfit(MienError):
    """A model that cannot be judged by the rows of its system."""


@dataclass(frozen=True)
class Figures:
    """How good a system is at one thing on one part of its test rows.

    Attributes:
        used: the rows.
        field: what it tells, such as "age"; "" for a run's own predictions.
        figures: by the names of `METRICS`; "interval coverage" is the share of values inside their intervals,
            "interval width" the mean of those, in the field's unit.
        groups: the same for each group of each kind, as in `groups["race"]["asian"]["MAE"]`; "rows" counts
            them.
    """

    used: DataUsed
    field: str
    figures: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `mien evaluate --json` prints them."""
        return asdict(self)


def of_model(
    lab: Lab[Any], card: Card, run: Callable[[Numbers], Mapping[str, Numbers]]
) -> tuple[Figures, ...]:
    """Judge a model by what it makes of its system's test rows; nothing but the rows is the system's.

    Args:
        lab: the system, trained or not.
        card: of the model.
        run: the model: (n, 3 or 1, H, W) float32 0..255 in, fields by name out.

    Raises:
        Misfit: it takes crops of another size or colour than the rows have.
    """
    made: list[Figures] = []
    for part in lab.test_parts():
        truth: dict[str, list[Numbers]] = {}
        given: dict[str, list[Numbers]] = {}
        for batch in DataLoader(part.rows, 128):
            pixels = batch[0].numpy().astype(np.float32)
            _check(card, pixels)
            _collect(truth, {name: values.numpy() for name, values in lab.truth(batch).items()})
            _collect(given, run(pixels))
        made += _judged(part, _joined(truth), _joined(given))
    return tuple(made)


def of_run(lab: Lab[Any]) -> tuple[Figures, ...]:
    """Judge a trained system by its own predictions on its test rows, calibrated as for its export."""
    lab.calibrate()
    return tuple(
        Figures(part.used, "", figures(*pair), _grouped(part, *pair))
        for part in lab.test_parts()
        for pair in [lab.predictions(part.rows)]
    )


def figures(targets: Numbers, predictions: Numbers, field: str = "") -> dict[str, float]:
    """Return every metric that fits predictions.

    Args:
        targets: (n,) classes (whole numbers) or values; (n, c) values are judged column by column.
        predictions: (n, c) probabilities or (n,) classes; values of the targets' shape, or (n, 1),
            for values.
        field: what is told, which decides on metrics of ages and of signed values.
    """
    scores = predictions.ndim == 2 and predictions.shape[1] > 1
    if targets.ndim == 1 and targets.dtype.kind in "iu" and (scores or predictions.dtype.kind in "iu"):
        names = OF_CLASSES if scores else OF_CLASSES[:-1]
        with warnings.catch_warnings():
            # scikit-learn minds groups that lack a class; the score is defined for them.
            warnings.filterwarnings("ignore", module="sklearn")
            return {n: METRICS[n].compute(targets, METRICS[n].read(predictions)) for n in names}
    if targets.ndim == 2:
        return {
            f"{name}, {column}": value
            for column in range(targets.shape[1])
            for name, value in figures(targets[:, column], predictions[:, column], field).items()
        }
    more = _AGE if field == "age" else _SIGNED if float(np.min(targets, initial=0.0)) < 0 else ()
    values = predictions.reshape(len(targets))
    return {name: METRICS[name].compute(targets, values) for name in (*OF_VALUES, *more)}


def text(made: tuple[Figures, ...]) -> Iterator[str]:
    """Yield lines for people."""
    for one in made:
        head = f"{one.used.name}/{one.used.split}, {one.used.rows} rows"
        yield f"{head}{', ' if one.field else ''}{one.field}: {_line(one.figures)}"
        for kind, groups in one.groups.items():
            for name, values in groups.items():
                yield f"  {kind} {name}: {_line(values)}"


def _line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{n} {v:.0f}" if n == "rows" else f"{n} {v:.4f}" for n, v in values.items())


def _judged(part: TestPart, truth: dict[str, Numbers], given: dict[str, Numbers]) -> Iterator[Figures]:
    for field, targets in truth.items():
        values = figures(targets, given[field], field)
        intervals = given.get(field + _INTERVAL)
        values |= {} if intervals is None else _of_intervals(targets, intervals)
        yield Figures(part.used, field, values, _grouped(part, targets, given[field], field, intervals))


def _of_intervals(targets: Numbers, intervals: Numbers) -> dict[str, float]:
    width = float(np.mean(intervals[:, 1] - intervals[:, 0]))
    return {"interval coverage": interval_coverage(targets, intervals), "interval width": width}


def _grouped(
    part: TestPart, targets: Numbers, predictions: Numbers, field: str = "", intervals: Numbers | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    made: dict[str, dict[str, dict[str, float]]] = {}
    for kind, names in part.groups.items():
        # by the first number in them, that decades come in order
        for name in sorted(set(names.tolist()), key=_place):
            rows = names == name
            values = figures(targets[rows], predictions[rows], field)
            values = {metric: value for metric, value in values.items() if metric in _OF_GROUPS}
            if intervals is not None:
                values |= _of_intervals(targets[rows], intervals[rows])
            made.setdefault(kind, {})[name] = {"rows": float(rows.sum()), **values}
    return made


def _place(name: str) -> tuple[int, str]:
    """Return what sorts ages by their numbers and all else by its letters."""
    number = re.match(r"\d+", name)
    return (int(number[0]) if number else 0, name)


def _check(card: Card, pixels: Numbers) -> None:
    crop = card.crop
    wanted = (1 if card.input.grey else 3, crop.height, crop.width) if crop else ()
    if pixels.shape[1:] != wanted:
        raise Misfit(
            f"{card.name} takes crops of {wanted} (channels, height, width), the rows have"
            f" {pixels.shape[1:]}: choose the recipe that it was trained by with --recipe"
        )


def _collect(columns: dict[str, list[Numbers]], values: Mapping[str, Numbers]) -> None:
    for name, value in values.items():
        columns.setdefault(name, []).append(value)


def _joined(columns: dict[str, list[Numbers]]) -> dict[str, Numbers]:
    return {name: np.concatenate(parts) for name, parts in columns.items()}
