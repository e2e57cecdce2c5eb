"""CAST against literal clustering and merging; planted noise is what it is said to be, and is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mien.evaluate.reproduce import paper
from mien.nn.ir50 import IR50
from mien.systems.recognition.webface260m import (
    GONE,
    RECIPES,
    Cast,
    Cleaned,
    among_folders,
    clean,
    plant,
    within_folders,
)

Rows = npt.NDArray[np.float64]


def unit(rows: npt.NDArray[Any]) -> Rows:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def faces(people: int = 20, each: int = 24, spread: float = 0.25) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Return embeddings of people who are easily told apart, and who they are."""
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(people), each)
    return unit(
        unit(random.normal(size=(people, 96)))[person]
        + spread * unit(random.normal(size=(people * each, 96)))
    ), person


def test_what_is_planted_is_what_is_said() -> None:
    person = np.repeat(np.arange(50), 40)
    made = plant(person, 0.2, 0.3, np.random.default_rng(1))
    assert len(made.person) == 50 + 15
    assert (made.wrong == (made.person[made.folder] != person)).all()
    assert made.wrong.mean() == pytest.approx(0.2, abs=0.03)
    for folder in range(50, 65):
        twin = made.person[folder]
        right = ~made.wrong & (person == twin)
        # of those that were not moved about half are in each of the two
        assert 5 < (made.folder[right] == folder).sum() < 30
        assert set(made.folder[right].tolist()) == {int(twin), folder}
    clean_ = plant(person, 0.0, 0.0, np.random.default_rng(1))
    assert (clean_.folder == person).all()
    assert not clean_.wrong.any()


def literal(vectors: Rows, neighbour: float, neighbours: int) -> set[frozenset[int]]:
    """Return DBSCAN's clusters (Ester et al. 1996): cores within reach of each other, and what they reach."""
    near = [
        [j for j in range(len(vectors)) if vectors[i] @ vectors[j] >= neighbour] for i in range(len(vectors))
    ]
    cores = {i for i, found in enumerate(near) if len(found) >= neighbours}
    clusters, seen = set(), set()
    for core in sorted(cores):
        if core in seen:
            continue
        cluster, open_ = {core}, [core]
        while open_:
            for j in near[open_.pop()]:
                if j in cores and j not in cluster:
                    open_.append(j)
                cluster.add(j)
        seen |= cluster & cores
        clusters.add(frozenset(cluster))
    return clusters


