"""Arithmetic of boxes, points and similarity transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.fields import Floats

Matrix = npt.NDArray[np.float64]
"""A (2, 3) affine map of column vectors (x, y, 1), in continuous pixel coordinates."""


def iou(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the (n, m) intersection over union of (n, 4) and (m, 4) boxes x1 y1 x2 y2."""
    a = np.asarray(first, np.float64)[:, None, :]
    b = np.asarray(second, np.float64)[None, :, :]
    size = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    overlap = size[..., 0] * size[..., 1]
    union = _areas(a) + _areas(b) - overlap
    return np.asarray(overlap / np.maximum(union, 1e-12))


def overlap_of_smaller(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the (n, m) intersection over the smaller of both areas: 1 when one box lies inside the other."""
    a = np.asarray(first, np.float64)[:, None, :]
    b = np.asarray(second, np.float64)[None, :, :]
    size = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    smaller = np.minimum(_areas(a), _areas(b))
    return np.asarray(size[..., 0] * size[..., 1] / np.maximum(smaller, 1e-12))


def _areas(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def suppress(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], *, threshold: float, inside: float = 1.0
) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4).
        scores: (n,).
        threshold: boxes that overlap a better one by more than this IoU are dropped, 0..1.
        inside: so are boxes that share more than this part of the smaller one's area with a better one, 0..1.

    Returns:
        The indices kept, best score first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    low, high = np.asarray(boxes, np.float64)[order].reshape(-1, 2, 2).transpose(1, 2, 0)
    areas = np.prod(np.clip(high - low, 0, None), axis=0)
    left = np.arange(len(order))
    kept: list[int] = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(order[best]))
        sides = np.minimum(high[:, left], high[:, [best]]) - np.maximum(low[:, left], low[:, [best]])
        shared = np.prod(np.clip(sides, 0, None), axis=0)
        similar = shared > threshold * (areas[left] + areas[best] - shared)
        if inside < 1:
            similar |= shared > inside * np.minimum(areas[left], areas[best])
        left = left[~similar]
    return np.asarray(kept, np.intp)


def similarity(points: npt.NDArray[Any], template: npt.NDArray[Any]) -> Matrix:
    """Return the similarity transform that brings points nearest to a template, in the least-squares sense.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991,
    without reflection; in two dimensions it has this closed form over complex numbers.

    Args:
        points: (k, 2), k >= 2.
        template: (k, 2).

    Returns:
        (2, 3). When all points coincide (no scale can be found) the transform only moves them.
    """
    source = np.asarray(points, np.float64) @ np.array([1, 1j])
    target = np.asarray(template, np.float64) @ np.array([1, 1j])
    source_mean, target_mean = source.mean(), target.mean()
    centred = source - source_mean
    energy = float((np.abs(centred) ** 2).sum())
    turn = (np.conj(centred) @ (target - target_mean)) / energy if energy > 1e-12 else 1.0 + 0j
    move = target_mean - turn * source_mean
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def invert(matrix: Matrix) -> Matrix:
    """Return the inverse of an affine map.

    Raises:
        ZeroDivisionError: the map has none.
    """
    # Written out: numpy's general inverse takes ten times as long for so small a matrix.
    (a, b, x), (c, d, y) = matrix.tolist()
    area = a * d - b * c
    a, b, c, d = d / area, -b / area, -c / area, a / area
    return np.array([[a, b, -(a * x + b * y)], [c, d, -(c * x + d * y)]])


def apply(matrix: Matrix, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Map (..., 2) points; a third coordinate (depth) is scaled by the map's mean scale."""
    array = np.asarray(points, np.float64)
    mapped = array[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if array.shape[-1] == 2:
        return np.asarray(mapped)
    factor = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.concatenate([mapped, array[..., 2:] * factor], axis=-1)


def box_of(points: npt.NDArray[Any]) -> Floats:
    """Return the (4,) smallest box around (k, 2 or 3) points."""
    flat = np.asarray(points)[..., :2].reshape(-1, 2)
    return np.concatenate([flat.min(axis=0), flat.max(axis=0)]).astype(np.float32)


def rotate_quarter(points: npt.NDArray[Any], turns: int, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Map points of a picture to the same picture turned counter-clockwise by `turns` quarter turns.

    Args:
        points: (..., 2) in pixels of the picture before turning.
        turns: number of quarter turns counter-clockwise (numpy.rot90's sense).
        size: (width, height) of the picture before turning.
    """
    array = np.array(points, np.float64)
    width, height = size
    for _ in range(turns % 4):
        array = np.stack([array[..., 1], width - array[..., 0]], axis=-1)
        width, height = height, width
    return array
