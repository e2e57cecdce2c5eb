"""`mien doctor`: what is installed, which models are intact, how fast this machine is, what is missing."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from mien.cli import common

if TYPE_CHECKING:
    from rich.table import Table

# What each extra is for, to people who use mien; those that only its developers need are left out.
_EXTRAS = {
    "tables": "Parquet tables and data frames",
    "video": "videos and cameras",
    "heic": "HEIC pictures",
    "scale": "many machines with Ray",
}
# Timings take their median over this many calls.
_CALLS = 5


@dataclass
class _Findings:
    """What the doctor found.

    Attributes:
        packages: what mien needs or can use, the extra that brings it ("" for always), its version (""
            when absent).
        models: name, state and what each makes; those that are absent only where they are used by default.
        speed: what was timed, in milliseconds.
        needed: commands without which mien cannot do its main job, each with its reason.
        useful: commands that add something, each with its reason.
    """

    packages: list[tuple[str, str, str]] = field(default_factory=list)
    models: list[tuple[str, str, str]] = field(default_factory=list)
    speed: list[tuple[str, float]] = field(default_factory=list)
    needed: list[tuple[str, str]] = field(default_factory=list)
    useful: list[tuple[str, str]] = field(default_factory=list)


@common.guarded
def doctor(json: common.Json = False) -> None:
    """Say what works on this machine, how fast, and the command that adds what is missing.

    The exit code is 1 when models or packages are missing or damaged without which mien cannot do
    its main job.
    """
    findings = _examine()
    if json:
        common.out_json(_plain(findings))
    else:
        _show(findings)
    raise typer.Exit(common.SOME_FAILED if findings.needed else common.OK)


def _examine() -> _Findings:
    from mien.core.errors import MienError
    from mien.runtime import assets

    findings = _Findings()
    for package, extra in _requirements():
        findings.packages.append((package, extra, _version(package)))
    lacking = [name for name, extra, version in findings.packages if not extra and not version]
    if lacking:
        findings.needed.append((f"pip install {' '.join(lacking)}", "mien needs them always"))
    for extra, about in _EXTRAS.items():
        if any(of == extra and not version for _, of, version in findings.packages):
            findings.useful.append((f"pip install 'mien[{extra}]'", about))
    rows = assets.table()
    here = {entry.card.name: entry.card for entry in assets.installed()}
    defaults = {name: asset.card for name, asset in rows.items() if asset.default}
    for name, card in {**defaults, **here}.items():
        findings.models.append((name, assets.state(name), ", ".join(card.fields)))
    for state, about, advice in (
        ("absent", "models used by default", findings.needed),
        ("damaged", "damaged models", findings.needed),
        ("stale", "models that an older mien converted", findings.useful),
    ):
        names = [name for name, found, _ in findings.models if found == state]
        inside = [name for name in names if name in rows and assets.command_for(name).startswith("pip")]
        if inside:
            advice.append((assets.command_for(inside[0]), f"{about} that are a part of mien"))
            names = [name for name in names if name not in inside]
        known = [name for name in names if name in rows and rows[name].sources]
        if known:
            advice.append((f"mien models get {' '.join(known)}", about))
        advice += [
            (f"mien models add FILE --card {name}", f"{about}; only you can bring its file")
            for name in names
            if name not in known
        ]
    if not findings.needed:
        try:
            findings.speed = _speed()
        except MienError as error:
            findings.needed.append(("mien models get --all", str(error)))
    return findings


def _requirements() -> list[tuple[str, str]]:
    """Return the packages of mien's own metadata, each with the extra that brings it."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("mien") or []:
        package = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)""", line)
        name = extra.group(1) if extra else ""
        if package and package.group() != "mien" and (not name or name in _EXTRAS):
            found.setdefault(package.group(), []).append(name)
    # Of several extras that bring a package the one that comes first in our table is named, none before all.
    order = ["", *_EXTRAS]
    chosen = [(package, min(extras, key=order.index)) for package, extras in found.items()]
    return sorted(chosen, key=lambda pair: order.index(pair[1]))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _plain(findings: _Findings) -> dict[str, Any]:
    from mien.runtime import assets
    from mien.runtime.stream import available_cores

    return {
        "mien": _version("mien"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": available_cores(),
        "packages": {name: version or None for name, _, version in findings.packages},
        "models_folder": str(assets.folder()),
        "models": {name: state for name, state, _ in findings.models},
        "speed_ms": {name: round(milliseconds, 2) for name, milliseconds in findings.speed},
        "needed": [{"command": command, "why": why} for command, why in findings.needed],
        "useful": [{"command": command, "why": why} for command, why in findings.useful],
    }


def _show(findings: _Findings) -> None:
    from rich.console import Console
    from rich.table import Table

    from mien.runtime.stream import available_cores

    cores = available_cores()
    table = Table(
        title=f"mien {_version('mien')}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {cores} core{'' if cores == 1 else 's'}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("", overflow="fold")
    table.add_column("state", justify="right", overflow="fold")
    table.add_column("what for", overflow="fold")
    _fill(table, findings)
    # Rich takes 80 columns where there is no terminal; cells wrap then rather than lose their end.
    console = Console()
    console.print(table)
    for title, advice in (("Missing:", findings.needed), ("You can add:", findings.useful)):
        if advice:
            common.out(title)
        for command, why in advice:
            common.out(f"  {command}   ({why})")
    if not findings.needed:
        common.out("Nothing that mien needs is missing.")


def _fill(table: Table, findings: _Findings) -> None:
    colours = {"ready": "green", "shipped": "green", "absent": "red", "damaged": "red", "stale": "yellow"}
    for name, extra, version in findings.packages:
        about = f"{_EXTRAS[extra]}: mien\\[{extra}]" if extra else "always"
        shown = version or ("[yellow]absent[/]" if extra else "[red]absent[/]")
        table.add_row(name, shown, about)
    table.add_section()
    for name, state, makes in findings.models:
        table.add_row(name, f"[{colours.get(state, 'white')}]{state}[/]", makes.replace("_", " "))
    if findings.speed:
        table.add_section()
    for name, milliseconds in findings.speed:
        rate = f"{1000 / milliseconds:,.0f} a second" if milliseconds > 0 else ""
        table.add_row(name, f"{milliseconds:,.1f} ms", f"on one thread, {rate}")


def _speed() -> list[tuple[str, float]]:
    """Time each default model, and all together, on one thread: a 640 x 480 picture and one face."""
    import numpy as np

    from mien.runtime.pipeline import Options, Pipeline

    pipeline = Pipeline(Options(threads=1))
    rows = []
    faces = 0.0
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    for model in pipeline.models():
        crop, given = model.card.crop, model.card.input
        wide, high = (crop.width, crop.height) if crop else (given.width or 640, given.height or 480)
        value: Any = np.zeros((1, 1 if given.grey else 3, high, wide), np.float32)
        milliseconds = _median(functools.partial(model.run, value))
        faces += milliseconds if crop else 0.0
        rows.append((f"{model.card.name}, one {'face' if crop else 'picture'}", milliseconds))
    alone = _median(lambda: pipeline.analyze(picture))
    rows.append(("640 x 480 picture, no face", alone))
    rows.append(("640 x 480 picture, one face, about", alone + faces))
    return rows


def _median(call: Callable[[], Any]) -> float:
    call()
    times = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[_CALLS // 2]
