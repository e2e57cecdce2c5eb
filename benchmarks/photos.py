"""The pictures that the benchmarks share: real photos where they are, scikit-image's astronaut everywhere."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DEMO = Path(__file__).parents[2] / "shared" / "data" / "demo_photos"
PLACES = {
    "astronaut.png": (178, 52, 272, 178),
    "biden.jpg": (392, 180, 746, 595),
    "grace_hopper.jpg": (162, 160, 375, 333),
    "obama.jpg": (352, 83, 631, 420),
    "obama2.jpg": (208, 205, 454, 643),
    "obama3.jpg": (625, 256, 926, 636),
}
"""Where each sample photo's face is, read off it: x1 y1 x2 y2 px, forehead to chin, ear to ear."""


def samples(folder: Path = DEMO) -> dict[str, Image.Image]:
    """Return the sample photos by name, each with one face; only the astronaut where others are absent."""
    found = sorted(folder.glob("*.jpg")) + sorted(folder.glob("*.png")) if folder.is_dir() else []
    pictures = {path.name: Image.open(path).convert("RGB") for path in found}
    pictures.setdefault("astronaut.png", astronaut())
    return pictures


def astronaut() -> Image.Image:
    """Return scikit-image's photo of Eileen Collins, 512 x 512, one face."""
    from skimage import data

    picture: Any = data.astronaut()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(picture, np.uint8))


def one_face() -> Image.Image:
    """Return a 640 x 480 photo with one face: the astronaut between borders of her own stretched edges."""
    photo = astronaut().resize((480, 480), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (640, 480))
    picture.paste(photo.crop((0, 0, 8, 480)).resize((80, 480)), (0, 0))
    picture.paste(photo.crop((472, 0, 480, 480)).resize((80, 480)), (560, 0))
    picture.paste(photo, (80, 0))
    return picture


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """Return a picture as the bytes of a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
