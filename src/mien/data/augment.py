"""Augmentation: pictures of a batch, each changed a little in its own way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Jitter:
    """How far pictures are changed; each amount is the largest, drawn evenly in both directions.

    Attributes:
        turn: degrees.
        zoom: part of the size.
        move: part of the side, in x and in y.
        mirror: mirror half of the pictures.
        contrast: part of the deviation from the picture's mean.
        brightness: part of white.
        erase: side of the square that is greyed out, part of the picture's side; drawn from 0 for each.
    """

    turn: float = 0.0
    zoom: float = 0.0
    move: float = 0.0
    mirror: bool = False
    contrast: float = 0.0
    brightness: float = 0.0
    erase: float = 0.0

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (n, C, H, W) float pictures, 0..255, of pictures of that shape and range.

        Drawn from torch's global generator, which `Lab` sets for each step.
        """
        pixels = self._moved(pixels.float())
        if self.contrast or self.brightness:
            pixels = self._lit(pixels)
        return self._erased(pixels) if self.erase else pixels

    def _moved(self, pixels: Tensor) -> Tensor:
        count = len(pixels)
        angle = _drawn(count, math.radians(self.turn))
        scale = 1 + _drawn(count, self.zoom)
        flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if self.mirror else torch.ones(count)
        # The grid runs from -1 to 1: a part of the side is twice that.
        move = 2 * _drawn(2 * count, self.move).reshape(count, 2)
        rows = [
            torch.stack([flip * scale * angle.cos(), -scale * angle.sin(), move[:, 0]], dim=1),
            torch.stack([flip * scale * angle.sin(), scale * angle.cos(), move[:, 1]], dim=1),
        ]
        affine = torch.stack(rows, dim=1).to(pixels)
        grid = functional.affine_grid(affine, list(pixels.shape), align_corners=False)
        return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)

    def _lit(self, pixels: Tensor) -> Tensor:
        shape = (len(pixels), 1, 1, 1)
        gain = (1 + _drawn(len(pixels), self.contrast)).reshape(shape).to(pixels)
        offset = 255 * _drawn(len(pixels), self.brightness).reshape(shape).to(pixels)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        return ((pixels - mean) * gain + mean + offset).clamp(0, 255)

    def _erased(self, pixels: Tensor) -> Tensor:
        count, _, height, width = pixels.shape
        half = torch.rand(count, 1) * self.erase / 2
        centre = torch.rand(count, 2)
        rows = (torch.arange(height) + 0.5) / height
        columns = (torch.arange(width) + 0.5) / width
        within_rows = (rows[None] - centre[:, :1]).abs() < half
        within_columns = (columns[None] - centre[:, 1:]).abs() < half
        hidden = within_rows[:, None, :, None] & within_columns[:, None, None, :]
        return torch.where(hidden.to(pixels.device), pixels.new_tensor(127.5), pixels)


def _drawn(count: int, most: float) -> Tensor:
    return (2 * torch.rand(count) - 1) * most
