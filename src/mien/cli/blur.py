"""`mien blur`: copies of photos and videos in which no face can be recognised."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import common
from mien.core.errors import printable

if TYPE_CHECKING:
    from mien.report.blur_run import Job, Row, Settings
    from mien.runtime.pipeline import Options


@common.guarded
def blur(
    paths: Annotated[
        list[Path], typer.Argument(help="Photos, videos, and folders of them.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the copies, or the file for one input; else NAME-blurred beside each.",
        ),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            "--style", help="Only 'solid' leaves nothing of the face.", metavar="gaussian|pixelate|solid"
        ),
    ] = "gaussian",
    shape: Annotated[str, typer.Option("--shape", help="Of the masks.", metavar="ellipse|box")] = "ellipse",
    margin: Annotated[
        float,
        typer.Option("--margin", help="Part of the face by which masks grow on each side.", min=0, max=5),
    ] = 0.3,
    strip_metadata: Annotated[
        bool,
        typer.Option("--strip-metadata", help="Take out metadata too: place, time, camera, names, texts."),
    ] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="Overwrite the originals.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite copies, and other files, that are there.")
    ] = False,
    threads: common.Threads = 0,
    smallest: common.Smallest = 0.0,
    terms: common.Terms = "any",
    as_json: common.Json = False,
) -> None:
    """Make copies in which no face can be recognised, and look whether one is still found in them.

    In videos masks follow each face through the frames in which it is missed, and the sound stays.
    Thumbnails and previews never stay: they show the face. A second run into the same folder does only what
    is missing or changed.
    """
    from mien.report.blur import Cover
    from mien.report.blur_run import Settings, is_folder, jobs

    try:
        cover = Cover(style=style, shape=shape, margin=margin)
    except ValueError as error:
        common.fail(str(error))
    if in_place and output is not None:
        common.fail("--in-place writes no copies: leave out -o")
    work = jobs(paths, output, in_place=in_place)
    if not work:
        common.fail(f"no photos or videos in {', '.join(map(printable, paths))}")
    if (
        output is not None
        and output.exists()
        and not is_folder(output)
        and [job.target for job in work] != [output]
    ):
        common.fail(f"-o {printable(output)}: it is a file, and there is more than one to write")
    settings = Settings(cover, strip_metadata, in_place, overwrite)
    # Into a folder, a journal says what earlier runs made.
    folder = output if output is not None and [job.target for job in work] != [output] else None
    options = common.options_from(None, None, terms, threads, smallest)
    rows = _work(work, settings, options, folder, quiet=as_json)
    if as_json:
        common.out_json([row.to_dict() for row in rows])
    common.say(_summary(rows))
    raise typer.Exit(common.OK if all(row.good for row in rows) else common.SOME_FAILED)


def _work(
    work: list[Job], settings: Settings, options: Options, folder: Path | None, *, quiet: bool
) -> list[Row]:
    from mien.report.blur_run import contract_of, finder, run
    from mien.report.journal import Journal

    pipeline = finder(options)
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        journal = None
        if folder is not None:
            journal = stack.enter_context(Journal(folder / ".mien-blur", contract_of(pipeline, settings)))
        bar = stack.enter_context(common.progress())
        task = bar.add_task("files", total=len(work))

        def tick(done: float) -> None:
            bar.update(task, completed=len(rows) + done)

        for row in run(work, pipeline, settings, threads=options.threads, journal=journal, tick=tick):
            rows.append(row)
            bar.update(task, completed=len(rows))
            if not row.good:
                common.say(_line(row))
            elif not quiet:
                common.out(_line(row))
    return rows


def _line(row: Row) -> str:
    if row.state == "failed":
        return f"{row.source}: {row.error}"
    if row.state == "kept":
        return f"{row.output}: made before, kept"
    faces = f"{row.faces} {'face' if row.faces == 1 else 'faces'}"
    text = f"{row.output}: " + (
        "no face, copied" if row.state == "copied" else f"{faces} covered ({row.style})"
    )
    if row.note:
        text += f"; {row.note}"
    if row.error:
        text += f"; {row.error}"
    if row.remaining:
        text += f"; a face is STILL FOUND at {' | '.join(row.remaining)}: look at it before you share it"
    return text


def _summary(rows: list[Row]) -> str:
    count = {
        state: sum(row.state == state for row in rows) for state in ("blurred", "copied", "kept", "failed")
    }
    still = sum(bool(row.remaining) for row in rows)
    words = {"blurred": "blurred", "copied": "without a face", "kept": "made before", "failed": "FAILED"}
    parts = [f"{number} {words[state]}" for state, number in count.items() if number]
    checked = f"a face is still found in {still}" if still else "no face is found in any copy"
    return f"{len(rows)} files: {', '.join(parts)}; {checked}"
