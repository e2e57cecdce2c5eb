"""An exported system runs on the light floor with its card, and is refused if it differs from its network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mien.core.card import Card, Input, Licence, Output
from mien.core.crops import Crop
from mien.runtime.model import Model, check_contract
from mien.train import export
from mien.train.lab import Lab, TestPart
from mien.train.settings import Settings

CARD = Card(
    card=1,
    name="toy",
    version="1",
    title="a network for tests",
    makes=(Output("gender"), Output("age")),
    licence=Licence("Apache-2.0", commercial=True),
    training_data="none",
    source="tests",
    input=Input(grey=True),
    crop=Crop("template", 24, 24, template="arcface"),
)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        values = self.head(self.drop(self.body(pixels / 255).flatten(1)))
        return {"age": 40 + 10 * values[:, 2], "gender": values[:, :2].softmax(dim=1)}


class Ships(Lab[Settings]):
    def __init__(self) -> None:
        super().__init__(Settings())
        torch.manual_seed(0)
        self.net = Network()

    def train_rows(self) -> Dataset[Any]:
        raise NotImplementedError

    valid_rows = train_rows

    def test_parts(self) -> tuple[TestPart, ...]:
        raise NotImplementedError

    def predict(self, batch: Any) -> Tensor:
        raise NotImplementedError

    targets = predict

    def exported(self) -> nn.Module:
        return self.net

    def card(self) -> Card:
        return CARD


def test_what_is_exported_runs_on_the_light_floor(tmp_path: Path) -> None:
    lab, path = Ships(), tmp_path / "toy.onnx"
    assert export.export(lab, path) < export.TOLERANCE
    model = Model.load(path)
    assert model.card == CARD
    crops = np.random.default_rng(0).uniform(0, 255, (7, 1, 24, 24)).astype(np.float32)
    made = model.run(crops)
    with torch.no_grad():
        expected = lab.net.eval()(torch.as_tensor(crops))
    for field in ("gender", "age"):
        np.testing.assert_allclose(made[field], expected[field].numpy(), atol=1e-4)
    check_contract(path.read_bytes(), CARD)


def test_the_file_states_its_opset_and_holds_no_paths(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    export.export(Ships(), path)
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", export.OPSET)]
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    assert path.stat().st_size < 8000


def test_a_file_that_differs_is_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(export.ExportError, match="differs from the network"):
        export.export(Ships(), tmp_path / "toy.onnx")
    assert not (tmp_path / "toy.onnx").exists()


def test_a_system_without_a_model_says_so() -> None:
    class Silent(Ships):
        card = Lab.card

    with pytest.raises(NotImplementedError, match="ships no model"):
        export.export(Silent(), Path("never"))
