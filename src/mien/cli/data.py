"""`mien data`: list, check, convert and sort data sets, find landmarks in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import common
from mien.cli.landmarks import landmarks

if TYPE_CHECKING:
    from mien.data.check import Report
    from mien.data.registry import Set

app = typer.Typer(
    help="Data sets: list them with their terms, check one, make one from its official layout.",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(help="Name of a set.", show_default=False)]


@app.callback(invoke_without_command=True)
@common.guarded
def data(context: typer.Context, json: common.Json = False) -> None:
    """List every data set with its terms, its rows and whether it is here."""
    if context.invoked_subcommand is None:
        _list(json)


@app.command("list")
@common.guarded
def list_(json: common.Json = False) -> None:
    """List every data set with its terms, its rows and whether it is here."""
    _list(json)


def _list(json: bool) -> None:
    from mien.data import registry

    rows = [_row(row) for row in registry.table().values()]
    if json:
        common.out_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="data sets")
    for column in ("name", "labels", "pictures"):
        table.add_column(column, overflow="fold")
    table.add_column("here", no_wrap=True)
    table.add_column("MB", no_wrap=True, justify="right")
    table.add_column("terms", overflow="fold")
    for row in rows:
        splits = [split for split in row["splits"] if split["file"]]
        table.add_row(
            row["name"],
            row["task"],
            row["size"],
            "\n".join(_rows_here(split) for split in splits) or "-",
            "\n".join(f"{split['bytes'] / 1e6:.0f}" for split in splits),
            row["terms"],
        )
    Console().print(table)
    places = ", ".join(str(folder) for folder in registry.folders())
    common.out(f"{registry.DATA} = {places or '(not set: name the folders that hold the sets in it)'}")
    common.out("More of one: `mien data show NAME`. What it holds: `mien data check NAME`.")


def _rows_here(split: dict[str, Any]) -> str:
    return f"{split['name']} " + ("unreadable" if split["rows"] is None else f"{split['rows']:,}")


def _row(row: Set) -> dict[str, Any]:
    from mien.data import registry

    files = registry.here(row.name)
    official = {split.name: split.rows for split in row.splits}
    splits = [
        {
            "name": name,
            "official_rows": official.get(name, 0),
            "rows": _count(files[name]) if name in files else None,
            "bytes": files[name].stat().st_size if name in files else None,
            "file": str(files[name]) if name in files else None,
        }
        for name in dict.fromkeys([*official, *files])
    ]
    return {
        "name": row.name,
        "title": row.title,
        "task": row.task,
        "terms": row.terms,
        "commercial": row.commercial,
        "size": row.size,
        "here": bool(files),
        "splits": splits,
        "paper": row.paper,
        "source": row.source,
        "layout": row.layout,
        "defects": list(row.defects),
    }


def _count(file: Path) -> int | None:
    """Return how many rows a file has; None where it cannot be read."""
    from mien.core.errors import MissingExtra

    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "lab") from error
    try:
        return int(parquet.read_metadata(file).num_rows)
    except (OSError, ValueError):
        return None


@app.command("show")
@common.guarded
def show(name: Name) -> None:
    """Tell a set's paper, terms, columns, splits and known defects."""
    from mien.data import registry

    row = registry.known(name)
    common.out(f"{row.name}: {row.title}")
    common.out(f"paper: {row.paper}\nsource: {row.source}\nterms: {row.terms}")
    common.out(f"pictures: {row.size}")
    for split in row.splits:
        common.out(f"split {split.name}: {f'{split.rows:,} rows, ' if split.rows else ''}{split.about}")
    for column in row.columns:
        classes = f" = {', '.join(f'{i} {label}' for i, label in enumerate(column.classes))}"
        unit = f" [{column.unit}]" if column.unit else ""
        common.out(
            f"column {', '.join(column.all_names)}: {column.about}{unit}{classes if column.classes else ''}"
            + (f"; {column.unknown:g} where not known" if column.unknown is not None else "")
            + ("; not in every copy" if column.optional else "")
        )
    for overlap in row.overlaps:
        common.out(f"known to share pictures: {overlap.split} with {overlap.other}")
    for defect in row.defects:
        common.out(f"defect: {defect}")
    if row.layout:
        common.out(f"`mien data convert {name} PATH` takes: {row.layout}")


