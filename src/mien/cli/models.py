"""`mien models`: list, compare, get, check, pack, add and remove models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.core.card import Card
    from mien.runtime.recognisers import Recogniser

app = typer.Typer(
    help="Models: list, compare, get, check, bundle, add and remove them.", invoke_without_command=True
)

Names = Annotated[list[str] | None, typer.Argument(help="Names of models.", show_default=False)]


@app.callback(invoke_without_command=True)
@common.guarded
def models(context: typer.Context, terms: common.Terms = "any", json: common.Json = False) -> None:
    """List every model with what it makes, its terms and whether it is here."""
    if context.invoked_subcommand is None:
        _list(terms, json)


@app.command("list")
@common.guarded
def list_(terms: common.Terms = "any", json: common.Json = False) -> None:
    """List every model with what it makes, its terms and whether it is here."""
    _list(terms, json)


def _list(terms: str, json: bool) -> None:
    from mien.runtime import assets

    rows = assets.table()
    known = {name: (asset.card, asset) for name, asset in rows.items()}
    added = {entry.card.name: entry.card for entry in assets.installed() if entry.card.name not in rows}
    cards: list[tuple[Card, str, bool]] = [
        (card, _state(name, bool(a.sources)), a.default) for name, (card, a) in known.items()
    ]
    cards += [(card, assets.state(name), False) for name, card in added.items()]
    if terms == "permissive":
        cards = [row for row in cards if row[0].licence.commercial]
    if json:
        common.out_json(
            [
                {
                    "name": card.name,
                    "version": card.version,
                    "makes": list(card.fields),
                    "state": state,
                    "default": default,
                    "licence": card.licence.weights,
                    "commercial": card.licence.commercial,
                    "note": card.licence.note,
                    "training_data": card.training_data,
                    "run_here": card.run_here,
                }
                for card, state, default in cards
            ]
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"models in {assets.folder()}")
    for column in ("name", "makes", "state", "terms of the weights"):
        table.add_column(column, overflow="fold")
    for card, state, default in cards:
        name = f"{card.name}{' *' if default else ''}{'' if card.run_here else ' (not run here)'}"
        permission = "" if card.licence.commercial else " - no commercial use"
        table.add_row(name, ", ".join(card.fields), state, card.licence.weights + permission)
    Console().print(table)
    common.out("* used by default. Shipped: a part of mien. Terms of training data: `mien models show NAME`.")


def _state(name: str, has_sources: bool) -> str:
    from mien.runtime import assets

    state = assets.state(name)
    return "bring the file" if state == "absent" and not has_sources else state


@app.command("compare")
@common.guarded
def compare(terms: common.Terms = "any", json: common.Json = False) -> None:
    """Compare recognisers: accuracy on LFW, time, size, FRUITS class and terms, as far as measured."""
    from mien.runtime import recognisers

    rows = recognisers.compare(terms)
    if json:
        common.out_json([_compared(row) for row in rows])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title="recognisers", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    for column in ("LFW, %", "ms", "whole ms", "MB", "FRUITS"):
        table.add_column(column, no_wrap=True, justify="right")
    table.add_column("terms of the weights", overflow="fold")
    for row in rows:
        told, time = row.figures, row.figures.time
        table.add_row(
            f"{row.card.name}{' *' if row.default else ''}",
            "not measured"
            if told.lfw is None
            else f"{100 * told.lfw:.2f} ± {100 * (told.lfw_error or 0):.2f}",
            *((f"{time.network_ms:.1f}", f"{time.whole_ms:.1f}") if time else ("-", "-")),
            "-" if row.megabytes is None else f"{row.megabytes:.1f}",
            (f"{time.class_ms} ms" if time.class_ms else "none") if time else "-",
            row.card.licence.weights + ("" if row.card.licence.commercial else " - no commercial use"),
        )
    Console().print(table)
    common.out("* used by default. - not measured. ms: of the network alone, a face. whole: from a JPEG of")
    common.out(
        "640 x 480 to the embedding, on one thread. FRUITS: the limit of 100, 500, 1000 ms it keeps to."
    )
    for where in sorted({row.figures.time.measured for row in rows if row.figures.time}):
        common.out(f"Times: {where}")
    common.out("Measure one on LFW: `mien evaluate --model NAME --protocol lfw`.")


def _compared(row: Recogniser) -> dict[str, Any]:
    from mien.runtime.recognisers import CLASSES_MS

    told, time = row.figures, row.figures.time
    return {
        "name": row.card.name,
        "version": row.card.version,
        "state": row.state,
        "default": row.default,
        "lfw": None if told.lfw is None else {"accuracy": told.lfw, "standard_error": told.lfw_error},
        "network_ms": time.network_ms if time else None,
        "whole_ms": time.whole_ms if time else None,
        "fruits": {str(limit): bool(time.class_ms and time.class_ms <= limit) for limit in CLASSES_MS}
        if time
        else None,
        "times_measured": time.measured if time else None,
        "megabytes": row.megabytes,
        "licence": row.card.licence.weights,
        "commercial": row.card.licence.commercial,
    }


@app.command("show")
@common.guarded
def show(name: Annotated[str, typer.Argument(help="Name of a model.")]) -> None:
    """Print a model's card."""
    from mien.runtime import assets

    rows = assets.table()
    here = {entry.card.name: entry.card for entry in assets.installed()}
    card = rows[name].card if name in rows else here.get(name)
    if card is None:
        common.fail(f"no model named {name!r}; `mien models` lists them")
    common.out(card.to_json())


