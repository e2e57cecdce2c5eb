"""Inception-ResNet v1 by its published count, its maps and its shortcuts."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from mien.nn.inception_resnet import Inception, InceptionResNet


def test_it_has_the_parameters_of_the_public_networks() -> None:
    with torch.device("meta"):
        net = InceptionResNet()
    count = sum(p.numel() for p in net.parameters())
    assert count == 23_482_624
    # facenet-pytorch's with the classifier of VGGFace2's 8,631 people
    assert count + 8631 * 513 == 27_910_327


def test_maps_are_those_of_the_paper_at_its_own_size() -> None:
    with torch.device("meta"):
        net = InceptionResNet().eval()
        maps = net.stem(torch.empty(1, 3, 299, 299))
        assert maps.shape == (1, 256, 35, 35)
        shapes = []
        for stage in net.stages:
            maps = stage(maps)
            shapes.append(tuple(maps.shape[1:]))
        assert net(torch.empty(2, 3, 75, 75)).shape == (2, 512)
    assert shapes == [(256, 35, 35)] * 5 + [(896, 17, 17)] * 11 + [(1792, 8, 8)] * 7


@pytest.mark.parametrize(("kind", "scale"), [(35, 0.17), (17, 0.10), (8, 0.20)])
def test_a_block_adds_a_scaled_part_to_its_input(kind: Literal[35, 17, 8], scale: float) -> None:
    block = Inception(kind).eval()
    nn.init.zeros_(block.joined.weight)
    assert block.joined.bias is not None
    nn.init.ones_(block.joined.bias)
    x = torch.randn(1, block.joined.out_channels, 4, 4)
    torch.testing.assert_close(block(x), torch.relu(x + scale))
    last = Inception(8, last=True).eval()
    last.joined = block.joined if kind == 8 else last.joined
    if kind == 8:
        torch.testing.assert_close(last(x), x + 1)
