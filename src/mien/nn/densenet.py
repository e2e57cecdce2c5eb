"""DenseNet (Huang et al. 2017, arXiv 1608.06993): layers that see the outputs of all before them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """Norm, ReLU, 1 x 1 convolution to 4 k channels, norm, ReLU, 3 x 3 convolution to k (DenseNet-B).

    Args:
        inputs: channels that it sees.
        growth: k, channels that it adds.
    """

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, inputs + growth, h, w) of (n, inputs, h, w)."""
        return torch.cat([x, self.layers(x)], dim=1)


class DenseNet(nn.Module):
    """A stem that quarters the picture, blocks with transitions that halve channels and sides, a last norm.

    Args:
        channels: of the pictures, 1 or 3.
        growth: k.
        depths: layers of each block; DenseNet-121's are the default: 6,953,856 parameters with RGB.
    """

    def __init__(self, channels: int, growth: int = 32, depths: Sequence[int] = (6, 12, 24, 16)) -> None:
        super().__init__()
        width = 2 * growth
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        for block, depth in enumerate(depths):
            if block:
                layers += [
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, width // 2, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                width //= 2
            for _ in range(depth):
                layers.append(DenseLayer(width, growth))
                width += growth
        layers.append(nn.BatchNorm2d(width))
        self.layers = nn.Sequential(*layers)
        self.features = width
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, features, H / 32, W / 32) of (n, channels, H, W) pictures, 0..255."""
        places: Tensor = self.layers((pixels - 127.5) / 64)
        return places
