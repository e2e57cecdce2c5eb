"""Makes faces unrecognisable in pixels: masks around them, and what fills the masks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.core.faces import Faces
from mien.core.fields import Floats

Values = npt.NDArray[Any]
"""(H, W) or (H, W, C) of any number type: pictures of 8 and 16 bits, the planes of a video."""

STYLES = ("gaussian", "pixelate", "solid")
SHAPES = ("ellipse", "box")

# Standard deviation of the Gaussian, in sides of the face. Measured on the demo photos: from 0.125 on,
# dlib's network says no more of the blurred face than of a black one; from 0.2 on, CenterFace no longer
# takes it for a face.
_SIGMA = 0.2
# Cells along a side of the face. Measured likewise: the network is lost from 8 cells down, the detector
# from 4 down.
_CELLS = 4.0
PRESENT = 0.5
"""Below this presence the mesh model itself says that it does not look at a face."""


@dataclass(frozen=True)
class Cover:
    """How faces are covered.

    Attributes:
        style: "gaussian" blurs, "pixelate" makes a mosaic, "solid" paints one colour. Only the last leaves
            nothing of the face: networks trained on blurred faces can still tell some people apart in the
            other two (McPherson, Shokri, Shmatikov, "Defeating image obfuscation with deep learning", 2016).
        shape: "ellipse" or "box".
        margin: the mask grows beyond the face's box by this part of it on each side; detectors' boxes end at
            the brows and the chin of many faces.
        feather: width of the soft edge, outside the mask, as a part of the mask's half axes; 0 is a hard
            edge.
        strength: of the blur or the mosaic; 2 halves what is left to see. It is relative to the face's size,
            so that a face that fills the picture is as hard to recognise as one in the background.
    """

    style: str = "gaussian"
    shape: str = "ellipse"
    margin: float = 0.3
    feather: float = 0.1
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style {self.style!r}: use {', '.join(STYLES)}")
        if self.shape not in SHAPES:
            raise ValueError(f"shape {self.shape!r}: use {', '.join(SHAPES)}")
        if not (0 <= self.margin <= 5 and 0 <= self.feather <= 2 and self.strength > 0):
            raise ValueError("margin is 0..5, feather 0..2 and strength more than 0")

    @property
    def solid(self) -> Cover:
        """The same cover, but nothing shows through."""
        return replace(self, style="solid")


def blur(pixels: Values, faces: Faces, cover: Cover | None = None) -> Values:
    """Return a picture whose faces cannot be recognised.

    Args:
        pixels: (H, W) or (H, W, C), upright, any number type; transparency is a channel like others, so
            leave it out.
        faces: its faces, in pixels of this picture.
        cover: how; None blurs ellipses.

    Returns:
        A new array of the same shape and type; outside the masks and their soft edges it is equal
        to `pixels`.
    """
    covered = np.array(pixels)
    hide(covered, extents(faces), cover or Cover())
    return covered


def extents(faces: Faces) -> Floats:
    """Return the (n, 4) box of all that is known of each face: the detector's box and the mesh."""
    boxes = np.array(faces.boxes)
    if faces.mesh is not None:
        points = faces.mesh[:, :, :2]
        sure = np.isfinite(points).all(axis=(1, 2))
        if faces.presence is not None:
            sure &= faces.presence >= PRESENT
        boxes[sure, :2] = np.minimum(boxes[sure, :2], points[sure].min(axis=1))
        boxes[sure, 2:] = np.maximum(boxes[sure, 2:], points[sure].max(axis=1))
    return np.asarray(boxes, np.float32)


def mask_boxes(boxes: Values, cover: Cover) -> npt.NDArray[np.float64]:
    """Return the (n, 4) boxes around the masks of faces, without their soft edges."""
    found = np.asarray(boxes, np.float64).reshape(-1, 4)
    grow = cover.margin * (found[:, 2:] - found[:, :2])
    return np.concatenate([found[:, :2] - grow, found[:, 2:] + grow], axis=1)


