"""A small network that makes embeddings of faces: what losses are compared on with equal budgets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mien.nn.residual import ResidualNet


class Embedder(nn.Module):
    """The small residual network, a linear layer and a norm behind it.

    Args:
        embedding: d.
        channels: of the pictures.
        widths: channels of each stage.
        depths: blocks of each stage.
    """

    def __init__(
        self,
        embedding: int,
        channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128),
        depths: Sequence[int] = (1, 1, 1, 1),
    ) -> None:
        super().__init__()
        self.body = ResidualNet(channels, widths, depths)
        self.head = nn.Sequential(
            nn.Linear(self.body.features, embedding, bias=False), nn.BatchNorm1d(embedding)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, d) float, of any lengths, of (n, channels, H, W) faces, 0..255."""
        made: Tensor = self.head(self.body(pixels))
        # Angles are told apart by their last digits: halves would not do.
        return made.float()
