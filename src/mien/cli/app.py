"""The `mien` command: registers every sub-command."""

from __future__ import annotations

from typing import Annotated

import typer

import mien
from mien.cli import data, gallery, models, systems
from mien.cli.analyze import analyze
from mien.cli.blur import blur
from mien.cli.calibrate import calibrate
from mien.cli.doctor import doctor
from mien.cli.explain import explain
from mien.cli.lab import evaluate, export, reproduce, train
from mien.cli.tag import tag
from mien.cli.verify import verify
from mien.cli.video import video

app = typer.Typer(
    name="mien",
    help="What a face tells, and what can be trusted of it: find, describe and compare faces, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("analyze")(analyze)
app.command("video")(video)
app.command("blur")(blur)
app.command("tag")(tag)
app.command("verify")(verify)
app.command("calibrate")(calibrate)
app.command("doctor")(doctor)
app.add_typer(gallery.app, name="gallery")
app.add_typer(models.app, name="models")
app.add_typer(systems.app, name="systems")
app.add_typer(data.app, name="data")
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("reproduce")(reproduce)
app.command("export")(export)
app.command("explain")(explain)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(mien.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Find, describe and compare faces, offline."""


def main() -> None:
    """Run the command line."""
    app()
