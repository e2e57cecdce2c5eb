"""SphereFace2: classifiers that do not know of each other, the loss by its formula, the network by count."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.nn.cost import cost
from mien.nn.margins import MarginSoftmax
from mien.systems.recognition.sphereface2 import (
    RECIPES,
    REPRODUCE,
    BinaryClassifiers,
    Config,
    SFNet,
    SphereFace2,
    first_bias,
    widen,
)
from mien.train.settings import override

PEOPLE, FEATURES = 5, 3


def curvature(loss: nn.Module) -> Tensor:
    """Return (K, d, K, d) how the gradient of each centre changes with each other centre."""
    torch.manual_seed(0)
    x, labels = torch.randn(4, FEATURES), torch.tensor([0, 1, 4, 1])
    centres = torch.randn(PEOPLE, FEATURES)

    def value(moved: Tensor) -> Tensor:
        made: Tensor = torch.func.functional_call(loss, {"centres": moved}, (x, labels))
        return made

    changes: Tensor = torch.autograd.functional.hessian(value, centres)  # type: ignore[no-untyped-call]
    return changes


def between(changes: Tensor) -> Tensor:
    """Return what of it is between two classes."""
    others = ~torch.eye(PEOPLE, dtype=torch.bool)
    return changes.permute(0, 2, 1, 3)[others]


def test_no_class_is_in_the_gradient_of_another_one() -> None:
    config = Config(radius=4.0, margin=0.1)
    changes = curvature(BinaryClassifiers(FEATURES, PEOPLE, config))
    assert between(changes).abs().max() == 0
    assert changes.abs().max() > 1e-3
    # while in a softmax every class is in that of every other one
    coupled = between(curvature(MarginSoftmax(FEATURES, PEOPLE, "cosface", 0.1, 4.0)))
    assert (coupled.abs().amax(dim=(1, 2)) > 1e-5).all()


def test_the_gradient_of_a_centre_is_as_if_it_were_alone() -> None:
    torch.manual_seed(1)
    x, labels = torch.randn(6, FEATURES), torch.tensor([0, 1, 0, 3, 2, 1])
    config = Config(radius=4.0)
    many = BinaryClassifiers(FEATURES, PEOPLE, config)
    many(x, labels).backward()
    assert many.centres.grad is not None
    for person in range(PEOPLE):
        centre = many.centres.detach()[person].clone().requires_grad_()
        similar = functional.cosine_similarity(x, centre[None])
        is_it = labels == person
        logit = 4.0 * (widen(similar, 3) - 0.4 * torch.where(is_it, 1, -1)) + many.bias.detach()
        each = torch.where(is_it, 0.7 * functional.softplus(-logit), 0.3 * functional.softplus(logit))
        (alone,) = torch.autograd.grad(each.mean() / 4.0, centre)
        torch.testing.assert_close(many.centres.grad[person], alone)


def test_the_loss_is_the_papers_formula() -> None:
    torch.manual_seed(2)
    config = Config(balance=0.6, radius=5.0, margin=0.3, bend=2.0, factor=7.0)
    loss = BinaryClassifiers(FEATURES, PEOPLE, config)
    loss.bias.data.fill_(-0.8)
    x, labels = torch.randn(4, FEATURES), [3, 0, 0, 2]
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        for i, centre in enumerate(loss.centres.detach()):
            z = float(row @ centre / row.norm() / centre.norm())
            g = 2 * ((z + 1) / 2) ** 2 - 1
            if i == label:
                total += 0.6 / 5 * math.log(1 + math.exp(-5 * (g - 0.3) + 0.8))
            else:
                total += 0.4 / 5 * math.log(1 + math.exp(5 * (g + 0.3) - 0.8))
    assert loss(x, torch.tensor(labels)).item() == pytest.approx(7 * total / 4, rel=1e-5)


@pytest.mark.parametrize("people", [2, 207, 8631])
def test_the_bias_begins_where_the_loss_is_least_while_cosines_are_zero(people: int) -> None:
    config = Config()
    right = config.radius * (widen(torch.zeros(()), 3).double() - config.margin)
    wrong = config.radius * (widen(torch.zeros(()), 3).double() + config.margin)

    def at(bias: float) -> float:
        answer = 0.7 * functional.softplus(-right - bias)
        return float(answer + 0.3 * (people - 1) * functional.softplus(wrong + bias))

    best = first_bias(people, config)
    assert at(best) < at(best - 0.01)
    assert at(best) < at(best + 0.01)
    made = BinaryClassifiers(4, people, config)
    assert made.bias.item() == pytest.approx(best, rel=1e-6)


def test_similarities_are_bent_between_the_same_ends() -> None:
    ends = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(widen(ends, 3), torch.tensor([-1.0, -0.75, 1.0]))
    anywhere = torch.linspace(-1, 1, 9)
    torch.testing.assert_close(widen(anywhere, 1), anywhere)


@pytest.mark.parametrize(("layers", "depths"), [(20, (1, 2, 4, 1)), (64, (3, 8, 16, 3))])
def test_the_papers_networks_have_as_many_convolutions_as_their_names_say(
    layers: int, depths: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        net = SFNet(512, 112, depths)
    assert sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) == layers


def test_the_papers_network_has_the_parameters_of_sphereface() -> None:
    with torch.device("meta"):
        counted = cost(SFNet(512, 112), 3, 112, 112)
    # SphereFace's 20 layers have 22.67 million for faces of 112 x 96, of which 4,672 are of its PReLUs; here
    # each of the 512 units sees a seventh column of seven places of 512 channels.
    assert counted.parameters == 22_670_656 - 4_672 + 7 * 512 * 512
    paper = RECIPES["paper"]
    assert (paper.network, paper.size, paper.embedding) == ("sfnet-20", 112, 512)
    assert (paper.balance, paper.radius, paper.margin, paper.bend) == (0.7, 40, 0.4, 3)


def test_a_network_without_norms_passes_its_pictures_on_at_first() -> None:
    torch.manual_seed(0)
    net = SFNet(8, 32, depths=(1, 4, 8, 2), widths=(4, 8, 8, 8))
    made = net(torch.rand(6, 3, 32, 32) * 255)
    assert made.std(dim=0).min() > 1e-3


def test_every_claim_compares_arms_that_differ_in_nothing_but_the_loss() -> None:
    for plan, noise in zip(REPRODUCE, (0.4, 0.2, 0.0), strict=True):
        first, second = (override(RECIPES[plan.recipe], changes) for _, changes in plan.arms[:2])
        assert first.noise == second.noise == noise
        assert (first.loss, second.loss) == ("sphereface2", "cosface")
        assert replace(second, loss="sphereface2") == first


def test_arms_begin_from_one_network(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    made = []
    for loss in ("sphereface2", "cosface"):
        torch.manual_seed(3)
        made.append(SphereFace2(override(RECIPES["tiny"], (f"loss={loss}", "noise=0.4")), 3))
    one, other = (lab.state_dict() for lab in made)
    shared = [name for name in one if name in other]
    assert "head.centres" in shared
    assert all(torch.equal(one[name], other[name]) for name in shared)
