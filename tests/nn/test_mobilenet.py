"""MobileNet by every count of the paper, and its layer against a full convolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from mien.nn.cost import cost
from mien.nn.mobilenet import MobileNet, separable

MILLION = 10**6


def classifier(width: float, *, full: bool = False) -> nn.Module:
    with torch.device("meta"):
        body = MobileNet(width=width, full=full)
        return nn.Sequential(body, nn.Linear(body.features, 1000))


@pytest.mark.parametrize(
    ("width", "size", "multiply_adds", "parameters"),
    [
        (1.0, 224, 569, 4.2),  # Tables 4, 6 and 7
        (0.75, 224, 325, 2.6),  # Table 6
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2),  # Table 7
        (1.0, 128, 186, 4.2),
    ],
)
def test_it_costs_what_the_papers_tables_say(
    width: float, size: int, multiply_adds: int, parameters: float
) -> None:
    counted = cost(classifier(width), 3, size, size)
    assert round(counted.multiply_adds / MILLION) == multiply_adds
    assert round(counted.parameters / MILLION, 1) == parameters


def test_two_cells_of_the_tables_leave_something_out() -> None:
    # Table 7 has 290 at 160 px and Table 4 has 4866 for full convolutions: with the classifier's 1.02
    # million, which all other cells include, it is 290.7 and 4867.3.
    small = cost(classifier(1.0), 3, 160, 160)
    assert (small.multiply_adds, round(small.parameters / MILLION, 1)) == (290_675_200, 4.2)
    assert int(small.multiply_adds / MILLION) == round((small.multiply_adds - 1_024_000) / MILLION) == 290
    full = cost(classifier(1.0, full=True), 3, 224, 224)
    assert (full.multiply_adds, round(full.parameters / MILLION, 1)) == (4_867_293_184, 29.3)
    assert round((full.multiply_adds - 1_024_000) / MILLION) == 4866


@pytest.mark.parametrize(
    ("channels", "size", "full", "multiply_adds", "parameters"),
    [
        (512, 14, True, 462, 2.36),
        (512, 14, False, 52.3, 0.27),
        (384, 14, False, 29.6, 0.15),  # alpha = 0.75
        (384, 10, False, 15.1, 0.15),  # and rho = 0.714
    ],
)
def test_a_layer_costs_what_table_3_says(
    channels: int, size: int, full: bool, multiply_adds: float, parameters: float
) -> None:
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False) if full else separable(channels, channels)
    counted = cost(layer, channels, size, size)
    assert counted.multiply_adds / MILLION == pytest.approx(multiply_adds, abs=0.5 if full else 0.05)
    norms = sum(p.numel() for p in layer.parameters() if p.ndim == 1)
    assert round((counted.parameters - norms) / MILLION, 2) == parameters


def test_a_separable_layer_is_a_full_convolution_of_outer_products() -> None:
    torch.manual_seed(0)
    layer: Any = separable(5, 7, stride=2).eval()
    # Positive all through: the ReLU in between lets everything pass.
    for weights in layer.parameters():
        nn.init.uniform_(weights, 0, 1)
    depthwise, pointwise = layer[0][0].weight, layer[1][0].weight
    first, second = layer[0][1], layer[1][1]
    for norm in (first, second):
        nn.init.zeros_(norm.bias)
        norm.eps = 0.0
    scale = first.weight[None, :, None, None]
    kernels = pointwise * scale * depthwise[None, :, 0] * second.weight[:, None, None, None]
    x = torch.rand(2, 5, 9, 9)
    torch.testing.assert_close(layer(x), functional.conv2d(x, kernels, stride=2, padding=1))


@pytest.mark.parametrize(("width", "size"), [(0.125, 32), (0.25, 48)])
def test_it_takes_small_faces(width: float, size: int) -> None:
    net = MobileNet(width=width)
    assert net(torch.rand(2, 3, size, size) * 255).shape == (2, net.features)
    assert net.features == round(1024 * width)