def hide(pixels: Values, boxes: Values, cover: Cover, black: float | tuple[float, ...] = 0) -> None:
    """Cover faces in place.

    Args:
        pixels: (H, W) or (H, W, C), writable.
        boxes: (n, 4) of the faces, px; those that are no boxes are left out.
        cover: how.
        black: what "solid" paints, for each channel.
    """
    height, width = pixels.shape[:2]
    for box, (left, top, right, bottom) in zip(
        np.asarray(boxes, np.float64), mask_boxes(boxes, cover), strict=True
    ):
        if not (np.isfinite(box).all() and right > left and bottom > top):
            continue
        centre, half = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)
        # half a pixel more, so that a mask smaller than a pixel covers the pixel that it lies in
        reach = [axis * (1 + cover.feather) + 0.5 for axis in half]
        x1, y1 = (max(0, math.floor(c - r)) for c, r in zip(centre, reach, strict=True))
        x2, y2 = (
            min(size, math.ceil(c + r)) for c, r, size in zip(centre, reach, (width, height), strict=True)
        )
        if x2 <= x1 or y2 <= y1:
            continue
        part = pixels[y1:y2, x1:x2]
        side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        opacity = _opacity(cover, (y1, y2), (x1, x2), centre, half)
        if part.ndim == 3:
            opacity = opacity[..., None]
        mixed = part + opacity * (_filling(part, cover, side, black) - part)
        part[...] = np.rint(mixed) if part.dtype.kind in "iu" else mixed


def _opacity(
    cover: Cover,
    rows: tuple[int, int],
    columns: tuple[int, int],
    centre: tuple[float, float],
    half: tuple[float, float],
) -> Floats:
    """Return the (h, w) opacity of a mask: 1 inside, falling to 0 across the soft edge."""
    x = np.abs(np.arange(*columns, dtype=np.float32) + 0.5 - centre[0]) / max(half[0], 0.5)
    y = np.abs(np.arange(*rows, dtype=np.float32) + 0.5 - centre[1]) / max(half[1], 0.5)
    if cover.shape == "box":
        distance = np.maximum(y[:, None], x[None, :])
    else:
        distance = np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)
    if cover.feather == 0:
        return np.asarray(distance <= 1, np.float32)
    return np.asarray(np.clip((1 + cover.feather - distance) / cover.feather, 0, 1), np.float32)


def _filling(part: Values, cover: Cover, side: float, black: float | tuple[float, ...]) -> Values:
    if cover.style == "solid":
        return np.broadcast_to(np.asarray(black, np.float32), part.shape)
    fill = _mosaic if cover.style == "pixelate" else _gaussian
    planes = part[..., None] if part.ndim == 2 else part
    # float32 holds every value of 16 bits exactly
    filled = [fill(plane.astype(np.float32), side, cover.strength) for plane in np.moveaxis(planes, -1, 0)]
    return np.stack(filled, axis=-1).reshape(part.shape)


def _gaussian(plane: Floats, side: float, strength: float) -> Floats:
    """Blur a plane; it is made smaller first, where nothing of what the blur leaves is lost."""
    height, width = plane.shape
    sigma = max(_SIGMA * side * strength, 1e-3)
    factor = max(1.0, sigma / 4)
    size = (math.ceil(width / factor), math.ceil(height / factor))
    image = Image.fromarray(plane)
    small = np.asarray(image if size == image.size else image.resize(size, Image.Resampling.BOX))
    across, down = (_gauss(n, sigma * n / full) for n, full in zip(size, (width, height), strict=True))
    blurred = Image.fromarray(np.ascontiguousarray(down @ small @ across.T))
    return np.asarray(
        blurred if size == image.size else blurred.resize(image.size, Image.Resampling.BILINEAR)
    )


def _gauss(count: int, sigma: float) -> Floats:
    """Return the (count, count) matrix of a Gaussian blur; at the borders the weights still sum to 1."""
    steps = np.arange(count)
    weights = np.exp(-((steps[:, None] - steps[None, :]) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _mosaic(plane: Floats, side: float, strength: float) -> Floats:
    height, width = plane.shape
    cell = max(side * strength / _CELLS, 1.0)
    cells = (max(1, round(width / cell)), max(1, round(height / cell)))
    small = Image.fromarray(plane).resize(cells, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
