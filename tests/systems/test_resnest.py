"""ResNeSt's recipes: the paper's network, and arms that differ in their attention alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mien.nn.cost import cost
from mien.nn.resnest import SplitAttention
from mien.systems.recognition.resnest import RECIPES, REPRODUCE, ResNeStFace, body
from mien.train.settings import override

CPU = RECIPES["cpu"]


def test_the_papers_recipe_makes_resnest_50() -> None:
    with torch.device("meta"):
        features = body(RECIPES["paper"])
        net = nn.Sequential(features, nn.Linear(features.features, 1000))
    counted = cost(net, 3, 224, 224)
    assert round(counted.parameters / 1e6, 1) == 27.5
    assert counted.multiply_adds / 1e9 == pytest.approx(5.39, rel=0.01)


def test_arms_differ_in_radix_and_in_the_width_that_makes_them_as_slow() -> None:
    arms = {name: override(CPU, changes) for plan in REPRODUCE for name, changes in plan.arms}
    assert sorted(arm.radix for arm in arms.values()) == [0, 1, 2]
    for arm in arms.values():
        assert {key for key, value in asdict(arm).items() if value != asdict(CPU)[key]} <= {"radix", "width"}
    split, excited, plain = sorted(arms.values(), key=lambda arm: -arm.radix)
    spent = [cost(body(arm), 3, 48, 48).multiply_adds for arm in (split, excited, plain)]
    # Attention is no multiply-adds to speak of, but time: those without it get more of them.
    assert spent == sorted(spent)
    assert spent[2] < 1.7 * spent[0]


def test_arms_of_one_width_are_one_network_but_for_attention() -> None:
    def layers(radix: int) -> Counter[str]:
        return Counter(
            f"{type(layer).__name__} {getattr(layer, 'kernel_size', '')}"
            for name, layer in body(replace(CPU, radix=radix)).named_modules()
            if not list(layer.children()) and "weigh" not in name
        )

    assert layers(0) == layers(1) == layers(2)
    found = [layer for layer in body(CPU).modules() if isinstance(layer, SplitAttention)]
    assert len(found) == sum(CPU.depths)


def test_every_weight_learns(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    torch.manual_seed(0)
    config = RECIPES["tiny"]
    lab = ResNeStFace(config)
    monkeypatch.setattr(lab, "log", lambda *_: None)
    pixels = torch.randint(0, 256, (16, 3, config.size, config.size), dtype=torch.uint8)
    loss = lab.training_step((pixels, torch.arange(16)), 0)
    # A bias before a norm changes nothing.
    weights = {name: w for name, w in lab.net.named_parameters() if not name.endswith("weigh.0.bias")}
    gradients = torch.autograd.grad(loss, list(weights.values()))
    assert [name for name, gradient in zip(weights, gradients, strict=True) if not gradient.any()] == []
    assert lab.embed(pixels.float()).shape == (16, config.embedding)
