"""Crops: the alignment templates, and cutting a face out of a picture the way a model wants it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.core import geometry
from mien.core.fields import Floats
from mien.core.geometry import Matrix
from mien.core.picture import Pixels

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue give to grey: ITU-R BT.601, as in Pillow's and OpenCV's conversions."""


@dataclass(frozen=True)
class Template:
    """Where points of a face come to lie in an aligned crop.

    Attributes:
        points: (k, 2), fractions of the crop's side at margin 0.
        vertices: the points of the mesh that they are; empty for the five points in the order of
            `FIVE_POINTS`.
    """

    points: npt.NDArray[np.float64]
    vertices: tuple[int, ...] = ()


# dlib's mean face (`get_face_chip_details` in its image_transforms/interpolation.h): iBUG points 27..67 but
# for the lower lip (55..59, 65..67), which dlib leaves out of the alignment as it does brows and jaw because
# expressions move them; and the points of the mesh that lie where iBUG's do.
_DLIB_POINTS = (
    # the nose's bridge and its base
    (168, 0.490127, 0.203352),
    (197, 0.490127, 0.307009),
    (5, 0.490127, 0.409805),
    (4, 0.490127, 0.515625),
    (98, 0.366880, 0.587326),
    (97, 0.426036, 0.609345),
    (2, 0.490127, 0.628106),
    (326, 0.554217, 0.609345),
    (327, 0.613373, 0.587326),
    # the eye to the left in the picture
    (33, 0.121737, 0.216423),
    (160, 0.187122, 0.178758),
    (158, 0.265825, 0.179852),
    (133, 0.334606, 0.231733),
    (153, 0.260918, 0.245099),
    (144, 0.182743, 0.244077),
    # the eye to the right
    (362, 0.645647, 0.231733),
    (385, 0.714428, 0.179852),
    (387, 0.793132, 0.178758),
    (263, 0.858516, 0.216423),
    (373, 0.797510, 0.244077),
    (380, 0.719335, 0.245099),
    # the upper lip: its outer edge from corner to corner, then its inner edge
    (61, 0.254149, 0.780233),
    (39, 0.340985, 0.745405),
    (37, 0.428858, 0.727388),
    (0, 0.490127, 0.742578),
    (267, 0.551395, 0.727388),
    (269, 0.639268, 0.745405),
    (291, 0.726104, 0.780233),
    (78, 0.290379, 0.784792),
    (82, 0.428096, 0.778746),
    (13, 0.490127, 0.785343),
    (312, 0.552157, 0.778746),
    (308, 0.689874, 0.784792),
)
_DLIB = np.array([[x, y] for _, x, y in _DLIB_POINTS])

TEMPLATES = MappingProxyType(
    {
        # insightface's five points for 112 x 112 crops (its `face_align.py`).
        "arcface": Template(
            np.array(
                [
                    [38.2946, 51.6963],
                    [73.5318, 51.5014],
                    [56.0252, 71.7366],
                    [41.5493, 92.3655],
                    [70.7299, 92.2041],
                ]
            )
            / 112.0
        ),
        # The same mean face from the five points alone, for detectors without a mesh: the middles of its
        # eyes, the tip of its nose, the corners of its mouth.
        "dlib5": Template(
            np.stack([_DLIB[9:15].mean(axis=0), _DLIB[15:21].mean(axis=0), _DLIB[3], _DLIB[21], _DLIB[27]])
        ),
        "dlib": Template(_DLIB, tuple(vertex for vertex, _, _ in _DLIB_POINTS)),
        # Crops as those that systems here are trained on: where our own landmarks lie in them, medians of 300
        # train pictures each (benchmarks/templates.py). UTKFace's are aligned to 0.02 of the side;
        # FER2013's only by their boxes, to 0.04.
        "utkface": Template(
            np.array(
                [[0.2856, 0.2950], [0.6873, 0.2945], [0.4869, 0.5229], [0.3190, 0.6836], [0.6622, 0.6833]]
            )
        ),
        "fer2013": Template(
            np.array(
                [[0.3002, 0.3824], [0.6861, 0.3847], [0.4930, 0.6000], [0.3442, 0.7558], [0.6467, 0.7531]]
            )
        ),
    }
)
"""The templates that a crop of kind "template" can name."""


@dataclass(frozen=True)
class Region:
    """A part of the face between two points of the mesh, such as an eye between its corners.

    Attributes:
        start: index of the mesh point that lies to the left in the crop.
        end: index of the mesh point that lies to the right in the crop.
        mirrored: cut it as in a mirror, for a model that knows one side only.
    """

    start: int
    end: int
    mirrored: bool = False


