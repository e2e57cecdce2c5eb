"""DenseNet by its published count, the growth of its layers and the sides of its places."""

from __future__ import annotations

import torch

from mien.nn.densenet import DenseLayer, DenseNet


def test_densenet_121_has_its_number_of_parameters() -> None:
    net = DenseNet(3)
    # DenseNet-121's 7,978,856 without its classifier of 1024 x 1000 + 1000
    assert sum(p.numel() for p in net.parameters()) == 7_978_856 - 1_025_000
    assert net.features == 1024
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in net.modules()) == 120  # and one classifier


def test_a_layer_keeps_what_it_sees_and_adds() -> None:
    layer = DenseLayer(6, 4).eval()
    seen = torch.randn(2, 6, 5, 5)
    made = layer(seen)
    assert made.shape == (2, 10, 5, 5)
    assert torch.equal(made[:, :6], seen)


def test_sides_are_a_thirty_second() -> None:
    net = DenseNet(1, growth=4, depths=(1, 1, 1, 1)).eval()
    assert net(torch.rand(1, 1, 224, 224) * 255).shape == (1, net.features, 7, 7)
