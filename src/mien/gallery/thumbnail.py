"""A small picture of a face, kept with it: what people see of it when its photo is elsewhere."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.core.fields import Floats
from mien.core.picture import Picture

SIDE = 96
"""px of a thumbnail's side."""

# Around the box, in parts of its longer side: hair and chin help people more than networks.
_MARGIN = 0.25


def thumbnails(picture: Picture, boxes: Floats) -> list[bytes]:
    """Return a JPEG of each face, square, SIDE px.

    Args:
        picture: as it was decoded; it may be smaller than the boxes' picture.
        boxes: (n, 4) px of the picture at full size.
    """
    image = Image.fromarray(picture.pixels)
    return [_cut(image, np.asarray(box, np.float64) * picture.scale) for box in boxes]


def _cut(image: Image.Image, box: npt.NDArray[np.float64]) -> bytes:
    middle = (box[:2] + box[2:]) / 2
    half = max(float((box[2:] - box[:2]).max()) * (0.5 + _MARGIN), 1.0)
    left, top, right, bottom = (round(float(value)) for value in (*(middle - half), *(middle + half)))
    small = image.crop((left, top, right, bottom)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()
