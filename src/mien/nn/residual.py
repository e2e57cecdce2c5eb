"""A small residual network with squeeze and excitation, for faces of about 48 px on plain CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Scales channels by what all of the picture says about them (Hu et al. 2018, arXiv 1709.01507, Eq. 2-4).

    s = sigmoid(W2 relu(W1 z)), z being the mean of each channel; the output is s x.

    Args:
        channels: of the input.
        reduction: the hidden layer has 1 / reduction as many units.
        bias: add one behind W1 and W2; the paper's formula has none.
    """

    def __init__(self, channels: int, reduction: int = 8, *, bias: bool = True) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, c, h, w)."""
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return x * scale[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385, Figure 5 left).

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: 1, or 2 to halve the picture.
        excitation: squeeze and excitation behind the convolutions, which the paper's block has not.
        means: where the picture halves, the shortcut takes means before its 1 x 1 convolution, so that no
            pixel is passed over (He et al. 2019, arXiv 1812.01187, ResNet-D); the paper's strides over them.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, *, excitation: bool = True, means: bool = True
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            *([SqueezeExcitation(outputs)] if excitation else []),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 and means else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, 1 if means else stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResidualNet(nn.Module):
    """A stem that halves the picture, stages of blocks that halve it again from the second on, and the mean.

    Args:
        channels: of the pictures, 1 or 3.
        widths: channels of each stage; the last is the number of features.
        depths: blocks of each stage.
    """

    def __init__(
        self, channels: int, widths: Sequence[int] = (32, 64, 128), depths: Sequence[int] = (2, 2, 2)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(ResidualBlock(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.layers = nn.Sequential(*layers)
        self.features = inputs
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, features) of (n, channels, H, W) pictures, 0..255."""
        features: Tensor = self.layers((pixels - 127.5) / 64).mean(dim=(2, 3))
        return features
