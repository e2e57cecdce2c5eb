"""EdgeNeXt by published counts of it and of EdgeFace, its encoder against loops, and low-rank layers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.nn.cost import cost
from mien.nn.edgenext import (
    EXTRA_EXTRA_SMALL,
    EXTRA_SMALL,
    SMALL,
    EdgeNeXt,
    LowRankLinear,
    Places,
    Sizes,
    SplitEncoder,
    TransposeAttention,
)


@pytest.mark.parametrize(
    ("sizes", "gamma", "parameters", "flops"),
    [
        (EXTRA_SMALL, 0.6, 1.77, 154.00),  # EdgeFace's Table 2 and the table of the authors' code
        (SMALL, 0.5, 3.65, 306.12),
        (EXTRA_EXTRA_SMALL, 1.0, 1.24, 94.72),
    ],
)
def test_edgeface_costs_what_its_paper_says(
    sizes: Sizes, gamma: float, parameters: float, flops: float
) -> None:
    with torch.device("meta"):
        net = EdgeNeXt(512, sizes, gamma)
    counted = cost(net, 3, 112, 112)
    assert round(counted.parameters / 1e6, 2) == parameters
    # Its FLOPs are two for a multiply-add, and 0.2 % are of other layers.
    assert 2 * counted.multiply_adds / 1e6 == pytest.approx(flops, rel=0.002)


@pytest.mark.parametrize(
    ("sizes", "parameters", "multiply_adds"),
    [(EXTRA_EXTRA_SMALL, 1.33, 261), (EXTRA_SMALL, 2.34, 538), (SMALL, 5.59, 1260)],
)
def test_full_layers_cost_what_edgenexts_paper_says(
    sizes: Sizes, parameters: float, multiply_adds: int
) -> None:
    with torch.device("meta"):
        net = EdgeNeXt(1000, sizes)
    counted = cost(net, 3, 256, 256)
    assert round(counted.parameters / 1e6, 2) == parameters
    # Table 1 counts a percent of other layers.
    assert counted.multiply_adds / 1e6 == pytest.approx(multiply_adds, rel=0.013)


def test_a_low_rank_layer_has_the_rank_and_the_weights_of_its_formula() -> None:
    torch.manual_seed(0)
    layer = LowRankLinear(20, 50, 0.37)
    product = layer(torch.eye(20)) - layer(torch.zeros(20, 20))
    assert int(torch.linalg.matrix_rank(product)) == 7
    assert sum(p.numel() for p in layer.parameters()) == 7 * (20 + 50) + 50
    assert int(torch.linalg.matrix_rank(LowRankLinear(20, 50, 0.01).first.weight)) == 2


def literal_attention(x: Tensor, layer: TransposeAttention) -> Tensor:
    """Return (places, channels) of (places, channels): head by head, channel by channel."""
    assert isinstance(layer.asked, nn.Linear)
    places, channels = x.shape
    asked = x @ layer.asked.weight.T + layer.asked.bias
    queries, keys, values = asked[:, :channels], asked[:, channels : 2 * channels], asked[:, 2 * channels :]
    made = torch.zeros(places, channels)
    width = channels // layer.heads
    for head in range(layer.heads):
        mine = range(head * width, (head + 1) * width)
        for c in mine:
            weights = []
            for d in mine:
                alike = queries[:, c] @ keys[:, d] / (queries[:, c].norm() * keys[:, d].norm())
                weights.append(math.exp(float(layer.temperature[head] * alike)))
            for weight, d in zip(weights, mine, strict=True):
                made[:, c] += weight / sum(weights) * values[:, d]
    y: Tensor = layer.projection(made)
    return y


@torch.no_grad()
def test_attention_is_between_channels_as_written_out() -> None:
    torch.manual_seed(0)
    layer = TransposeAttention(12, 3, 1.0)
    layer.temperature.copy_(torch.tensor([0.5, 1.0, 3.0])[:, None, None])
    x = torch.randn(2, 10, 12)
    expected = torch.stack([literal_attention(one, layer) for one in x])
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_an_encoder_convolves_its_parts_one_after_the_other() -> None:
    torch.manual_seed(0)
    encoder = SplitEncoder(10, 3, 2, 1.0, 0.7, places=True)  # parts of 4, 4 and 2 channels
    x = torch.randn(2, 10, 5, 6)
    convolutions: Any = encoder.convolutions
    first, second = convolutions
    one = functional.conv2d(x[:, :4], first.weight, first.bias, padding=1, groups=4)
    two = functional.conv2d(one + x[:, 4:8], second.weight, second.bias, padding=1, groups=4)
    assert encoder.places is not None
    y = torch.cat([one, two, x[:, 8:]], dim=1)
    y = y + encoder.places(y)
    y = y.permute(0, 2, 3, 1).reshape(2, 30, 10)
    y = y + 0.7 * encoder.attention(functional.layer_norm(y, (10,), eps=1e-6))
    inner = functional.gelu(encoder.bottleneck.layers[1](functional.layer_norm(y, (10,), eps=1e-6)))
    y = 0.7 * encoder.bottleneck.layers[3](inner)
    torch.testing.assert_close(encoder(x), x + y.reshape(2, 5, 6, 10).permute(0, 3, 1, 2))


@torch.no_grad()
def test_places_are_waves_of_rows_then_of_columns() -> None:
    torch.manual_seed(0)
    layer = Places(8)
    height, width = 3, 5
    waves = torch.zeros(64, height, width)
    for i in range(height):
        for j in range(width):
            for k in range(16):
                # The authors' frequencies come in pairs of sine and cosine out of 32.
                rate = 10000 ** (2 * k / 32)
                row, column = 2 * math.pi * (i + 1) / height / rate, 2 * math.pi * (j + 1) / width / rate
                waves[2 * k, i, j], waves[2 * k + 1, i, j] = math.sin(row), math.cos(row)
                waves[32 + 2 * k, i, j], waves[33 + 2 * k, i, j] = math.sin(column), math.cos(column)
    made = layer(torch.zeros(2, 8, height, width))
    torch.testing.assert_close(made, layer.projection(waves[None]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attention_costs_grow_with_places_and_not_with_their_square() -> None:
    layer = TransposeAttention(16, 4, 1.0)
    few, many = (cost(layer, places, 16).multiply_adds for places in (64, 256))
    assert many == 4 * few


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="four stages"):
        Sizes((8, 8, 8))
    with pytest.raises(ValueError, match="4 heads cannot share"):
        Sizes((8, 8, 8, 10))
