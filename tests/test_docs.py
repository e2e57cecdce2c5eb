"""What README, CONTRIBUTING and the pages of docs/ show is what the program does."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import films
import mien
from mien import index
from mien.cli.app import app
from mien.core.card import Card, Detector
from mien.core.fields import FIELDS
from mien.core.provenance import digest
from mien.core.system import Arm, DataUsed, Evidence
from mien.runtime import assets

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app)


def _blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^( *)```{language}\n(.*?)^\1```$"
    found = re.findall(pattern, page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def _lines(page: Path, program: str) -> list[str]:
    lines = [line for block in _blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(rf"(?:[A-Z_]+=\S+ )*{program} ", line)]


def _commands(page: Path) -> Iterator[list[str]]:
    for line in _lines(page, "mien"):
        words = shlex.split(line, comments=True)
        yield words[words.index("mien") + 1 :]


def _names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def _with_python() -> list[Path]:
    return [page for page in PAGES if _blocks(page, "python") and page.name != "CONTRIBUTING.md"]


@pytest.fixture(scope="session")
def furnished(
    tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8], demo_photos: Path
) -> Path:
    """Return a folder with what the pages' commands name (photos, people, a video), and models beside it."""
    top = tmp_path_factory.mktemp("docs")
    shutil.copytree(assets.folder(), top / "models")
    folder = top / "work"
    for name in ("photos", "people/grace", "people/barack"):
        (folder / name).mkdir(parents=True)
    for name in ("grace_hopper", "obama", "obama2"):
        _small(demo_photos / f"{name}.jpg", folder / "photos" / f"{name}.jpg", 480)
    for person, photo in (("grace", "grace_hopper"), ("barack", "obama")):
        for width in (200, 240, 280):
            target = folder / "people" / person / f"{width}.jpg"
            _small(folder / "photos" / f"{photo}.jpg", target, width)
    for name, photo in (("a", "obama"), ("b", "obama2"), ("photo", "grace_hopper")):
        shutil.copy(folder / "photos" / f"{photo}.jpg", folder / f"{name}.jpg")
    grey = np.full((240, 320, 3), 90, np.uint8)
    frames = [films.pasted(grey, astronaut, 20 + 12 * step, 10, 220) for step in range(4)]
    films.film(folder / "clip.mp4", frames, sound=True)
    return top


def _small(photo: Path, target: Path, width: int) -> None:
    picture = Image.open(photo)
    picture.thumbnail((width, 480))
    picture.save(target)


