"""Reproduces a claim: every arm with every seed, the same test rows, one verdict, one result file."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.atomic import writing
from mien.core.errors import MienError
from mien.core.system import Arm, DataUsed, Evidence, System
from mien.evaluate import plots
from mien.evaluate.metrics import METRICS, Numbers
from mien.evaluate.statistics import compare, described
from mien.train.lab import Lab
from mien.train.run import Curve, Trained, code_of, curve, train
from mien.train.settings import Settings, override

_OF_AGES = ("MAE", "MAE over decades", "CS@5")
# A confusion matrix of more classes cannot be read.
_LEGIBLE = 20
_PACKAGES = ("torch", "lightning", "numpy")


class Unknown(MienError):
    """A system, recipe or claim that there is not."""


@dataclass(frozen=True)
class Reproduction:
    """How a claim is shown: two arms that are compared, perhaps others that are reported beside them.

    Attributes:
        claim: the claim's text, as in the system's row.
        metric: its name in `METRICS`.
        arms: for each arm its name and what it changes in the recipe, as `key=value`; the first is claimed to
            be better than the second.
        tolerance: where the claim is that the first is as good: by how much it may be worse, set before the
            runs; 0 where it is claimed to be better.
        recipe: the one that all arms share.
        seeds: of the runs.
        note: what a reader of the result has to know.
    """

    claim: str
    metric: str
    arms: tuple[tuple[str, tuple[str, ...]], ...]
    recipe: str = "cpu"
    seeds: tuple[int, ...] = (0, 1, 2)
    note: str = ""
    tolerance: float = 0.0


@dataclass(frozen=True)
class Paper:
    """A system's file, imported.

    Attributes:
        row: its SYSTEM.
        lab: its LAB, the class that is trained.
        recipes: its RECIPES by name.
        reproductions: its REPRODUCE.
        figures: its FIGURES, where it has some: plots that need no run, SVG, by the names of their files.
    """

    row: System
    lab: type[Lab[Any]]
    recipes: Mapping[str, Settings]
    reproductions: tuple[Reproduction, ...]
    figures: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)

    def make(self, settings: Settings, seed: int) -> Lab[Any]:
        """Make the untrained system."""
        return self.lab(settings, seed)

    def settings(self, recipe: str, changes: Sequence[str] = ()) -> Settings:
        """Return a recipe with some settings changed.

        Raises:
            Unknown: no such recipe.
            BadSetting: a change that does not fit.
        """
        if recipe not in self.recipes:
            raise Unknown(f"{self.row.id} has no recipe {recipe!r}; it has: {', '.join(self.recipes)}")
        return override(self.recipes[recipe], changes)


def paper(room: str, system: str) -> Paper:
    """Import a system's file."""
    module = import_module(f"mien.systems.{room}.{system.replace('-', '_')}")
    figures = getattr(module, "FIGURES", {})
    return Paper(module.SYSTEM, module.LAB, module.RECIPES, tuple(module.REPRODUCE), figures)


@dataclass(frozen=True)
class Job:
    """One run of one arm."""

    room: str
    system: str
    recipe: str
    changes: tuple[str, ...]
    seed: int


class Unequal(MienError):
    """Arms that were not judged by the same rows, so that no verdict can be drawn."""


