"""Queries unlike what a gallery holds: masked, in sunglasses, cropped, rotated; always the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.core.fields import Floats
from mien.core.picture import Pixels
from mien.data.augment import sampled
from mien.data.masks import Masks, masked
from mien.data.sunglasses import Sunglasses

Change = Literal["masked", "sunglasses", "cropped", "rotated", "normal"]

CHANGES: tuple[Change, ...] = ("masked", "sunglasses", "cropped", "rotated", "normal")
"""Every kind of queries."""

_KEPT = 0.7
_TURNS = (15.0, 30.0)


@dataclass(frozen=True, eq=False)
class Queries:
    """Faces as they are searched for.

    Attributes:
        pixels: (n, H, W, C) uint8.
        maps: (n, 2, 3) from where a pixel lands to where it came from, both in -1..1 of the picture.
    """

    pixels: Pixels
    maps: Floats

    def moved(self, points: Floats) -> Floats:
        """Return where (n, k, 2) points of the unchanged faces are, in parts of the sides; may be outside."""
        away = 2 * points - 1 - self.maps[:, None, :, 2]
        return np.asarray((np.einsum("nij,nkj->nki", np.linalg.inv(self.maps[:, :, :2]), away) + 1) / 2)


def queries(pixels: Pixels, change: Change, seed: int = 0) -> Queries:
    """Change faces.

    Args:
        pixels: (n, H, W, C) uint8, cut by ArcFace's template.
        change: "masked" and "sunglasses" draw them; "cropped" keeps a window of 0.7 of each side at a random
            place, brought back to the whole size, as a box that misses a part of the face would; "rotated"
            turns by 15 to 30 degrees to either side, corners repeating the edge; "normal" changes nothing.
        seed: of what is drawn.
    """
    random = np.random.default_rng((seed, CHANGES.index(change)))
    count = len(pixels)
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    if change == "cropped":
        maps[:, :, :2] *= _KEPT
        maps[:, :, 2] = (1 - _KEPT) * random.uniform(-1, 1, (count, 2))
    elif change == "rotated":
        angle = np.radians(random.uniform(*_TURNS, count) * random.choice((-1, 1), count))
        maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
        maps[:, 1, 0] = np.sin(angle)
        maps[:, 0, 1] = -np.sin(angle)
    elif change != "normal":
        worn = Masks(share=1.0) if change == "masked" else Sunglasses(share=1.0)
        return Queries(masked(pixels, worn, seed), maps)
    return Queries(_moved(pixels, maps) if change != "normal" else np.asarray(pixels), maps)


def _moved(pixels: Pixels, maps: npt.NDArray[np.float32]) -> Pixels:
    faces: Tensor = torch.as_tensor(np.ascontiguousarray(np.asarray(pixels).transpose(0, 3, 1, 2))).float()
    made = sampled(faces, torch.as_tensor(maps))
    return np.asarray(made.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