@pytest.fixture
def workplace(tmp_path: Path, furnished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a fresh copy of that folder, and work in it."""
    shutil.copytree(furnished / "work", tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("MIEN_MODELS", str(furnished / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", _names(PAGES))
def test_every_command_is_one_that_the_program_has(name: str) -> None:
    for arguments in _commands(ROOT / name):
        command, context = COMMANDS, click.Context(COMMANDS, info_name="mien")
        rest = list(arguments)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(context, rest.pop(0))
            assert found is not None, f"{name}: mien {shlex.join(arguments)}"
            command = found
        command.make_context("mien", rest, parent=context)


def test_every_command_of_the_readme_works(workplace: Path) -> None:
    for arguments in _commands(ROOT / "README.md"):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"mien {shlex.join(arguments)}\n{done.output}\n{done.exception!r}"


@pytest.mark.parametrize("name", _names(_with_python()))
def test_python_runs(name: str, workplace: Path) -> None:
    names: dict[str, Any] = {}
    for block in _blocks(ROOT / name, "python"):
        exec(compile(block, name, "exec"), names)


def test_the_example_of_adding_a_model_works_as_it_stands(workplace: Path) -> None:
    page = ROOT / "CONTRIBUTING.md"
    (workplace / "brightness.json").write_text(_blocks(page, "json")[0])
    for block in _blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})
    outputs = []
    for arguments in _commands(page):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"mien {shlex.join(arguments)}\n{done.output}"
        outputs.append(done.stdout)
    found = re.search(r'"attributes.bright": ([0-9.]+)', "".join(outputs))
    assert found is not None, outputs
    assert 0.2 < float(found[1]) < 0.9


def test_contributing_explains_every_key_of_a_card() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == [field.name for field in fields(Card)]
    explained = next(line for line in text.splitlines() if line.startswith("| `detector` |"))
    for field in fields(Detector):
        assert f"`{field.name}`" in explained


def test_contributings_example_of_a_row_is_read_as_that_of_a_paper_we_list() -> None:
    block = next(text for text in _blocks(ROOT / "CONTRIBUTING.md", "python") if "SYSTEM" in text)
    row, _ = index.read_row(block.encode(), "CONTRIBUTING.md")
    assert (index.find(row.id).room, index.find(row.id).title) == (row.room, row.title)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_example_does_what_its_first_line_says(
    path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[-1]
    program, script, *arguments = usage.split()
    assert (program, script) == ("python", f"examples/{path.name}")
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    first = printed.splitlines()[0]
    if path.name == "find_person.py":
        assert "grace_hopper.jpg" in first
        assert float(first.split()[0]) > 0.99
    elif path.name == "best_portrait.py":
        assert len(mien.analyze("best.jpg")) == 1
    else:
        assert first.startswith("1: 0.00 s to 0.30 s, ")


@pytest.mark.parametrize("name", _names(PAGES))
def test_make_has_the_targets(name: str) -> None:
    for line in _lines(ROOT / name, "make"):
        arguments = shlex.split(line, comments=True)[1:]
        done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("name", _names(PAGES))
def test_extras_exist(name: str) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for extras in re.findall(r"mien\[([a-z,]+)\]", (ROOT / name).read_text("utf-8")):
        assert set(extras.split(",")) <= set(known)


@pytest.mark.parametrize("name", _names(PAGES))
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_readme_names_the_package_of_every_default_model() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for asset in assets.table().values():
        if asset.default:
            package = f"`{asset.sources[0].removeprefix('pypi:').partition('==')[0]}`"
            where = f"[{asset.name}](docs/own-models.md)" if asset.shipped else package
            assert where in text, asset.name


def test_every_built_paper_has_a_page_with_its_claims_and_commands_that_the_program_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import papers

    assert papers.built()
    for entry in papers.built():
        page = tmp_path / f"{entry.id}.md"
        page.write_text(papers.page(entry), "utf-8")
        assert entry.system is not None
        for claim in entry.system.claims:
            assert f"## {claim.text}" in page.read_text("utf-8")
        for arguments in _commands(page):
            found = COMMANDS.get_command(click.Context(COMMANDS), arguments[0])  # type: ignore[attr-defined]
            assert found is not None
            found.make_context("mien", arguments[1:])
        assert len(list(_commands(page))) == len(entry.commands)


def test_a_papers_page_shows_verdict_numbers_plots_and_caveat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import papers

    entry = index.find("ferplus")
    assert entry.system is not None
    assert entry.file is not None
    claim = entry.system.claims[0]
    made = Evidence(
        evidence=1,
        system="ferplus",
        claim=claim.text,
        metric="accuracy",
        data=(DataUsed("fer2013", "test", 3000, "0" * 64),),
        seeds=(0, 1),
        arms=(Arm("drawing", (0.70, 0.72)), Arm("majority", (0.71, 0.73))),
        difference=-0.01,
        interval=(-0.02, 0.005),
        holds="inconclusive",
        test="",
        paper_value=0.851,
        code=digest(entry.file, Path(mien.__file__).parent),
        version="",
        packages=("torch 2",),
        machine="two cores",
        seconds=600,
        finished="2026-11-25T00:00:00+00:00",
        note="a small network",
    )
    (tmp_path / "ferplus").mkdir()
    (tmp_path / "ferplus" / "0-test.json").write_text(made.to_json())
    (tmp_path / "ferplus" / "0-test-arms.svg").write_text("<svg/>")
    (tmp_path / "ferplus" / "boundary.svg").write_text("<svg/>")
    monkeypatch.setattr(index, "results_folder", lambda: tmp_path)
    text = papers.page(index.find("ferplus"))
    assert "**Inconclusive**" in text
    assert "-0.0100 (95 % -0.0200 to +0.0050) on 3,000 rows" in text
    assert "| drawing | **0.7100** | 0.0141 | 0.7000 | 0.7200 |" in text
    assert "| *the paper's own number* | *0.851* |" in text
    assert "(../images/systems/ferplus/0-test-arms.svg)" in text
    assert text.count("(../images/systems/ferplus/boundary.svg)") == 1
    assert "confusion.svg" not in text
    assert "    A small network." in text
    assert "Stale" not in text
    (tmp_path / "ferplus" / "0-test.json").write_text(replace(made, code="other").to_json())
    assert "Stale" in papers.page(index.find("ferplus"))


def test_generated_parts_name_every_command_field_and_model() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generated import WRITERS, fill
    finally:
        sys.path.remove(str(ROOT / "docs"))
    assert isinstance(COMMANDS, click.Group)
    for command in COMMANDS.commands:
        assert f"## `mien {command}`" in WRITERS["commands"]()
    for field in FIELDS:
        assert f"| `{field}` |" in WRITERS["fields"]()
    for model in assets.table():
        assert f"[{model}]" in WRITERS["models"]()
        assert f"### {model}\n" in WRITERS["cards"]()
    assert fill("a\n<!-- generated: fields -->\nb") == f"a\n{WRITERS['fields']()}\nb"
    with pytest.raises(KeyError):
        fill("<!-- generated: nothing -->")
