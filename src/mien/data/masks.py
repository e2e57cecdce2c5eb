"""Face masks drawn over faces by their five points, of several kinds: to learn from, and to test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.core.crops import TEMPLATES
from mien.data.reader import Images, Pairs

Kind = Literal["surgical", "respirator", "cloth", "gaiter"]

KINDS: tuple[Kind, ...] = ("surgical", "respirator", "cloth", "gaiter")
"""Every kind that can be drawn."""


@dataclass(frozen=True)
class Shape:
    """Where a kind of mask lies on a face, in the face's own measures.

    Along the face 0 is the line of the eyes, 1 that of the corners of the mouth, about 1.8 the chin; across
    it 0 is the middle and 0.5 an eye: cheeks end at about 1.

    Attributes:
        top: of the upper edge at the middle.
        fall: by how much the upper edge is lower at the cheeks.
        bottom: of the lower edge at the middle.
        rise: by how much the lower edge is higher at the cheeks.
        half: half of the width.
        loops: cords from the cheeks to the ears.
    """

    top: float
    fall: float
    bottom: float
    rise: float
    half: float
    loops: bool


SHAPES = {
    "surgical": Shape(0.32, 0.22, 1.75, 0.55, 0.95, True),
    "respirator": Shape(0.28, 0.50, 1.85, 0.80, 0.90, True),
    "cloth": Shape(0.38, 0.25, 1.80, 0.65, 0.98, True),
    # pulled up from the neck: no lower edge in the picture
    "gaiter": Shape(0.36, 0.05, 9.0, 0.0, 1.15, False),
}

# Colours that masks of a kind are made in, RGB; cloth and gaiters come in any.
_COLOURS = {
    "surgical": ((150, 195, 220), (165, 205, 190), (225, 228, 230), (40, 42, 46)),
    "respirator": ((235, 235, 232), (215, 218, 222), (60, 62, 66)),
}


@dataclass(frozen=True)
class Masks:
    """Draws masks over some of the faces of a batch.

    What differs from face to face: the kind, its colour, its pattern or folds, how high it sits, how large it
    is, and how the light falls on it. Eyes stay free; the mouth and the tip of the nose are covered.

    Attributes:
        share: part of the faces that get one.
        kinds: that are drawn from, evenly.
        sits: largest change of where the upper edge is, in parts of the way from the eyes to the mouth.
    """

    share: float = 0.5
    kinds: Sequence[Kind] = KINDS
    sits: float = 0.08

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not self.kinds or set(self.kinds) - set(KINDS):
            raise ValueError(f"share {self.share} must be in 0..1, kinds {self.kinds} some of {KINDS}")

    def __call__(
        self, pixels: Tensor, points: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return (n, C, H, W) float faces, 0..255, some of them masked.

        Args:
            pixels: (n, C, H, W), 0..255, C 3 or 1.
            points: (n, 5, 2) x y of the eyes, the tip of the nose and the corners of the mouth, in parts of
                the width and height, those on the left of the picture first; None takes the places that
                ArcFace's template gives them, for crops that were cut by it.
            generator: what is drawn from; None takes torch's own, which `Lab` sets for each step.
        """
        pixels = pixels.float()
        count, channels, height, width = pixels.shape
        if points is None:
            points = torch.as_tensor(TEMPLATES["arcface"].points, dtype=torch.float32).expand(count, 5, 2)
        drawn = torch.rand((count, 12), generator=generator).to(pixels)
        along, across, scale = frame(points.to(pixels), height, width)
        made = pixels.clone()
        kind = (drawn[:, 1] * len(self.kinds)).long().clamp(max=len(self.kinds) - 1)
        for number, name in enumerate(self.kinds):
            rows = torch.nonzero((drawn[:, 0] < self.share) & (kind == number))[:, 0]
            if len(rows):
                cover, colour = self._drawn(name, along[rows], across[rows], scale[rows], drawn[rows])
                if channels == 1:
                    colour = colour.mean(dim=1, keepdim=True)
                made[rows] = pixels[rows] + cover[:, None] * (colour - pixels[rows])
        return made

    def _drawn(
        self, kind: Kind, along: Tensor, across: Tensor, scale: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (n, H, W) how much of each pixel a kind covers, 0..1, and (n, 3, H, W) its colour."""
        shape = SHAPES[kind]
        sits, size, light, pattern, turn = ((drawn[:, k] - 0.5)[:, None, None] for k in range(2, 7))
        half = shape.half * (1 + 0.16 * size)
        part = (across / half).square()
        upper, lower = shape.top + 2 * self.sits * sits, shape.bottom + 0.3 * size
        top, bottom = upper + shape.fall * part, lower - shape.rise * part
        # Edges are a pixel wide: `scale` is how many pixels the way from the eyes to the mouth has.
        pixel = scale[:, None, None]
        cover = inside((along - top) * pixel) * inside((bottom - along) * pixel)
        cover = cover * inside((half - across.abs()) * pixel)
        if shape.loops:
            # Up to where the ears are, a third of the eyes' distance beside the mask.
            beside = across.abs() - half
            corners = (upper + shape.fall + 0.1, lower - shape.rise - 0.25)
            for start, slope in zip(corners, (1.1, 2.4), strict=True):
                away = (along - (start - slope * beside)).abs() * pixel / (1 + slope**2) ** 0.5
                cord = (1.2 - away).clamp(0, 1) * inside(beside * pixel) * inside((0.3 - beside) * pixel)
                cover = torch.maximum(cover, 0.8 * cord)
        shade = 1 + 0.3 * light - 0.28 * (across / shape.half).square().clamp(max=1.5) + 0.25 * turn * across
        if kind == "surgical":
            # Folds: a dark line below and a light one above each.
            shade = shade - 0.10 * torch.sin(2 * torch.pi * (along - top) / 0.3).clamp(min=0).pow(4)
        elif kind == "respirator":
            shade = shade - 0.18 * (1 - across.abs() * pixel / 1.5).clamp(min=0)
        colour = self._colour(kind, drawn)[:, :, None, None]
        if kind in ("cloth", "gaiter"):
            second = drawn[:, 9:12, None, None] * 255
            waves = torch.sin(2 * torch.pi * (3 + 8 * (pattern + 0.5)) * (along + 2 * turn * across))
            # Half of them are plain.
            mixed = (waves > 0.4).to(colour) * (pattern > 0)
            colour = colour + mixed[:, None] * (second - colour) * 0.7
        return cover, (colour * shade[:, None]).clamp(0, 255)

    def _colour(self, kind: Kind, drawn: Tensor) -> Tensor:
        """Return (n, 3) base colours."""
        if kind not in _COLOURS:
            return 20 + 215 * drawn[:, 7:10]
        known = drawn.new_tensor(_COLOURS[kind])
        chosen = known[(drawn[:, 7] * len(known)).long().clamp(max=len(known) - 1)]
        return chosen + 16 * (drawn[:, 8:11] - 0.5)


def frame(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each pixel is on a face.

    Args:
        points: (n, 5, 2), as in `Masks`, in parts of the width and height.
        height: of the pictures, px.
        width: of the pictures, px.

    Returns:
        (n, H, W) along the face, 0 at the eyes and 1 at the mouth; (n, H, W) across it from the middle, where
        a turned head's nose bends the middle to its side, an eye being 0.5 away in the picture; and (n,) the
        way from the eyes to the mouth in pixels.
    """
    size = points.new_tensor([width, height])
    left, right, nose, *mouth = (points * size).unbind(dim=1)
    eyes, lips = (left + right) / 2, (mouth[0] + mouth[1]) / 2
    down = lips - eyes
    scale = down.norm(dim=1).clamp(min=1e-3)
    down = down / scale[:, None]
    side = torch.stack([down[:, 1], -down[:, 0]], dim=1)
    apart = ((right - left) * side).sum(dim=1).abs().clamp(min=1e-3)
    rows = torch.arange(height, device=points.device) + 0.5
    columns = torch.arange(width, device=points.device) + 0.5
    place = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).to(points)
    offset = place[None] - eyes[:, None, None]
    along = (offset * down[:, None, None]).sum(dim=-1) / scale[:, None, None]
    across = (offset * side[:, None, None]).sum(dim=-1) / apart[:, None, None]
    # The tip of the nose is half way to the mouth; the middle goes from the eyes through it to the lips.
    bend = ((nose - eyes) * side).sum(dim=1) / apart
    middle = bend[:, None, None] * (1 - 2 * (along - 0.5).abs()).clamp(min=0)
    return along, across - middle, scale


