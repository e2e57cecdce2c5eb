"""Learning rates fall as their schedules say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy import Config, Toy

from mien.train.run import train


def rates(config: Config, steps: int) -> list[float]:
    lab = Toy(config)
    lab._trainer = SimpleNamespace(estimated_stepping_batches=steps)  # type: ignore[assignment]
    made: Any = lab.configure_optimizers()
    found = []
    for _ in range(steps):
        found.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return found


def test_steps_take_it_down_to_a_tenth_twice() -> None:
    found = rates(Config(schedule="steps", learning_rate=1.0), 8)
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_cosine_is_half_way_down_at_half_time() -> None:
    found = rates(Config(schedule="cosine", learning_rate=1.0), 8)
    assert found[0] == 1
    assert found[4] == pytest.approx(0.5)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop", "adagrad"])
def test_every_optimiser_decays_weights_but_no_biases(name: str) -> None:
    lab = Toy(Config(optimiser=name, weight_decay=0.3, learning_rate=0.01))  # type: ignore[arg-type]
    lab._trainer = SimpleNamespace(estimated_stepping_batches=4)  # type: ignore[assignment]
    made: Any = lab.configure_optimizers()
    assert type(made["optimizer"]).__name__.lower() == name
    decays = {
        parameter.ndim: group["weight_decay"]
        for group in made["optimizer"].param_groups
        for parameter in group["params"]
    }
    assert decays == {2: 0.3, 1: 0.0}


class Stands(Toy):
    def score(self, targets: Any, predictions: Any) -> float:
        return 0.5


def test_a_plateau_takes_it_down_to_a_fifth_after_each_two_rounds(tmp_path: Path) -> None:
    settings = Config(rounds=6, batch=32, schedule="plateau", learning_rate=0.1)
    train("toy", lambda: Stands(settings), folder=tmp_path, progress=False)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    # The first of the six rounds is the best; two of the others are bad before each fall.
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.1 * 0.2**2)
