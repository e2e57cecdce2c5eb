"""MobileFaceNet: bottlenecks of depthwise convolutions for faces (Chen et al. 2018, arXiv 1804.07573)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def convolved(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size (but for its stride), its norm and PReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs),
    )


class Bottleneck(nn.Module):
    """1 x 1 to more channels, 3 x 3 on each alone, 1 x 1 back without an activation (Table 1's "bottleneck").

    Args:
        inputs: channels of the input.
        hidden: channels in between.
        outputs: channels of the output; where they are those of the input and the stride is 1, the input is
            added.
        stride: 1, or 2 to halve the picture.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.adds = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            convolved(inputs, hidden),
            convolved(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride) of (n, inputs, h, w)."""
        y: Tensor = self.body(x)
        return x + y if self.adds else y


class MobileFaceNet(nn.Module):
    """The network of Table 1 with a norm behind its last layer, for pictures of any size that 16 divides.

    Args:
        outputs: of the last layer: 128 in the paper, two for each point in a network for landmarks.
        size: side of the pictures, px; the paper's is 112.
        width: channels of the first layers, later ones have twice and eight times as many; the paper's is 64.
        depths: bottlenecks that add their input, at a quarter, an eighth and a sixteenth of the size.
    """

    def __init__(
        self, outputs: int, size: int = 112, width: int = 64, depths: Sequence[int] = (4, 6, 2)
    ) -> None:
        super().__init__()
        quarter, eighth, sixteenth = depths
        self.quarter = nn.Sequential(
            convolved(3, width, 3, 2),
            convolved(width, width, 3, groups=width),
            Bottleneck(width, 2 * width, width, 2),
            *(Bottleneck(width, 2 * width, width) for _ in range(quarter)),
        )
        self.eighth = nn.Sequential(
            Bottleneck(width, 4 * width, 2 * width, 2),
            *(Bottleneck(2 * width, 4 * width, 2 * width) for _ in range(eighth)),
        )
        self.sixteenth = nn.Sequential(
            Bottleneck(2 * width, 8 * width, 2 * width, 2),
            *(Bottleneck(2 * width, 4 * width, 2 * width) for _ in range(sixteenth)),
            convolved(2 * width, 8 * width),
        )
        # Section 3.1: each place of the last map has a weight of its own in each channel, unlike in a mean.
        self.head = nn.Sequential(
            nn.Conv2d(8 * width, 8 * width, size // 16, groups=8 * width, bias=False),
            nn.BatchNorm2d(8 * width),
            nn.Flatten(),
            nn.Linear(8 * width, outputs, bias=False),
            nn.BatchNorm1d(outputs),
        )

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return maps of width, 2 width and 8 width channels at a quarter, an eighth and a sixteenth."""
        quarter = self.quarter(x)
        eighth = self.eighth(quarter)
        return quarter, eighth, self.sixteenth(eighth)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs) of (n, 3, size, size) pictures."""
        y: Tensor = self.head(self.maps(x)[-1])
        return y