@dataclass(frozen=True)
class Judged:
    """What a run gave on one part of its test rows.

    Attributes:
        used: the rows.
        units: what a verdict draws anew, as `TestPart.units`.
        targets: (n, ...).
        predictions: (n, ...).
    """

    used: DataUsed
    units: Numbers | None
    targets: Numbers
    predictions: Numbers


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        parts: for each part of the test rows.
        seconds: of training.
        curve: how it learned.
        folder: of the training run; arms that differ in the test alone have the same.
    """

    parts: tuple[Judged, ...]
    seconds: float
    curve: Curve
    folder: Path


def run_job(job: Job) -> Outcome:
    """Train one arm with one seed on one thread, or take its finished run up, and predict the test rows."""
    import torch

    torch.set_num_threads(1)
    trained = _train(job)
    parts = tuple(
        Judged(part.used, part.units, *trained.lab.predictions(part.rows))
        for part in trained.lab.test_parts()
    )
    return Outcome(parts, trained.seconds, curve(trained.folder), trained.folder)


def _train(job: Job) -> Trained:
    chosen = paper(job.room, job.system)
    settings = chosen.settings(job.recipe, job.changes)
    return train(job.system, lambda: chosen.make(settings, job.seed), progress=False)


def reproduce(
    room: str,
    system: str,
    folder: Path,
    *,
    workers: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> list[Path]:
    """Reproduce every claim of a system: a result file and plots for each claim and part of the test rows.

    Runs that are finished are not run again; a stopped reproduction goes on where it was.

    Args:
        room: of the system.
        system: its id.
        folder: of result files and of plots beside them.
        workers: runs side by side, each on one thread; 0 is one for each core.
        progress: is told how many runs are done, of how many, and which was the last.

    Returns:
        The result files.
    """
    chosen = paper(room, system)
    jobs = {
        Job(room, system, plan.recipe, changes, seed): f"{name}, seed {seed}"
        for plan in chosen.reproductions
        for name, changes in plan.arms
        for seed in plan.seeds
    }
    outcomes: dict[Job, Outcome] = {}
    # Fresh processes: a forked one would share torch's threads and locks with this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=context) as pool:
        running = {pool.submit(run_job, job): job for job in jobs}
        for future in as_completed(running):
            job = running[future]
            outcomes[job] = future.result()
            progress(len(outcomes), len(jobs), jobs[job])
    for name, draw in chosen.figures.items():
        _write(folder / system / f"{name}.svg", draw())
    written = []
    for index, plan in enumerate(chosen.reproductions):
        arms = {
            name: [outcomes[Job(room, system, plan.recipe, changes, seed)] for seed in plan.seeds]
            for name, changes in plan.arms
        }
        top = folder / system
        curves = {name: [run.curve for run in runs] for name, runs in arms.items()}
        _write(top / f"{index}-learning.svg", plots.learning(curves))
        lab = chosen.make(chosen.settings(plan.recipe, plan.arms[0][1]), plan.seeds[0])
        for place, evidence in enumerate(_evidence(chosen, plan, lab, arms)):
            path = top / f"{index}-{evidence.data[0].split.replace(' ', '-')}.json"
            _write(path, evidence.to_json().encode())
            for kind, plot in _plots(chosen.row, lab.classes, evidence, place, arms):
                _write(path.with_name(f"{path.stem}-{kind}.svg"), plot)
            written.append(path)
    return written


def _write(path: Path, data: bytes) -> None:
    with writing(path) as file:
        file.write(data)


def _plots(
    row: System,
    classes: tuple[str, ...],
    evidence: Evidence,
    part: int,
    arms: Mapping[str, Sequence[Outcome]],
) -> Iterator[tuple[str, bytes]]:
    """Yield the plots that fit a result, by kind; those of classes show the first arm."""
    yield "arms", plots.arms(evidence)
    first = evidence.arms[0].name
    targets, one = arms[first][0].parts[part].targets, arms[first][0].parts[part].predictions
    predictions = {name: [run.parts[part].predictions for run in runs] for name, runs in arms.items()}
    metric = METRICS[evidence.metric]
    title = f"{first}, {evidence.data[0].name}/{evidence.data[0].split}"
    if targets.ndim == 1 and targets.dtype.kind in "iu" and metric.takes == "classes":
        count = 1 + int(max(np.max(targets), *(metric.read(p).max() for p in predictions[first])))
        names = classes if len(classes) >= count else [str(number) for number in range(count)]
        if count <= _LEGIBLE:
            given = [metric.read(p) for p in predictions[first]]
            yield "confusion", plots.confusion(targets, given, names, title)
        if one.ndim == 2 and np.allclose(one.sum(axis=1), 1, atol=1e-3) and one.min() >= 0:
            yield "reliability", plots.reliability(targets, predictions[first], title)
    if (
        "age" in row.makes
        and evidence.metric in ("MAE", "MAE over decades", "CS@5")
        and targets.shape == one.shape
    ):
        yield "decades", plots.error_by_decade(targets, predictions)


def _evidence(
    chosen: Paper, plan: Reproduction, lab: Lab[Any], arms: Mapping[str, Sequence[Outcome]]
) -> list[Evidence]:
    claim = next((c for c in chosen.row.claims if c.text == plan.claim), None)
    if claim is None:
        raise Unknown(f"{chosen.row.id} reproduces a claim that its row does not make: {plan.claim!r}")
    metric = METRICS[plan.metric]
    # A training that several arms share was done once.
    trained = {run.folder: run.seconds for runs in arms.values() for run in runs}
    made = []
    for index, part in enumerate(_same_rows(chosen.row.id, arms)):
        targets = part.targets
        read = {
            name: [metric.read(run.parts[index].predictions) for run in runs] for name, runs in arms.items()
        }
        first, second = list(read.values())[:2]
        result = compare(metric, targets, first, second, units=part.units, tolerance=plan.tolerance)
        made.append(
            Evidence(
                evidence=1,
                system=chosen.row.id,
                claim=plan.claim,
                metric=metric.name,
                data=(part.used,),
                seeds=plan.seeds,
                arms=tuple(
                    Arm(name, tuple(metric.compute(targets, one) for one in predictions))
                    for name, predictions in read.items()
                ),
                difference=result.difference,
                interval=result.interval,
                holds=result.holds,
                test=described(part.units, plan.tolerance),
                paper_value=claim.paper_value,
                code=code_of(lab),
                version=importlib.metadata.version("mien"),
                packages=tuple(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES),
                machine=f"{platform.machine()}, {os.cpu_count()} cores, one thread a run",
                seconds=round(sum(trained.values()), 1),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                note=plan.note,
            )
        )
    return made


def _same_rows(system: str, arms: Mapping[str, Sequence[Outcome]]) -> tuple[Judged, ...]:
    """Return the parts of the first arm's first run, after making sure that all others have their rows.

    Raises:
        Unequal: another run was judged by other rows.
    """
    (first, (one, *_)), *_ = arms.items()
    for name, runs in arms.items():
        for run in runs:
            for ours, theirs in zip_longest(one.parts, run.parts):
                if ours is None or theirs is None or _rows_of(ours) != _rows_of(theirs):
                    raise Unequal(
                        f"{system}: arm {name!r} was judged by {_named(theirs)}, {first!r} by {_named(ours)};"
                        " arms that are compared need the same test rows"
                    )
    return one.parts


def _rows_of(part: Judged) -> tuple[DataUsed, int]:
    return part.used, len(part.targets)


def _named(part: Judged | None) -> str:
    if part is None:
        return "no such part"
    used = part.used
    return f"{len(part.targets)} rows of {used.name}/{used.split} (sha256 {used.sha256[:12]})"
