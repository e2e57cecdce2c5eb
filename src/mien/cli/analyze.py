"""`mien analyze`: every face of pictures and folders, as tables or as a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.core.faces import Faces
    from mien.core.picture import Picture
    from mien.report.journal import Journal
    from mien.report.tables import Row
    from mien.runtime import parquet
    from mien.runtime.pipeline import Options, Pipeline
    from mien.runtime.stream import Result

    Source = Path | parquet.Row | parquet.Damaged
    Keep = Callable[[Source, Picture, Faces], None]

_TABLES = (".jsonl", ".csv", ".parquet")


@common.guarded
def analyze(
    paths: common.Inputs,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="faces.parquet, .csv, .jsonl, or a folder for a report.",
        ),
    ] = None,
    form: common.Format = "",
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", help="A folder for copies of the pictures with the faces drawn on them."),
    ] = None,
    want: common.Want = None,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    smallest: common.Smallest = 0.0,
    mirror: common.Mirror = False,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="ray|ADDRESS",
            help="Compute on Ray: 'ray' (the cluster of RAY_ADDRESS, or one of this machine), or a "
            "cluster's address.",
        ),
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run finished.")] = False,
    quiet: common.Quiet = False,
    as_json: common.Json = False,
) -> None:
    """Find and describe every face. A second run with -o does only what is missing or changed.

    Without -o the rows are printed as JSON Lines, or with --json only a summary of the run.
    """
    options = common.options_from(want, model, terms, threads, smallest, mirror)
    common.check_format(form, output)
    pictures = _pictures_in(paths)
    if output is None:
        raise typer.Exit(_to_screen(pictures, options, annotate, on, rows=not as_json, quiet=quiet))
    _check(output, form)
    summary = _to_output(pictures, output, options, annotate, on, form, again=again, quiet=quiet)
    if as_json:
        common.out_json(summary)
    elif not quiet:
        common.say(_in_words(summary))
    raise typer.Exit(common.SOME_FAILED if summary["failed"] else common.OK)


def _pictures_in(paths: list[Path]) -> list[Source]:
    from mien.core.errors import printable
    from mien.runtime.stream import sources
    from mien.runtime.video import is_video

    files = list(common.pictures_in(paths))
    if video := next((path for path in files if is_video(path)), None):
        common.fail(f"{printable(video)} is a video: use `mien video {printable(video)}`")
    pictures = list(sources(files))
    if not pictures:
        common.fail(f"no pictures in {', '.join(printable(path) for path in paths)}")
    return pictures


def _name(source: Source) -> Path:
    """Return a picture's path; a row of a Parquet file has one like `faces.parquet#name`."""
    return source if isinstance(source, Path) else Path(str(source))


def _place(source: Source) -> tuple[str | Path, str]:
    """Return where a journal keeps a picture: its file, and which part of it."""
    return (source, "") if isinstance(source, Path) else (source.file, str(source))


@dataclass(frozen=True)
class _Rows:
    """The rows of pictures, read from the journal anew each time: no folder is too large for memory."""

    journal: Journal
    pictures: list[Source]

    def __iter__(self) -> Iterator[Row]:
        for source in self.pictures:
            yield from self.journal.entry(*_place(source)) or ()


def _check(output: Path, form: str) -> None:
    """Find out before the work begins whether the output's name can be meant."""
    table = bool(form) or output.suffix.lower() in _TABLES
    if table and output.is_dir():
        common.fail(f"-o {output}: is a folder; a table needs a name of its own in it", common.SOME_FAILED)
    if not table and output.is_file():
        common.fail(
            f"-o {output}: is a file; a report needs a folder, a table an ending of {', '.join(_TABLES)}",
            common.SOME_FAILED,
        )
    if not table and output.suffix and not output.is_dir():
        common.fail(f"-o {output}: use an ending of {', '.join(_TABLES)}, or a folder for a report")


def _in_words(summary: dict[str, Any]) -> str:
    failed = summary["failed"]
    read = f"{failed:,} could not be read" if failed else "all could be read"
    return f"{summary['pictures']:,} pictures, {summary['faces']:,} faces, {read}: {summary['output']}"


@dataclass
class _Count:
    """What is found while results go by."""

    faces: int = 0
    without_face: int = 0
    failed: int = 0

    def add(self, row: dict[str, Any]) -> None:
        self.failed += bool(row["error"])
        self.faces += row["face"] is not None
        self.without_face += row["face"] is None and not row["error"]


def _to_screen(
    pictures: list[Source], options: Options, annotate: Path | None, on: str, *, rows: bool, quiet: bool
) -> int:
    import json
    from dataclasses import replace

    from mien.report.tables import rows_of
    from mien.runtime.pipeline import Pipeline

    count, start = _Count(), time.monotonic()
    pipeline = Pipeline(replace(options, threads=1))
    if not quiet:
        common.tell_terms(pipeline)
    for result in _results(pictures, pipeline, options, _keep(None, annotate), on):
        for row in rows_of(result):
            count.add(row)
            if rows:
                common.out(json.dumps(row, ensure_ascii=False))
    if not rows:
        seconds = time.monotonic() - start
        common.out_json(_summary(None, len(pictures), len(pictures), count, pipeline, seconds))
    return common.SOME_FAILED if count.failed else common.OK


