"""A reproduction leaves a result and plots for each claim, and takes finished runs up without training."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mien.core.system import Claim, Evidence, System
from mien.evaluate import reproduce as engine
from mien.evaluate.reproduce import Paper, Reproduction
from mien.train.run import train

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from toy import Config, Toy

TEXT = "wide layers beat narrow ones"
SYSTEM = System("toy", "Toys", 2026, "tests", (), (Claim(TEXT, "points", "accuracy", 0.9, "Table 1"),))
PLAN = Reproduction(TEXT, "accuracy", (("wide", ("width=16",)), ("narrow", ("width=1",))), seeds=(0, 1))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a toy in the place of every paper, in this process, and return what is trained."""
    begun: list[str] = []

    def counted(system: str, make: Any, **settings: Any) -> Any:
        begun.append(system)
        return train(system, make, **settings)

    made = Paper(SYSTEM, Toy, {"cpu": Config(rounds=2, batch=32)}, (PLAN,))
    monkeypatch.setattr(engine, "paper", lambda room, system: made)
    monkeypatch.setattr(engine, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(1))
    monkeypatch.setattr(engine, "train", counted)
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path / "runs"))
    return begun


def test_a_result_and_its_plots_are_written_and_are_the_same_again(
    tmp_path: Path, trained: list[str]
) -> None:
    (path,) = engine.reproduce("tests", "toy", tmp_path / "results")
    evidence = Evidence.from_json(path.read_text("utf-8"), path.name)
    assert [arm.name for arm in evidence.arms] == ["wide", "narrow"]
    plots = {file.name: file.read_bytes() for file in path.parent.glob("*.svg")}
    assert set(plots) == {
        "0-learning.svg",
        "0-test-arms.svg",
        "0-test-confusion.svg",
        "0-test-reliability.svg",
    }
    logs = sorted((tmp_path / "runs").rglob("metrics.csv"))
    assert len(logs) == len(trained) == 4
    engine.reproduce("tests", "toy", tmp_path / "results")
    assert sorted((tmp_path / "runs").rglob("metrics.csv")) == logs  # nothing was trained again
    assert {file.name: file.read_bytes() for file in path.parent.glob("*.svg")} == plots