@dataclass(frozen=True)
class Crop:
    """How a model wants a face cut out.

    Attributes:
        kind: "template" aligns the five landmarks, or points of the mesh, to a template by a
            similarity transform; "box" takes a square around the box; "regions" takes squares around
            pairs of mesh points.
        width: of the crop, px.
        height: of the crop, px.
        template: its name in `TEMPLATES` (kind "template").
        margin: the template shrinks to (p + margin) / (1 + 2 margin): dlib's padding (kind "template").
        points: the field that holds the five points, for a template of five or for the upright turn.
        scale: the square's side over the longer side of the box, or over the region's length.
        shift: the square's centre moves by this many box sides, x and y.
        upright: turn the square so that the eyes lie level (kind "box").
        stretched: take the box in its own shape instead of a square; the crop is stretched to its width and
            height (kind "box").
        inside: shrink the square, or the stretched box, and move it until it lies inside the picture, for
            models that have never seen a filled border (kind "box", not `upright`).
        regions: the regions (kind "regions"); their outputs follow each other along the points' axis.
        fill: what lies outside the picture: black, or the edge pixels repeated.
        smooth: make a smaller crop from the means of the pixels that it covers. False takes the nearest four
            only, as OpenCV's bilinear resizing does: right for models that look at noise and were trained so.
    """

    kind: Literal["template", "box", "regions"]
    width: int
    height: int
    template: str = ""
    margin: float = 0.0
    points: Literal["landmarks", "keypoints"] = "landmarks"
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    upright: bool = False
    stretched: bool = False
    inside: bool = False
    regions: tuple[Region, ...] = ()
    fill: Literal["black", "edge"] = "black"
    smooth: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields that this cut is made from."""
        if self.kind == "template":
            return ("mesh",) if TEMPLATES[self.template].vertices else (self.points,)
        if self.kind == "regions":
            return ("mesh",)
        return ("boxes", self.points) if self.upright else ("boxes",)

    def matrices(self, known: dict[str, Floats], size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Return the maps from picture pixels to crop pixels.

        Args:
            known: the needed fields for n faces.
            size: (width, height) of the picture, px.

        Returns:
            (n, r, 2, 3), r being the number of regions, 1 for the other kinds.
        """
        if self.kind == "template":
            template = TEMPLATES[self.template]
            target = (template.points + self.margin) / (1 + 2 * self.margin) * (self.width, self.height)
            faces = known["mesh"][:, list(template.vertices), :2] if template.vertices else known[self.points]
            found = [[geometry.similarity(points, target)] for points in faces]
        elif self.kind == "regions":
            found = [[self._region(mesh, region) for region in self.regions] for mesh in known["mesh"]]
        else:
            boxes = np.asarray(known["boxes"], np.float64)
            eyes = np.asarray(known[self.points], np.float64)[:, :2] if self.upright else None
            found = [[self._box(box, None if eyes is None else eyes[i], size)] for i, box in enumerate(boxes)]
        count = max(1, len(self.regions))
        return np.asarray(found, np.float64).reshape(-1, count, 2, 3)

    def _box(
        self, box: npt.NDArray[np.float64], eyes: npt.NDArray[np.float64] | None, size: tuple[int, int]
    ) -> Matrix:
        sides = np.maximum(box[2:] - box[:2], 1e-3)
        turn = np.array([1.0, 0.0])
        if eyes is not None:
            across = eyes[1] - eyes[0]
            length = float(np.hypot(*across))
            turn = across / length if length > 1e-6 else turn
        down = np.array([-turn[1], turn[0]])
        centre = (box[:2] + box[2:]) / 2
        centre = centre + sides.max() * (self.shift[0] * turn + self.shift[1] * down)
        extent = self.scale * (sides if self.stretched else self._shaped(float(sides.max())))
        if self.inside:
            extent = extent * min(1.0, float((np.array(size) / extent).min()))
            centre = np.clip(centre, extent / 2, np.array(size) - extent / 2)
        return self._placed(centre, extent, turn, down)

    def _region(self, mesh: Floats, region: Region) -> Matrix:
        start, end = (np.asarray(mesh[i, :2], np.float64) for i in (region.start, region.end))
        length = max(float(np.hypot(*(end - start))), 1e-3)
        turn = (end - start) / length
        down = np.array([-turn[1], turn[0]]) * (-1 if region.mirrored else 1)
        return self._placed((start + end) / 2, self._shaped(length * self.scale), turn, down)

    def _shaped(self, side: float) -> npt.NDArray[np.float64]:
        """Return width and height of a part of the picture with this longer side, in the crop's shape."""
        return side * np.array([self.width, self.height]) / max(self.width, self.height)

    def _placed(
        self,
        centre: npt.NDArray[np.float64],
        extent: npt.NDArray[np.float64],
        right: npt.NDArray[np.float64],
        down: npt.NDArray[np.float64],
    ) -> Matrix:
        middle = np.array([self.width, self.height])
        linear = np.stack([right, down]) * (middle / extent)[:, None]
        return np.concatenate([linear, (middle / 2 - linear @ centre)[:, None]], axis=1)


