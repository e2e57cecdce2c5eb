"""Every metric that fits is told, of a model as of a run, and of each group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from mien.core.card import Card, Input, Licence, Output
from mien.core.crops import Crop
from mien.core.system import DataUsed
from mien.evaluate.figures import Misfit, figures, of_model, of_run, text
from mien.evaluate.metrics import Numbers
from mien.train.lab import Lab, TestPart
from mien.train.settings import Settings

CARD = Card(
    card=1,
    name="toy",
    version="1",
    title="a network for tests",
    makes=(Output("age"), Output("age_interval"), Output("gender")),
    licence=Licence("Apache-2.0", commercial=True),
    training_data="none",
    source="tests",
    input=Input(grey=True),
    crop=Crop("template", 8, 8, template="arcface"),
)
AGES = np.array([3, 8, 34, 70], np.int64)
GENDERS = np.array([0, 1, 1, 0])


class Toy(Lab[Settings]):
    """Rows whose pixels are their age."""

    def train_rows(self) -> Dataset[Any]:
        raise NotImplementedError

    valid_rows = train_rows

    def test_parts(self) -> tuple[TestPart, ...]:
        pixels = torch.as_tensor(AGES, dtype=torch.uint8)[:, None, None, None].expand(4, 1, 8, 8)
        rows = TensorDataset(pixels, torch.as_tensor(AGES), torch.as_tensor(GENDERS))
        groups = {"race": np.array(["asian", "white", "white", "asian"]), "age": np.array(["0-9"] * 4)}
        return (TestPart(rows, DataUsed("made", "test", 4, "0" * 64), groups),)

    def predict(self, batch: Any) -> Tensor:
        return batch[0].float().mean(dim=(1, 2, 3)) + 2  # type: ignore[no-any-return]

    def targets(self, batch: Any) -> Tensor:
        return batch[1]  # type: ignore[no-any-return]

    def truth(self, batch: Any) -> dict[str, Tensor]:
        return {"age": batch[1], "gender": batch[2]}

    def card(self) -> Card:
        return CARD


def run(crops: Numbers) -> Mapping[str, Numbers]:
    """Guess ages from 30 on 6 years too high, others 1, give 5 years to both sides; call all male."""
    truth = crops.mean(axis=(1, 2, 3))
    age = truth + np.where(truth >= 30, 6, 1)
    gender = np.tile(np.array([[0.2, 0.8]], np.float32), (len(crops), 1))
    return {"age": age[:, None], "age_interval": np.stack([age - 5, age + 5], axis=1), "gender": gender}


def test_a_model_is_judged_by_field_and_group() -> None:
    age, gender = of_model(Toy(Settings()), CARD, run)
    assert (age.field, gender.field) == ("age", "gender")
    assert age.figures["MAE"] == pytest.approx(3.5)
    assert age.figures["CS@5"] == 0.5
    assert age.figures["interval coverage"] == 0.5
    assert age.figures["interval width"] == pytest.approx(10)
    assert "SAGR" not in age.figures
    assert gender.figures["accuracy"] == 0.5
    assert gender.figures["ECE"] == pytest.approx(0.3)
    assert age.groups["race"]["white"] == pytest.approx(
        {"rows": 2, "MAE": 3.5, "CS@5": 0.5, "interval coverage": 0.5, "interval width": 10}
    )
    assert gender.groups["race"]["asian"] == {"rows": 2, "accuracy": 0}
    assert gender.groups["race"]["white"] == {"rows": 2, "accuracy": 1}


def test_a_run_is_judged_by_its_own_predictions() -> None:
    (made,) = of_run(Toy(Settings()))
    assert made.figures["MAE"] == pytest.approx(2)
    assert next(iter(text((made,)))).startswith("made/test, 4 rows: MAE 2.0000")


def test_a_model_of_another_size_is_refused_with_what_to_do() -> None:
    from dataclasses import replace

    other = replace(CARD, crop=Crop("template", 16, 16, template="arcface"))
    with pytest.raises(Misfit, match=r"takes crops of \(1, 16, 16\).*--recipe"):
        of_model(Toy(Settings()), other, run)


def test_classes_and_probabilities_and_values_each_get_their_metrics() -> None:
    classes = np.array([0, 1, 2, 2])
    assert "ECE" not in figures(classes, classes)
    assert figures(classes, np.eye(3)[classes])["ECE"] == 0
    signed = np.array([[-1.0, 1.0], [0.5, 0.2], [0.1, -0.3]])
    made = figures(signed, signed)
    assert made["CCC, 1"] == pytest.approx(1)
    assert made["SAGR, 0"] == 1


def test_one_person_of_a_group_is_no_error() -> None:
    assert figures(np.array([1]), np.array([[0.3, 0.7]]))["accuracy"] == 1
    assert figures(np.array([30]), np.array([31.0]), "age")["CORR"] == 0
