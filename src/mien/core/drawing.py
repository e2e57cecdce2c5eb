"""Draws boxes, contours, landmarks, pose axes and captions of faces on a picture, at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mien.core import pose
from mien.core.faces import Faces
from mien.core.picture import Picture

Colour = tuple[int, int, int, int]
Box = tuple[float, float, float, float]

_LINE: Colour = (255, 205, 64, 255)
_HALO: Colour = (0, 0, 0, 120)
_CONTOUR: Colour = (236, 250, 255, 190)
_POINT: Colour = (96, 222, 255, 255)
_PLATE: Colour = (18, 20, 24, 205)
_TEXT: Colour = (255, 255, 255, 255)
# The head's axes as most papers colour them: to its side red, down green, where it looks blue.
_AXES: tuple[Colour, ...] = ((255, 90, 80, 255), (80, 220, 110, 255), (90, 160, 255, 255))

# Line width over the longer side of the picture, and the most of a face's side that it may take.
_LINE_SHARE, _LINE_OF_FACE = 1 / 360, 1 / 18
_THINNEST = 1.7
# Below these sides of a face, in px of the picture drawn on, contours and points would only be dirt.
_CONTOURS_FROM, _POINTS_FROM = 90.0, 32.0
_TEXT_SHARE, _SMALLEST_TEXT, _TEXT_OF_FACE = 1 / 58, 9.5, 1 / 4

# Lines over the vertices of MediaPipe's mesh as its own drawing has them (face_mesh_connections.py), but for
# the nose: the oval, the eyes, the brows, the lips' outer and inner rim, the bridge and the base of the nose.
_MESH_LINES: tuple[tuple[int, ...], ...] = (
    (
        *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
        *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    ),
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
    (46, 53, 52, 65, 55, 107, 66, 105, 63, 70, 46),
    (276, 283, 282, 295, 285, 336, 296, 334, 293, 300, 276),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78),
    (168, 6, 197, 195, 5, 4),
    (98, 97, 2, 326, 327),
)
_IBUG_LINES: tuple[tuple[int, ...], ...] = (
    tuple(range(17)),
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 31)),
    tuple(range(31, 36)),
    (*range(36, 42), 36),
    (*range(42, 48), 42),
    (*range(48, 60), 48),
    (*range(60, 68), 60),
)


def draw(
    picture: Picture | Image.Image,
    faces: Faces,
    *,
    captions: Sequence[str] | None = None,
    axes: bool = False,
) -> Image.Image:
    """Return a copy of a picture with its faces drawn on it.

    Lines and letters follow the size of the picture and of each face: a portrait gets its contours, a face of
    a crowd a thin box, and a caption is left out where it would cover another one.

    Args:
        picture: the upright picture, at any size.
        faces: its faces, in pixels of the picture at full size (`faces.picture_size`).
        captions: a text for each face ("" for none); None means `caption`, with the face's number where there
            are several.
        axes: draw where the head points too: its side red, down green, forward blue. Needs `pose`.

    Raises:
        ValueError: there are not as many captions as faces.
    """
    texts = _captions(faces) if captions is None else list(captions)
    if len(texts) != len(faces):
        raise ValueError(f"{len(texts)} captions for {len(faces)} faces")
    image = picture.image() if isinstance(picture, Picture) else picture.convert("RGB")
    factor = image.width / faces.picture_size[0] if faces.picture_size[0] else 1.0
    shown = faces.scaled(factor, image.size)
    # Small faces come last, so that a large one behind them does not hide them.
    order = sorted(range(len(shown)), key=lambda index: -_side(shown[index]))
    for index in order:
        _draw_face(image, shown[index], axes)
    _draw_captions(image, [(shown[index], texts[index]) for index in order])
    return image


def caption(face: Faces) -> str:
    """Return what is worth saying of a face: expression, how it appears, else the detector's score."""
    looks = []
    if face.gender is not None:
        looks += face.best("gender")
    if face.age is not None and np.isfinite(face.age[0]):
        looks.append(f"{float(face.age[0]):.0f}")
    parts = list(face.best("expression")) if face.expression is not None else []
    if looks:
        parts.append(f"appears {', '.join(looks)}")
    return "; ".join(parts) or f"{float(face.scores[0]):.2f}"


