"""EdgeFace's recipes make the paper's networks, and a peer of the same cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mien.nn.cost import cost
from mien.nn.edgenext import LowRankLinear
from mien.systems.recognition.edgeface import RECIPES, Config, EdgeFace, network

CPU = RECIPES["cpu"]


@pytest.mark.parametrize(
    ("recipe", "parameters", "flops"), [("paper", 1.77, 154.00), ("paper-s", 3.65, 306.12)]
)
def test_the_papers_recipes_make_xs_and_s(recipe: str, parameters: float, flops: float) -> None:
    config = RECIPES[recipe]
    with torch.device("meta"):
        net = network(config)
    counted = cost(net, 3, config.size, config.size)
    assert round(counted.parameters / 1e6, 2) == parameters
    assert 2 * counted.multiply_adds / 1e6 == pytest.approx(flops, rel=0.002)


def test_the_peer_has_its_papers_size_in_the_papers_recipe() -> None:
    config = replace(RECIPES["paper"], network="mobilefacenet", embedding=128)
    with torch.device("meta"):
        net = network(config)
    # MobileFaceNet's Table 2: 0.99 million parameters, 221 million multiply-adds
    counted = cost(net, 3, 112, 112)
    assert counted.parameters / 1e6 == pytest.approx(0.99, abs=0.02)
    assert counted.multiply_adds / 1e6 == pytest.approx(221, rel=0.02)


def test_arms_of_the_cpu_recipe_cost_alike() -> None:
    arms = (CPU, replace(CPU, network="mobilefacenet"))
    edge, peer = (cost(network(arm), 3, CPU.size, CPU.size) for arm in arms)
    assert 0.8 < edge.multiply_adds / peer.multiply_adds < 1


def test_gamma_takes_rank_from_every_linear_layer() -> None:
    low, full = network(CPU), network(replace(CPU, gamma=1.0))
    pieces = [layer for layer in low.modules() if isinstance(layer, LowRankLinear)]
    # Two of each of the five blocks, two more of each of the three attentions, and the last.
    assert len(pieces) == 2 * 5 + 2 * 3 + 1
    assert not any(isinstance(layer, LowRankLinear) for layer in full.modules())
    assert cost(low, 3, 64, 64).parameters < cost(full, 3, 64, 64).parameters


@pytest.mark.parametrize("arm", ["edgeface", "mobilefacenet", "residual"])
def test_embeddings_move_with_the_loss(arm: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    torch.manual_seed(0)
    config: Config = replace(RECIPES["tiny"], network=arm)  # type: ignore[arg-type]
    lab = EdgeFace(config)
    pixels = torch.randint(0, 256, (8, 3, config.size, config.size), dtype=torch.uint8)
    monkeypatch.setattr(lab, "log", lambda *_: None)
    loss = lab.training_step((pixels, torch.arange(8)), 0)
    weights = dict(lab.net.named_parameters())
    gradients = torch.autograd.grad(loss, list(weights.values()))
    assert [name for name, gradient in zip(weights, gradients, strict=True) if not gradient.any()] == []
    assert lab.embed(pixels.float()).shape == (8, config.embedding)


def test_the_shipped_network_is_small_enough() -> None:
    config = RECIPES["ship"]
    counted = cost(network(config), 3, 112, 112)
    # 8 MB of 32 bits
    assert 4 * counted.parameters < 8e6 * 0.95
    assert counted.multiply_adds < 250e6


def test_taught_steps_come_nearer_to_the_teacher_and_then_learn_people(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    torch.manual_seed(0)
    config: Config = replace(
        RECIPES["tiny"], network="residual", residual_widths=(8, 8), residual_depths=(1, 1), teacher="t"
    )
    config = replace(config, rounds=4, sharpened=1, people_weight=0.5, pictures=2, passes=1)
    lab = EdgeFace(config)
    logged: dict[str, float] = {}
    monkeypatch.setattr(lab, "log", lambda name, value: logged.__setitem__(name, float(value)))
    trainer: Any = SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)
    lab._trainer = trainer
    hashes = lab.chosen().hashes
    faces = type("Faces", (), {"hashes": hashes[:100]})
    lab.__dict__["_taught"] = type("Taught", (), {"views": type("Views", (), {"faces": faces})})
    pixels = torch.rand(32, 3, 32, 32) * 255
    said = torch.nn.functional.normalize(torch.randn(32, config.embedding)).half()
    optimiser = torch.optim.SGD(lab.net.parameters(), lr=0.3, momentum=0.9)
    distances = []
    for step in range(30):
        optimiser.zero_grad()
        loss = lab.training_step((pixels, said), step)
        torch.autograd.backward(loss)
        optimiser.step()
        distances.append(logged["distance"])
    assert distances[-1] < 0.6 * distances[0]
    assert "people loss" not in logged
    trainer.current_epoch = 3
    value = lab.training_step((pixels, said), 1)
    assert float(value) == pytest.approx(logged["distance"] + 0.5 * logged["people loss"], rel=1e-4)
    # Only of faces that the teacher has seen are people learned.
    assert len(lab._known[0]) == 100
