"""Residual networks of bottlenecks, ResNet-50 among them, with or without squeeze and excitation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mien.nn.residual import SqueezeExcitation

Halving = Literal["first", "second"]
Inner = Callable[[int, int, int], nn.Module | None]
"""What stands in place of a block's middle convolution: of its stage, its number there and its channels; None
leaves the convolution."""


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the size (but for its stride), a norm and ReLU."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385, Figure 5 right).

    Args:
        inputs: channels of the input.
        middle: channels of the 3 x 3 convolution.
        outputs: channels of the output.
        stride: 1, or 2 to halve the picture.
        excitation: reduction of squeeze and excitation behind the convolutions (Hu et al. 2018, arXiv
            1709.01507, Figure 3); 0 has none.
        halving: the convolution that has the stride: the first one as in the paper, or the 3 x 3, as in
            torchvision.
        inner: (n, middle, h, w) to the same shape, instead of the 3 x 3 convolution with its norm and ReLU.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        stride: int = 1,
        *,
        excitation: int = 0,
        halving: Halving = "second",
        inner: nn.Module | None = None,
    ) -> None:
        super().__init__()
        early, late = (stride, 1) if halving == "first" else (1, stride)
        self.body = nn.Sequential(
            *convolution(inputs, middle, 1, early),
            *([inner] if inner else convolution(middle, middle, 3, late)),
            nn.Conv2d(middle, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            *([SqueezeExcitation(outputs, excitation)] if excitation else []),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride), rounded up, of (n, inputs, h, w)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class BottleneckNet(nn.Module):
    """A 7 x 7 convolution and pooling, each halving the picture, stages that go on halving it, the mean.

    The first stage does not halve. ResNet-50 has the defaults: with a linear layer to 1,000 classes
    25,557,032 parameters, and 28,088,024 with squeeze and excitation.

    Args:
        depths: blocks of each stage.
        middles: channels of the 3 x 3 convolutions of each stage.
        outputs: channels of each stage's output; the last is the number of features.
        stem: channels of the first convolution.
        pool: halve the picture once more, by the largest of 3 x 3.
        excitation: of all blocks.
        halving: of all blocks.
        inner: of each block.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        middles: Sequence[int] = (64, 128, 256, 512),
        outputs: Sequence[int] = (256, 512, 1024, 2048),
        *,
        stem: int = 64,
        pool: bool = True,
        excitation: int = 0,
        halving: Halving = "second",
        inner: Inner = lambda stage, block, channels: None,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *convolution(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        )
        layers: list[nn.Module] = []
        inputs = stem
        for stage, (depth, middle, width) in enumerate(zip(depths, middles, outputs, strict=True)):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                layers.append(
                    Bottleneck(
                        inputs,
                        middle,
                        width,
                        stride,
                        excitation=excitation,
                        halving=halving,
                        inner=inner(stage, block, middle),
                    )
                )
                inputs = width
        self.blocks = nn.Sequential(*layers)
        self.features = inputs
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, features) of (n, 3, H, W) pictures, about -2..2."""
        features: Tensor = self.blocks(self.stem(x)).mean(dim=(2, 3))
        return features
