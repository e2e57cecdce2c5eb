"""`mien train`, `evaluate`, `reproduce` and `export`: the lab's commands, one run, one claim, one model."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import common, protocols

if TYPE_CHECKING:
    from mien.evaluate.figures import Figures
    from mien.evaluate.reproduce import Paper
    from mien.index import Entry
    from mien.train.lab import Lab
    from mien.train.run import Trained

Id = Annotated[str, typer.Argument(help="Id of a system; `mien systems` lists them.", show_default=False)]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="Which of its recipes.")]
Seed = Annotated[int, typer.Option("--seed", help="Of everything random.", min=0)]
Changes = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="Change a setting: key=value; may be repeated.")
]


@common.guarded
def train(
    system: Id,
    recipe: Recipe = "cpu",
    seed: Seed = 0,
    option: Changes = None,
    processes: Annotated[int, typer.Option("--processes", help="How many train together.", min=1)] = 1,
    json: common.Json = False,
) -> None:
    """Train a system, or go on with a run that was stopped. Runs are kept in `runs` or in MIEN_RUNS."""
    entry, paper = paper_of(system)
    trained = _trained(entry, paper, recipe, seed, option, processes=processes, progress=not json)
    facts = {"folder": str(trained.folder), "seconds": trained.seconds, "valid": trained.score}
    if json:
        common.out_json(facts)
        return
    common.out(f"{trained.folder}: {trained.score:.4f} on the validation rows, {trained.seconds:.0f} s")


@common.guarded
def reproduce(
    system: Id,
    folder: Annotated[Path, typer.Option("--results", help="Folder of result files.")] = Path("results"),
    workers: Annotated[int, typer.Option("--workers", help="Runs side by side; 0: one a core.", min=0)] = 0,
    json: common.Json = False,
) -> None:
    """Show a system's claims: every arm, every seed, a verdict. A second call goes on where it was."""
    from mien.core.system import Evidence
    from mien.evaluate import reproduce as engine

    entry, _ = paper_of(system)
    with common.progress(quiet=json) as bar:
        task = bar.add_task("runs", total=None)
        written = engine.reproduce(
            entry.room,
            entry.id,
            folder,
            workers=workers,
            progress=lambda done, total, what: bar.update(
                task, completed=done, total=total, description=what
            ),
        )
    found = [(path, Evidence.from_json(path.read_text("utf-8"), path.name)) for path in written]
    if json:
        common.out_json([{"file": str(path), "holds": one.holds, "claim": one.claim} for path, one in found])
        return
    for path, one in found:
        arms = "; ".join(f"{arm.name} {arm.mean:.4f} +- {arm.deviation:.4f}" for arm in one.arms)
        common.out(f"{one.holds}: {one.claim}\n  {one.metric} on {one.data[0].split}: {arms}\n  {path}")


@common.guarded
def evaluate(
    system: Annotated[
        str, typer.Argument(help="Id of a system; none with --protocol.", show_default=False)
    ] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", help="The .onnx file to judge; the one that ships, if not given.")
    ] = "",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="Judge any recogniser with a card by this protocol instead, on its set in MIEN_DATA.",
            metavar="lfw|masked-lfw|cross-pose|identification|demographics",
        ),
    ] = "",
    plot: Annotated[
        Path | None, typer.Option("--plot", help="With --protocol: draw its curve into this .svg file.")
    ] = None,
    threads: common.Threads = 0,
    mirror: common.Mirror = False,
    run: Annotated[
        bool, typer.Option("--run", help="Judge a trained run instead; trains what is missing.")
    ] = False,
    recipe: Recipe = "",
    seed: Seed = 0,
    option: Changes = None,
    json: common.Json = False,
) -> None:
    """Judge a system on its test rows, its model alone or a trained run; or any recogniser by a protocol."""
    if protocol:
        if system or run:
            common.fail("--protocol judges a model: give it by --model, and no system")
        protocols.evaluate(protocol, model, plot, threads, mirror=mirror, json=json)
        return
    if not system:
        common.fail("name a system, or a --protocol")
    if plot or threads or mirror:
        common.fail("--plot, --threads and --mirror go with --protocol")
    from mien.evaluate import figures

    entry, paper = paper_of(system)
    recipe = recipe or ("ship" if "ship" in paper.recipes else "cpu")
    if run:
        made = figures.of_run(_trained(entry, paper, recipe, seed, option, progress=not json).lab)
    else:
        lab = paper.make(paper.settings(recipe, option or ()), seed)
        if not (model or lab.ships):
            common.fail(
                f"{entry.id} ships no model: name one with --model, or judge a trained run with --run"
            )
        made = _of_model(lab, model or lab.ships)
    if json:
        common.out_json([one.to_dict() for one in made])
        return
    for line in figures.text(made):
        common.out(line)