def _captions(faces: Faces) -> list[str]:
    if len(faces) == 1:
        return [caption(faces)]
    return [f"#{index} {caption(face)}" for index, face in enumerate(faces)]


def _side(face: Faces) -> float:
    x1, y1, x2, y2 = face.boxes[0]
    return float(min(x2 - x1, y2 - y1))


def _line_width(image: Image.Image, side: float) -> float:
    return max(_THINNEST, min(max(image.size) * _LINE_SHARE, side * _LINE_OF_FACE))


@dataclass(frozen=True)
class _Layer:
    """A clear sheet over a part of a picture, larger than it by `factor` so that lines become smooth."""

    sheet: Image.Image
    corner: tuple[int, int]
    factor: int

    @classmethod
    def over(cls, image: Image.Image, box: Box, margin: float) -> _Layer | None:
        """Return a sheet over a box and its margin; None where the box lies outside the picture."""
        x1, y1 = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
        x2, y2 = min(image.width, int(box[2] + margin) + 1), min(image.height, int(box[3] + margin) + 1)
        if x2 <= x1 or y2 <= y1:
            return None
        longest = max(x2 - x1, y2 - y1)
        factor = 4 if longest < 400 else 3 if longest < 900 else 2 if longest < 2000 else 1
        size = ((x2 - x1) * factor, (y2 - y1) * factor)
        return cls(Image.new("RGBA", size, (0, 0, 0, 0)), (x1, y1), factor)

    def place(self, points: npt.NDArray[Any]) -> list[tuple[float, float]]:
        moved = (np.asarray(points, np.float64)[..., :2] - self.corner) * self.factor
        return [(float(x), float(y)) for x, y in moved]

    def line(self, points: npt.NDArray[Any], colour: Colour, width: float) -> None:
        wide = max(1, round(width * self.factor))
        ImageDraw.Draw(self.sheet).line(self.place(points), fill=colour, width=wide, joint="curve")

    def disc(self, centre: npt.NDArray[Any], radius: float, colour: Colour) -> None:
        ((x, y),) = self.place(centre[None])
        around = radius * self.factor
        ImageDraw.Draw(self.sheet).ellipse([x - around, y - around, x + around, y + around], fill=colour)

    def ring(self, centre: npt.NDArray[Any], radius: float, colour: Colour, width: float) -> None:
        ((x, y),) = self.place(centre[None])
        around, wide = radius * self.factor, max(1, round(width * self.factor))
        ImageDraw.Draw(self.sheet).ellipse(
            [x - around, y - around, x + around, y + around], outline=colour, width=wide
        )

    def frame(self, box: Box, radius: float, colour: Colour, width: float) -> None:
        """Draw a rounded frame whose line lies half inside and half outside the box."""
        (x1, y1), (x2, y2) = self.place(np.array([box[:2], box[2:]]))
        half, wide = width * self.factor / 2, max(1, round(width * self.factor))
        ImageDraw.Draw(self.sheet).rounded_rectangle(
            [x1 - half, y1 - half, x2 + half, y2 + half],
            radius * self.factor + half,
            outline=colour,
            width=wide,
        )

    def put(self, image: Image.Image) -> None:
        """Lay the sheet on the picture."""
        size = (self.sheet.width // self.factor, self.sheet.height // self.factor)
        small = self.sheet if self.factor == 1 else self.sheet.resize(size, Image.Resampling.BOX)
        image.paste(small, self.corner, small)


def _draw_face(image: Image.Image, face: Faces, axes: bool) -> None:
    box = _box(face)
    side = _side(face)
    width = _line_width(image, side)
    # Contours of a mesh and axes reach out of the box.
    layer = _Layer.over(image, box, max(4 * width, 0.5 * side if side >= _CONTOURS_FROM else 0.0))
    if layer is None:
        return
    if side >= _CONTOURS_FROM:
        _draw_contours(layer, face, max(0.9, 0.55 * width), side)
    elif side >= _POINTS_FROM:
        _draw_points(layer, face, side)
    edge = max(0.8, 0.3 * width)
    layer.frame(box, 0.05 * side, _HALO, width + 2 * edge)
    layer.frame(box, 0.05 * side, _LINE, width)
    if axes and face.pose is not None:
        _draw_axes(layer, face, width, side)
    layer.put(image)


def _draw_contours(layer: _Layer, face: Faces, width: float, side: float) -> None:
    lines: tuple[tuple[int, ...], ...] = ()
    points: npt.NDArray[Any] = np.zeros((0, 2))
    if face.mesh is not None and face.mesh.shape[1] >= 468:
        points, lines = face.mesh[0], _MESH_LINES
    elif face.landmarks68 is not None:
        points, lines = face.landmarks68[0], _IBUG_LINES
    for wide, colour in ((2.2 * width, (0, 0, 0, 70)), (width, _CONTOUR)):
        for line in lines:
            layer.line(points[list(line)], colour, wide)
    if face.irises is not None and lines:
        for eye in face.irises[0].reshape(2, 5, 2):
            radius = float(np.hypot(*(eye[1:] - eye[0]).T).mean())
            layer.ring(eye[0], radius, _CONTOUR, width)
            layer.disc(eye[0], max(0.7 * width, radius / 9), _CONTOUR)
    if not lines:
        _draw_points(layer, face, side)


def _draw_points(layer: _Layer, face: Faces, side: float) -> None:
    radius = max(0.9, side / 56)
    for point in () if face.landmarks is None else face.landmarks[0]:
        layer.disc(point, radius + max(0.5, radius / 3), _HALO)
        layer.disc(point, radius, _POINT)


def _draw_axes(layer: _Layer, face: Faces, width: float, side: float) -> None:
    assert face.pose is not None
    rotation = pose.rotations(face.pose)[0]
    points = face.landmarks
    start = points[0, 2] if points is not None else (face.boxes[0, :2] + face.boxes[0, 2:]) / 2
    forward = -rotation[:, 2]
    for direction, colour in zip((rotation[:, 0], rotation[:, 1], forward), _AXES, strict=True):
        line = np.stack([start, start + 0.45 * side * direction[:2]])
        layer.line(line, _HALO, 2 * width)
        layer.line(line, colour, 1.2 * width)


def _box(face: Faces) -> Box:
    x1, y1, x2, y2 = (float(value) for value in face.boxes[0])
    return x1, y1, x2, y2


def _draw_captions(image: Image.Image, faces: Sequence[tuple[Faces, str]]) -> None:
    boxes = [_box(face) for face, _ in faces]
    taken: list[Box] = []
    for index, (face, text) in enumerate(faces):
        side = _side(face)
        size = min(max(_SMALLEST_TEXT + 1.5, max(image.size) * _TEXT_SHARE), side * _TEXT_OF_FACE)
        if not text or size < _SMALLEST_TEXT:
            continue
        font = ImageFont.load_default(size)
        left, _, right, _ = font.getbbox(text)
        pad = 0.42 * size
        wide, high = right - left + 2 * pad, size + pad
        place = _place(image, boxes[index], (wide, high), _line_width(image, side), boxes, index, taken)
        if place is None:
            continue
        taken.append(place)
        layer = _Layer.over(image, place, 1)
        if layer is None:
            continue
        (x1, y1), (x2, y2) = layer.place(np.array([place[:2], place[2:]]))
        sheet = ImageDraw.Draw(layer.sheet)
        sheet.rounded_rectangle([x1, y1, x2, y2], 0.3 * size * layer.factor, fill=_PLATE)
        big = ImageFont.load_default(size * layer.factor)
        sheet.text(((x1 + x2) / 2, (y1 + y2) / 2), text, _TEXT, big, anchor="mm")
        layer.put(image)


def _place(
    image: Image.Image,
    box: Box,
    size: tuple[float, float],
    line: float,
    boxes: Sequence[Box],
    index: int,
    taken: Sequence[Box],
) -> Box | None:
    """Find room for a caption: above the box, below it, else inside it; None where every place is taken."""
    wide, high = size
    gap = 1.5 * line
    x = min(max(0.0, box[0] - line / 2), max(0.0, image.width - wide))
    above, below, inside = box[1] - high - gap, box[3] + gap, box[1] + gap
    others = [other for i, other in enumerate(boxes) if i != index]
    for y, free_of in ((above, [*taken, *others]), (below, [*taken, *others]), (inside, taken)):
        place = (x, y, x + wide, y + high)
        if y < 0 or y + high > image.height or (y == inside and high > 0.3 * (box[3] - box[1])):
            continue
        if not any(_overlap(place, other) for other in free_of):
            return place
    return None


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
