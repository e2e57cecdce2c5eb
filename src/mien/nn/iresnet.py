"""The "improved" residual network of face recognition (IR-50), which begins at the picture's full size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class ImprovedBlock(nn.Module):
    """Norm, 3 x 3 convolution, PReLU, 3 x 3 convolution, norm, beside a shortcut; nothing follows the sum.

    The block of the "IR" networks of face.evoLVe, whose weights many papers begin from. That of ArcFace's own
    paper (Deng et al. 2019, arXiv 1801.07698) has one more norm before its PReLU.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: 1, or 2 to halve the picture: by the second convolution, and by the shortcut, which takes
            every second pixel.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride) of (n, inputs, h, w)."""
        y: Tensor = self.body(x) + self.shortcut(x)
        return y


class ImprovedStages(nn.Module):
    """A convolution at full size, then stages that halve the picture, each by its first block.

    IR-50 has four stages, of 64, 128, 256 and 512 channels and 3, 4, 14 and 3 blocks.

    Args:
        channels: of the pictures.
        widths: channels of each stage; the first convolution has those of the first.
        depths: blocks of each stage.
    """

    def __init__(self, channels: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(ImprovedBlock(outputs if b else inputs, outputs, 1 if b else 2) for b in range(depth))
            )
            for (inputs, outputs), depth in zip(pairwise((widths[0], *widths)), depths, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return each stage's (n, widths[k], h / 2^(k + 1), w / 2^(k + 1)) of (n, channels, h, w)."""
        x = self.stem(x)
        made = []
        for stage in self.stages:
            x = stage(x)
            made.append(x)
        return made
