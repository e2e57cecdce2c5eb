"""MobileFaceNet by its published counts and its bottleneck's shortcut."""

from __future__ import annotations

import pytest
import torch

from mien.nn.cost import cost
from mien.nn.mobilefacenet import Bottleneck, MobileFaceNet


def test_it_has_the_published_counts() -> None:
    with torch.device("meta"):
        net = MobileFaceNet(128)
    counted = cost(net, 3, 112, 112)
    # Table 2: 0.99 million parameters, 221 million multiply-adds
    assert counted.parameters / 1e6 == pytest.approx(0.99, abs=0.02)
    assert counted.multiply_adds / 1e6 == pytest.approx(221, rel=0.02)


def test_maps_are_a_quarter_an_eighth_and_a_sixteenth() -> None:
    maps = MobileFaceNet(10, size=48, width=4, depths=(1, 0, 1)).maps(torch.rand(2, 3, 48, 48))
    assert [tuple(made.shape) for made in maps] == [(2, 4, 12, 12), (2, 8, 6, 6), (2, 32, 3, 3)]


@pytest.mark.parametrize(("outputs", "stride", "adds"), [(6, 1, True), (8, 1, False), (6, 2, False)])
def test_a_bottleneck_adds_its_input_where_both_fit(outputs: int, stride: int, adds: bool) -> None:
    torch.manual_seed(0)
    block = Bottleneck(6, 12, outputs, stride).eval()
    x = torch.randn(1, 6, 8, 8)
    torch.testing.assert_close(block(x), block.body(x) + x if adds else block.body(x))
