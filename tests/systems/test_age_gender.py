"""Ages as distributions against formulas written out, copies by their counts, intervals by their coverage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mien.core.card import Card
from mien.core.fields import FIELDS
from mien.core.labels import UTKFACE_GENDERS
from mien.evaluate.metrics import interval_coverage
from mien.runtime.model import Model
from mien.systems.attributes import age_gender
from mien.systems.attributes.age_gender import RECIPES, AgeGender, Network, Shipped
from mien.train.export import TOLERANCE, export

TINY = RECIPES["tiny"]


def draw_distributions(count: int) -> Tensor:
    """Return (count, 117) distributions, from narrow to wide, some of two bumps."""
    generator = torch.Generator().manual_seed(0)
    years = torch.arange(age_gender.YEARS)
    centres = torch.rand(count, 2, 1, generator=generator) * 116
    widths = torch.rand(count, 2, 1, generator=generator) * 15 + 0.3
    return (-0.5 * ((years - centres) / widths) ** 2).exp().sum(dim=1).log().softmax(dim=1)


def test_bells_are_the_papers() -> None:
    ages = torch.tensor([1, 26, 50, 116])
    made = age_gender.bell(ages)
    for row, age in enumerate(ages.tolist()):
        sigma = 1 + 0.04 * age
        heights = [math.exp(-((k - age) ** 2) / (2 * sigma**2)) for k in range(117)]
        np.testing.assert_allclose(made[row], np.array(heights) / sum(heights), atol=1e-6)


def test_the_loss_is_divergence_and_error_of_the_expectation() -> None:
    torch.manual_seed(0)
    logits, ages = torch.randn(5, 117), torch.tensor([0, 3, 30, 64, 110])
    expected = 0.0
    for row in range(5):
        q, p = logits[row].softmax(dim=0).tolist(), age_gender.bell(ages[row : row + 1])[0].tolist()
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
        mean = sum(k * b for k, b in enumerate(q))
        expected += (divergence + 0.3 * abs(mean - int(ages[row]))) / 5
    assert float(age_gender.loss(logits, ages, 0.3)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("part", [0.01, 0.05, 0.5, 0.77, 0.95])
def test_quantiles_are_those_of_the_interpolated_distribution(part: float) -> None:
    distributions = draw_distributions(60)
    edges = np.arange(-0.5, 117)
    expected = [
        np.interp(part, np.concatenate([[0.0], np.cumsum(row, dtype=np.float64)]), edges)
        for row in distributions.numpy().astype(np.float64)
    ]
    np.testing.assert_allclose(age_gender.quantile(distributions, part), expected, atol=2e-3)


def test_a_sure_distribution_gives_its_year() -> None:
    sure = torch.eye(age_gender.YEARS)[[0, 40, 116]]
    np.testing.assert_allclose(age_gender.quantile(sure, 0.5), [0, 40, 116], atol=1e-5)
    np.testing.assert_allclose(age_gender.quantile(sure, 0.95), [0.45, 40.45, 116.45], atol=1e-4)


def test_copies_are_dealt_evenly_to_decades_and_within_them() -> None:
    ages = np.concatenate([np.full(900, 25), np.full(90, 47), np.full(9, 93), np.full(1, 110)])
    rows = age_gender.dealt(ages, 30_000, np.random.default_rng(0))
    assert len(rows) == 30_000
    shares = [np.mean(ages[rows] == 25), np.mean(ages[rows] == 47), np.mean(ages[rows] > 90)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)
    # Ninety and more are one group: the ten of them have a tenth of it each.
    assert np.mean(rows == 999) == pytest.approx(1 / 30, abs=0.005)


def test_both_arms_have_as_many_rows_and_tell_their_copies(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    rare = []
    for targeted in (True, False):
        lab = AgeGender(replace(TINY, rows=0, copies=0.1, targeted=targeted))
        images = lab.images("train").take(np.arange(0, 18_000, 9))
        rows = lab.rows(images)
        assert isinstance(rows, age_gender.WithCopies)
        assert len(rows) == 2200
        items = [rows[i] for i in range(2200)]
        assert [bool(item[3]) for item in items] == [False] * 2000 + [True] * 200
        for copy, of in zip(items[2000:], rows.copies, strict=True):
            assert torch.equal(copy[0], items[of][0])
            assert copy[1:3] == items[of][1:3]
        rare.append(sum(int(item[1]) >= 70 for item in items[2000:]))
    # Three of ten decades; a twentieth of the faces.
    assert 45 <= rare[0] <= 75
    assert rare[1] <= 20


def test_valid_and_test_rows_have_no_copies(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    lab = AgeGender(TINY)
    assert lab.valid_rows()[0].__len__() == 3
    assert lab.test_parts()[0].rows[0].__len__() == 3


def test_genders_stand_in_the_order_of_the_field() -> None:
    labels = FIELDS["gender"].labels
    for number, name in enumerate(UTKFACE_GENDERS):
        truth = AgeGender(TINY).truth((torch.zeros(1), torch.tensor([30]), torch.tensor([number])))
        assert labels[int(truth["gender"])] == name


def test_training_teaches_the_genders_in_that_order() -> None:
    lab = AgeGender(replace(TINY, dropout=0.0))
    lab.log = lambda *_: None  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    genders = torch.arange(32) % 2
    # Bright faces are women's (1) here, dark ones men's (0).
    pixels = (genders * 150 + 40)[:, None, None, None] + torch.rand(32, 3, 32, 32, generator=generator) * 20
    optimiser = torch.optim.Adam(lab.parameters(), 0.01)
    batch = pixels, torch.full((32,), 30), genders, torch.zeros(32, dtype=torch.bool)
    for step in range(25):
        optimiser.zero_grad()
        lab.training_step(batch, step).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        made = lab.eval().exported()(pixels)["gender"].argmax(dim=1)
    assert [FIELDS["gender"].labels[i] for i in made.tolist()] == ["male", "female"] * 16


def test_without_the_genders_loss_its_head_learns_nothing() -> None:
    for weight, learns in ((0.0, False), (1.0, True)):
        torch.manual_seed(0)
        lab = AgeGender(replace(TINY, gender=weight))
        lab.log = lambda *_: None  # type: ignore[method-assign]
        pixels = torch.rand(8, 3, 32, 32) * 255
        batch = pixels, torch.arange(8), torch.arange(8) % 2, torch.arange(8) > 5
        lab.training_step(batch, 0).backward()  # type: ignore[no-untyped-call]
        assert isinstance(lab.net, Network)
        assert (lab.net.gender.weight.grad is not None) == learns
        assert lab.net.age.weight.grad is not None


class Knows(nn.Module):
    """Reads the centre of its distribution from the first pixel; its width is always 5 years."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        years = torch.arange(age_gender.YEARS)
        age = -0.5 * ((years - pixels[:, 0, 0, :1]) / 5) ** 2
        return age, torch.zeros(len(pixels), 2)


