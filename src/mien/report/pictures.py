"""What a report shows of each picture: an annotated copy, a thumbnail, and its faces cut out."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mien.core.atomic import writing
from mien.core.drawing import draw
from mien.core.faces import Faces
from mien.core.picture import Picture

# Longer side of annotated pictures and thumbnails, side of a face's cut-out, px.
_PICTURE, _THUMBNAIL, _FACE = 1280, 320, 128
FACES_IN_A_ROW, MOST_FACES = 12, 1500
"""Cut-outs of one picture lie in rows of this many, and end after this many: WebP ends at 16,383 px."""
# Of the box's longer side: how much of the surroundings a cut-out shows.
_SURROUNDINGS = 1.45


def picture_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a picture's annotated copy: its own, made safe, and a digest of the whole path."""
    stem = Path(os.fsdecode(path)).stem
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in stem)[:48].strip("._")
    return f"{safe or 'picture'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}.jpg"


def write_annotated(target: Path, picture: Picture, faces: Faces, *, longest: int | None = None) -> None:
    """Write a JPEG of a picture with its faces drawn on it.

    Args:
        target: the file; it is complete or absent.
        picture: the picture.
        faces: its faces.
        longest: the longer side at most, px; None keeps the picture's.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    image = picture.image()
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=2.0)
    with writing(target) as file:
        draw(image, faces).save(file, "JPEG", quality=88, subsampling=0)


def write_picture(folder: Path, path: str | os.PathLike[str], picture: Picture, faces: Faces) -> None:
    """Write what a report shows of a picture: its annotated copy, its thumbnail and its faces' cut-outs.

    Raises:
        UnwritableOutput: it cannot be written.
    """
    name = picture_name(path)
    image = picture.image()
    if len(faces):
        with writing(faces_file(folder, name)) as file:
            _cut_outs(image, faces).save(file, "WEBP", quality=78)
    image.thumbnail((_PICTURE, _PICTURE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    with writing(thumbnail_file(folder, name)) as file:
        small.save(file, "WEBP", quality=74)
    # The annotated copy comes last: where it is, the others are.
    with writing(folder / "pictures" / name) as file:
        draw(image, faces).save(file, "JPEG", quality=86)


def has_picture(folder: Path, path: str | os.PathLike[str]) -> bool:
    """Tell whether `write_picture` has been here."""
    return (folder / "pictures" / picture_name(path)).is_file()


def thumbnail_file(folder: Path, name: str) -> Path:
    """Return where the thumbnail is of the picture whose annotated copy has this name."""
    return folder / "thumbnails" / f"{name.removesuffix('.jpg')}.webp"


def faces_file(folder: Path, name: str) -> Path:
    """Return where the faces cut out are of the picture whose annotated copy has this name."""
    return folder / "thumbnails" / f"{name.removesuffix('.jpg')}.faces.webp"


def _cut_outs(image: Image.Image, faces: Faces) -> Image.Image:
    """Return the faces side by side in rows, each a square of `_FACE` px."""
    factor = image.width / faces.picture_size[0] if faces.picture_size[0] else 1.0
    count = min(len(faces), MOST_FACES)
    across = min(count, FACES_IN_A_ROW)
    sheet = Image.new("RGB", (across * _FACE, math.ceil(count / across) * _FACE))
    for index in range(count):
        x1, y1, x2, y2 = (float(value) * factor for value in faces.boxes[index])
        side = max(2.0, min(_SURROUNDINGS * max(x2 - x1, y2 - y1), image.width, image.height))
        left = min(max(0.0, (x1 + x2 - side) / 2), image.width - side)
        top = min(max(0.0, (y1 + y2 - side) / 2), image.height - side)
        face = image.resize(
            (_FACE, _FACE), Image.Resampling.BICUBIC, (left, top, left + side, top + side), reducing_gap=2.0
        )
        sheet.paste(face, (index % across * _FACE, index // across * _FACE))
    return sheet


def forget_others(folder: Path, paths: Iterable[str | os.PathLike[str]]) -> None:
    """Delete what `write_picture` left in a folder for other pictures than these."""
    names = {picture_name(path) for path in paths}
    keep = {folder / "pictures" / name for name in names}
    keep |= {file(folder, name) for name in names for file in (thumbnail_file, faces_file)}
    for part, endings in (("pictures", (".jpg",)), ("thumbnails", (".webp",))):
        if (folder / part).is_dir():
            for file in (folder / part).iterdir():
                if file.suffix in endings and file not in keep and _is_ours(file.name):
                    file.unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    digest = name.split(".")[-2 if not name.endswith(".faces.webp") else -3].rpartition("-")[2]
    return len(digest) == 12 and all(c in "0123456789abcdef" for c in digest)
