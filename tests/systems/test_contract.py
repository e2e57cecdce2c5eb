"""What every paper's file promises, asked of each one that the index finds."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from landmarked import with_landmarks
from mien import index
from mien.core.fields import FIELDS
from mien.data.people import people
from mien.evaluate.metrics import METRICS
from mien.evaluate.reproduce import Paper, paper
from mien.index import Entry
from mien.train.pictures import PictureLab
from mien.train.recognition import RecognitionLab
from mien.train.run import train

LEARN_FROM_LANDMARKS = ("la-net", "poster-pp", "symface")
TESTED_BY_POSE = ("vggface2",)
BUILT = [entry for entry in index.entries() if entry.trains]


@pytest.fixture(params=BUILT, ids=[entry.id for entry in BUILT])
def entry(request: pytest.FixtureRequest, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    chosen: Entry = request.param
    if chosen.id in LEARN_FROM_LANDMARKS:
        described = paper(chosen.room, chosen.id)
        lab = described.make(described.settings("tiny"), 0)
        assert isinstance(lab, PictureLab | RecognitionLab)
        with_landmarks(lab.chosen())
    if chosen.id in TESTED_BY_POSE:
        with_landmarks(people("test", 112))
    return chosen


@pytest.fixture
def chosen(entry: Entry) -> Paper:
    return paper(entry.room, entry.id)


def test_the_row_that_is_read_is_the_row_that_is_imported(entry: Entry, chosen: Paper) -> None:
    assert chosen.row == entry.system
    assert set(chosen.row.makes) <= set(FIELDS)
    assert chosen.row.title == entry.title


def test_every_claim_has_a_reproduction_that_fits(chosen: Paper) -> None:
    assert {plan.claim for plan in chosen.reproductions} == {claim.text for claim in chosen.row.claims}
    metrics = {claim.text: claim.metric for claim in chosen.row.claims}
    for plan in chosen.reproductions:
        assert plan.metric == metrics[plan.claim]
        assert plan.metric in METRICS
        assert len(plan.arms) >= 2
        assert len(plan.seeds) >= 3
        for _, changes in plan.arms:
            chosen.settings(plan.recipe, changes)


def test_recipes_are_there_and_of_the_systems_own_kind(entry: Entry, chosen: Paper) -> None:
    assert {"tiny", "cpu", "paper"} <= set(chosen.recipes)
    assert entry.recipes == tuple(chosen.recipes)
    assert len({type(settings) for settings in chosen.recipes.values()}) == 1


def test_the_tiny_recipe_trains_and_is_the_same_again(chosen: Paper, tmp_path: Path) -> None:
    ends = []
    settings = chosen.settings("tiny")
    for name in ("first", "again"):
        trained = train(
            chosen.row.id, lambda: chosen.make(settings, 0), folder=tmp_path / name, progress=False
        )
        assert math.isfinite(trained.score)
        with (tmp_path / name / "logs" / "part0" / "metrics.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")]
        assert all(map(math.isfinite, losses))
        ends.append(trained.lab.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_training_changes_the_weights(chosen: Paper, tmp_path: Path) -> None:
    settings = chosen.settings("tiny")
    trained = train(chosen.row.id, lambda: chosen.make(settings, 0), folder=tmp_path, progress=False)
    torch.manual_seed(0)
    untrained = chosen.make(settings, 0).state_dict()
    changed = [
        key for key, value in trained.lab.state_dict().items() if not torch.equal(value, untrained[key])
    ]
    assert len(changed) > len(untrained) / 2


def test_the_test_rows_are_told_apart_from_what_was_seen(chosen: Paper) -> None:
    lab = chosen.make(chosen.settings("tiny"), 0)
    parts = lab.test_parts()
    assert parts
    for part in parts:
        targets, predictions = lab.predictions(part.rows)
        assert len(targets) == len(predictions) == part.used.rows
