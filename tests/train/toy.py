"""A system small enough for tests: two layers with dropout on made points; run by itself to be killed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from mien.core.system import DataUsed
from mien.train.lab import Lab, TestPart
from mien.train.run import train
from mien.train.settings import Settings


@dataclass(frozen=True)
class Config(Settings):
    width: int = 16
    noise: float = 0.2


class Toy(Lab[Config]):
    """Tells three clouds of points apart; dropout and noise make it depend on the random state."""

    slow = 0.0

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        width = config.width
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 3))

    def rows(self, part: int, count: int) -> Dataset[Any]:
        random = np.random.default_rng(part)
        kinds = random.integers(0, 3, count)
        points = random.normal(0, 1, (count, 4)) + 1.5 * np.eye(4)[kinds]
        return TensorDataset(torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(kinds))

    def train_rows(self) -> Dataset[Any]:
        return self.rows(1, 200)

    def valid_rows(self) -> Dataset[Any]:
        return self.rows(2, 100)

    def test_parts(self) -> tuple[TestPart, ...]:
        return (TestPart(self.rows(3, 80), DataUsed("points", "test", 80, "0" * 64)),)

    def training_step(self, batch: Any, index: int) -> Tensor:
        time.sleep(self.slow)
        points, kinds = batch
        noisy = points + self.config.noise * torch.randn_like(points)
        return functional.cross_entropy(self.net(noisy), kinds)

    def predict(self, batch: Any) -> Tensor:
        return self.net(batch[0]).softmax(dim=1)  # type: ignore[no-any-return]

    def targets(self, batch: Any) -> Tensor:
        return batch[1]  # type: ignore[no-any-return]


if __name__ == "__main__":
    Toy.slow = float(sys.argv[2])
    settings = Config(rounds=6, batch=32, ema=0.9)
    train("toy", lambda: Toy(settings, seed=3), folder=Path(sys.argv[1]), progress=False)
