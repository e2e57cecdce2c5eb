"""Sunglasses drawn over faces by their five points, of several shapes and shades."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mien.core.crops import TEMPLATES
from mien.data.masks import frame, inside


@dataclass(frozen=True)
class Sunglasses:
    """Draws sunglasses over some of the faces of a batch.

    What differs from face to face: the lenses' size, how round they are, how high they sit, their tint, how
    dark they are and by how much they are lighter below, and the frame's colour. The eyes are covered; the
    mouth and the tip of the nose stay free.

    Attributes:
        share: part of the faces that get some.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share {self.share} must be in 0..1")

    def __call__(
        self, pixels: Tensor, points: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return (n, C, H, W) float faces, 0..255, some of them with sunglasses; arguments as of `Masks`."""
        pixels = pixels.float()
        count, channels, height, width = pixels.shape
        if points is None:
            points = torch.as_tensor(TEMPLATES["arcface"].points, dtype=torch.float32).expand(count, 5, 2)
        drawn = torch.rand((count, 10), generator=generator).to(pixels)
        along, across, scale = frame(points.to(pixels), height, width)
        size, tall, shape, sits, dark, fades = (drawn[:, k][:, None, None] for k in range(1, 7))
        pixel = scale[:, None, None]
        half, high = 0.38 + 0.08 * size, 0.30 + 0.12 * tall
        # From round to almost a rectangle; the middle lies a little below the eyes.
        power = 2 + 3 * shape
        beside = ((across.abs() - 0.5) / half).abs()
        below = ((along - (0.04 + 0.08 * (sits - 0.5))) / high).abs()
        radius = (beside**power + below**power) ** (1 / power)
        # In pixels: the lens is about as many high as its radius is long.
        lens = inside((1 - radius) * high * pixel)
        rim = inside((1.14 - radius) * high * pixel) * (1 - lens)
        bridge = inside((0.05 - (along + 0.08).abs()) * pixel) * inside((0.5 - half - across.abs()) * pixel)
        # Up to the ears.
        temple = inside((0.05 - (along + 0.06).abs()) * pixel) * inside((across.abs() - 0.5 - half) * pixel)
        temple = temple * inside((1.15 - across.abs()) * pixel)
        solid = torch.maximum(rim, torch.maximum(bridge, temple))[:, None]
        # Lenses let a part of the light through, more of it towards their lower rim.
        covers = (lens * (0.97 - 0.2 * dark - 0.25 * fades * ((along / high + 1) / 2).clamp(0, 1)))[:, None]
        tint = (12 + 40 * drawn[:, 7:10])[:, :, None, None]
        frames = (20 + 200 * (drawn[:, 7:8] > 0.8) + 20 * drawn[:, 8:9])[:, :, None, None].expand_as(tint)
        if channels == 1:
            tint, frames = tint.mean(dim=1, keepdim=True), frames.mean(dim=1, keepdim=True)
        made = pixels + covers * (tint - pixels)
        made = made + solid * (frames - made)
        worn = drawn[:, 0] < self.share
        return torch.where(worn[:, None, None, None], made, pixels)
