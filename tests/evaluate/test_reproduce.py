"""A reproduction leaves a result and plots for each claim, and takes finished runs up without training."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mien.core.system import Claim, DataUsed, Evidence, System
from mien.evaluate import reproduce as engine
from mien.evaluate.reproduce import Paper, Reproduction
from mien.train.lab import TestPart
from mien.train.run import train
from mien.train.settings import AT_TEST

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from toy import Config, Toy

TEXT = "wide layers beat narrow ones"
SYSTEM = System("toy", "Toys", 2026, "tests", (), (Claim(TEXT, "points", "accuracy", 0.9, "Table 1"),))
PLAN = Reproduction(TEXT, "accuracy", (("wide", ("width=16",)), ("narrow", ("width=1",))), seeds=(0, 1))

ALIKE = Reproduction(TEXT, "accuracy", (("wide", ("width=16",)), ("less", ("width=4",))), seeds=(0,))


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


def test_a_papers_own_plot_is_drawn_beside_its_results(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = replace(engine.paper("tests", "toy"), figures={"circle": lambda: b"<svg/>"})
    monkeypatch.setattr(engine, "paper", lambda room, system: made)
    (path,) = engine.reproduce("tests", "toy", tmp_path / "results")
    assert path.with_name("circle.svg").read_bytes() == b"<svg/>"


@dataclass(frozen=True)
class Shown(Config):
    chosen: int = field(default=0, metadata=AT_TEST)


def test_a_training_that_arms_share_is_done_and_counted_once(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Reproduction(TEXT, "accuracy", (("one", ()), ("other", ("chosen=1",))), seeds=(0, 1))
    made = Paper(SYSTEM, Toy, {"cpu": Shown(rounds=2, batch=32)}, (plan,))
    monkeypatch.setattr(engine, "paper", lambda room, system: made)
    (path,) = engine.reproduce("tests", "toy", tmp_path / "results")
    runs = list((tmp_path / "runs").rglob("run.json"))
    assert len(runs) == 2
    spent = sum(json.loads(run.read_text())["seconds"] for run in runs)
    assert Evidence.from_json(path.read_text("utf-8"), path.name).seconds == round(spent, 1)


class Choosy(Toy):
    """A toy whose test rows follow its settings, as `size` or a data set's name does elsewhere."""

    def test_parts(self) -> tuple[TestPart, ...]:
        narrow = self.config.width == 1
        used = DataUsed("points", "test", 80 - OFF["rows"] * narrow, str(OFF["hash"] * narrow) * 64)
        parts = (TestPart(self.rows(3, used.rows), used),)
        return parts + parts * (OFF["parts"] * narrow)


OFF = {"rows": 0, "hash": 0, "parts": 0}


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (
            "rows",
            "arm 'narrow' was judged by 79 rows of points/test (sha256 000000000000), 'wide' by 80 rows",
        ),
        (
            "hash",
            "arm 'narrow' was judged by 80 rows of points/test (sha256 111111111111), 'wide' by 80 rows",
        ),
        ("parts", "'wide' by no such part"),
    ],
)
def test_arms_judged_by_other_rows_are_refused(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch, off: str, told: str
) -> None:
    made = Paper(SYSTEM, Choosy, {"cpu": Config(rounds=1, batch=32)}, (PLAN,))
    monkeypatch.setattr(engine, "paper", lambda room, system: made)
    monkeypatch.setitem(OFF, off, 1)
    with pytest.raises(engine.Unequal, match=re.escape(told)):
        engine.reproduce("tests", "toy", tmp_path / "results")
    assert not list((tmp_path / "results").rglob("*.json"))


def test_rows_are_named_as_the_arms_have_them_not_as_the_recipe(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the recipe alone has other rows than both arms
    made = Paper(SYSTEM, Choosy, {"cpu": Config(rounds=1, batch=32, width=1)}, (ALIKE,))
    monkeypatch.setattr(engine, "paper", lambda room, system: made)
    monkeypatch.setitem(OFF, "hash", 1)
    (path,) = engine.reproduce("tests", "toy", tmp_path / "results")
    assert Evidence.from_json(path.read_text("utf-8"), path.name).data[0].sha256 == "0" * 64
