"""`mien tag`: faces as regions in the photos' metadata, where photo managers read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.core.faces import Faces
    from mien.core.picture import Picture
    from mien.report.names import Names
    from mien.runtime.pipeline import Options
    from mien.runtime.stream import Result

_INTO = ("sidecar", "file")


@common.guarded
def tag(
    paths: common.Inputs,
    into: Annotated[
        str,
        typer.Option(
            "--into",
            help="'sidecar' writes photo.jpg.xmp (darktable, digiKam, immich); 'file' writes into the JPEG "
            "itself (Lightroom), its pixels untouched.",
            metavar="sidecar|file",
        ),
    ] = "sidecar",
    names: Annotated[
        Path | None,
        typer.Option("--names", help="CSV with columns source, name and, where needed, face or x1,y1,x2,y2."),
    ] = None,
    min_score: Annotated[
        float, typer.Option("--min-score", help="Leave out faces less certain than this, 0..1.", min=0, max=1)
    ] = 0.0,
    dry: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    quiet: common.Quiet = False,
    as_json: common.Json = False,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    smallest: common.Smallest = 0.0,
) -> None:
    """Write each face as a region of its photo (MWG and Microsoft); regions and names already there stay."""
    from mien.core.errors import printable
    from mien.report.names import Names

    if into not in _INTO:
        common.fail(f"--into {into!r}: use 'sidecar' or 'file'")
    options = common.options_from(["boxes,scores"], model, terms, threads, smallest)
    known = Names.read(names) if names else None
    pictures = list(common.pictures_in(paths))
    if not pictures:
        common.fail(f"no pictures in {', '.join(printable(path) for path in paths)}")
    rows = []
    with common.progress(quiet=quiet) as bar:
        task = bar.add_task("pictures", total=len(pictures))
        results = _results(pictures, options, quiet=quiet)
        for path, (result, orientation) in zip(pictures, results, strict=True):
            row = _tag(path, result, orientation, into, known, min_score, dry=dry)
            rows.append(row)
            if not as_json:
                common.out(_in_words(row, dry=dry))
            bar.advance(task)
    if as_json:
        common.out_json(rows)
    if known and known.unused:
        lines = ", ".join(map(str, sorted(known.unused)))
        common.say(f"{names}: no face was found for line {lines}")
    raise typer.Exit(common.SOME_FAILED if any(row["error"] for row in rows) else common.OK)


def _results(pictures: list[Path], options: Options, *, quiet: bool) -> Iterator[tuple[Result, int]]:
    """Yield each picture's result in order, and its EXIF orientation."""
    from mien.runtime.stream import CHUNK, available_cores, chunked, ordered, prepared, result_of

    options, pipeline = prepared(options, None)
    if not quiet:
        common.tell_terms(pipeline)

    def look(chunk: list[Path]) -> list[tuple[Result, int]]:
        orientations = [1] * len(chunk)

        def seen(index: int, picture: Picture, _: Faces) -> None:
            orientations[index] = picture.orientation

        outcomes = pipeline.analyze_many(chunk, seen=seen)
        return list(zip(map(result_of, outcomes), orientations, strict=True))

    chunks = chunked(pictures, lambda chunk: len(chunk) >= CHUNK)
    for results in ordered(look, chunks, options.threads or available_cores()):
        yield from results


def _tag(
    path: Path,
    result: Result,
    orientation: int,
    into: str,
    names: Names | None,
    min_score: float,
    *,
    dry: bool,
) -> dict[str, Any]:
    from mien.core.errors import MienError, printable
    from mien.report import xmp, xmp_files

    row: dict[str, Any] = {
        "source": printable(path),
        "faces": 0,
        "added": 0,
        "named": 0,
        "kept": [],
        "output": None,
        "changed": False,
        "error": result.error.reason if result.error else None,
    }
    if result.error:
        return row
    faces = result.faces
    try:
        chosen = names.of(path, faces) if names else {}
        sure = [index for index in range(len(faces)) if faces.scores[index] >= min_score]
        renumbered = {place: chosen[index] for place, index in enumerate(sure) if index in chosen}
        regions = xmp.regions_of(faces[sure], orientation, renumbered)
        write = xmp_files.tag_jpeg if into == "file" else xmp_files.tag_sidecar
        tagged = write(path, regions, xmp.stored_size(faces, orientation), dry=dry)
    except MienError as error:
        return {**row, "error": str(error).removeprefix(f"{printable(path)}: ")}
    except OSError as error:
        return {**row, "error": error.strerror or str(error)}
    return {
        **row,
        "faces": len(regions),
        "added": tagged.merged.added,
        "named": tagged.merged.named,
        "kept": list(tagged.merged.kept),
        "output": printable(tagged.path),
        "changed": tagged.changed,
    }


def _in_words(row: dict[str, Any], *, dry: bool) -> str:
    if row["error"]:
        return f"{row['source']}: {row['error']}"
    faces = f"{row['faces']} face{'' if row['faces'] == 1 else 's'}"
    if not row["changed"]:
        return f"{row['source']}: {faces}, nothing to add"
    verb = "would go" if dry else "went"
    named = f", {row['named']} named" if row["named"] else ""
    kept = f", kept the name {', '.join(map(repr, row['kept']))}" if row["kept"] else ""
    return f"{row['source']}: {faces}, {row['added']} new{named}{kept} {verb} into {row['output']}"
