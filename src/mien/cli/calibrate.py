"""`mien calibrate`: thresholds with their error rates, measured on one's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.runtime.calibrate import Calibration


@common.guarded
def calibrate(
    folder: Annotated[
        Path, typer.Argument(help="A folder with one folder for each person.", show_default=False)
    ],
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the DET curve to this .svg file.")
    ] = None,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    mirror: common.Mirror = False,
    json: common.Json = False,
) -> None:
    """Measure false match and false non-match rates on your own pictures, with 95 % intervals."""
    from dataclasses import asdict, replace

    from mien.report.det import write_det
    from mien.runtime.calibrate import calibrate as measure
    from mien.runtime.pipeline import Pipeline

    if not folder.is_dir():
        common.fail(f"{folder}: no such folder")
    options = common.options_from(["embeddings"], model, terms, threads, 0.0, mirror)
    pipeline = Pipeline(replace(options, threads=1))
    with common.progress(quiet=json) as bar:
        task = bar.add_task("pictures", total=None)
        result = measure(
            pipeline, folder, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if plot is not None:
        write_det(plot, result.mated, result.other, title=f"{result.model} on {folder.name}")
    if json:
        common.out_json(
            {
                "model": result.model,
                "people": result.people,
                "pictures": result.pictures,
                "mated_comparisons": len(result.mated),
                "other_comparisons": len(result.other),
                "points": [{"wanted_fmr": rate, **asdict(point)} for rate, point in result.points],
                "left_out": [{"path": path, "reason": reason} for path, reason in result.left_out],
            }
        )
        return
    _print(result)


def _print(result: Calibration) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result.model}: {result.people} people, {result.pictures} pictures")
    for name in ("wanted FMR", "threshold", "FMR measured (95 %)", "FNMR measured (95 %)"):
        table.add_column(name, justify="right")
    for rate, point in result.points:
        table.add_row(
            f"{rate:g}",
            f"{point.threshold:.4f}",
            f"{point.fmr:.2g} ({point.fmr_low:.2g} to {point.fmr_high:.2g})",
            f"{point.fnmr:.3f} ({point.fnmr_low:.3f} to {point.fnmr_high:.3f})",
        )
    Console().print(table)
    common.out(f"{len(result.mated)} comparisons of the same person, {len(result.other)} of different ones")
    for path, reason in result.left_out:
        common.say(f"left out: {path}: {reason}")
