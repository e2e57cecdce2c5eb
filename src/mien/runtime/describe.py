"""Describes faces: runs a model of faces on crops, in batches over faces and pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.core import crops, geometry
from mien.core.crops import Crop
from mien.core.fields import FIELDS, Floats, Kind
from mien.core.geometry import Matrix
from mien.core.picture import Pixels
from mien.runtime.model import Model

# Crops in one call: larger batches gain nothing on a CPU and a picture may hold thousands of faces.
_BATCH = 16

Known = dict[str, Floats]
"""The fields known so far of one picture's faces."""


def describe(model: Model, pictures: Sequence[tuple[Pixels, Known]], *, mirror: bool = False) -> list[Known]:
    """Run a model on every face of several pictures.

    Args:
        model: a model whose card has a `crop`.
        pictures: each one's pixels (H, W, 3) and what is known of its n faces (fields in px of those pixels).
        mirror: add the mirrored face's embedding to each embedding.

    Returns:
        For each picture the fields that the model makes, (n, ...) each, points in px of the picture.
    """
    crop = model.card.crop
    assert crop is not None
    jobs = [
        (index, matrix)
        for index, (pixels, known) in enumerate(pictures)
        for face in crop.matrices(known, (pixels.shape[1], pixels.shape[0]))
        for matrix in face
    ]
    raw: dict[str, list[Floats]] = {name: [] for name in model.card.fields}
    for start in range(0, len(jobs), _BATCH):
        part = jobs[start : start + _BATCH]
        cuts = [
            crops.cut(pictures[index][0], matrix, crop.width, crop.height, crop.fill, smooth=crop.smooth)
            for index, matrix in part
        ]
        values = _run(model, crops.batch(cuts, grey=model.card.input.grey), mirror=mirror)
        for name, value in values.items():
            kind = FIELDS[name].kind
            if kind in (Kind.POINTS, Kind.BOX):
                value = _back(value, [matrix for _, matrix in part])
            raw[name].append(value)
    return _shared_out(model, crop, pictures, raw)


def _run(model: Model, batch: Floats, *, mirror: bool) -> Known:
    values = model.run(batch)
    embeds = [name for name in values if FIELDS[name].kind is Kind.EMBEDDING]
    if mirror and embeds:
        other = model.run(np.ascontiguousarray(batch[..., ::-1]))
        values = {name: value + other[name] if name in embeds else value for name, value in values.items()}
    return values


def _back(values: Floats, matrices: list[Matrix]) -> Floats:
    pairs = zip(values, matrices, strict=True)
    return np.stack([geometry.apply(geometry.invert(matrix), points) for points, matrix in pairs]).astype(
        np.float32
    )


def _shared_out(
    model: Model, crop: Crop, pictures: Sequence[tuple[Pixels, Known]], raw: dict[str, list[Floats]]
) -> list[Known]:
    """Give each picture its faces' values, in the shape of the field."""
    regions = max(1, len(crop.regions))
    columns = {name: np.concatenate(parts) if parts else model.empty(name) for name, parts in raw.items()}
    results: list[Known] = []
    start = 0
    for _, known in pictures:
        faces = len(next(iter(known.values())))
        stop = start + faces * regions
        results.append(
            {name: _shaped(name, values[start:stop], faces, regions) for name, values in columns.items()}
        )
        start = stop
    return results


def _shaped(name: str, values: Floats, faces: int, regions: int) -> Floats:
    kind = FIELDS[name].kind
    if kind is Kind.SCALAR:
        return values.reshape(faces)
    if regions > 1:
        return values.reshape(faces, regions * values.shape[1], *values.shape[2:])
    if kind is Kind.EMBEDDING:
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.maximum(length, 1e-12))
    return values
