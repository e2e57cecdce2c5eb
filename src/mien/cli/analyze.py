"""`mien analyze`: every face of pictures and folders, as tables or as a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.report.journal import Journal
    from mien.runtime.pipeline import Options, Pipeline

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
    want: common.Want = None,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    smallest: common.Smallest = 0.0,
    mirror: common.Mirror = False,
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run finished.")] = False,
) -> None:
    """Find and describe every face. A second run does only what is missing or changed."""
    options = common.options_from(want, model, terms, threads, smallest, mirror)
    pictures = list(common.pictures_in(paths))
    if not pictures:
        common.fail(f"no pictures in {', '.join(str(path) for path in paths)}")
    if output is None:
        raise typer.Exit(_to_screen(pictures, options))
    if output.suffix.lower() not in _TABLES and output.suffix and not output.is_dir():
        common.fail(f"-o {output}: use an ending of {', '.join(_TABLES)}, or a folder for a report")
    raise typer.Exit(_to_output(pictures, output, options, again=again))


def _to_screen(pictures: list[Path], options: Options) -> int:
    import json

    from mien.report.tables import rows_of
    from mien.runtime.stream import stream

    failed = 0
    for result in stream(pictures, options):
        failed += result.error is not None
        for row in rows_of(result):
            common.out(json.dumps(row, ensure_ascii=False))
    return common.SOME_FAILED if failed else common.OK


def _to_output(pictures: list[Path], output: Path, options: Options, *, again: bool) -> int:
    from dataclasses import replace

    from mien.report.journal import Journal
    from mien.runtime.pipeline import Pipeline

    pipeline = Pipeline(replace(options, threads=1))
    target = output if output.suffix.lower() in _TABLES else output / "index.html"
    journal_of = output if output.suffix.lower() in _TABLES else output / "faces.csv"
    if again:
        journal_of.with_name(journal_of.name + ".journal").unlink(missing_ok=True)
    with Journal(journal_of, pipeline.contract) as journal:
        todo = [path for path in pictures if not journal.has(path)]
        if len(todo) < len(pictures):
            common.say(f"{len(pictures) - len(todo)} of {len(pictures)} pictures are done already")
        _work(todo, journal, pipeline, options, None if target == output else output)
        if target == output:
            from mien.report.tables import write_rows

            write_rows(output, journal.rows(iter(pictures)))
        else:
            _report(output, pictures, journal, pipeline)
        failed = journal.failed(iter(pictures))
    faces = f"{failed} could not be read" if failed else "all could be read"
    common.say(f"{len(pictures)} pictures, {faces}: {target}")
    return common.SOME_FAILED if failed else common.OK


def _work(
    todo: list[Path], journal: Journal, pipeline: Pipeline, options: Options, folder: Path | None
) -> None:
    from mien.report.html import write_picture
    from mien.report.journal import fingerprint
    from mien.report.tables import rows_of
    from mien.runtime.stream import stream

    marks = {path: fingerprint(path) for path in todo}
    with common.progress() as bar:
        task = bar.add_task("pictures", total=len(todo))
        for path, result in zip(todo, stream(todo, options, pipeline=pipeline), strict=True):
            if folder is not None and result.error is None:
                write_picture(folder, path, pipeline.read(path), result.faces)
            journal.add(path, rows_of(result), marks[path])
            bar.advance(task)


def _report(folder: Path, pictures: list[Path], journal: Journal, pipeline: Pipeline) -> None:
    from mien.report.html import write_page
    from mien.report.tables import write_rows

    used = "; ".join(f"{model.card.maker} ({model.card.licence.weights})" for model in pipeline.models())
    write_rows(folder / "faces.csv", journal.rows(iter(pictures)))
    write_page(folder, pictures, journal.rows(iter(pictures)), {"models": used, "table": "faces.csv"})