@app.command("get")
@common.guarded
def get(
    names: Names = None,
    every: Annotated[bool, typer.Option("--all", help="All that mien uses by default.")] = False,
    bundle: Annotated[Path | None, typer.Option("--from-bundle", help="Install from this bundle.")] = None,
    terms: common.Terms = "any",
) -> None:
    """Bring models to this machine."""
    from mien.runtime import assets

    if bundle is not None:
        common.say(f"installed {', '.join(assets.from_bundle(bundle))}")
        return
    if not names and not every:
        common.fail("name the models, or say --all")
    chosen = [*(names or ()), *(name for name in _defaults(terms) if every)]
    with common.progress() as bar:
        task = bar.add_task("models", total=len(chosen))
        for name in dict.fromkeys(chosen):
            bar.update(task, description=name)
            assets.get(name, terms=terms)
            bar.advance(task)
    common.say(f"ready: {', '.join(dict.fromkeys(chosen))}")


def _defaults(terms: str) -> list[str]:
    from mien.runtime import assets

    return [
        name
        for name, asset in assets.table().items()
        if asset.default and (terms != "permissive" or asset.card.licence.commercial)
    ]


@app.command("verify")
@common.guarded
def verify(names: Names = None) -> None:
    """Check the bytes of models against those that were installed."""
    from mien.core.errors import DamagedModel
    from mien.runtime import assets

    bad = 0
    for name in names or [entry.card.name for entry in assets.installed()]:
        try:
            assets.verify(name)
            common.out(f"{name}: intact")
        except DamagedModel as error:
            bad += 1
            common.out(f"{name}: {error}")
    raise typer.Exit(common.SOME_FAILED if bad else common.OK)


@app.command("path")
@common.guarded
def path(name: Annotated[str, typer.Argument(help="Name of a model.")]) -> None:
    """Print where a model's file is."""
    from mien.runtime import assets

    common.out(str(assets.model_path(name)))


@app.command("bundle")
@common.guarded
def bundle(
    target: Annotated[Path, typer.Argument(help="The .tar file to write.", show_default=False)],
    names: Names = None,
) -> None:
    """Pack models into one file, for machines without a network."""
    from mien.runtime import assets

    common.say(f"{target}: {', '.join(assets.bundle(target, names or ()))}")


@app.command("add")
@common.guarded
def add(
    file: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)],
    card: Annotated[
        str, typer.Option("--card", help="A card's .json file, or the name of one that mien has.")
    ],
) -> None:
    """Make a model of yours usable."""
    from mien.core.card import Card
    from mien.core.errors import CardError
    from mien.runtime import assets

    rows = assets.table()
    if card in rows:
        chosen = rows[card].card
    else:
        try:
            chosen = Card.from_json(Path(card).read_bytes(), card)
        except OSError as error:
            raise CardError(card, f"neither a card that mien has nor a file ({error.strerror})") from error
    common.say(f"added {chosen.name}: {assets.add(file, chosen)}")


@app.command("remove")
@common.guarded
def remove(names: Annotated[list[str], typer.Argument(help="Names of models.", show_default=False)]) -> None:
    """Delete models from this machine."""
    from mien.runtime import assets

    for name in names:
        assets.remove(name)
        common.say(f"removed {name}")
