"""AffectNet's ways to learn from imbalanced rows by counting, its networks by sizes and libraries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.feature import hog

import madesets
from mien.core.labels import AFFECTNET_EXPRESSIONS
from mien.evaluate.metrics import balanced_accuracy
from mien.systems.expression.affectnet import (
    CATEGORICAL,
    DIMENSIONAL,
    RECIPES,
    REPRODUCE,
    AffectNet,
    AlexNet,
    Config,
    gradients,
    learned,
    measured,
    weighted_loss,
)
from mien.train.affect import rarest_over_each
from mien.train.run import train
from mien.train.settings import override

COUNTS = (40, 90, 12, 7, 25, 3, 18, 5)


def expressions(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(8), COUNTS))


def test_down_sampling_keeps_at_most_so_many_of_a_class() -> None:
    given = expressions()
    rows = learned(given, "down", 12, seed=0)
    assert Counter(given[rows].tolist()) == {c: min(count, 12) for c, count in enumerate(COUNTS)}
    assert len(set(rows.tolist())) == len(rows)  # none twice
    assert rows.tolist() == learned(given, "down", 12, seed=0).tolist()
    assert rows.tolist() != learned(given, "down", 12, seed=1).tolist()


def test_up_sampling_repeats_the_rare_until_all_are_as_many() -> None:
    given = expressions()
    rows = learned(given, "up", 12, seed=0)
    assert Counter(given[rows].tolist()) == dict.fromkeys(range(8), 90)
    times = Counter(rows.tolist())
    assert set(times) == set(range(len(given)))  # nothing is lost
    for c in range(8):  # and rows of a class are repeated evenly
        mine = [times[row] for row in np.flatnonzero(given == c)]
        assert max(mine) - min(mine) <= 1


def test_plain_and_weighted_learn_from_the_rows_as_they_are() -> None:
    given = expressions()
    assert learned(given, "plain", 12, 0).tolist() == learned(given, "weighted", 12, 0).tolist()
    assert learned(given, "plain", 12, 0).tolist() == list(range(len(given)))


def test_the_rarest_class_weighs_one() -> None:
    weights = rarest_over_each(torch.as_tensor(expressions()), 8)
    assert weights.tolist() == pytest.approx([3 / count for count in COUNTS])
    # AffectNet's own numbers, of which the authors of Emotion-GCN take the weights of seven
    own = torch.repeat_interleave(torch.arange(3), torch.tensor([74_874, 134_415, 3_803]))
    assert rarest_over_each(own, 3).tolist() == pytest.approx([3803 / 74_874, 3803 / 134_415, 1])
    assert rarest_over_each(torch.tensor([0, 0, 2]), 3).tolist() == [0.5, 0, 1]


def test_the_weighted_loss_is_the_papers_sum() -> None:
    torch.manual_seed(0)
    logits, given = torch.randn(30, 8), torch.randint(0, 8, (30,))
    weights = torch.rand(8)
    p = logits.softmax(dim=1)
    total = 0.0
    for n in range(30):
        for k in range(8):
            h = float(weights[k]) if k == int(given[n]) else 0.0
            total -= h * float(p[n, k].log()) / 30
    assert float(weighted_loss(logits, given, weights)) == pytest.approx(total, rel=1e-5)


def test_alexnet_has_its_number_of_parameters() -> None:
    # Caffe's bvlc_alexnet; without the 1,000 classes' layer and with one of eight
    with torch.device("meta"):
        assert sum(p.numel() for p in AlexNet(3, 1000).parameters()) == 60_965_224
        assert sum(p.numel() for p in AlexNet(3, 8).parameters()) == 60_965_224 - 4_097_000 + 8 * 4097
        assert AlexNet(3, 8)(torch.empty(2, 3, 227, 227)).shape == (2, 8)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_another_library(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (40, 48)).astype(float)
    expected = hog(
        picture,
        orientations=9,
        pixels_per_cell=(8, 8),
        cells_per_block=(2, 2),
        block_norm="L2",
        feature_vector=False,
    )
    made = gradients(torch.as_tensor(picture)[None, None])[0].reshape(9, 4, 4, 5)
    # theirs: block row, block column, cell row, cell column, direction
    theirs = torch.as_tensor(expected).permute(4, 2, 3, 0, 1).reshape(9, 4, 4, 5)
    np.testing.assert_allclose(made, theirs, atol=1e-6)


def test_every_metric_of_the_paper_is_measured() -> None:
    random = np.random.default_rng(0)
    targets = expressions()
    scores = random.dirichlet(np.ones(8), len(targets)) + 2 * np.eye(8)[targets]
    assert measured(targets, scores, CATEGORICAL) == pytest.approx(dict.fromkeys(CATEGORICAL, 1.0))
    values = random.normal(0, 0.3, 50)
    assert measured(values, values, DIMENSIONAL) == pytest.approx(
        {"RMSE": 0.0, "CORR": 1.0, "SAGR": 1.0, "CCC": 1.0}
    )


def test_balanced_accuracy_is_the_accuracy_on_a_skew_normalised_test() -> None:
    # the paper draws as many test rows of each class as of the rarest, and averages over draws
    random = np.random.default_rng(0)
    targets = expressions()
    predictions = np.where(random.random(len(targets)) < 0.6, targets, 1)
    rows = [np.flatnonzero(targets == c) for c in range(8)]
    draws = []
    for _ in range(3000):
        chosen = np.concatenate([random.choice(mine, 3, replace=False) for mine in rows])
        draws.append(np.mean(targets[chosen] == predictions[chosen]))
    assert balanced_accuracy(targets, predictions) == pytest.approx(np.mean(draws), abs=0.01)


@pytest.mark.parametrize("change", ["network=gradients", "task=arousal imbalance=weighted"])
def test_settings_that_contradict_each_other_are_refused(change: str) -> None:
    with pytest.raises(ValueError, match="expressions"):
        Config(**dict(part.split("=") for part in change.split()))  # type: ignore[arg-type]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for runs beside a made AffectNet."""
    madesets.affectnet(tmp_path / "affectnet")
    monkeypatch.setenv("MIEN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "run"


@pytest.mark.parametrize(
    "changes",
    [
        "imbalance=plain",
        "imbalance=weighted",
        "imbalance=down most=2",
        "imbalance=up",
        "task=valence",
        "task=arousal network=gradients",
    ],
)
def test_it_learns_from_affectnet_where_that_is(made: Path, changes: str) -> None:
    config = override(RECIPES["tiny"], ["dataset=affectnet", "batch=8", "rows=0", *changes.split()])
    trained = train("affectnet", lambda: AffectNet(config), folder=made, progress=False).lab
    (part,) = trained.test_parts()
    assert (part.used.name, part.used.split) == ("affectnet", "valid")
    targets, predictions = trained.predictions(part.rows)
    assert np.isfinite(predictions).all()
    if config.task == "expression":
        assert predictions.shape == (len(targets), 8)
        assert set(targets.tolist()) == set(range(8))
        assert trained.classes == AFFECTNET_EXPRESSIONS
    else:
        assert predictions.shape == targets.shape
        assert np.abs(targets).max() <= 1  # the unknown -2 is left out
    logs = (made / "logs" / "part0" / "metrics.csv").read_text().splitlines()[0]
    names = CATEGORICAL if config.task == "expression" else DIMENSIONAL
    assert all(name in logs for name in names)


def test_held_out_and_reported_pictures_are_not_learned(made: Path) -> None:
    lab = AffectNet(override(RECIPES["tiny"], ["dataset=affectnet", "rows=0"]))
    parts = {split: set(lab.images(split).hashes.tolist()) for split in ("train", "valid", "test")}
    assert all(parts.values())
    assert not parts["train"] & parts["valid"]
    assert not (parts["train"] | parts["valid"]) & parts["test"]


def test_evidence_names_the_test_rows_that_all_arms_are_judged_on(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    for plan in REPRODUCE:
        recipe = RECIPES[plan.recipe]
        named = [part.used for part in AffectNet(recipe).test_parts()]
        for _, changes in plan.arms:
            arm = AffectNet(override(recipe, changes))
            assert [part.used for part in arm.test_parts()] == named