def _of_model(lab: Lab[Any], name: str) -> tuple[Figures, ...]:
    from mien.evaluate import figures
    from mien.runtime.model import Model

    model = Model.load(name)
    return figures.of_model(lab, model.card, model.run)


@common.guarded
def export(
    system: Id,
    output: Annotated[Path, typer.Argument(help="The .onnx file to write.", show_default=False)],
    recipe: Recipe = "ship",
    seed: Seed = 0,
    option: Changes = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Write a variant of 8 bits, too, and both models' figures.")
    ] = False,
) -> None:
    """Write a trained system as an ONNX file with its card; `mien models add` takes it."""
    from mien.train.export import export as write

    entry, paper = paper_of(system)
    trained = _trained(entry, paper, recipe, seed, option)
    try:
        difference = write(trained.lab, output)
    except NotImplementedError as error:
        common.fail(f"{entry.id}: {error}")
    common.say(f"{output}: largest difference to the network {difference:.2g}")
    if int8:
        _quantised(trained.lab, output)


def _quantised(lab: Lab[Any], path: Path) -> None:
    """Write the int8 variant beside a model, and what it loses on the test rows beside that."""
    from mien.core.atomic import writing
    from mien.train.quantise import quantise

    small = path.with_suffix(".int8.onnx")
    quantise(path, small, lab.train_rows())
    made = {file: _of_model(lab, str(file)) for file in (path, small)}
    with writing(path.with_suffix(".int8.json"), text=True) as report:
        told = {
            file.name: {"bytes": file.stat().st_size, "figures": [one.to_dict() for one in all_]}
            for file, all_ in made.items()
        }
        report.write(dumps(told, indent=1, ensure_ascii=False) + "\n")
    for whole, less in zip(*made.values(), strict=True):
        changes = ", ".join(
            f"{name} {value:.4f} -> {less.figures[name]:.4f}" for name, value in whole.figures.items()
        )
        common.say(f"{small}: {whole.field} on {whole.used.name}/{whole.used.split}: {changes}")
    common.say(f"{path.stat().st_size} -> {small.stat().st_size} bytes")


def paper_of(system: str, what: str = "trained") -> tuple[Entry, Paper]:
    """Return a system's entry and its file, imported; ends the command where it is not built so far."""
    from mien import index
    from mien.core.errors import MissingExtra

    try:
        entry = index.find(system)
    except KeyError:
        common.fail(f"no system {system!r}; `mien systems` lists them")
    if not entry.trains:
        common.fail(f"{entry.id} is {index.LEVELS[entry.level]}: nothing of it can be {what} yet")
    try:
        from mien.evaluate.reproduce import paper
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "lab") from error
    return entry, paper(entry.room, entry.id)


def _trained(
    entry: Entry,
    paper: Paper,
    recipe: str,
    seed: int,
    changes: list[str] | None,
    *,
    processes: int = 1,
    progress: bool = True,
) -> Trained:
    from mien.train.run import train as run

    settings = paper.settings(recipe, changes or ())
    return run(entry.id, lambda: paper.make(settings, seed), processes=processes, progress=progress)
