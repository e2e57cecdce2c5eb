"""Pictures of 0..255 as networks made for ImageNet's colours take them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageNetColours(nn.Module):
    """Scales pictures to ImageNet's means and deviations, (x / 255 - mean) / deviation channel by channel.

    A grey picture becomes three channels, each scaled as the colour whose place it takes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("deviation", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 3, H, W) of (n, 1 or 3, H, W) pictures, 0..255."""
        return (pixels / 255 - self.mean) / self.deviation
