"""A plain residual recogniser for 112 px: convolutions of 3 x 3 alone, which processors are fastest at."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mien.nn.residual import ResidualBlock


class ResidualRecogniser(nn.Module):
    """A stem that halves the picture, stages of residual blocks, and MobileFaceNet's head.

    Blocks have no squeeze and excitation: it waits for all of the picture, and costs more time than it has
    multiply-adds. Its activations are ReLU, which eight bits keep well.

    Args:
        embedding: d.
        size: side of the pictures, px; 2 ^ the number of stages must divide it.
        widths: channels of each stage; all but the first halve the picture.
        depths: blocks of each.
    """

    def __init__(self, embedding: int, size: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        if size % 2 ** len(widths):
            raise ValueError(f"{len(widths)} stages halve the picture as often, which {size} px do not allow")
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                layers.append(ResidualBlock(inputs, width, stride, excitation=False))
                inputs = width
        self.layers = nn.Sequential(*layers)
        # Each place of the last map has a weight of its own in each channel (arXiv 1804.07573, Section 3.1).
        self.head = nn.Sequential(
            nn.Conv2d(inputs, inputs, size // 2 ** len(widths), groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.Flatten(),
            nn.Linear(inputs, embedding, bias=False),
            nn.BatchNorm1d(embedding),
        )
        for layer in self.layers.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, embedding), of any lengths, of (n, 3, size, size) pictures of about -1..1."""
        y: Tensor = self.head(self.layers(x))
        return y
