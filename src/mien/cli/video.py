"""`mien video`: every face of videos, frame by frame, with its track; as tables or as a report."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import camera, common
from mien.core.errors import UnreadablePicture, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mien.report.video import Sightings
    from mien.runtime.pipeline import Options, Pipeline
    from mien.runtime.stream import Result


@common.guarded
def video(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Videos, and folders of them; or camera:0, a camera.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="faces.parquet, .csv, .jsonl, or a folder for a report of best shots."
        ),
    ] = None,
    form: common.Format = "",
    every: Annotated[int, typer.Option("--every", "-n", help="Take every n-th frame.", min=1)] = 1,
    want: common.Want = None,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    smallest: common.Smallest = 0.0,
    mirror: common.Mirror = False,
    best_shots: Annotated[
        Path | None, typer.Option("--best-shots", help="A folder for the best picture of each track.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="An .svg file: how the expression of each track changes over time."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(
            "--annotate", help="Write the video with its faces drawn on it, and do not print the rows."
        ),
    ] = None,
    show: Annotated[
        int | None,
        typer.Option(
            "--show",
            help="Show a camera's frames with their faces on a page of this machine at this port, and do not "
            "print the rows; 0 takes a free port.",
            metavar="PORT",
            min=0,
            max=65535,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run finished.")] = False,
    quiet: common.Quiet = False,
    as_json: common.Json = False,
) -> None:
    """Find, describe and follow every face of videos: a row a face a frame. A second run goes on with -o.

    A camera is read until Ctrl-C; what is written is complete then.

    Without -o the rows are printed as JSON Lines, or with --json only what was found of each video: its
    frames and, for each track, for how long it is visible and where its best shot is.
    """
    options = common.options_from(want, model, terms, threads, smallest, mirror)
    common.check_format(form, output)
    if plot and plot.suffix.lower() != ".svg":
        common.fail(f"--plot {printable(plot)}: its ending must be .svg")
    if plot and options.want is not None and "expression" not in options.want:
        common.fail("--plot draws expressions: add expression to --want")
    number = camera.number_of(paths)
    rows = not as_json and annotate is None and show is None
    if number is not None:
        camera.check(output, annotate, best_shots)
        options, pipeline = _prepared(options, quiet=quiet, plot=bool(plot))
        found = [camera.run(number, options, pipeline, every, annotate, show, rows=rows, quiet=quiet)]
    elif show is not None:
        common.fail("--show is for a camera, such as camera:0; --annotate draws on the frames of a file")
    else:
        videos = _videos_in(paths)
        if annotate:
            _check_annotated(annotate, videos)
        if output is None:
            found = _to_screen(videos, options, every, annotate, rows=rows, quiet=quiet, plot=bool(plot))
        else:
            found = _to_output(
                videos, options, every, output, form, annotate, again=again, quiet=quiet, plot=bool(plot)
            )
    for sightings in found if not quiet else ():
        end = f"; {sightings.error}" if sightings.error else ""
        counts = f"frames: {sightings.frames}, tracks: {len(sightings.tracks())}"
        common.say(f"{printable(sightings.path)}: {counts}{end}")
    if best_shots:
        from mien.report.video import save_best_shots

        saved = save_best_shots(best_shots, found, every)
        if not quiet:
            common.say(f"best shots: {len(saved)} in {printable(best_shots)}")
    if plot:
        from mien.report.video import plot_expressions

        plot_expressions(plot, found)
        if not quiet:
            common.say(f"expressions over time: {printable(plot)}")
    if as_json:
        common.out_json({"videos": [sightings.to_dict() for sightings in found]})
    failed = any(sightings.error for sightings in found)
    raise typer.Exit(common.SOME_FAILED if failed else common.OK)


def _videos_in(inputs: list[Path]) -> list[Path]:
    from mien.core.picture import EXTENSIONS as PICTURES
    from mien.runtime.stream import walk
    from mien.runtime.video import EXTENSIONS

    found: dict[Path, None] = {}
    for given in inputs:
        if os.path.isdir(given):  # noqa: PTH112 - Path.is_dir raises for names that are too long
            found.update(dict.fromkeys(walk(given, EXTENSIONS)))
        elif given.suffix.lower() in PICTURES - {".gif"}:
            common.fail(f"{printable(given)} is a picture: use `mien analyze {printable(given)}`")
        else:
            found[given] = None
    if not found:
        common.fail(f"no videos in {', '.join(printable(path) for path in inputs)}")
    return list(found)


def _check_annotated(target: Path, videos: list[Path]) -> None:
    from mien.report.blur_photo import is_same_file
    from mien.runtime.video import EXTENSIONS

    if len(videos) > 1:
        common.fail(f"--annotate {printable(target)}: it is one video, and {len(videos)} are given")
    if target.suffix.lower() not in EXTENSIONS:
        common.fail(f"--annotate {printable(target)}: use an ending of videos, such as .mp4")
    if is_same_file(videos[0], target):
        common.fail(f"--annotate {printable(target)}: it is the video itself; choose another name")


def _prepared(options: Options, *, quiet: bool, plot: bool) -> tuple[Options, Pipeline]:
    """Return the options and the pipeline, its terms told, and with what there is to draw."""
    from dataclasses import replace

    from mien.runtime.pipeline import Pipeline
    from mien.runtime.stream import prepared

    options, pipeline = prepared(options, None)
    if plot and "expression" not in pipeline.fields:
        # This says which command brings a model, or which terms keep it away.
        Pipeline(replace(options, want=("expression",), threads=1))
        # A model of the user's that is not used by default.
        options, pipeline = prepared(replace(options, want=(*pipeline.fields, "expression")), None)
    if not quiet:
        common.tell_terms(pipeline)
    return options, pipeline


def _to_screen(
    videos: list[Path],
    options: Options,
    every: int,
    annotate: Path | None,
    *,
    rows: bool,
    quiet: bool,
    plot: bool,
) -> list[Sightings]:
    from mien.report.tables import rows_of
    from mien.report.video import Sightings
    from mien.runtime.footage import tracker_for, watch

    options, pipeline = _prepared(options, quiet=quiet, plot=plot)
    found = []
    # on a terminal the rows themselves show how far it is
    with common.progress(quiet=quiet or (rows and sys.stdout.isatty())) as bar:
        for path in videos:
            task = _task(bar, path, every)
            sightings = Sightings(path, tracker_for(pipeline))
            watched = watch(path, options, every=every, pipeline=pipeline, tracker=sightings.tracker)
            results = _followed((result for _, result in watched), bar, task, sightings)
            if annotate:
                _annotate(path, annotate, results, quiet=quiet)
            for result in results:
                for row in rows_of(result) if rows else ():
                    common.out(json.dumps(row, ensure_ascii=False))
            found.append(sightings)
    return found


def _followed(
    results: Iterable[Result], bar: Progress, task: TaskID, sightings: Sightings | None = None
) -> Iterator[Result]:
    """Yield results as they are asked for, and tell the bar and the sightings of each."""
    for result in results:
        if sightings is not None:
            sightings.note(result)
        bar.advance(task)
        yield result


def _annotate(source: Path, target: Path, results: Iterable[Result], *, quiet: bool) -> None:
    from mien.report.annotate_video import annotate_video

    try:
        made = annotate_video(source, target, results)
    except UnreadablePicture as error:
        common.fail(str(error), common.SOME_FAILED)
    if not quiet:
        about = f"annotated: {printable(target)}, tracks: {made.tracks}, frames: {made.frames}"
        if not made.tracks:
            about = f"no face was found: {printable(target)} is {'a copy' if made.copied else 'written anew'}"
        common.say(about)


def _to_output(
    videos: list[Path],
    options: Options,
    every: int,
    output: Path,
    form: str,
    annotate: Path | None,
    *,
    again: bool,
    quiet: bool,
    plot: bool,
) -> list[Sightings]:
    from mien.report.formats import write_rows
    from mien.report.html import Run
    from mien.report.journal import Journal
    from mien.report.tables import WRITERS
    from mien.report.video import Table, VideoRun, write_report
    from mien.runtime.footage import tracker_for

    is_table = bool(form) or output.suffix.lower() in WRITERS
    if not is_table and output.suffix and not output.is_dir():
        common.fail(
            f"-o {printable(output)}: use an ending of {', '.join(WRITERS)}, or a folder for a report"
        )
    table = output if is_table else output / "faces.csv"
    if again:
        table.with_name(f"{table.name}.journal").unlink(missing_ok=True)
    options, pipeline = _prepared(options, quiet=quiet, plot=plot)
    begin = time.monotonic()
    with Journal(table, pipeline.contract) as journal:
        runs = [VideoRun(path, journal, pipeline, every=every) for path in videos]
        with common.progress(quiet=quiet) as bar:
            for run in runs:
                if run.finished():
                    if not quiet:
                        common.say(f"{printable(run.path)} is done already")
                    continue
                task = _task(bar, run.path, every)
                for _ in run.analyze(options):
                    bar.advance(task)
            rows = Table(runs)
            write_rows(form, table, rows)
            if annotate:
                task = bar.add_task(printable(annotate.name), total=rows.found[0].frames)
                results = _followed(runs[0].results(tracker_for(pipeline)), bar, task)
                _annotate(runs[0].path, annotate, results, quiet=quiet)
    if table != output:
        cards = [model.card for model in pipeline.models()]
        command = shlex.join(["mien", *sys.argv[1:]])
        seconds = time.monotonic() - begin
        write_report(output, rows.found, Run(command, datetime.now().astimezone(), seconds, 0, cards), every)
    return rows.found


def _task(bar: Progress, path: Path, every: int) -> TaskID:
    from mien.runtime.video import inspect

    try:
        count = inspect(path).frames
    except UnreadablePicture:
        # the run itself says what is wrong with it
        count = None
    return bar.add_task(printable(path.name), total=math.ceil(count / every) if count else None)
