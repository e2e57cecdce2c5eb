"""Inception-ResNet v1: branches of several kernels beside a shortcut (Szegedy et al. 2016, arXiv 1602.07261).

As FaceNet's public implementations have it: wider than the paper's in its last stage, a linear layer of 512
with a norm behind the mean.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Size = int | tuple[int, int]


def convolved(
    inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, padding: Size = 0
) -> nn.Sequential:
    """Return a convolution, its norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        nn.ReLU(),
    )


class Inception(nn.Module):
    """A block whose branches are joined, brought back to the input's channels, scaled and added to it.

    - 35: 3 x 3 twice, once, and none, behind 1 x 1 (Figure 10), added at 0.17;
    - 17: 1 x 7 and 7 x 1 beside 1 x 1 (Figure 11), added at 0.10;
    - 8: 1 x 3 and 3 x 1 beside 1 x 1 (Figure 13), added at 0.20.

    Args:
        kind: the side of the maps it was made for, by which the paper calls it.
        last: added at full, without the ReLU behind.
    """

    def __init__(self, kind: Literal[35, 17, 8], *, last: bool = False) -> None:
        super().__init__()
        if kind == 35:
            inputs, joined, scale = 256, 96, 0.17
            branches = [
                convolved(256, 32),
                nn.Sequential(convolved(256, 32), convolved(32, 32, 3, padding=1)),
                nn.Sequential(
                    convolved(256, 32), convolved(32, 32, 3, padding=1), convolved(32, 32, 3, padding=1)
                ),
            ]
        else:
            inputs, width, long, scale = (896, 128, 7, 0.10) if kind == 17 else (1792, 192, 3, 0.20)
            joined, half = 2 * width, long // 2
            branches = [
                convolved(inputs, width),
                nn.Sequential(
                    convolved(inputs, width),
                    convolved(width, width, (1, long), padding=(0, half)),
                    convolved(width, width, (long, 1), padding=(half, 0)),
                ),
            ]
        self.branches = nn.ModuleList(branches)
        self.joined = nn.Conv2d(joined, inputs, 1)
        self.scale, self.last = 1.0 if last else scale, last

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h, w) of its like."""
        y = x + self.scale * self.joined(torch.cat([branch(x) for branch in self.branches], dim=1))
        return y if self.last else torch.relu(y)


class Reduction(nn.Module):
    """Branches that halve the picture, one of them by its maxima, joined.

    Args:
        branches: the others.
    """

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList([*branches, nn.MaxPool2d(3, 2)])

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, the branches' channels, h / 2, w / 2)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class InceptionResNet(nn.Module):
    """The network: 23,482,624 parameters with embeddings of 512.

    Args:
        embedding: numbers of an embedding.
        dropout: rate before the last layer.
    """

    def __init__(self, embedding: int = 512, dropout: float = 0.6) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            convolved(3, 32, 3, 2),
            convolved(32, 32, 3),
            convolved(32, 64, 3, padding=1),
            nn.MaxPool2d(3, 2),
            convolved(64, 80),
            convolved(80, 192, 3),
            convolved(192, 256, 3, 2),
        )
        self.stages = nn.Sequential(
            *(Inception(35) for _ in range(5)),
            Reduction(
                convolved(256, 384, 3, 2),
                nn.Sequential(
                    convolved(256, 192), convolved(192, 192, 3, padding=1), convolved(192, 256, 3, 2)
                ),
            ),
            *(Inception(17) for _ in range(10)),
            Reduction(
                nn.Sequential(convolved(896, 256), convolved(256, 384, 3, 2)),
                nn.Sequential(convolved(896, 256), convolved(256, 256, 3, 2)),
                nn.Sequential(
                    convolved(896, 256), convolved(256, 256, 3, padding=1), convolved(256, 256, 3, 2)
                ),
            ),
            *(Inception(8) for _ in range(5)),
            Inception(8, last=True),
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(1792, embedding, bias=False),
            nn.BatchNorm1d(embedding, eps=1e-3),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces, 0..255, of 75 px or more; 160 is usual."""
        maps = self.stages(self.stem((pixels - 127.5) / 128))
        made: Tensor = self.head(maps.mean(dim=(2, 3)))
        return made.float()