@pytest.mark.parametrize("spread", [3.0, 8.0])
def test_calibrated_intervals_hold_nine_in_ten(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = AgeGender(TINY)
    lab.net = Knows()
    random = torch.Generator().manual_seed(1)
    ages = torch.randint(40, 70, (4000,), generator=random)
    centres = ages + spread * torch.randn(4000, generator=random)
    pixels = centres[:, None, None, None].expand(-1, 3, 2, 2)
    rows = TensorDataset(pixels, ages, torch.zeros(4000, dtype=torch.long))
    monkeypatch.setattr(lab, "valid_rows", lambda: rows)
    lab.calibrate()
    # Logits of a bell of 5 years, divided by T, are those of a bell of 5 sqrt(T) years.
    assert math.sqrt(lab.temperature) * 5 == pytest.approx(spread, rel=0.06)
    made = lab.exported()(pixels)
    assert interval_coverage(ages.numpy(), made["age_interval"].numpy()) == pytest.approx(0.9, abs=0.005)
    assert float((made["age"] - centres).abs().max()) < 0.2  # centres near the last year


def test_what_ships_is_in_order_and_blind_to_mirrors() -> None:
    torch.manual_seed(0)
    shipped = Shipped(Network(TINY).eval(), mirrored=True, temperature=1.3)
    pixels = torch.rand(9, 3, 32, 32) * 255
    made, mirrored = shipped(pixels), shipped(pixels.flip(-1))
    for field in ("age", "age_interval", "gender"):
        torch.testing.assert_close(made[field], mirrored[field], atol=1e-3, rtol=0)
    low, high = made["age_interval"].unbind(dim=1)
    assert bool(((low >= 0) & (low < made["age"]) & (made["age"] < high)).all())


def test_the_network_that_ships_fits_three_megabytes() -> None:
    assert sum(p.numel() for p in Network(RECIPES["ship"]).parameters()) == 688_825
    assert 688_825 * 4 < 3_000_000


def test_the_exported_file_gives_what_the_network_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = AgeGender(TINY)
    card: Card = lab.card()
    assert card.crop is not None
    small = replace(card, crop=replace(card.crop, width=32, height=32))
    monkeypatch.setattr(lab, "card", lambda: small)
    monkeypatch.setattr(lab, "calibrate", lambda: None)
    assert export(lab, tmp_path / "age.onnx") < TOLERANCE
    made = Model.load(tmp_path / "age.onnx").run(np.full((3, 3, 32, 32), 90, np.float32))
    assert {field: values.shape for field, values in made.items()} == {
        "age": (3,),
        "age_interval": (3, 2),
        "gender": (3, 2),
    }


def test_the_card_asks_for_crops_of_the_size_that_ships() -> None:
    card = AgeGender(TINY).card()
    assert card.crop is not None
    assert (card.crop.width, card.crop.height) == (RECIPES["ship"].size,) * 2
    assert not card.input.grey
