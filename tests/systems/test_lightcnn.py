"""Light CNN by its published counts, its equal costs, and the labels that it makes anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mien.systems.recognition.lightcnn import (
    RECIPES,
    Activation,
    Block,
    Bootstrapped,
    Config,
    LightCNN,
    relabelled,
)
from mien.train.run import train

# The weights of the paper's tables in thousands, layer by layer, with their kernels and maps; Conv2 with the
# 48 maps that come in, for which Tables 2 and 3 say 165 thousand.
FOUR = (7.7, 230.4, 614, 786, 2457)
NINE = (2.4, 4.6, 82.9, 18, 331, 73, 442, 32, 294, 4194)
TWENTY_NINE = (2.4, 82, 4.6, 82.9, 662, 18, 331, 3981, 73, 442, 2356, 32, 294, 4194)


def weights(net: nn.Module) -> int:
    """Return the number of weights without biases, as the tables count."""
    return sum(p.numel() for p in net.parameters() if p.ndim > 1)


def cost(config: Config) -> float:
    net = LightCNN(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, config.size, config.size))
    return float(counter.get_total_flops() / 2)


@pytest.mark.parametrize(
    ("network", "rows", "published", "twice"),
    [("4", FOUR, 4095, 0), ("9", NINE, 5556, 82.9), ("29", TWENTY_NINE, 12637, 82.9)],
)
def test_the_networks_have_the_published_weights(
    network: str, rows: tuple[float, ...], published: int, twice: float
) -> None:
    net = LightCNN(replace(RECIPES["paper"], network=network))  # type: ignore[arg-type]
    assert sum(rows) + twice == pytest.approx(published, abs=1.5)
    assert weights(net) / 1e3 == pytest.approx(sum(rows), rel=1e-3)


def test_light_cnn_9_has_the_papers_billion_of_multiply_adds_and_256_numbers() -> None:
    config = replace(RECIPES["paper"], network="9")
    assert cost(config) == pytest.approx(1e9, rel=0.05)
    net = LightCNN(config).eval()
    shapes = []
    for layer in net.maps:
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_hook(lambda _, __, made: shapes.append(tuple(made.shape[1:])))
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 128, 128)).shape == (1, 256)
    assert shapes == [(48, 64, 64), (96, 32, 32), (192, 16, 16), (128, 8, 8)]


@pytest.mark.parametrize(("network", "blocks"), [("9", 0), ("29", 10)])
def test_networks_are_named_by_their_convolutions(network: str, blocks: int) -> None:
    net = LightCNN(replace(RECIPES["tiny"], network=network))  # type: ignore[arg-type]
    assert sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) == int(network)
    assert sum(isinstance(layer, Block) for layer in net.modules()) == blocks


@pytest.mark.parametrize("activation", ["mfm32", "relu"])
def test_the_arms_cost_the_same(activation: Activation) -> None:
    plain = RECIPES["cpu"]
    assert cost(replace(plain, activation=activation)) == pytest.approx(cost(plain), rel=0.05)
    full = replace(RECIPES["paper"], network="9")
    assert cost(replace(full, activation=activation)) == pytest.approx(cost(full), rel=0.05)


def test_a_new_network_learns_with_all_its_layers() -> None:
    net = LightCNN(RECIPES["tiny"])
    assert all(layer.training for layer in net.modules())
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert (
        sum(float(layer.running_mean.abs().sum()) for layer in norms if layer.running_mean is not None) == 0
    )


def test_a_block_adds_its_input() -> None:
    torch.manual_seed(0)
    config = replace(RECIPES["tiny"], norm=False)
    block = Block(4, config)
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x)


def test_colours_of_one_grey_are_one_face() -> None:
    torch.manual_seed(0)
    net = LightCNN(RECIPES["tiny"]).eval()
    grey = torch.full((1, 3, 32, 32), 80.0)
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 80 / 0.299
    torch.testing.assert_close(net(red), net(grey), rtol=1e-3, atol=1e-5)


def test_sure_faces_are_taught_as_what_they_are_taken_for_and_contradicted_labels_left_out() -> None:
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.35, 0.25, 0.4], [0.35, 0.25, 0.4], [0.1, 0.2, 0.7]])
    assert relabelled(probabilities, torch.tensor([1, 0, 1, 2]), 0.7).tolist() == [0, 0, -1, 2]
    assert relabelled(probabilities, torch.tensor([1, 0, 1, 2]), 0.0).tolist() == [0, 2, 2, 2]
    assert relabelled(probabilities, torch.tensor([1, 0, 1, 2]), 1.0).tolist() == [-1, 0, -1, 2]


@pytest.fixture
def data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))


@pytest.mark.usefixtures("data")
def test_faces_that_are_left_out_teach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    lab = Bootstrapped(replace(RECIPES["tiny"], norm=False, dropout=0.0, bootstraps=0))
    monkeypatch.setattr(lab, "log", lambda *_: None)
    monkeypatch.setattr(lab, "augmented", lambda pixels: pixels.float())
    pixels, persons, row = (column[:6] for column in lab.train_rows().tensors)  # type: ignore[attr-defined]
    lab.taught[:6] = torch.tensor([0, -1, 2, -1, -1, 1])
    kept = [0, 2, 5]
    expected = functional.cross_entropy(lab.classifier(lab.embed(pixels[kept])), torch.tensor([0, 2, 1]))
    torch.testing.assert_close(lab.training_step((pixels, persons, row), 0), expected)
    lab.taught[:6] = -1
    assert lab.training_step((pixels, persons, row), 0).item() == 0


@pytest.mark.usefixtures("data")
def test_labels_are_made_anew_by_the_network_and_kept_with_its_weights(tmp_path: Path) -> None:
    config = RECIPES["tiny"]
    given = Bootstrapped(config).taught.clone()
    trained = train("lightcnn", lambda: Bootstrapped(config), folder=tmp_path, progress=False)
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    taught = stored["state_dict"]["taught"]
    assert not torch.equal(taught, given)
    assert int(taught.min()) >= -1
    assert isinstance(trained.lab, Bootstrapped)


@pytest.mark.usefixtures("data")
def test_a_network_that_knows_better_takes_planted_errors_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Bootstrapped(replace(RECIPES["tiny"], rows=0))
    clean = torch.as_tensor(np.unique(lab.chosen().columns["person"], return_inverse=True)[1])
    assert 0.25 < (lab.taught != clean).float().mean().item() < 0.35
    given = lab.taught.clone()
    # one that recognises all faces, but is unsure of every fifth
    logits = 20 * functional.one_hot(clean, lab.people).float()
    logits[::5] *= 0.1

    class Known(nn.Module):
        parts = iter(torch.split(logits, 256))

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return next(self.parts)

    monkeypatch.setattr(lab, "embed", lambda pixels: pixels)
    monkeypatch.setattr(lab, "classifier", Known())
    lab.train()
    lab.bootstrap()
    assert lab.training
    assert torch.equal(lab.taught[::5], torch.where(given == clean, given, -1)[::5])
    rest = torch.ones(len(clean), dtype=torch.bool)
    rest[::5] = False
    assert torch.equal(lab.taught[rest], clean[rest])


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="57 px or more"):
        Config(network="4", size=56)
    with pytest.raises(ValueError, match="ema must be 0"):
        Config(bootstraps=2, ema=0.9)
    LightCNN(Config(network="4", size=57, width=0.1))
