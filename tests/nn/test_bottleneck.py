"""Networks of bottlenecks have the parameters and the multiply-adds that their papers publish."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mien.nn.bottleneck import Bottleneck, BottleneckNet, Halving
from mien.nn.cost import cost
from mien.nn.residual import SqueezeExcitation


def classifier(*, excitation: int = 0, halving: Halving = "first") -> nn.Module:
    with torch.device("meta"):
        net = BottleneckNet(excitation=excitation, halving=halving)
        return nn.Sequential(net, nn.Linear(net.features, 1000))


@pytest.mark.parametrize(
    ("excitation", "parameters", "giga"),
    # Hu et al. 2018, Section 3.2: about 3.86 and 3.87 G; 2.5 million more parameters.
    [(0, 25_557_032, 3.86), (16, 28_088_024, 3.87)],
)
def test_resnet_50_costs_what_is_published(excitation: int, parameters: int, giga: float) -> None:
    counted = cost(classifier(excitation=excitation), 3, 224, 224)
    assert counted.parameters == parameters
    assert counted.multiply_adds / 1e9 == pytest.approx(giga, abs=0.01)


def test_halving_by_the_second_convolution_costs_more() -> None:
    assert cost(classifier(halving="second"), 3, 224, 224).multiply_adds / 1e9 == pytest.approx(
        4.09, abs=0.01
    )


def test_a_block_equals_its_layers_one_by_one() -> None:
    torch.manual_seed(0)
    block, x = Bottleneck(6, 4, 8, 2, excitation=4).eval(), torch.randn(2, 6, 7, 7)
    convolutions = [layer.weight for layer in block.body if isinstance(layer, nn.Conv2d)]
    scale = (1 + 1e-5) ** -0.5  # of a norm that has seen nothing
    y = functional.conv2d(x, convolutions[0]).mul(scale).relu()
    y = functional.conv2d(y, convolutions[1], stride=2, padding=1).mul(scale).relu()
    y = functional.conv2d(y, convolutions[2]) * scale
    excitation, shortcut = block.body[-1], block.shortcut
    assert isinstance(excitation, SqueezeExcitation)
    assert isinstance(shortcut, nn.Sequential)
    y = y * excitation.excite(excitation.squeeze(y.mean(dim=(2, 3))).relu()).sigmoid()[:, :, None, None]
    y = y + functional.conv2d(x, next(shortcut.parameters()), stride=2) * scale
    torch.testing.assert_close(block(x), y.relu())


def test_what_stands_in_the_middle_is_what_is_asked() -> None:
    inner = nn.Identity()
    net = BottleneckNet(
        (1, 2),
        (8, 8),
        (16, 16),
        inner=lambda stage, block, channels: inner if (stage, block) == (1, 1) else None,
    )
    kernels = [[m.kernel_size[0] for m in b.modules() if isinstance(m, nn.Conv2d)] for b in net.blocks]
    assert kernels == [[1, 3, 1, 1], [1, 3, 1, 1], [1, 1]]


def test_the_picture_halves_where_it_is_asked_to() -> None:
    strides = {
        halving: [
            m.stride[0] for m in Bottleneck(8, 4, 16, 2, halving=halving).body if isinstance(m, nn.Conv2d)
        ]
        for halving in ("first", "second")
    }
    assert strides == {"first": [2, 1, 1], "second": [1, 2, 1]}
