"""`mien export --int8` and `evaluate` agree about one model: the run, its file and its int8 variant."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset
from typer.testing import CliRunner

from mien import index
from mien.cli import lab as command
from mien.cli.app import app
from mien.core.card import Card, Input, Licence, Output
from mien.core.crops import Crop
from mien.core.system import DataUsed
from mien.evaluate.reproduce import Paper
from mien.train.lab import Lab, TestPart
from mien.train.settings import Settings

CARD = Card(
    card=1,
    name="toy",
    version="1",
    title="a network for tests",
    makes=(Output("gender"),),
    licence=Licence("Apache-2.0", commercial=True),
    training_data="none",
    source="tests",
    input=Input(grey=True),
    crop=Crop("template", 8, 8, template="arcface"),
)


class Shipped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"gender": self.net(pixels / 255).softmax(dim=1)}


class Toy(Lab[Settings]):
    """Tells pictures that are light on the left from those that are light on the right."""

    def __init__(self, config: Settings, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))

    def rows(self, count: int, seed: int) -> Dataset[Any]:
        random = torch.Generator().manual_seed(seed)
        kinds = torch.randint(0, 2, (count,), generator=random)
        pixels = torch.randint(0, 150, (count, 1, 8, 8), generator=random)
        for picture, kind in zip(pixels, kinds.tolist(), strict=True):
            picture[:, :, 4 * kind : 4 * kind + 4] += 50
        return TensorDataset(pixels.to(torch.uint8), kinds)

    def train_rows(self) -> Dataset[Any]:
        return self.rows(128, 1)

    def valid_rows(self) -> Dataset[Any]:
        return self.rows(64, 2)

    def test_parts(self) -> tuple[TestPart, ...]:
        return (TestPart(self.rows(90, 3), DataUsed("made", "test", 90, "0" * 64)),)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return functional.cross_entropy(self.net(batch[0] / 255), batch[1])

    def predict(self, batch: Any) -> Tensor:
        return Shipped(self.net)(batch[0].float())["gender"]  # type: ignore[no-any-return]

    def targets(self, batch: Any) -> Tensor:
        return batch[1]  # type: ignore[no-any-return]

    def exported(self) -> nn.Module:
        return Shipped(self.net)

    def card(self) -> Card:
        return CARD


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to work in, where the toy stands for every system."""
    entry = index.find("ferplus")
    assert entry.system is not None
    recipes = {"cpu": Settings(rounds=2, batch=16)}
    paper = Paper(replace(entry.system, id="toy"), Toy, recipes, ())
    monkeypatch.setattr(command, "paper_of", lambda system: (replace(entry, id="toy"), paper))
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_a_run_its_file_and_its_int8_variant_are_judged_alike(folder: Path) -> None:
    run("export", "toy", "toy.onnx", "--recipe", "cpu", "--int8")
    of_run = json.loads(run("evaluate", "toy", "--run", "--json"))
    of_file = json.loads(run("evaluate", "toy", "--model", "toy.onnx", "--json"))
    assert of_run[0]["figures"]["accuracy"] == of_file[0]["figures"]["accuracy"] > 0.7
    assert of_run[0]["figures"]["ECE"] == pytest.approx(of_file[0]["figures"]["ECE"], abs=1e-4)
    assert of_file[0]["field"] == "gender"
    assert of_file[0]["used"]["rows"] == 90
    told = json.loads(Path("toy.int8.json").read_text("utf-8"))
    assert told["toy.onnx"]["figures"] == of_file
    assert told["toy.int8.onnx"]["figures"] == json.loads(
        run("evaluate", "toy", "--model", "toy.int8.onnx", "--json")
    )
    assert told["toy.int8.onnx"]["bytes"] == Path("toy.int8.onnx").stat().st_size
    line = run("evaluate", "toy", "--model", "toy.onnx")
    assert re.match(r"made/test, 90 rows, gender: accuracy 0\.\d{4}, balanced accuracy ", line)


def test_a_system_that_ships_nothing_says_what_to_do(folder: Path) -> None:
    assert "judge a trained run with --run" in run("evaluate", "toy", code=2)


def test_a_file_without_a_card_is_refused(folder: Path) -> None:
    assert "no such file" in run("evaluate", "toy", "--model", "none.onnx", code=2)


def test_a_system_is_shown_with_recipes_and_commands() -> None:
    shown = run("systems", "show", "ferplus")
    assert "recipes: tiny, cpu, ship, paper" in shown
    assert "  mien train ferplus --recipe paper\n" in shown
    assert "  mien reproduce ferplus\n" in shown