class Worn(Protocol):
    """Something drawn over some of the faces of a batch; called as `Masks` are."""

    def __call__(
        self, pixels: Tensor, points: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return (n, C, H, W) float faces, 0..255."""
        ...


def masked(pixels: npt.NDArray[np.uint8], masks: Worn, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return (n, H, W, C) faces cut by ArcFace's template with masks that are always the same.

    Args:
        pixels: (n, H, W, C), of any size.
        masks: share and kinds; or something else that faces wear.
        seed: of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    faces = torch.as_tensor(np.ascontiguousarray(np.asarray(pixels).transpose(0, 3, 1, 2)))
    made = [masks(part, generator=generator) for part in torch.split(faces, 512)]
    return np.asarray(torch.cat(made).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def masked_probes(images: Images, pairs: Pairs, seed: int = 0) -> tuple[Images, Pairs]:
    """Put a mask on the second face of each pair: who is known without one comes with one.

    Args:
        images: faces cut by ArcFace's template.
        pairs: of their rows.
        seed: of the masks, which are of all kinds.

    Returns:
        The faces, behind them the same with masks, and the pairs' rows among them.
    """
    covered = masked(images.pixels, Masks(share=1.0), seed)
    both = Images(
        images.name,
        f"{images.split}, masked probes",
        np.concatenate([np.asarray(images.pixels), covered]),
        MappingProxyType({name: np.concatenate([one, one]) for name, one in images.columns.items()}),
        np.concatenate([images.hashes, images.hashes]),
    )
    return both, Pairs(pairs.first, pairs.second + len(images), pairs.same, pairs.fold)


def inside(distance: Tensor) -> Tensor:
    """Return 0..1 of a signed distance in pixels from an edge: 1 inside, half on it, 0 outside."""
    return (distance + 0.5).clamp(0, 1)
