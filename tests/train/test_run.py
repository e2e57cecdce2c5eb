"""A run learns, can be killed at any moment, and ends at the same weights as an undisturbed one."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import Config, Toy

from mien.train.run import folder_of, train
from mien.train.settings import AT_TEST

SETTINGS = Config(rounds=6, batch=32, ema=0.9)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    return dict(state["state_dict"])


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def make(config: Config = SETTINGS, seed: int = 3) -> Callable[[], Toy]:
    return lambda: Toy(config, seed)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train("toy", make(), folder=folder, progress=False)
    return folder


def test_it_learns_and_keeps_the_best_weights(tmp_path: Path) -> None:
    trained = train("toy", make(), folder=tmp_path, progress=False)
    targets, predictions = trained.lab.predictions(trained.lab.valid_rows())
    assert trained.lab.score(targets, predictions) == pytest.approx(trained.score, abs=1e-6)
    assert trained.score > 0.6
    with (tmp_path / "logs" / "part0" / "metrics.csv").open() as file:
        scores = [float(row["valid"]) for row in csv.DictReader(file) if row.get("valid")]
    assert len(scores) == SETTINGS.rounds
    assert trained.score == pytest.approx(max(scores), abs=1e-6)
    assert list((tmp_path / "logs" / "part0").glob("events.out.tfevents*"))


def test_scores_that_are_errors_are_negative_and_the_least_is_kept(tmp_path: Path) -> None:
    class Errs(Toy):
        def score(self, targets: Any, predictions: Any) -> float:
            return super().score(targets, predictions) - 30

    trained = train("toy", lambda: Errs(SETTINGS, 3), folder=tmp_path, progress=False)
    with (tmp_path / "logs" / "part0" / "metrics.csv").open() as file:
        scores = [float(row["valid"]) for row in csv.DictReader(file) if row.get("valid")]
    assert trained.score == pytest.approx(max(scores), abs=1e-5)
    assert -30 < trained.score < -29


def test_killed_at_any_moment_it_ends_at_the_same_weights(tmp_path: Path, undisturbed: Path) -> None:
    program = [sys.executable, str(Path(__file__).parent / "toy.py"), str(tmp_path)]
    last = tmp_path / "checkpoints" / "last.ckpt"
    kills = 0
    for rounds_before, moment in ((1, 0.0), (2, 0.05), (4, 0.11)):
        running = subprocess.Popen([*program, "0.06"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until and running.poll() is None:
            if last.is_file() and _rounds(last) >= rounds_before:
                break
            time.sleep(0.01)
        time.sleep(moment)
        running.send_signal(signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
    assert kills == 3
    assert not (tmp_path / "run.json").exists()
    subprocess.run([*program, "0"], check=True, capture_output=True)
    assert equal(weights(tmp_path), weights(undisturbed))
    assert (tmp_path / "run.json").is_file()


def _rounds(path: Path) -> int:
    return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"]) + 1


def test_the_random_state_matters_to_the_weights(tmp_path: Path, undisturbed: Path) -> None:
    train("toy", make(seed=4), folder=tmp_path, progress=False)
    assert not equal(weights(tmp_path), weights(undisturbed))


def test_a_finished_run_is_taken_up_without_training(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.ckpt")}
    trained = train("toy", make(), folder=undisturbed, progress=False)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.ckpt")} == before
    assert trained.seconds == json.loads((undisturbed / "run.json").read_text())["seconds"] > 0


def test_it_stops_early_without_progress(tmp_path: Path) -> None:
    still = replace(SETTINGS, learning_rate=0.0, patience=2, rounds=20, ema=0.0)
    train("toy", make(still), folder=tmp_path, progress=False)
    assert _rounds(tmp_path / "checkpoints" / "last.ckpt") == 3


def test_accumulated_batches_make_the_steps_of_a_larger_one(tmp_path: Path) -> None:
    plain = replace(SETTINGS, noise=0.0, rounds=1, batch=40, ema=0.0)
    ends = []
    for name, config in (("one", plain), ("two", replace(plain, batch=20, accumulate=2))):

        def without_dropout(config: Config = config) -> Toy:
            toy = Toy(config, 3)
            toy.net[2] = torch.nn.Identity()
            return toy

        train("toy", without_dropout, folder=tmp_path / name, progress=False)
        ends.append(weights(tmp_path / name))
    for key in ends[0]:
        assert torch.allclose(ends[0][key], ends[1][key], atol=1e-5)


def test_two_processes_train_together(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from toy import Toy, Config;"
        "from mien.train.run import train; settings = Config(rounds=3, batch=16); folder = Path(sys.argv[1]);"
        "train('toy', lambda: Toy(settings, 3), folder=folder, processes=2, progress=False)"
    )
    script = tmp_path / "both.py"
    script.write_text(code)
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), str(Path(__file__).parent)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert json.loads((tmp_path / "run" / "run.json").read_text())["score"] > 0.5


def test_settings_choose_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path))
    first = folder_of("toy", Toy(SETTINGS, 1))
    assert first.parent == tmp_path / "toy"
    assert first != folder_of("toy", Toy(SETTINGS, 2))
    assert first != folder_of("toy", Toy(replace(SETTINGS, width=8), 1))
    assert first == folder_of("toy", Toy(SETTINGS, 1))


@dataclass(frozen=True)
class Judged(Config):
    threshold: float = field(default=0.5, metadata=AT_TEST)


def test_settings_of_the_test_alone_share_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path))
    one, other = Judged(rounds=1, threshold=0.1), Judged(rounds=1, threshold=0.9)
    first = train("toy", lambda: Toy(one, 1), progress=False)
    written = (first.folder / "run.json").stat().st_mtime_ns
    second = train("toy", lambda: Toy(other, 1), progress=False)
    assert first.folder == second.folder == folder_of("toy", Toy(one, 1))
    assert second.lab.config.threshold == 0.9
    assert (first.folder / "run.json").stat().st_mtime_ns == written
    assert "threshold" not in json.loads((first.folder / "settings.json").read_text())


def test_progress_leaves_stdout_to_results(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train("toy", make(replace(SETTINGS, rounds=1)), folder=tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Epoch 0" in err
