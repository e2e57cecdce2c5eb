"""RepMLP: merged it says the same, its parts are what the paper says, and it sits where the paper has it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.nn.bottleneck import BottleneckNet
from mien.nn.cost import cost
from mien.systems.recognition.repmlp import (
    RECIPES,
    FaceResNet,
    RepMLP,
    as_linear,
    between,
    merge,
)
from mien.train.settings import override


def unsettled(net: nn.Module) -> nn.Module:
    """Give norms what training would have given them, so that a norm that is forgotten shows."""
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
    return net.eval()


def kinds(net: nn.Module) -> set[type[nn.Module]]:
    return {type(layer) for layer in net.modules()} - {RepMLP, nn.ModuleDict}


@pytest.mark.parametrize("side", [6, 12, 18])
@pytest.mark.parametrize("kernels", [(), (1, 3, 5), (7,)])
def test_outputs_before_and_after_merging_are_equal(side: int, kernels: tuple[int, ...]) -> None:
    layer = unsettled(RepMLP(8, side, 6, 4, kernels))
    assert isinstance(layer, RepMLP)
    x = torch.randn(3, 8, side, side)
    merged = layer.merged()
    with torch.no_grad():
        before, after = layer(x), merged(x)
    assert (before - after).abs().max() < 1e-5
    assert before.std() > 0.1
    assert kinds(merged) <= {nn.Linear, nn.Conv2d, nn.Identity}
    assert all(m.kernel_size == (1, 1) for m in merged.modules() if isinstance(m, nn.Conv2d))


def test_a_network_for_faces_is_equal_after_merging_and_smaller() -> None:
    net = unsettled(FaceResNet(RECIPES["cpu"]))
    merged = merge(net)
    faces = torch.rand(4, 3, 48, 48) * 255
    with torch.no_grad():
        before, after = (functional.normalize(one(faces)) for one in (net, merged))
    assert (before - after).abs().max() < 1e-5
    less = [cost(one, 3, 48, 48) for one in (merged, net)]
    assert less[0].parameters < less[1].parameters
    assert less[0].multiply_adds < less[1].multiply_adds


def test_what_is_in_training_is_not_merged() -> None:
    with pytest.raises(ValueError, match="in training"):
        RepMLP(4, 4, 4, 2, (3,)).merged()


def test_a_convolution_is_its_linear_layer() -> None:
    torch.manual_seed(0)
    kernel, x = torch.randn(6, 2, 3, 3), torch.randn(5, 4, 4, 4)
    weights = as_linear(kernel, 4, groups=2)
    groups = zip(weights.chunk(2), x.chunk(2, dim=1), strict=True)
    made = torch.cat([part.flatten(1) @ weight.T for weight, part in groups], dim=1)
    expected = functional.conv2d(x, kernel, padding=1, groups=2)
    torch.testing.assert_close(made.reshape(expected.shape), expected)
    # A place far away has no weight, one nearby has the kernel's.
    assert weights.reshape(6, 4, 4, 2, 4, 4)[0, 0, 0, 0, 3, 3] == 0
    assert weights.reshape(6, 4, 4, 2, 4, 4)[3, 1, 1, 1, 2, 1] == kernel[3, 1, 2, 1]


def test_it_equals_its_three_perceptrons_one_partition_after_the_other() -> None:
    layer = unsettled(RepMLP(4, 6, 3, 2, (1, 3)))
    assert isinstance(layer, RepMLP)
    assert layer.fc1 is not None
    x = torch.randn(1, 4, 6, 6)
    expected = torch.zeros_like(x)
    with torch.no_grad():
        means = torch.zeros(4, 2, 2)
        for row in range(2):
            for column in range(2):
                means[:, row, column] = window(x, row, column)[0].mean(dim=(1, 2))
        known = layer.fc2(layer.fc1(layer.mean_norm(means[None]).flatten()).relu()).reshape(4, 2, 2)
        for row in range(2):
            for column in range(2):
                part = window(x, row, column) + known[None, :, row, column, None, None]
                made = torch.cat(
                    [
                        weight.flatten(1) @ one.flatten()
                        for weight, one in zip(layer.fc3.weight.chunk(2), part[0].chunk(2), strict=True)
                    ]
                )
                total = layer.norm(made[None, :, None, None]).reshape(1, 4, 3, 3)
                total = total + sum(branch(part) for branch in layer.local.values())
                window(expected, row, column).copy_(total)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def window(x: Tensor, row: int, column: int) -> Tensor:
    return x[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]


def test_one_partition_has_no_global_perceptron() -> None:
    assert RepMLP(4, 6, 6, 2, ()).fc1 is None
    assert RepMLP(4, 12, 6, 2, ()).fc1 is not None


@pytest.mark.parametrize(("side", "groups"), [(7, 2), (6, 3)])
def test_sizes_that_do_not_fit_are_refused(side: int, groups: int) -> None:
    with pytest.raises(ValueError, match="do not fill"):
        RepMLP(4, side, 3, groups, ())


def residual(size: int, partition: int, middles: dict[int, tuple[int, int]]) -> nn.Module:
    """ResNet-50 with RepMLPs as they are after merging: of r and g by stage, where it does not halve."""

    def inner(stage: int, block: int, channels: int) -> nn.Module | None:
        if not block or stage not in middles:
            return None
        return between(channels, size // 4 // 2**stage, partition, *middles[stage], ())

    with torch.device("meta"):
        return nn.Sequential(BottleneckNet(inner=inner), nn.Linear(2048, 1000))


def deployed(net: nn.Module) -> float:
    """Millions of parameters once every norm is merged: a bias is left of it, nothing of one over means."""
    counted = sum(p.numel() for p in net.parameters())
    for name, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            counted -= (2 if name.endswith("mean_norm") else 1) * layer.num_features
    return counted / 1e6


def test_the_papers_networks_have_its_parameters() -> None:
    plain = deployed(residual(224, 7, {}))
    assert plain == pytest.approx(25.53, abs=0.005)
    # "RepMLP-Res50 has fewer parameters ... than ResNet-50" with r = 8 in c4; with r = 4 "only 5M more".
    assert deployed(residual(224, 7, {2: (8, 8)})) < plain
    assert deployed(residual(224, 7, {2: (4, 8)})) - plain == pytest.approx(5, abs=0.5)
    assert deployed(residual(224, 7, {2: (2, 8)})) == pytest.approx(52.77, abs=0.01)
    # In c3 and c4 with g8/8: 4 M fewer than ResNet-101's 44.5 (Section 4.2).
    assert 44.5 - deployed(residual(224, 7, {1: (2, 8), 2: (4, 8)})) == pytest.approx(4, abs=0.5)


def test_more_parameters_cost_hardly_more_multiply_adds() -> None:
    few, many = (
        cost(residual(320, 10, {1: (2, groups), 2: (4, 2 * groups)}), 3, 320, 320) for groups in (8, 4)
    )
    # "From g8/16 to g4/8, the parameters increase by 47 %, but the FLOPs by only 3.6 %" (Section 4.2).
    assert many.parameters / few.parameters == pytest.approx(1.47, abs=0.01)
    assert many.multiply_adds / few.multiply_adds == pytest.approx(1.036, abs=0.002)


def test_repmlps_sit_where_the_paper_has_them() -> None:
    config = override(RECIPES["paper"], ("kernels=",))
    with torch.device("meta"):
        net = FaceResNet(config)
    found = [
        (layer.channels, layer.parts * layer.partition, layer.partition)
        for layer in net.modules()
        if isinstance(layer, RepMLP)
    ]
    # The last two blocks of c2, the last of c3 and of c4, none in c5; r = 2, h = w = 6 (Section 4.3).
    assert found == [(64, 24, 6), (64, 24, 6), (128, 12, 6), (256, 6, 6)]
    with torch.device("meta"):
        plain = FaceResNet(override(config, ("block=plain",)))
    assert not any(isinstance(layer, RepMLP) for layer in plain.modules())
    assert [
        layer.kernel_size[0] for layer in plain.body.blocks[1].modules() if isinstance(layer, nn.Conv2d)
    ] == [
        1,
        3,
        1,
    ]
