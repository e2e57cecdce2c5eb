"""ResNeSt by its published counts, and split attention against the paper's equations in loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien.nn.cost import Cost, cost
from mien.nn.resnest import Bottleneck, ResNeSt, SplitAttention, Splits


def counted(splits: Splits, *, early: bool) -> Cost:
    with torch.device("meta"):
        body = ResNeSt(splits=splits, early=early)
        net = nn.Sequential(body, nn.Linear(body.features, 1000))
    return cost(net, 3, 224, 224)


@pytest.mark.parametrize(
    ("radix", "cardinality", "width", "early", "parameters", "gflops"),
    [
        (2, 1, 64, False, 27.5, 5.39),  # ResNeSt-50
        (0, 1, 64, True, 25.6, 4.34),  # ResNet-50-D; below it the ablation of ResNeSt-50-fast
        (2, 1, 64, True, 27.5, 4.34),
        (4, 1, 64, True, 31.9, 4.35),
        (1, 2, 40, True, 25.9, 4.38),
        (2, 2, 40, True, 26.9, 4.38),
        (4, 2, 40, True, 30.4, 4.41),
        (1, 4, 24, True, 25.7, 4.42),
    ],
)
def test_it_costs_what_the_paper_says(
    radix: int, cardinality: int, width: int, early: bool, parameters: float, gflops: float
) -> None:
    found = counted(Splits(radix, cardinality, width), early=early)
    assert round(found.parameters / 1e6, 1) == parameters
    # The paper counts up to a percent of other layers.
    assert found.multiply_adds / 1e9 == pytest.approx(gflops, rel=0.01)


def test_one_cell_of_the_ablation_is_rounded_up() -> None:
    # 26.3 million in the authors' table of 1s1x64d; with the norms' means and deviations it is 26.27.
    assert counted(Splits(1), early=True).parameters == 26_217_896


def literal(x: Tensor, layer: SplitAttention) -> Tensor:
    """Return one picture's (channels, h, w): groups, splits and channels one by one (Section 3.1)."""
    radix, groups = layer.radix, layer.cardinality
    convolution: Any = layer.splits[0]
    norm: Any = layer.splits[1]
    channels = x.shape[0]
    each = channels // groups  # of a cardinal group
    seen = channels // (groups * radix)  # channels of the input that a split sees
    splits = {}
    for k in range(groups):
        for r in range(radix):
            place = r * groups + k
            rows = slice(place * each, (place + 1) * each)
            made = nn.functional.conv2d(
                x[None, place * seen : (place + 1) * seen], convolution.weight[rows], padding=1
            )[0]
            scale = norm.weight[rows] / (norm.running_var[rows] + norm.eps).sqrt()
            shift = norm.bias[rows] - norm.running_mean[rows] * scale
            splits[k, r] = (made * scale[:, None, None] + shift[:, None, None]).relu()
    weigh: Any = layer.weigh
    first, inner, last = weigh[0], weigh[1], weigh[3]
    hidden = first.out_channels // groups
    groups_made = []
    for k in range(groups):
        s = torch.stack([splits[k, r] for r in range(radix)]).sum(dim=0).mean(dim=(1, 2))
        rows = slice(k * hidden, (k + 1) * hidden)
        z = first.weight[rows, :, 0, 0] @ s + first.bias[rows]
        z = (z - inner.running_mean[rows]) / (inner.running_var[rows] + inner.eps).sqrt()
        z = (z * inner.weight[rows] + inner.bias[rows]).relu()
        scores = []
        for r in range(radix):
            place = (k * radix + r) * each
            scores.append(last.weight[place : place + each, :, 0, 0] @ z + last.bias[place : place + each])
        total = torch.stack(scores).exp().sum(dim=0)
        group = torch.zeros_like(splits[k, 0])
        for r in range(radix):
            a = scores[r].exp() / total if radix > 1 else scores[r].sigmoid()
            group += a[:, None, None] * splits[k, r]
        groups_made.append(group)
    return torch.cat(groups_made)


@torch.no_grad()
@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)])
def test_split_attention_is_the_papers_equations(radix: int, cardinality: int) -> None:
    torch.manual_seed(0)
    layer = SplitAttention(12, radix, cardinality)
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    layer.eval()
    x = torch.randn(2, 12, 5, 4)
    torch.testing.assert_close(layer(x), torch.stack([literal(one, layer) for one in x]))


@torch.no_grad()
def test_weights_of_the_splits_of_a_channel_sum_to_one() -> None:
    torch.manual_seed(0)
    layer = SplitAttention(8, 4, 2).eval()
    weights = layer.weights(torch.rand(3, 4, 8, 5, 5))
    assert weights.shape == (3, 4, 8, 1, 1)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, 8, 1, 1))
    assert float((weights - 0.25).abs().max()) > 0.01


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("side", [6, 7])
def test_a_halving_block_passes_no_pixel_over(early: bool, side: int) -> None:
    # ResNet-D: a strided 1 x 1 convolution on the shortcut would see a quarter of them.
    torch.manual_seed(0)
    block = Bottleneck(4, 4, 2, Splits(), first=True, early=early).eval()
    x = torch.randn(1, 4, side, side, requires_grad=True)
    shortcut = block.shortcut(x)
    assert shortcut.shape == (1, 16, -(-side // 2), -(-side // 2))
    assert block(x).shape == shortcut.shape
    (seen,) = torch.autograd.grad(shortcut.square().sum(), x)
    assert (seen != 0).all()


def test_faces_of_48_px_pass() -> None:
    net = ResNeSt((1, 1, 1, 1), Splits(2), 8, early=True).eval()
    assert net(torch.randn(2, 3, 48, 48)).shape == (2, net.features)
    assert net.features == 4 * 8 * 8
    with pytest.raises(ValueError, match="radix is 0 or more"):
        Splits(-1)
