"""EdgeFace's recipes make the paper's networks, and a peer of the same cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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


@pytest.mark.parametrize("arm", ["edgeface", "mobilefacenet"])
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
