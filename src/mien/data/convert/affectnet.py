"""AffectNet: the first release's tables with whole photos, and the later one's crops with arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.core.errors import UnreadablePicture, printable
from mien.core.labels import AFFECTNET_LABELS
from mien.core.picture import Picture
from mien.data.convert.layout import BadRow, Layout, Row, WrongLayout, first_of, lines_of, picture_row, whole

_COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_SPLITS = {"train": ("training", "train_set"), "valid": ("validation", "val_set")}
_SIDE = 224
_POINTS = 68
_UNKNOWN = -2.0


def read(path: Path) -> Layout:
    """Recognise the layout by what is there.

    - training.csv and validation.csv (or one of them), with the photos in Manually_Annotated_Images: the
      face's box is cut out and scaled to 224 x 224, landmarks with it, as the authors did in the later
      release.
    - train_set and val_set (or one of them) with images/N.jpg and annotations/N_exp.npy, N_val.npy,
      N_aro.npy, N_lnd.npy: pictures are taken as they are.

    Raises:
        WrongLayout: it is neither.
    """
    sets = {
        split: path / name for split, (_, name) in _SPLITS.items() if (path / name / "annotations").is_dir()
    }
    if sets:
        files = [
            (split, file)
            for split, folder in sets.items()
            for file in sorted((folder / "images").glob("*.*"))
        ]
        lacks = (
            set()
            if any(next((f / "annotations").glob("*_lnd.npy"), None) for f in sets.values())
            else {"landmarks"}
        )
        return Layout(_crops(files, "landmarks" not in lacks), len(files), frozenset(lacks))
    tables = {split: _list(path, name) for split, (name, _) in _SPLITS.items()}
    found = {split: table for split, table in tables.items() if table is not None}
    if not found:
        raise WrongLayout(path, "has neither training.csv nor validation.csv nor train_set/annotations")
    photos = (
        first_of(path, "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images") or path
    )
    lines = [(split, line) for split, table in found.items() for line in _lines(table)]
    return Layout(_photos(lines, photos), len(lines))


def _list(path: Path, name: str) -> Path | None:
    folders = ("", "Manually_Annotated_file_lists/", "Manually_Annotated/Manually_Annotated_file_lists/")
    return first_of(path, *(f"{folder}{name}.csv" for folder in folders))


def _lines(table: Path) -> list[list[str]]:
    lines = list(csv.reader(lines_of(table)))
    if lines and tuple(cell.strip() for cell in lines[0]) == _COLUMNS:
        return lines[1:]
    # The release's validation.csv has no names of columns.
    if lines and len(lines[0]) == len(_COLUMNS) and lines[0][1].strip().isdigit():
        return lines
    raise WrongLayout(table, f"its columns are not {', '.join(_COLUMNS)}")


def _photos(lines: list[tuple[str, list[str]]], photos: Path) -> Iterator[Row | BadRow]:
    for split, line in lines:
        name = line[0] if line else ""
        try:
            if len(line) != len(_COLUMNS):
                raise ValueError(f"{len(line)} columns instead of {len(_COLUMNS)}")
            cells = dict(zip(_COLUMNS, line, strict=True))
            box = [int(float(cells[column])) for column in _COLUMNS[1:5]]
            points = np.array(cells["facial_landmarks"].split(";"), np.float32)
            labels = _labels(cells["expression"], cells["valence"], cells["arousal"])
            if len(points) != 2 * _POINTS:
                raise ValueError(f"{len(points)} numbers instead of {_POINTS} landmarks")
            picture, points = _cut(photos / name, box, points.reshape(-1, 2))
        except UnreadablePicture as error:
            yield BadRow(printable(name), error.reason)
        except ValueError as error:
            yield BadRow(printable(name), str(error))
        else:
            yield Row(split, name, picture, {**labels, "landmarks": points.ravel().tolist()})


def _labels(expression: str, valence: str, arousal: str) -> dict[str, Any]:
    numbers = {"valence": float(valence), "arousal": float(arousal)}
    for name, number in numbers.items():
        if not (-1 <= number <= 1 or number == _UNKNOWN):
            raise ValueError(f"a {name} of {number}")
    return {"expression": whole(expression, range(len(AFFECTNET_LABELS))), **numbers}


def _cut(
    file: Path, box: list[int], points: npt.NDArray[np.float32]
) -> tuple[bytes, npt.NDArray[np.float32]]:
    """Return the face as JPEG, (224, 224), and its landmarks in it."""
    image = Picture.read(file).image()
    x, y, width, height = box
    left, top = max(0, x), max(0, y)
    right, bottom = min(image.width, x + width), min(image.height, y + height)
    if right - left < 1 or bottom - top < 1:
        raise ValueError(
            f"the box {x} {y} {width} {height} is outside the photo of {image.width} x {image.height} px"
        )
    face = image.crop((left, top, right, bottom)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    face.save(out, "jpeg", quality=95)
    scale = np.array([_SIDE / (right - left), _SIDE / (bottom - top)], np.float32)
    return out.getvalue(), (points - np.array([left, top], np.float32)) * scale


def _crops(files: list[tuple[str, Path]], landmarks: bool) -> Iterator[Row | BadRow]:
    for split, file in files:
        annotations = file.parents[1] / "annotations"
        try:
            expression, valence, arousal = (
                float(_array(annotations / f"{file.stem}_{name}.npy").item())
                for name in ("exp", "val", "aro")
            )
            labels = _labels(f"{expression:g}", str(valence), str(arousal))
            if landmarks:
                points = _array(annotations / f"{file.stem}_lnd.npy").astype(np.float32).ravel()
                if len(points) != 2 * _POINTS:
                    raise ValueError(f"{len(points)} numbers instead of {_POINTS} landmarks")
                labels["landmarks"] = points.tolist()
        except (OSError, ValueError, EOFError) as error:
            yield BadRow(printable(file.name), getattr(error, "strerror", None) or str(error))
            continue
        yield picture_row(file, split, labels)


def _array(file: Path) -> npt.NDArray[Any]:
    # The release stores numbers as text in some arrays.
    array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    return array
