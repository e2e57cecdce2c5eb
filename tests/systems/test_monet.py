"""MONet: products and linear maps alone, of the degrees that the paper says, with the paper's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from mien.nn.cost import cost
from mien.systems.recognition.monet import (
    CCP,
    RECIPES,
    REPRODUCE,
    Config,
    MONet,
    MuLayer,
    PiNet,
    PolyBlock,
    Polynomial,
    shifted,
)
from mien.train.settings import override

# Moves of numbers, sums, products, linear maps and norms: nothing that bends a number.
ALLOWED = {
    "add",
    "addmm",
    "alias",
    "cat",
    "clone",
    "convolution",
    "detach",
    "div",
    "empty",
    "mean",
    "mm",
    "mul",
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "native_layer_norm",
    "permute",
    "slice",
    "split",
    "split_with_sizes",
    "sub",
    "t",
    "transpose",
    "view",
    "_unsafe_view",
    "_to_copy",
}


def parameters(*layers: nn.Module) -> int:
    return sum(p.numel() for layer in layers for p in layer.parameters())


def without_norms(layer: nn.Module) -> nn.Module:
    for name, child in layer.named_children():
        if isinstance(child, nn.LayerNorm | nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(layer, name, nn.Identity())
        else:
            without_norms(child)
    return layer.double()


@torch.no_grad()
def differences(function: Callable[[Tensor], Tensor], x: Tensor, order: int) -> float:
    """How large the differences of an order are along a line, beside the values."""
    step = torch.randn_like(x) / 4
    values = torch.stack([function(x + number * step) for number in range(order + 2)])
    return float(values.diff(n=order, dim=0).abs().max() / values.abs().max())


def operations(net: nn.Module, x: Tensor) -> set[str]:
    traced = make_fx(net.eval())(x)
    calls = [node.target for node in traced.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    return {str(call).removeprefix("aten.").split(".")[0] for call in calls}


def test_the_papers_network_has_the_papers_parameters() -> None:
    config = RECIPES["paper"]
    with torch.device("meta"):
        net = MONet(config.widths, config.depths, config.expansion)
        counted = parameters(net, nn.Linear(net.features, 1000))
    assert counted == 32_880_688
    assert round(counted / 1e6, 1) == 32.9  # Table 2


def test_the_rival_has_its_papers_parameters() -> None:
    with torch.device("meta"):
        net = PiNet((64, 128, 256, 512), (2, 2, 2, 2))
        counted = parameters(net, nn.Linear(512, 1000))
    assert counted / 1e6 == pytest.approx(12.3, abs=0.1)  # as MONet's Table 2 quotes it


def test_a_mu_layer_is_linear_in_each_of_its_images() -> None:
    torch.manual_seed(0)
    layer = MuLayer(8, 16, spatial=True).double()
    u, v, other = torch.randn(3, 2, 3, 3, 16, dtype=torch.float64)
    for share in (-1.5, 0.3, 2.0):
        mixed = share * u + (1 - share) * other
        one = share * layer.multiplied(u, v) + (1 - share) * layer.multiplied(other, v)
        torch.testing.assert_close(layer.multiplied(mixed, v), one)
        two = share * layer.multiplied(v, u) + (1 - share) * layer.multiplied(v, other)
        torch.testing.assert_close(layer.multiplied(v, mixed), two)
    assert not torch.allclose(layer.multiplied(u, v), layer.multiplied(v, u))


@pytest.mark.parametrize("spatial", [False, True])
def test_a_mu_layer_is_of_second_degree_in_its_tokens(spatial: bool) -> None:
    torch.manual_seed(0)
    layer = without_norms(MuLayer(8, 16, spatial=spatial))
    x = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    assert differences(layer, x, 3) < 1e-12
    assert differences(layer, x, 2) > 1e-3


def test_a_block_is_of_fourth_degree_and_two_of_sixteenth() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 2, 8, dtype=torch.float64)
    one = without_norms(PolyBlock(8, 2))
    assert differences(one, x, 5) < 1e-10
    assert differences(one, x, 4) > 1e-5
    # Of a polynomial of degree 4^N, t^(-4^N) times its value at t x tends to a number that is not zero.
    two = nn.Sequential(one, without_norms(PolyBlock(8, 2)))
    with torch.no_grad():
        near, far = (float(two(t * x).abs().max()) for t in (1e4, 1e5))
    assert math.log10(far / near) == pytest.approx(16, abs=0.05)


def test_the_coupled_decomposition_has_the_degree_that_is_asked() -> None:
    torch.manual_seed(0)
    net, x = CCP(12, 6, 4).double(), torch.randn(3, 12, dtype=torch.float64)
    assert differences(net, x, 5) < 1e-10
    assert differences(net, x, 4) > 1e-5
    first, *rest = (x @ weight.T for weight in net.maps.parameters())
    for image in rest:
        first = first * (1 + image)
    torch.testing.assert_close(net(x), first)


@pytest.mark.parametrize("arm", range(3))
def test_no_network_has_an_activation_function(arm: int) -> None:
    config = override(RECIPES["cpu"], REPRODUCE[0].arms[arm][1])
    found = operations(Polynomial(config), torch.rand(2, 3, config.size, config.size))
    assert found <= ALLOWED, found - ALLOWED
    assert "mul" in found


def test_the_check_for_activations_would_find_one() -> None:
    net = Polynomial(RECIPES["tiny"])
    net.head.append(nn.ReLU())
    assert operations(net, torch.rand(2, 3, 32, 32)) - ALLOWED == {"relu"}


def test_a_mu_layer_equals_its_formula() -> None:
    torch.manual_seed(0)
    layer = MuLayer(4, 8, spatial=False)
    layer.weight.data.fill_(0.7)
    x = torch.randn(4)
    u = layer.a.weight @ x + layer.a.bias
    v = layer.b.weight @ (layer.d.weight @ x + layer.d.bias) + layer.b.bias
    u, v = ((one - one.mean()) / (one.var(unbiased=False) + 1e-6).sqrt() for one in (u, v))
    expected = layer.c.weight @ (u + 0.7 * u * v) + layer.c.bias
    torch.testing.assert_close(layer(x.reshape(1, 1, 1, 4)).flatten(), expected)
    assert layer.d.weight.shape == (1, 4)


def test_channels_are_shifted_by_one_token_in_four_directions() -> None:
    x = torch.arange(2 * 4 * 5 * 8).reshape(2, 4, 5, 8)
    y = shifted(x)
    for row in range(4):
        for column in range(5):
            sources = [
                (max(row - 1, 0), column),
                (min(row + 1, 3), column),
                (row, max(column - 1, 0)),
                (row, min(column + 1, 4)),
            ]
            for quarter, (from_row, from_column) in enumerate(sources):
                part = slice(2 * quarter, 2 * quarter + 2)
                assert torch.equal(y[:, row, column, part], x[:, from_row, from_column, part])


def test_the_rivals_cost_about_as_much() -> None:
    costs = []
    for _, changes in REPRODUCE[0].arms:
        config = override(RECIPES["cpu"], changes)
        costs.append(cost(Polynomial(config), 3, config.size, config.size).multiply_adds)
    assert [round(one / 1e6, 1) for one in costs] == [5.8, 7.5, 5.6]


def test_stages_need_a_depth_each() -> None:
    with pytest.raises(ValueError, match="2 widths and 1 depths"):
        Config(widths=(8, 16), depths=(1,))
