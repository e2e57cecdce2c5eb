"""The plain network against the paper's counts and its pass written out."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mien.nn.vgg import VGG


def test_vgg16_has_the_papers_parameters() -> None:
    blocks = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    with torch.device("meta"):
        net = VGG(3, 224, blocks, (4096, 4096), 1000)
    assert sum(p.numel() for p in net.parameters()) == 138_357_544  # "138", Table 2, in millions


def test_forward_is_written_out() -> None:
    torch.manual_seed(0)
    net = VGG(1, 8, ((1, 3), (2, 5)), (7,), 4, dropout=(0.2, 0.3)).eval()
    pixels = torch.rand(2, 1, 8, 8) * 255
    first, second, third = (layer for layer in net.blocks if isinstance(layer, nn.Conv2d))
    x = (pixels - 127.5) / 64
    x = functional.max_pool2d(functional.conv2d(x, first.weight, first.bias, padding=1).relu(), 2)
    x = functional.conv2d(x, second.weight, second.bias, padding=1).relu()
    x = functional.max_pool2d(functional.conv2d(x, third.weight, third.bias, padding=1).relu(), 2)
    one, two = (layer for layer in net.head if isinstance(layer, nn.Linear))
    torch.testing.assert_close(net(pixels), two(one(x.flatten(1)).relu()))
    assert [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.2, 0.3]


def test_norms_take_the_place_of_biases() -> None:
    net = VGG(1, 8, ((1, 3), (1, 5)), (7,), 4, norm=True)
    assert all(layer.bias is None for layer in net.blocks if isinstance(layer, nn.Conv2d))
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.blocks) == 2
