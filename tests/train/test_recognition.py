"""A recognition lab learns from people, by P x K batches or not, and is judged on others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.data.people import people
from mien.data.sort import sort
from mien.nn.embedder import Embedder
from mien.nn.margins import MarginSoftmax
from mien.train.recognition import TEST_PAIRS, RecognitionLab, RecognitionSettings
from mien.train.run import train

SETTINGS = RecognitionSettings(
    rounds=1, batch=32, rows=320, size=32, embedding=16, learning_rate=0.05, pictures=4
)


class Small(RecognitionLab[RecognitionSettings]):
    def __init__(self, config: RecognitionSettings, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = Embedder(config.embedding, widths=(8, 16), depths=(1, 1))
        self.head = MarginSoftmax(config.embedding, self.people, "cosface", 0.2, scale=16)

    def embed(self, pixels: Tensor) -> Tensor:
        made: Tensor = self.net(pixels)
        return made

    def training_step(self, batch: Any, index: int) -> Tensor:
        pixels, persons = batch
        value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value


@pytest.fixture(autouse=True)
def data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))


def test_it_trains_and_tells_pairs_of_unseen_people_apart(tmp_path: Path) -> None:
    trained = train("small", lambda: Small(SETTINGS), folder=tmp_path, progress=False)
    (part,) = trained.lab.test_parts()
    targets, cosines = trained.lab.predictions(part.rows)
    assert len(targets) == TEST_PAIRS == part.used.rows
    assert targets.mean() == 0.5
    assert np.abs(cosines).max() <= 1 + 1e-5
    assert trained.lab.score(targets, cosines) > 0.52
    units = part.units
    assert units is not None
    assert ((units[:, 0] == units[:, 1]) == targets.astype(bool)).all()
    assert len(np.unique(units)) == 40


def test_batches_are_p_people_with_k_pictures() -> None:
    lab = Small(SETTINGS)
    lab._trainer = type("Trainer", (), {"world_size": 1, "global_rank": 0})()
    for _, persons in lab.train_dataloader():
        assert (persons.reshape(8, 4) == persons.reshape(8, 4)[:, :1]).all()
        assert len(set(persons.tolist())) == 8


def test_a_set_that_does_not_fit_in_memory_is_learned_from_its_shards(
    shared_data: Path, tmp_path: Path
) -> None:
    sort([shared_data / "identities" / "valid.parquet"], tmp_path / "shards", "identity")
    streamed = replace(SETTINGS, rows=0, shards=str(tmp_path / "shards"))
    lab = Small(streamed)
    assert lab.people == 40
    lab._trainer = type("Trainer", (), {"world_size": 1, "global_rank": 0})()
    batches = list(lab.train_dataloader())
    # About as many as there are pictures: 6 passes of 40 people by 8 a batch.
    assert len(batches) == 30
    for pixels, persons in batches:
        assert pixels.shape == (32, 3, 32, 32)
        assert (persons.reshape(8, 4) == persons.reshape(8, 4)[:, :1]).all()
    trained = train("small", lambda: Small(streamed), folder=tmp_path / "run", progress=False)
    assert 0 < trained.score <= 1
    with pytest.raises(ValueError, match="set pictures alone"):
        replace(streamed, pictures=0)


def test_planted_noise_is_as_much_as_asked_and_only_in_training() -> None:
    lab = Small(replace(SETTINGS, noise=0.3, rows=0))
    images = lab.chosen()
    clean = np.unique(images.columns["person"], return_inverse=True)[1]
    wrong = lab.persons(images) != clean
    assert wrong.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(lab.persons(images), lab.persons(images))
    assert (Small(replace(SETTINGS, noise=0.3, rows=0), 1).persons(images) != lab.persons(images)).any()
    held = people("test", 32).columns["person"]
    units = lab.test_parts()[0].units
    assert units is not None
    assert set(np.unique(units).tolist()) == set(np.unique(held).tolist())


def test_a_network_that_sees_nothing_is_at_chance() -> None:
    class Blind(Small):
        def embed(self, pixels: Tensor) -> Tensor:
            return torch.rand(len(pixels), 16) - 0.5

    lab = Blind(SETTINGS)
    targets, cosines = lab.predictions(lab.valid_rows())
    assert lab.score(targets, cosines) == pytest.approx(0.5, abs=0.04)


def test_a_batch_that_people_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 32 cannot hold 5 pictures"):
        replace(SETTINGS, pictures=5)
    with pytest.raises(ValueError, match="noise must be in"):
        replace(SETTINGS, noise=1.0)
