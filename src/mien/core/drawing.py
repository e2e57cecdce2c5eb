"""Draws boxes, landmarks and short texts of faces on a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.core.faces import Faces
from mien.core.picture import Picture

_LINE = (255, 196, 0)
_POINT = (0, 229, 255)
_SHADE = (0, 0, 0)


def draw(picture: Picture | Image.Image, faces: Faces) -> Image.Image:
    """Return a copy of a picture with its faces drawn on it.

    Lines and letters grow with each face and the picture, so that neither a crowd nor a portrait becomes a mess.

    Args:
        picture: the upright picture, at any size.
        faces: its faces, in pixels of the picture at full size (`faces.picture_size`).
    """
    image = (picture.image() if isinstance(picture, Picture) else picture).convert("RGB")
    canvas = ImageDraw.Draw(image)
    factor = image.width / faces.picture_size[0] if faces.picture_size[0] else 1.0
    thin = max(1, round(max(image.size) / 700))
    for face in faces:
        box = [float(v) for v in face.boxes[0] * factor]
        side = box[2] - box[0]
        line = max(1, min(thin, round(side / 25)))
        outer = [box[0] - line, box[1] - line, box[2] + line, box[3] + line]
        canvas.rectangle(outer, outline=_SHADE, width=line)
        canvas.rectangle(box, outline=_LINE, width=line)
        dots = face.mesh if face.mesh is not None and side > 150 else face.landmarks
        if dots is not None:
            radius = max(0.8, side / (220 if dots.shape[1] > 5 else 60))
            for x, y in np.asarray(dots[0, :, :2] * factor):
                canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_POINT)
        text = caption(face)
        size = min(max(10.0, image.width / 60), side / 5)
        if text and size >= 9:
            font = ImageFont.load_default(size)
            place = (box[0], max(0.0, box[1] - 1.35 * size))
            canvas.text(place, text, _LINE, font, stroke_width=max(1, round(size / 9)), stroke_fill=_SHADE)
    return image


def caption(face: Faces) -> str:
    """Return what is worth saying of a face in a few words: expression, age, gender, else the detector's score."""
    parts = []
    if face.expression is not None:
        parts += face.best("expression")
    if face.gender is not None:
        parts += face.best("gender")
    if face.age is not None:
        parts.append(f"{float(face.age[0]):.0f}")
    return ", ".join(parts) or f"{float(face.scores[0]):.2f}"
