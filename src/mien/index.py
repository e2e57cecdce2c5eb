"""All systems with their level and evidence, read without importing any of them."""

from __future__ import annotations

import ast
import json
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mien.core import strict
from mien.core.errors import MienError
from mien.core.provenance import digest
from mien.core.system import Evidence, System

LEVELS = ("absent", "built", "trains", "shown", "serves")
"""What the levels 0 to 4 mean: see `level_of`."""


class BadRow(MienError):
    """A paper's file whose row cannot be read."""


@dataclass(frozen=True)
class Run:
    """A result file.

    Attributes:
        path: the file.
        evidence: what it says.
        stale: the system's file, or a network that it is built from, has changed since.
    """

    path: Path
    evidence: Evidence
    stale: bool


@dataclass(frozen=True)
class Entry:
    """A paper and what is here of it.

    Attributes:
        number: of the paper.
        id: of its system.
        room: where it belongs.
        title: the paper's.
        system: its row; None while it is absent.
        file: its file; None while it is absent.
        trains: its file has a recipe and the arms of a reproduction.
        runs: its result files.
        recipes: the names of its recipes.
        about: what its file says of itself, Markdown; its first sentence names the paper.
    """

    number: int
    id: str
    room: str
    title: str
    system: System | None = None
    file: Path | None = None
    trains: bool = False
    runs: tuple[Run, ...] = ()
    recipes: tuple[str, ...] = ()
    about: str = ""

    @property
    def commands(self) -> tuple[str, ...]:
        """The exact commands that make what is known of it."""
        if not self.trains:
            return ()
        ships = (
            (f"mien export {self.id} {self.id}.onnx", f"mien evaluate {self.id}")
            if "ship" in self.recipes
            else ()
        )
        return (
            f"mien reproduce {self.id}",
            *(f"mien train {self.id} --recipe {r}" for r in self.recipes),
            *ships,
        )

    @property
    def level(self) -> int:
        """0 absent, 1 built, 2 trains, 3 shown (fresh evidence for all claims), 4 serves (people use it)."""
        if self.system is None:
            return 0
        if not self.trains:
            return 1
        shown = {run.evidence.claim for run in self.runs if not run.stale}
        if any(claim.text not in shown for claim in self.system.claims):
            return 2
        return 4 if self.system.serves else 3

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `mien systems --json` prints them."""
        return {
            "number": self.number,
            "id": self.id,
            "room": self.room,
            "title": self.title,
            "level": self.level,
            "claims": [claim.text for claim in self.system.claims] if self.system else [],
            "evidence": [
                {
                    "file": run.path.name,
                    "claim": run.evidence.claim,
                    "holds": run.evidence.holds,
                    "stale": run.stale,
                }
                for run in self.runs
            ],
        }


def entries() -> list[Entry]:
    """Return every paper's entry, in the order of their numbers.

    Raises:
        BadRow: a paper's file has no readable row, or one that contradicts the table of papers.
        EvidenceError: a result file is damaged.
    """
    return sorted((_entry(id_, paper) for id_, paper in _papers().items()), key=lambda entry: entry.number)


def find(system: str) -> Entry:
    """Return a system's entry.

    Raises:
        KeyError: there is no such system.
    """
    return _entry(system, _papers()[system])


@cache
def _papers() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_package().joinpath("systems", "papers.toml").read_text("utf-8"))


def _package() -> Path:
    return Path(str(resources.files("mien")))


def results_folder() -> Path:
    """Return the folder of result files: inside the installed package, or at the root of a checkout."""
    inside = _package() / "results"
    return inside if inside.is_dir() else _package().parents[1] / "results"


def _entry(system: str, paper: dict[str, Any]) -> Entry:
    number, room, title = int(paper["number"]), str(paper["room"]), str(paper["title"])
    file = _package() / "systems" / room / f"{system.replace('-', '_')}.py"
    if not file.is_file():
        return Entry(number, system, room, title)
    source = file.read_bytes()
    row, names = read_row(source, str(file))
    tree = ast.parse(source)
    if (row.id, row.room) != (system, room):
        raise BadRow(f"{file}: its row says {row.id} in {row.room}, the table of papers {system} in {room}")
    code = digest(file, _package())
    runs = tuple(_run(path, code) for path in sorted((results_folder() / system).glob("*.json")))
    trains = {"RECIPES", "REPRODUCE"} <= names
    about = ast.get_docstring(tree) or ""
    return Entry(number, system, room, title, row, file, trains, runs, _recipes(tree), about)


def _run(path: Path, code: str) -> Run:
    evidence = Evidence.from_json(path.read_text("utf-8"), path.name)
    return Run(path, evidence, evidence.code != code)


def read_row(source: bytes, where: str) -> tuple[System, set[str]]:
    """Read `SYSTEM = System(...)` out of a file without running it, and the names that it defines at its top.

    Raises:
        BadRow: the file has no such row, or one that is not literal.
    """
    tree = ast.parse(source, where)
    values: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            values |= {
                target.id: statement.value for target in statement.targets if isinstance(target, ast.Name)
            }
        elif (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value
        ):
            values[statement.target.id] = statement.value
    if "SYSTEM" not in values:
        raise BadRow(f"{where}: has no row `SYSTEM = System(...)`")
    try:
        return strict.read(System, _literal(values["SYSTEM"]), f"{where}: SYSTEM"), set(values)
    except ValueError as error:
        raise BadRow(f"{where}: its row is not literal ({error})") from error
    except MienError as error:
        raise BadRow(str(error)) from error


def _recipes(tree: ast.Module) -> tuple[str, ...]:
    """Return the names in `RECIPES = MappingProxyType({"tiny": ...})`, or in the mapping alone."""
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "RECIPES" for target in targets):
            keys = next((node.keys for node in ast.walk(statement) if isinstance(node, ast.Dict)), [])
            return tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))
    return ()


def _literal(node: ast.expr) -> Any:
    """Turn `System(...)` and `Claim(...)` with keywords into mappings, and literals into themselves."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("System", "Claim"):
        if node.args:
            raise ValueError(f"{node.func.id} in line {node.lineno} takes keywords only")
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    return ast.literal_eval(node)


def table() -> str:
    """Return the Markdown table of all systems, as the README holds it between its markers."""
    lines = ["| # | system | room | level | evidence |", "|---|---|---|---|---|"]
    for entry in entries():
        said = "; ".join(
            f"{run.evidence.holds}{' (stale)' if run.stale else ''}: {run.evidence.claim}"
            for run in entry.runs
        )
        lines.append(
            f"| {entry.number} | {entry.id} | {entry.room} | {entry.level} {LEVELS[entry.level]} | {said} |"
        )
    return "\n".join(lines)


def to_json() -> str:
    """Return all entries as JSON: a list of objects with number, id, room, level, claims, evidence."""
    return json.dumps([entry.to_dict() for entry in entries()], indent=1, ensure_ascii=False)