def _to_output(
    pictures: list[Source],
    output: Path,
    options: Options,
    annotate: Path | None,
    on: str,
    form: str,
    *,
    again: bool,
    quiet: bool,
) -> dict[str, Any]:
    from dataclasses import replace

    from mien.report.formats import write_rows
    from mien.report.journal import Journal
    from mien.runtime.pipeline import Pipeline

    start = time.monotonic()
    pipeline = Pipeline(replace(options, threads=1))
    if not quiet:
        common.tell_terms(pipeline)
    folder = None if form or output.suffix.lower() in _TABLES else output
    table = folder / "faces.csv" if folder else output
    if again:
        table.with_name(table.name + ".journal").unlink(missing_ok=True)
    with Journal(table, pipeline.contract) as journal:
        todo = [source for source in pictures if not _done(source, journal, folder, annotate)]
        if len(todo) < len(pictures) and not quiet:
            common.say(f"{len(pictures) - len(todo):,} of {len(pictures):,} pictures are done already")
        try:
            _work(todo, journal, pipeline, options, _keep(folder, annotate), on, quiet=quiet)
        except KeyboardInterrupt:
            done = sum(journal.has(*_place(source)) for source in pictures)
            common.fail(
                f"stopped: {done:,} of {len(pictures):,} pictures are done and kept; "
                "the same command goes on from there",
                130,
            )
        write_rows(form, table, _Rows(journal, pictures))
        if folder:
            _report(folder, pictures, journal, pipeline, len(todo), time.monotonic() - start)
        count = _Count()
        for row in _Rows(journal, pictures):
            count.add(row)
            if form and row["error"]:
                # Other programs' files have no place for it.
                common.say(f"{row['source']}: {row['error']}")
    target = folder / "index.html" if folder else table
    return _summary(target, len(pictures), len(todo), count, pipeline, time.monotonic() - start)


def _summary(
    output: Path | None, pictures: int, new: int, count: _Count, pipeline: Pipeline, seconds: float
) -> dict[str, Any]:
    return {
        "output": None if output is None else str(output),
        "pictures": pictures,
        "analysed_now": new,
        "faces": count.faces,
        "without_face": count.without_face,
        "failed": count.failed,
        "not_for_commercial_use": [card.maker for card in pipeline.research_only()],
        "seconds": round(seconds, 3),
    }


def _done(source: Source, journal: Journal, folder: Path | None, annotate: Path | None) -> bool:
    from mien.report.pictures import has_picture, picture_name

    if not journal.has(*_place(source)):
        return False
    name = _name(source)
    return (folder is None or has_picture(folder, name)) and (
        annotate is None or (annotate / picture_name(name)).is_file()
    )


def _keep(folder: Path | None, annotate: Path | None) -> Keep | None:
    """Return what writes the pictures that are wanted, called while a picture's pixels are at hand."""
    from mien.report.pictures import picture_name, write_annotated, write_picture

    if folder is None and annotate is None:
        return None

    def keep(source: Source, picture: Picture, faces: Faces) -> None:
        name = _name(source)
        if folder is not None:
            write_picture(folder, name, picture, faces)
        if annotate is not None:
            write_annotated(annotate / picture_name(name), picture, faces)

    return keep


def _results(
    todo: list[Source], pipeline: Pipeline, options: Options, keep: Keep | None, on: str
) -> Iterator[Result]:
    """Yield each picture's result in order, its pictures written by the thread that read it."""
    from mien.runtime.stream import CHUNK, available_cores, chunked, ordered, result_of, stream

    if on:
        # What is far away gives no pixels back: pictures that are wanted are read once more, here.
        for source, result in zip(todo, stream(todo, options, pipeline=pipeline, on=on), strict=True):
            if keep is not None and result.error is None:
                keep(source, pipeline.read(source), result.faces)
            yield result
        return

    def look(chunk: list[Source]) -> list[Result]:
        def seen(index: int, picture: Picture, faces: Faces) -> None:
            if keep is not None:
                keep(chunk[index], picture, faces)

        return [result_of(outcome) for outcome in pipeline.analyze_many(chunk, seen=seen)]

    chunks = chunked(todo, lambda chunk: len(chunk) >= CHUNK)
    for results in ordered(look, chunks, options.threads or available_cores()):
        yield from results


def _work(
    todo: list[Source],
    journal: Journal,
    pipeline: Pipeline,
    options: Options,
    keep: Keep | None,
    on: str,
    *,
    quiet: bool,
) -> None:
    from mien.core.fingerprint import fingerprint
    from mien.report.tables import rows_of

    marks = {source: fingerprint(_place(source)[0]) for source in todo}
    with common.progress(quiet=quiet) as bar:
        task = bar.add_task("pictures", total=len(todo))
        for source, result in zip(todo, _results(todo, pipeline, options, keep, on), strict=True):
            path, part = _place(source)
            journal.add(path, rows_of(result), marks[source], part)
            bar.advance(task)


def _report(
    folder: Path, pictures: list[Source], journal: Journal, pipeline: Pipeline, new: int, seconds: float
) -> None:
    import shlex
    import sys

    from mien.report.html import Run, write_page

    run = Run(
        command=shlex.join(["mien", *sys.argv[1:]]),
        finished=datetime.now().astimezone(),
        seconds=seconds,
        new=new,
        models=[model.card for model in pipeline.models()],
    )
    write_page(folder, [_name(source) for source in pictures], _Rows(journal, pictures), run)
