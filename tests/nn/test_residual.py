"""The small residual network's parts against what their papers write."""

from __future__ import annotations

import torch

from mien.nn.residual import ResidualBlock, ResidualNet, SqueezeExcitation


def test_squeeze_and_excitation_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcitation(16, reduction=4)
    x = torch.randn(3, 16, 5, 7)
    expected = torch.empty_like(x)
    for n in range(3):
        z = torch.tensor([float(x[n, c].mean()) for c in range(16)])
        hidden = (layer.squeeze.weight @ z + layer.squeeze.bias).clamp(min=0)
        s = 1 / (1 + torch.exp(-(layer.excite.weight @ hidden + layer.excite.bias)))
        for c in range(16):
            expected[n, c] = s[c] * x[n, c]
    torch.testing.assert_close(layer(x), expected)


def test_a_block_is_its_body_beside_its_shortcut() -> None:
    torch.manual_seed(0)
    net = ResidualNet(1, (8, 16), (2, 1)).eval()
    blocks = [layer for layer in net.modules() if isinstance(layer, ResidualBlock)]
    x = torch.rand(2, 8, 12, 12)
    for block in blocks[1:]:
        norm = block.body[4]
        assert isinstance(norm, torch.nn.BatchNorm2d)
        torch.nn.init.zeros_(norm.weight)
    torch.testing.assert_close(blocks[1](x), x)
    torch.testing.assert_close(blocks[2](x), torch.relu(blocks[2].shortcut(x)))
    assert blocks[2](x).shape == (2, 16, 6, 6)


def test_every_layer_learns_from_the_first_step() -> None:
    torch.manual_seed(0)
    net = ResidualNet(1, (32, 64), (1, 1))
    net(torch.rand(4, 1, 48, 48) * 255).sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert float(weight.grad.norm()) > 0, name


def test_features_are_those_of_the_last_stage_and_not_negative() -> None:
    net = ResidualNet(3, (8, 16, 24), (1, 1, 1)).eval()
    features = net(torch.rand(2, 3, 48, 48) * 255)
    assert features.shape == (2, net.features) == (2, 24)
    assert float(features.detach().min()) >= 0


def test_its_size_is_what_two_cores_can_train() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    net = ResidualNet(1)
    with FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 1, 48, 48))
    assert 55e6 < counter.get_total_flops() / 2 < 65e6  # multiply-adds
    assert sum(p.numel() for p in net.parameters()) < 720_000
