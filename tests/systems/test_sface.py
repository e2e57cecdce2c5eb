"""SFace's gradients against its curves, its loss against the sum written out, and the paper's network."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mien.nn.cost import cost
from mien.nn.ir50 import IR50
from mien.nn.margins import MarginSoftmax
from mien.systems.recognition.sface import (
    RECIPES,
    REPRODUCE,
    Config,
    SFace,
    SigmoidConstrained,
    pull,
    push,
)
from mien.train.settings import override


def flat(angles: list[float], lengths: list[float]) -> SigmoidConstrained:
    """Return the loss with one centre at each angle of a plane, of any lengths, float64."""
    loss = SigmoidConstrained(2, len(angles), Config()).double()
    made = [[r * math.cos(a), r * math.sin(a)] for a, r in zip(angles, lengths, strict=True)]
    loss.centres.data = torch.tensor(made, dtype=torch.float64)
    return loss


def gradient(loss: SigmoidConstrained, embedding: list[float], label: int) -> Tensor:
    x = torch.tensor([embedding], dtype=torch.float64, requires_grad=True)
    loss(x, torch.tensor([label])).backward()
    assert x.grad is not None
    return x.grad[0]


# Radians: before, around and behind a = 0.87 and b = 1.2.
ANGLES = (0.05, 0.6, 0.84, 0.87, 0.9, 1.15, 1.2, 1.25, 1.7, 3.0)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("length", [0.3, 7.0])
def test_a_picture_is_pulled_to_its_centre_as_the_curve_says(angle: float, length: float) -> None:
    # the embedding lies on the first axis, the centre of its class is all there is
    pulled = gradient(flat([angle], [5.0]), [length, 0.0], 0) * length
    curve = 64 / (1 + math.exp(-80 * (angle - 0.87)))
    assert pulled[0].abs() < 1e-9  # along the sphere only: lengths are not learned
    assert float(-pulled[1]) == pytest.approx(curve * math.sin(angle), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("angle", ANGLES)
def test_a_picture_is_pushed_from_another_centre_as_the_curve_says(angle: float) -> None:
    # its own centre is where it is itself, which does not pull
    pushed = gradient(flat([0.0, angle], [1.0, 0.2]), [2.0, 0.0], 0) * 2
    curve = 64 / (1 + math.exp(80 * (angle - 1.2)))
    assert pushed[0].abs() < 1e-9
    assert float(pushed[1]) == pytest.approx(curve * math.sin(angle), rel=1e-6, abs=1e-12)


def test_speeds_of_centres_add_up_and_no_softmax_couples_them() -> None:
    both = gradient(flat([0.0, 1.0, -0.7], [1, 1, 1]), [1.0, 0.0], 0)
    one, other = (gradient(flat([0.0, a], [1, 1]), [1.0, 0.0], 0) for a in (1.0, -0.7))
    torch.testing.assert_close(both, one + other)


def test_the_loss_is_the_papers_sum() -> None:
    torch.manual_seed(0)
    config = Config(intra=0.9, inter=1.3, slope=5.0, scale=3.0)
    loss = SigmoidConstrained(4, 6, config)
    x, labels = torch.randn(5, 4), torch.tensor([0, 5, 2, 2, 1])
    total = 0.0
    for row, label in zip(x, labels.tolist(), strict=True):
        for j, centre in enumerate(loss.centres.detach()):
            cosine = float(row @ centre / row.norm() / centre.norm())
            angle = math.acos(cosine)
            if j == label:
                total -= 3.0 / (1 + math.exp(-5.0 * (angle - 0.9))) * cosine
            else:
                total += 3.0 / (1 + math.exp(5.0 * (angle - 1.3))) * cosine
    assert loss(x, labels).item() == pytest.approx(total / 5, rel=1e-5)


def test_curves_are_half_way_at_a_and_b_and_reach_zero_and_s() -> None:
    angles = torch.tensor([0.0, 0.87, math.pi])
    torch.testing.assert_close(pull(angles, 64, 80, 0.87), torch.tensor([0.0, 32.0, 64.0]))
    angles = torch.tensor([0.0, 1.2, math.pi])
    torch.testing.assert_close(push(angles, 64, 80, 1.2), torch.tensor([64.0, 32.0, 0.0]))


def test_a_picture_that_is_near_enough_is_left_alone_where_arcface_pulls_on() -> None:
    """45 degrees from its own centre, 51 degrees from another one: within the margin."""
    angles = [math.pi / 4, -0.9]
    head = MarginSoftmax(2, 2, "arcface", 0.5, 64)
    head.centres.data = flat(angles, [1, 1]).centres.data.float()
    x = torch.tensor([[1.0, 0.0]], requires_grad=True)
    head(x, torch.tensor([0])).backward()
    assert x.grad is not None
    assert x.grad.norm() > 60
    # the centre at 2.5 radians pushes neither
    assert gradient(flat([angles[0], 2.5], [1, 1]), [1.0, 0.0], 0).norm() < 0.1


def test_the_papers_network_has_the_parameters_of_the_authors_table() -> None:
    with torch.device("meta"):
        net = IR50(112, 512)
    # `model_irse.py`: 3 x 3 convolutions without biases, two norms and PReLU a block, and a shortcut of one
    # convolution and its norm wherever the channels change; 7 x 7 places before the linear layer.
    expected = 3 * 64 * 9 + 3 * 64
    inputs = 64
    for outputs, blocks in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for _ in range(blocks):
            expected += 2 * inputs + 9 * inputs * outputs + outputs + 9 * outputs**2 + 2 * outputs
            expected += inputs * outputs + 2 * outputs if inputs != outputs else 0
            inputs = outputs
    expected += 2 * 512 + (512 * 49 + 1) * 512 + 2 * 512
    counted = cost(net, 3, 112, 112)
    assert counted.parameters == expected == 43_574_976
    assert counted.multiply_adds == pytest.approx(6.3e9, rel=0.01)  # as InsightFace lists its "r50"
    paper = RECIPES["paper"]
    assert (paper.network, paper.size, paper.embedding) == ("ir-50", 112, 512)
    assert (paper.intra, paper.inter, paper.slope, paper.scale) == (0.87, 1.2, 80, 64)


def test_every_claim_compares_arms_that_differ_in_nothing_but_the_loss() -> None:
    for plan, noise in zip(REPRODUCE, (0.0, 0.2, 0.4), strict=True):
        first, second = (override(RECIPES[plan.recipe], changes) for _, changes in plan.arms[:2])
        assert first.noise == second.noise == noise
        assert (first.loss, second.loss) == ("sface", "arcface")
        assert replace(second, loss="sface") == first


def test_arms_begin_from_one_network_and_the_same_wrong_labels(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    made = []
    for loss in ("sface", "arcface"):
        torch.manual_seed(3)
        made.append(SFace(override(RECIPES["tiny"], (f"loss={loss}", "noise=0.4")), 3))
    one, other = (lab.state_dict() for lab in made)
    for name in one:
        assert torch.equal(one[name], other[name])
    images = made[0].chosen()
    assert (made[0].persons(images) == made[1].persons(images)).all()