def cut(
    pixels: Pixels, matrix: Matrix, width: int, height: int, fill: str = "black", *, smooth: bool = True
) -> Pixels:
    """Cut a crop out of a picture by an affine map.

    Args:
        pixels: (H, W, 3) uint8.
        matrix: (2, 3) from picture pixels to crop pixels.
        width: of the crop, px.
        height: of the crop, px.
        fill: "black" or "edge", for what lies outside the picture.
        smooth: no aliasing in a crop smaller than what it shows; see `Crop`.

    Returns:
        (height, width, 3) uint8. A crop that lies wholly outside, or is smaller than a thousandth of a pixel,
        is black.
    """
    # Plain floats: on a few numbers numpy's calls would cost as much as the warp.
    (a, b, _), (c, d, _) = matrix.tolist()
    if not np.isfinite(matrix).all() or abs(a * d - b * c) < 1e-9:
        return np.zeros((height, width, 3), np.uint8)
    (a, b, x), (c, d, y) = geometry.invert(matrix).tolist()
    low_x = math.floor(x + min(0.0, a * width) + min(0.0, b * height)) - 2
    low_y = math.floor(y + min(0.0, c * width) + min(0.0, d * height)) - 2
    high_x = math.ceil(x + max(0.0, a * width) + max(0.0, b * height)) + 2
    high_y = math.ceil(y + max(0.0, c * width) + max(0.0, d * height)) + 2
    left, top = max(low_x, 0), max(low_y, 0)
    right, bottom = min(high_x, pixels.shape[1]), min(high_y, pixels.shape[0])
    if right <= left or bottom <= top:
        return np.zeros((height, width, 3), np.uint8)
    step = math.sqrt(abs(a * d - b * c))  # picture pixels for one crop pixel
    factor = max(1, int(step + 0.35)) if smooth else 1
    image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    if factor > 1:
        image = image.reduce(factor)
    if fill == "edge":
        image, left, top = _with_edges(image, factor, (left, top), (low_x, low_y), (high_x, high_y))
    data = (a / factor, b / factor, (x - left) / factor, c / factor, d / factor, (y - top) / factor)
    resample = Image.Resampling.BICUBIC if step < 0.8 and smooth else Image.Resampling.BILINEAR
    return np.asarray(image.transform((width, height), Image.Transform.AFFINE, data, resample))


def _with_edges(
    image: Image.Image,
    factor: int,
    origin: tuple[int, int],
    low: tuple[int, int],
    high: tuple[int, int],
) -> tuple[Image.Image, int, int]:
    """Repeat the edge pixels as far as the crop reaches beyond the picture, at most three times the part.

    Args:
        image: the part of the picture that the crop shows, reduced.
        factor: by which it was reduced.
        origin: x and y of the part's first pixel, px of the picture.
        low: where the crop begins, px of the picture.
        high: where it ends.

    Returns:
        The part with its edges, and x and y of its first pixel now.
    """
    most = 3 * max(image.size)
    (left, right), (top, bottom) = (
        (
            min(max(math.ceil((start - first) / factor), 0), most),
            min(max(math.ceil((last - start) / factor) - size, 0), most),
        )
        for start, first, last, size in zip(origin, low, high, image.size, strict=True)
    )
    if not (left or right or top or bottom):
        return image, *origin
    padded = np.pad(np.asarray(image), ((top, bottom), (left, right), (0, 0)), mode="edge")
    return Image.fromarray(padded), origin[0] - left * factor, origin[1] - top * factor


def batch(crops: list[Pixels], *, grey: bool = False) -> Floats:
    """Stack crops into the (n, 3, H, W) float32 0..255 layout that models take; (n, 1, H, W) when grey."""
    if not crops:
        return np.zeros((0, 1 if grey else 3, 0, 0), np.float32)
    stacked = np.stack(crops)
    if grey:
        return (stacked.astype(np.float32) @ np.array(LUMA, np.float32))[:, None]
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2), dtype=np.float32)
