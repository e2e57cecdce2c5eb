"""GiMeFive's network against the authors' sizes and their forward pass written out, and its six labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import BatchNorm2d, Conv2d, functional

from mien.core.labels import FER2013_EXPRESSIONS
from mien.data.reader import load
from mien.systems.expression.gimefive import EMOTIONS, RECIPES, GiMeFive, Network


@pytest.mark.parametrize(("blocks", "count"), [(5, 10_478_086), (4, 2_606_086), (6, 41_950_726)])
def test_the_papers_networks_have_their_numbers_of_parameters(blocks: int, count: int) -> None:
    net = Network(replace(RECIPES["paper"], blocks=blocks))
    assert sum(p.numel() for p in net.parameters()) == count


def test_forward_is_the_authors_pass_written_out() -> None:
    torch.manual_seed(0)
    net = Network(RECIPES["cpu"]).eval()
    for norm in net.norms:
        assert isinstance(norm, BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    grey = torch.rand(3, 1, 64, 64) * 255
    x = grey.repeat(1, 3, 1, 1) / 255
    for channel, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        x[:, channel] = (x[:, channel] - mean) / deviation
    for k in range(5):
        c, b = net.convolutions[k], net.norms[k]
        assert isinstance(c, Conv2d)
        assert isinstance(b, BatchNorm2d)
        assert b.running_mean is not None
        assert b.running_var is not None
        x = functional.conv2d(x, c.weight, c.bias, padding=1)
        x = (x - b.running_mean[:, None, None]) / (b.running_var[:, None, None] + 1e-5).sqrt()
        x = (x * b.weight[:, None, None] + b.bias[:, None, None]).clamp(min=0)
        torch.testing.assert_close(net.activations(grey)[k], x, atol=1e-4, rtol=1e-4)
        x = functional.max_pool2d(x, 2)
    x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    first, second, third = (net.head[i] for i in (0, 3, 5))
    x = third(second(first(x).relu()).relu())
    torch.testing.assert_close(net(grey), x, atol=1e-4, rtol=1e-4)


def test_every_place_of_the_last_maps_counts_at_48_px() -> None:
    torch.manual_seed(0)
    net = Network(RECIPES["cpu"]).eval()
    pixels = torch.rand(64, 1, 48, 48) * 255
    kept: list[torch.Tensor] = []
    net.convolutions[-1].register_forward_hook(lambda layer, given, made: kept.append(made))
    logits = net(pixels)
    (slope,) = torch.autograd.grad(logits.sum(), kept)
    assert (slope.abs().sum(dim=(0, 1)) > 0).all()
    assert slope.shape[-2:] == (3, 3)


def test_dropout_follows_every_block_but_the_last_and_only_in_training() -> None:
    torch.manual_seed(0)
    net = Network(RECIPES["cpu"])
    rates: list[int] = []
    net.dropout.register_forward_hook(lambda layer, given, made: rates.append(given[0].shape[1]))
    net(torch.rand(4, 1, 48, 48) * 255)
    assert rates == [8, 16, 32, 64]
    pixels = torch.rand(4, 1, 48, 48) * 255
    net.eval()
    assert torch.equal(net(pixels), net(pixels))


def test_labels_are_the_six_emotions_by_name(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    lab = GiMeFive(RECIPES["tiny"])
    rows = lab.images("test")
    told = [FER2013_EXPRESSIONS[number] for number in rows.columns["emotion"]]
    assert [EMOTIONS[place] for place in lab.labels(rows)[0]] == told
    everyone = load("fer2013", "test", size=32, grey=True).columns["emotion"]
    assert len(rows) == int(np.isin(everyone, [0, 1, 2, 3, 4, 5]).sum())
