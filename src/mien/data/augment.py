"""Augmentation: pictures of a batch, each changed a little in its own way."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mien.core.crops import LUMA


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
        colour: part of each pixel's distance from its own grey; pictures of one channel have none.
        coarse: part of the pictures that are shown at half their size, as small faces are.
        erase: side of the square that is greyed out, part of the picture's side; drawn from 0 for each.
        blur: part of the pictures that are out of focus: a Gaussian of up to 2 px.
        jpeg: part of the pictures that are compressed as JPEG, at a quality of 20 to 90.
    """

    turn: float = 0.0
    zoom: float = 0.0
    move: float = 0.0
    mirror: bool = False
    contrast: float = 0.0
    brightness: float = 0.0
    colour: float = 0.0
    coarse: float = 0.0
    erase: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (n, C, H, W) float pictures, 0..255, of pictures of that shape and range.

        Drawn from torch's global generator, which `Lab` sets for each step.
        """
        pixels = pixels.float()
        return self._finished(sampled(pixels, self.placed(len(pixels))))

    def together(self, pixels: Tensor, points: Tensor, partners: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Change pictures and the points in them alike.

        Args:
            pixels: (n, C, H, W), 0..255.
            points: (n, k, 2) x y in parts of the width and height.
            partners: for each of the k points the one that is it in a mirror, such as the other eye.

        Returns:
            Pictures as from calling it, and (n, k, 2) points, which may have left the picture.
        """
        pixels = pixels.float()
        affine = self.placed(len(pixels))
        # The map leads from where a pixel lands to where it comes from; points go the other way.
        placed = torch.linalg.solve(affine[:, :, :2], (2 * points - 1 - affine[:, None, :, 2]).mT).mT
        mirrored = torch.linalg.det(affine[:, :, :2]) < 0
        placed = torch.where(mirrored[:, None, None], placed[:, list(partners)], placed)
        return self._finished(sampled(pixels, affine)), ((placed + 1) / 2).to(points)

    def _finished(self, pixels: Tensor) -> Tensor:
        if self.contrast or self.brightness:
            pixels = self._lit(pixels)
        if self.colour and pixels.shape[1] == 3:
            pixels = self._coloured(pixels)
        if self.coarse:
            pixels = self._coarsened(pixels)
        if self.blur:
            pixels = self._blurred(pixels)
        if self.jpeg:
            pixels = self._compressed(pixels)
        return self._erased(pixels) if self.erase else pixels

    def placed(self, count: int) -> Tensor:
        """Draw (n, 2, 3) maps from where a pixel lands to where it comes from, both in -1..1."""
        angle = _drawn(count, math.radians(self.turn))
        scale = 1 + _drawn(count, self.zoom)
        flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if self.mirror else torch.ones(count)
        # The grid runs from -1 to 1: a part of the side is twice that.
        move = 2 * _drawn(2 * count, self.move).reshape(count, 2)
        rows = [
            torch.stack([flip * scale * angle.cos(), -scale * angle.sin(), move[:, 0]], dim=1),
            torch.stack([flip * scale * angle.sin(), scale * angle.cos(), move[:, 1]], dim=1),
        ]
        return torch.stack(rows, dim=1)

    def _lit(self, pixels: Tensor) -> Tensor:
        shape = (len(pixels), 1, 1, 1)
        gain = (1 + _drawn(len(pixels), self.contrast)).reshape(shape).to(pixels)
        offset = 255 * _drawn(len(pixels), self.brightness).reshape(shape).to(pixels)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        return ((pixels - mean) * gain + mean + offset).clamp(0, 255)

    def _coloured(self, pixels: Tensor) -> Tensor:
        grey = (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
        gain = (1 + _drawn(len(pixels), self.colour)).reshape(-1, 1, 1, 1).to(pixels)
        return ((pixels - grey) * gain + grey).clamp(0, 255)

    def _coarsened(self, pixels: Tensor) -> Tensor:
        small = functional.avg_pool2d(pixels, 2)
        again = functional.interpolate(small, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
        chosen = torch.rand(len(pixels)) < self.coarse
        return torch.where(chosen[:, None, None, None].to(pixels.device), again, pixels)

    def _blurred(self, pixels: Tensor) -> Tensor:
        count, channels, height, width = pixels.shape
        chosen = torch.rand(count) < self.blur
        sigma = 0.3 + 1.7 * torch.rand(count, 1)
        away = torch.arange(-4, 5)
        kernel = torch.exp(-0.5 * (away / sigma) ** 2)
        kernel = torch.where(chosen[:, None], kernel / kernel.sum(dim=1, keepdim=True), (away == 0).float())
        # Each picture has a kernel of its own: they stand as the groups of one convolution.
        lines = kernel.repeat_interleave(channels, dim=0).to(pixels)
        made = functional.pad(pixels, (4, 4, 4, 4), mode="replicate").reshape(1, -1, height + 8, width + 8)
        made = functional.conv2d(made, lines[:, None, None, :], groups=len(lines))
        made = functional.conv2d(made, lines[:, None, :, None], groups=len(lines))
        return made.reshape(pixels.shape)

    def _compressed(self, pixels: Tensor) -> Tensor:
        chosen = torch.rand(len(pixels)) < self.jpeg
        quality = torch.randint(20, 91, (len(pixels),))
        made = pixels.clone()
        for row in torch.nonzero(chosen)[:, 0].tolist():
            values = pixels[row].round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0).numpy()
            image = Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
            file = io.BytesIO()
            image.save(file, "JPEG", quality=int(quality[row]))
            again = np.asarray(Image.open(file)).reshape(values.shape)
            made[row] = torch.as_tensor(again.copy()).permute(2, 0, 1).to(pixels)
        return made

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


def zoomed(pixels: Tensor, zoom: float) -> Tensor:
    """Return (n, C, H, W) float pictures with what is in the middle so much larger; edges are repeated."""
    if zoom == 1:
        return pixels.float()
    return sampled(pixels.float(), (torch.eye(2, 3) / zoom).expand(len(pixels), 2, 3))


def _drawn(count: int, most: float) -> Tensor:
    return (2 * torch.rand(count) - 1) * most


def sampled(pixels: Tensor, affine: Tensor) -> Tensor:
    """Return (n, C, H, W) float pictures moved by (n, 2, 3) maps as `Jitter.placed` draws; edges repeat."""
    # Autocast would round the places to eight bits.
    with torch.autocast(pixels.device.type, enabled=False):
        grid = functional.affine_grid(affine.to(pixels), list(pixels.shape), align_corners=False)
        return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
