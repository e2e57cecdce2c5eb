"""IR-50 as a recogniser: the stages, and the head that turns their last map into an embedding."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mien.nn.iresnet import ImprovedStages


class IR50(nn.Module):
    """IR-50 of face.evoLVe with ArcFace's head "E": norm, dropout, a linear layer over the whole map, norm.

    43,574,976 parameters for 512 numbers of a face of 112 px.

    Args:
        size: side of the faces, px; 16 divides it.
        embedding: d.
        dropout: rate before the linear layer.
        depths: blocks of each stage; (3, 13, 30, 3) makes IR-100.
    """

    def __init__(
        self, size: int, embedding: int, dropout: float = 0.5, depths: Sequence[int] = (3, 4, 14, 3)
    ) -> None:
        super().__init__()
        self.stages = ImprovedStages(3, (64, 128, 256, 512), depths)
        self.head = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(512 * (size // 16) ** 2, embedding),
            nn.BatchNorm1d(embedding),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, d) float, of any lengths, of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.head(self.stages((pixels - 127.5) / 128)[-1])
        return made.float()
