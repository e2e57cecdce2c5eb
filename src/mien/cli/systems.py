"""`mien systems`: every paper, how far it is built, and what its runs showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.index import Entry

app = typer.Typer(
    help="The papers: how far each is built, and what its runs showed.", invoke_without_command=True
)


@app.callback(invoke_without_command=True)
@common.guarded
def systems(
    context: typer.Context,
    room: Annotated[str | None, typer.Option("--room", help="Only this room, such as expression.")] = None,
    level: Annotated[
        int, typer.Option("--level", help="Only this level and above, 0 to 4.", min=0, max=4)
    ] = 0,
    json: common.Json = False,
) -> None:
    """List all systems with their level and evidence, absent ones included."""
    if context.invoked_subcommand is not None:
        return
    from mien import index

    every = index.entries()
    rooms = sorted({entry.room for entry in every})
    if room is not None and room not in rooms:
        common.fail(f"--room {room!r}: there is none; rooms: {', '.join(rooms)}")
    chosen = [entry for entry in every if entry.level >= level and room in (None, entry.room)]
    if json:
        common.out_json([entry.to_dict() for entry in chosen])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(chosen)} of {len(every)} systems")
    for column in ("#", "system", "room", "level", "evidence"):
        table.add_column(column, overflow="fold")
    for entry in chosen:
        table.add_row(
            str(entry.number),
            entry.id,
            entry.room,
            f"{entry.level} {index.LEVELS[entry.level]}",
            _said(entry),
        )
    Console().print(table)


def _said(entry: Entry) -> str:
    return ", ".join(run.evidence.holds + (" (stale)" if run.stale else "") for run in entry.runs)


@app.command("show")
@common.guarded
def show(name: Annotated[str, typer.Argument(help="Id of a system.", show_default=False)]) -> None:
    """Tell a system's paper, claims, recipes and runs, and the exact commands that make them."""
    from mien import index

    try:
        entry = index.find(name)
    except KeyError:
        common.fail(f"no system {name!r}; `mien systems` lists them")
    common.out(f"{entry.number}. {entry.title}")
    common.out(f"{entry.id} in {entry.room}: level {entry.level}, {index.LEVELS[entry.level]}")
    if entry.system is None:
        return
    common.out(entry.about.partition("\n")[0])
    for claim in entry.system.claims:
        paper = "" if claim.paper_value is None else f" [the paper: {claim.paper_value:g}, {claim.where}]"
        common.out(f"claim: {claim.text}{paper}\n  shown by: {claim.protocol}")
        for run in entry.runs:
            if run.evidence.claim == claim.text:
                arms = "; ".join(f"{a.name} {a.mean:.4f} +- {a.deviation:.4f}" for a in run.evidence.arms)
                stale = ", stale: the system's file has changed since" if run.stale else ""
                low, high = run.evidence.interval
                common.out(f"  {run.evidence.holds} ({run.path.name}{stale}): {arms}")
                common.out(f"    difference {run.evidence.difference:+.4f}, 95 % {low:+.4f} to {high:+.4f}")
                if run.evidence.note:
                    common.out(f"    note: {run.evidence.note}")
    if entry.recipes:
        common.out(f"recipes: {', '.join(entry.recipes)}")
    if entry.system.serves:
        common.out(f"used by: {entry.system.serves}")
    for command in entry.commands:
        common.out(f"  {command}")
