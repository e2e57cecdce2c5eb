"""The tasks' masked loss against its sum written out, the labels by their names, the network by its count."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from mien.core.labels import RAFDB_AGES, RAFDB_GENDERS, RAFDB_RACES, UTKFACE_GENDERS, UTKFACE_RACES
from mien.data.reader import Images
from mien.systems.expression import multitask_fer
from mien.systems.expression.multitask_fer import NONE, RECIPES, TASKS, Config, MultitaskFer, Network

TINY = RECIPES["tiny"]


def others(age: list[int], gender: list[int], race: list[int]) -> Images:
    """Return rows as UTKFace's."""
    columns = {"age": np.array(age), "gender": np.array(gender), "race": np.array(race)}
    count = len(age)
    pixels = np.zeros((count, 8, 8, 1), np.uint8)
    return Images("utkface", "train", pixels, MappingProxyType(columns), np.zeros(count, "S32"))


def test_the_authors_network_has_its_number_of_weights() -> None:
    # (kernel, inputs, outputs) of each convolution of their model.py, then the layers behind 6 x 6 places
    convolutions = ((5, 3, 64), (5, 64, 64), (3, 64, 128), (3, 128, 128), (3, 128, 256), (3, 256, 256))
    count = sum(k * k * a * b + b + 2 * b for k, a, b in convolutions)
    count += (6 * 6 * 256 + 1) * 128 + 2 * 128 + sum(129 * classes for classes in (7, 3, 3, 5))
    assert count == 2_398_162
    assert sum(p.numel() for p in Network(Config()).parameters()) == count


def test_the_loss_is_the_weighted_sum_over_the_labels_that_there_are() -> None:
    torch.manual_seed(0)
    sizes = [len(classes) for classes, _ in TASKS.values()]
    assert sizes == [7, 3, 3, 5]
    logits = tuple(torch.randn(6, size) for size in sizes)
    labels = torch.stack([torch.randint(0, size, (6,)) for size in sizes])
    labels[1:, :3] = NONE  # faces with an emotion only
    labels[0, 3:] = NONE  # faces with the rest
    labels[2, 4] = NONE  # one without a race
    expected = 0.0
    for weight, scores, truth in zip((2, 0.1, 1.5, 4), logits, labels, strict=True):
        for row in range(6):
            if truth[row] >= 0:
                odds = [math.exp(v) for v in scores[row].tolist()]
                expected -= weight * math.log(odds[int(truth[row])] / sum(odds)) / 6
    assert float(multitask_fer.loss(logits, tuple(labels))) == pytest.approx(expected, rel=1e-5)


def test_a_face_teaches_only_the_heads_that_it_has_labels_for() -> None:
    torch.manual_seed(0)
    net = Network(TINY)
    pixels = torch.rand(4, 1, 32, 32) * 255
    none, some = torch.full((4,), NONE), torch.tensor([0, 1, 2, 0])
    for labels, learns in (
        ((some, none, none, none), [True, False, False, False]),
        ((none, some, some, some), [False, True, True, True]),
    ):
        net.zero_grad()
        multitask_fer.loss(net(pixels), labels).backward()  # type: ignore[no-untyped-call]
        heads = [next(head.parameters()).grad for head in net.heads]
        moved = [grad is not None and bool(grad.abs().sum() > 0) for grad in heads]
        assert moved == learns
        first = next(net.body.parameters())
        assert first.grad is not None
        assert float(first.grad.abs().sum()) > 0


def test_utkfaces_labels_become_rafdbs_by_name() -> None:
    ages = [1, 3, 4, 19, 20, 39, 40, 69, 70, 116]
    gender, race, age = multitask_fer.as_rafdb(others(ages, [0, 1] * 5, [0, 1, 2, 3, 4] * 2))
    assert [RAFDB_AGES[i] for i in age] == [
        *("0-3", "0-3", "4-19", "4-19", "20-39", "20-39", "40-69", "40-69", "70+", "70+")
    ]
    assert [RAFDB_GENDERS[i] for i in gender] == [UTKFACE_GENDERS[i] for i in [0, 1] * 5]
    named = {UTKFACE_RACES[i]: RAFDB_RACES[race[i]] if race[i] != NONE else "" for i in range(5)}
    assert named == {
        "white": "caucasian",
        "black": "african_american",
        "asian": "asian",
        "indian": "",
        "others": "",
    }


def test_rows_of_both_sets_are_mixed_and_the_arm_alone_has_the_same_emotions(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    mixed, emotions = (MultitaskFer(config).train_rows() for config in (TINY, replace(TINY, others=False)))
    together, alone = [mixed[i] for i in range(len(mixed))], [emotions[i] for i in range(len(emotions))]
    assert (len(together), len(alone)) == (96 + 64, 96)
    for with_others, without in zip(together, alone, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(with_others, without, strict=True))
    labels = torch.tensor([[int(label) for label in row[1:]] for row in together])
    assert bool((labels[:96, 0] >= 0).all() and (labels[:96, 1:] == NONE).all())
    assert bool((labels[96:, 0] == NONE).all() and (labels[96:, [1, 3]] >= 0).all())
    assert together[0][0].shape == together[-1][0].shape == (1, 32, 32)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_logits_of_each_task(name: str) -> None:
    config = RECIPES[name]
    made = Network(config).eval()(torch.rand(2, 1, config.size, config.size) * 255)
    assert [part.shape for part in made] == [(2, 7), (2, 3), (2, 3), (2, 5)]
