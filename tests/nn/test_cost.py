"""Costs are counted as by hand, and counting changes nothing."""

from __future__ import annotations

import torch
from torch import nn

from mien.nn.cost import Cost, cost


def test_it_counts_as_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 5 * 5, 7),
    )
    convolution = (3 * 3 * 2) * 6 * (5 * 5)
    assert cost(net, 4, 10, 10) == Cost(3 * 3 * 2 * 6 + 2 * 6 + 150 * 7 + 7, convolution + 150 * 7)


def test_weights_that_are_not_learned_are_no_parameters() -> None:
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert cost(net, 3) == Cost(6, 6)


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    cost(net, 3)
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
