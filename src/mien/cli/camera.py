"""What `mien video camera:0` does: a camera's faces drawn, kept and shown until somebody stops it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mien.cli import common
from mien.core.errors import printable

if TYPE_CHECKING:
    from mien.report.video import Sightings
    from mien.runtime.pipeline import Options, Pipeline


def number_of(inputs: Sequence[Path]) -> int | None:
    """Return the number of the camera that is meant; None where files are, one called `camera:0` too."""
    numbers = [re.fullmatch(r"camera:(\d+)", str(given)) for given in inputs]
    found = [int(one[1]) for one, path in zip(numbers, inputs, strict=True) if one and not path.exists()]
    if found and len(inputs) > 1:
        common.fail(f"camera:{found[0]}: a camera goes alone, and {len(inputs)} inputs are given")
    return found[0] if found else None


def check(output: Path | None, annotate: Path | None, best_shots: Path | None) -> None:
    """Leave with an error where something is asked for that a camera cannot give."""
    if output:
        common.fail(
            f"-o {printable(output)}: goes on where it was stopped, which a camera cannot; print the rows "
            "into a file (> faces.jsonl), or keep the video with --annotate"
        )
    if best_shots:
        common.fail(
            "--best-shots reads the video again, which a camera cannot; keep it with --annotate first"
        )
    if annotate:
        from mien.report.record import ENDINGS

        if annotate.suffix.lower() not in ENDINGS:
            endings = f"use an ending of {', '.join(ENDINGS)}"
            common.fail(f"--annotate {printable(annotate)}: a camera's frames come unevenly; {endings}")


def run(
    number: int,
    options: Options,
    pipeline: Pipeline,
    every: int,
    annotate: Path | None,
    show: int | None,
    *,
    rows: bool,
    quiet: bool,
) -> Sightings:
    """Watch a camera until Ctrl-C, and return what was seen.

    Args:
        number: of the camera.
        options: of the workers.
        pipeline: what finds and describes faces.
        every: take frames 0, `every`, 2 `every` ...
        annotate: the video to write.
        show: the port of the page that shows it; 0 takes a free one.
        rows: print a row a face a frame.
        quiet: no notes and no progress bar.
    """
    from mien.report.live import drawn_live
    from mien.report.record import Recorder
    from mien.report.show import Screen
    from mien.report.tables import rows_of
    from mien.report.video import Sightings
    from mien.runtime.footage import tracker_for, watch
    from mien.runtime.video import name_of

    name = name_of(number)
    sightings = Sightings(Path(name), tracker_for(pipeline))
    with ExitStack() as open_:
        stop = open_.enter_context(common.until_stopped())
        screen = open_.enter_context(Screen(show)) if show is not None else None
        recorder = open_.enter_context(Recorder(annotate)) if annotate else None
        if screen:
            common.say(f"live: {screen.address}")
        if not quiet:
            common.say(f"{name}: Ctrl-C ends it")
        bar = open_.enter_context(common.progress(quiet=quiet or (rows and sys.stdout.isatty())))
        task = bar.add_task(name, total=None)
        watched = watch(number, options, every=every, pipeline=pipeline, tracker=sightings.tracker, stop=stop)
        for result in drawn_live(watched, recorder, screen):
            sightings.note(result)
            bar.advance(task)
            for row in rows_of(result) if rows else ():
                common.out(json.dumps(row, ensure_ascii=False))
    if recorder and recorder.frames and not quiet:
        tracks = len(sightings.tracks())
        common.say(f"annotated: {printable(annotate or '')}, tracks: {tracks}, frames: {recorder.frames}")
    return sightings
