"""Plain networks of 3 x 3 convolutions in blocks, then fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class VGG(nn.Module):
    """Blocks of convolutions, each ending in a halved picture (Simonyan and Zisserman, arXiv 1409.1556).

    Weights are drawn for ReLU (He et al. 2015, arXiv 1502.01852): the paper's own start needs its shallow
    networks first.

    Args:
        channels: of the pictures, 1 or 3.
        size: their side, px.
        blocks: for each block its convolutions and their channels.
        hidden: units of each fully connected layer before the last.
        classes: of the last.
        norm: batch normalisation behind each convolution, before its ReLU; the
            convolutions then have no bias.
        dropout: rates behind each block and behind each hidden layer.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        blocks: Sequence[tuple[int, int]],
        hidden: Sequence[int],
        classes: int,
        *,
        norm: bool = False,
        dropout: tuple[float, float] = (0.0, 0.5),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for count, width in blocks:
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=not norm)]
                layers += [nn.BatchNorm2d(width)] if norm else []
                layers += [nn.ReLU()]
                channels = width
            layers += [nn.MaxPool2d(2), nn.Dropout(dropout[0])]
        self.blocks = nn.Sequential(*layers)
        units = channels * (size // 2 ** len(blocks)) ** 2
        head: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            head += [nn.Linear(units, width), nn.ReLU(), nn.Dropout(dropout[1])]
            units = width
        self.head = nn.Sequential(*head, nn.Linear(units, classes))
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, classes) logits of (n, channels, size, size) pictures, 0..255."""
        logits: Tensor = self.head(self.blocks((pixels - 127.5) / 64))
        # The loss takes sums over them: halves would not do.
        return logits.float()
