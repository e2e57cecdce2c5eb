"""The int8 variant is smaller, keeps the card, and decides as its model does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_export import CARD, Network, Ships
from torch import nn
from torch.utils.data import TensorDataset

from mien.runtime.model import Model, check_contract
from mien.train.export import export
from mien.train.quantise import quantise


class Wide(Network):
    """Wide enough that its weights are most of its file."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(64, 3)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    lab = Ships()
    lab.net = Wide()
    export(lab, tmp_path / "toy.onnx")
    pixels = torch.randint(0, 256, (80, 1, 24, 24), generator=torch.Generator().manual_seed(1))
    quantise(tmp_path / "toy.onnx", tmp_path / "toy.int8.onnx", TensorDataset(pixels.to(torch.uint8)))
    return tmp_path / "toy.onnx", tmp_path / "toy.int8.onnx"


def test_it_is_smaller_and_has_the_card_of_its_model(both: tuple[Path, Path]) -> None:
    whole, small = both
    assert small.stat().st_size < 0.6 * whole.stat().st_size
    assert Model.load(small).card == CARD
    check_contract(small.read_bytes(), CARD)
    assert str(small.parent).encode() not in small.read_bytes()


def test_it_gives_nearly_what_its_model_gives_and_not_the_same(both: tuple[Path, Path]) -> None:
    crops = np.random.default_rng(2).uniform(0, 255, (50, 1, 24, 24)).astype(np.float32)
    first, second = (Model.load(path).run(crops) for path in both)
    assert np.abs(first["gender"] - second["gender"]).max() < 0.02
    assert np.abs(first["age"] - second["age"]).max() < 0.5
    assert not np.array_equal(first["age"], second["age"])