@pytest.mark.parametrize("seed", range(6))
def test_a_folder_keeps_its_largest_cluster(seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(
        np.repeat(random.normal(size=(4, 6)), (4, 7, 2, 1), axis=0) + random.normal(size=(14, 6)) / 4
    )
    kept = within_folders(vectors, np.zeros(14, int), 0.85, 3)
    clusters = literal(vectors, 0.85, 3)
    if not clusters:
        assert not kept.any()
        return
    most = max(map(len, clusters))
    assert frozenset(np.flatnonzero(kept).tolist()) in {c for c in clusters if len(c) == most}


def test_folders_do_not_look_at_each_other() -> None:
    vectors, person = faces()
    both = within_folders(vectors, person, 0.5, 3)
    for one in (0, 7):
        rows = person == one
        assert (within_folders(vectors[rows], person[rows], 0.5, 3) == both[rows]).all()


def on_a_circle(*degrees: float) -> Rows:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_alike_folders_become_one_and_of_doubtful_ones_the_larger_stays() -> None:
    # cos 45 degrees is 0.707, cos 60 is 0.5
    sizes = np.array([5, 9])
    assert among_folders(on_a_circle(0, 44), sizes, 0.7, 0.5).tolist() == [1, 1]
    assert among_folders(on_a_circle(0, 50), sizes, 0.7, 0.5).tolist() == [GONE, 1]
    assert among_folders(on_a_circle(0, 61), sizes, 0.7, 0.5).tolist() == [0, 1]
    # a chain of three: the middle takes both, though its ends are doubtful to each other
    assert among_folders(on_a_circle(0, 30, 55), np.array([4, 9, 4]), 0.7, 0.5).tolist() == [1, 1, 1]
    # together the first two are larger than the third, which alone is larger than each
    assert among_folders(on_a_circle(0, 10, 65), np.array([5, 4, 8]), 0.7, 0.5).tolist() == [0, 0, GONE]
    # an empty folder has no mean to be alike by
    assert among_folders(on_a_circle(0, 10), np.array([5, 0]), 0.7, 0.5).tolist() == [0, 1]


def test_all_that_is_planted_is_found_where_people_are_easily_told_apart() -> None:
    vectors, person = faces()
    made = plant(person, 0.1, 0.3, np.random.default_rng(3))
    found = clean(vectors, made.folder, len(made.person), RECIPES["cpu"])
    assert (found.kept == ~made.wrong).all()
    alike = found.becomes[:, None] == found.becomes[None]
    assert (alike == (made.person[:, None] == made.person[None])).all()
    left = found.folder != GONE
    assert (left == ~made.wrong).all()
    assert (made.person[found.folder[left]] == person[left]).all()


@pytest.fixture
def lab(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Cast:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    return Cast(replace(RECIPES["tiny"], split=0.5), seed=1)


def test_decisions_of_test_rows_are_those_of_the_cleaning(lab: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(lab.planted.person)
    kept = np.arange(len(lab.images)) % 3 > 0
    becomes = np.arange(count)
    becomes[1] = 0
    becomes[2] = becomes[3] = GONE
    monkeypatch.setattr(lab, "cleaned", lambda: Cleaned(lab.planted.folder, kept, becomes))
    pictures, folders = lab.test_parts()
    targets, gone = lab.predictions(pictures.rows)
    assert (targets == lab.planted.wrong).all()
    assert (gone == ~kept).all()
    targets, one = lab.predictions(folders.rows)
    assert len(one) == count * (count - 1) // 2
    assert one.sum() == one[0] == 1  # the first pair is (0, 1); two folders that are gone are not one
    assert targets.sum() == count - len(np.unique(lab.planted.person))
    assert folders.units is not None
    assert folders.units.shape == (len(one), 2)


def test_a_picture_that_is_gone_teaches_nothing(lab: Cast) -> None:
    pixels = torch.randint(0, 255, (6, 3, 32, 32), dtype=torch.uint8)
    lab.log = lambda *given, **more: None  # type: ignore[method-assign]
    lab.augmented = lambda pixels: pixels.float()  # type: ignore[method-assign]
    lab.label[:3] = GONE
    torch.manual_seed(0)
    some = lab.training_step((pixels, torch.arange(6)), 0)
    torch.manual_seed(0)
    assert lab.training_step((pixels[3:], torch.arange(3, 6)), 0) == some
    lab.label[:] = GONE
    lab.training_step((pixels, torch.arange(6)), 0).backward()  # type: ignore[no-untyped-call]
    assert not lab.head.centres.grad.any()  # type: ignore[union-attr]


def test_the_next_network_begins_anew_with_what_is_left(lab: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = {name: value.clone() for name, value in lab.net.state_dict().items()}
    folder = np.where(np.arange(len(lab.images)) < 100, 3, GONE)
    monkeypatch.setattr(lab, "cleaned", lambda: Cleaned(folder, folder != GONE, np.arange(9)))
    optimiser = torch.optim.AdamW(lab.parameters())
    optimiser.state[lab.head.centres]["step"] = torch.ones(1)
    monkeypatch.setattr(Cast, "trainer", type("Trainer", (), {"optimizers": [optimiser]})())
    for rounds_done, begins in ((0, False), (1, True)):
        monkeypatch.setattr(Cast, "current_epoch", rounds_done)
        lab.on_train_epoch_start()
        assert bool(optimiser.state) != begins
        assert (lab.label.numpy() == (folder if begins else lab.planted.folder)).all()
        changed = [
            name for name, value in lab.net.state_dict().items() if not torch.equal(value, learned[name])
        ]
        assert bool(changed) == begins
    monkeypatch.setattr(lab, "cleaned", lambda: Cleaned(np.full(len(folder), GONE), folder < 0, np.arange(9)))
    lab.on_train_epoch_start()
    assert (lab.label.numpy() == folder).all()  # a teacher that keeps nobody is not believed


def test_settings_that_do_not_go_together_are_refused() -> None:
    for changes in ({"iterations": 4}, {"doubtful": 0.9}, {"pictures": 4}, {"ema": 0.9}):
        with pytest.raises(ValueError, match=r"shared by|above merge|several networks"):
            replace(RECIPES["cpu"], **changes)


def test_the_papers_network_has_resnet_100s_parameters() -> None:
    config = RECIPES["paper"]
    with torch.device("meta"):
        net = IR50(config.size, config.embedding, dropout=0.0, depths=(3, 13, 30, 3))
    assert sum(p.numel() for p in net.parameters()) == 65_129_792  # the 65.1 million of ArcFace's code


def test_claims_share_their_runs() -> None:
    plans = paper("recognition", "webface260m").reproductions
    assert len({plan.arms for plan in plans}) == 1
    assert [plan.metric for plan in plans] == ["F1", "recall", "precision"]