@app.command("check")
@common.guarded
def check(name: Name, json: common.Json = False) -> None:
    """Look through a set: rows, classes, unreadable pictures, pictures that occur twice."""
    import dataclasses

    from mien.data import check as checking

    with common.progress() as bar:
        tasks: dict[str, Any] = {}

        def progress(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bar.add_task(split, total=total)
            bar.update(tasks[split], completed=done)

        report = checking.check(name, progress)
    if json:
        found = dataclasses.asdict(report)
        for split in found["splits"].values():
            split["file"] = str(split["file"])
        common.out_json({**found, "sound": report.sound})
    else:
        _print(report)
    raise typer.Exit(common.OK if report.sound else common.SOME_FAILED)


def _print(report: Report) -> None:
    for name, split in report.splits.items():
        official = f" of {split.official:,} official ones" if split.official else ""
        sizes = list(split.sizes.items())
        common.out(f"{report.name}/{name}: {split.rows:,} rows{official} ({split.file})")
        common.out(f"  sizes: {_some([f'{size} px {count:,}' for size, count in sizes])}")
        for column, labels in split.labels.items():
            common.out(f"  {column}: {', '.join(f'{label} {count:,}' for label, count in labels.items())}")
        for column in split.missing:
            common.out(f"  the column {column!r} is missing")
        for strange in split.strange:
            common.out(f"  {strange}")
        if split.unreadable:
            named = _some([f"{row}: {reason}" for row, reason in split.unreadable])
            common.out(f"  {len(split.unreadable)} pictures cannot be read: {named}")
    for found in report.duplicates:
        where = (
            f"repeat pictures of {found.split} itself"
            if found.split == found.other
            else f"are also in {found.other}{' (known)' if found.known else ''}"
        )
        examples = ", ".join(f"{a} = {b}" for a, b in found.examples)
        common.out(f"{found.rows:,} rows of {found.split} {where}: {examples} ...")
    common.out("sound" if report.sound else "not sound")


def _some(items: list[str], most: int = 5) -> str:
    more = f", and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


@app.command("convert")
@common.guarded
def convert(
    name: Name,
    path: Annotated[Path, typer.Argument(help="The official layout, unpacked.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of sets; the first one of MIEN_DATA by default."),
    ] = None,
    json: common.Json = False,
) -> None:
    """Make a set from the layout that its authors publish (`mien data show NAME` says which)."""
    from mien.data import registry
    from mien.data.convert.write import convert as write

    folder = output or next(iter(registry.folders()), None)
    if folder is None:
        common.fail(f"say into which folder with -o, or name it in {registry.DATA}")
    with common.progress() as bar:
        task = bar.add_task(name, total=None)
        made = write(name, path, folder, lambda done, total: bar.update(task, completed=done, total=total))
    if json:
        common.out_json(
            {
                "name": name,
                "files": {split: str(file) for split, file in made.files.items()},
                "rows": made.rows,
                "bad": [{"where": bad.where, "reason": bad.reason} for bad in made.bad],
            }
        )
    else:
        for split, file in made.files.items():
            common.out(f"{split}: {made.rows[split]:,} rows in {file}")
    if made.bad:
        named = _some([f"{bad.where}: {bad.reason}" for bad in made.bad], most=20)
        common.say(f"left out {len(made.bad)} rows: {named}")
    if folder not in registry.folders():
        common.say(f"to use it: {registry.DATA}={folder}")
    raise typer.Exit(common.SOME_FAILED if made.bad else common.OK)


@app.command("sort")
@common.guarded
def sort(
    paths: Annotated[
        list[Path], typer.Argument(help="Parquet files of a set, or folders of them.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the shards; must not be there.")],
    by: Annotated[str, typer.Option("--by", help="The column that says who a picture shows.")] = "identity",
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Leave out pictures that occur in this SET/SPLIT; may be repeated."),
    ] = None,
    json: common.Json = False,
) -> None:
    """Sort a set that does not fit in memory into shards by person, to be learned from in batches."""
    from mien.core.errors import MissingExtra, printable

    try:
        from mien.data.reader import load
        from mien.data.sort import sort as write
    except ImportError as error:
        raise MissingExtra(error.name or "pyarrow", "lab") from error
    files = [
        file for path in paths for file in (sorted(path.glob("[!.]*.parquet")) if path.is_dir() else [path])
    ]
    if not files:
        common.fail(f"no .parquet file in {', '.join(map(printable, paths))}")
    hashes: set[bytes] = set()
    for name in without or ():
        dataset, _, split = name.partition("/")
        # Hashes are of the pictures as stored, whatever the size.
        hashes |= set(load(dataset, split, size=8).hashes.tolist())
    with common.progress(quiet=json) as bar:
        task = bar.add_task("rows", total=None)
        made = write(
            files,
            output,
            by,
            without=hashes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    shards = made.shards
    if json:
        common.out_json(
            {
                "folder": str(shards.folder),
                "files": list(shards.files),
                "rows": shards.rows,
                "people": shards.people,
                "unreadable": made.unreadable,
                "shared": made.shared,
            }
        )
    else:
        common.out(
            f"{printable(shards.folder)}: {shards.rows:,} pictures of {shards.people:,} people in"
            f" {len(shards.files):,} files"
        )
    if made.shared:
        common.say(f"left out {made.shared:,} pictures that occur in {', '.join(without or ())}")
    if made.unreadable:
        named = [f"{bad.where}: {bad.reason}" for bad in made.examples]
        common.say(f"left out {made.unreadable:,} pictures that cannot be read, such as {_some(named)}")
    raise typer.Exit(common.SOME_FAILED if made.unreadable else common.OK)


app.command("landmarks")(landmarks)
