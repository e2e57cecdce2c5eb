"""Geometry against slow literal formulas and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import geometry
from mien.core.picture import as_stored


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return float(width * height / union)


def boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + random.uniform(5, 40, (count, 2))], axis=1)


def test_iou_equals_the_literal_formula() -> None:
    a, b = boxes(30, 1), boxes(20, 2)
    expected = [[slow_iou(x, y) for y in b] for x in a]
    assert np.allclose(geometry.iou(a, b), expected)


def test_suppression_equals_the_literal_greedy_loop() -> None:
    for seed in range(50):
        some = boxes(40, seed)
        scores = np.random.default_rng(seed).uniform(0, 1, 40)
        kept: list[int] = []
        for index in np.argsort(-scores):
            if all(slow_iou(some[index], some[k]) <= 0.4 for k in kept):
                kept.append(int(index))
        assert geometry.suppress(some, scores, threshold=0.4).tolist() == kept


@given(
    st.floats(-180, 180),
    st.floats(0.05, 20),
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.integers(0, 10_000),
)
def test_similarity_finds_the_transform_that_made_the_points(
    degrees: float, scale: float, dx: float, dy: float, seed: int
) -> None:
    points = np.random.default_rng(seed).uniform(0, 100, (5, 2))
    turn = np.radians(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.concatenate([linear, [[dx], [dy]]], axis=1)
    found = geometry.similarity(points, geometry.apply(matrix, points))
    assert np.allclose(found, matrix, atol=1e-6 * max(1, scale) * 1000)


def test_similarity_of_one_point_five_times_only_moves() -> None:
    found = geometry.similarity(np.ones((5, 2)), np.full((5, 2), 3.0))
    assert np.allclose(found, [[1, 0, 2], [0, 1, 2]])


def test_inverse_undoes() -> None:
    matrix = geometry.similarity(boxes(3, 3)[:, :2], boxes(3, 4)[:, :2])
    points = boxes(5, 5)[:, :2]
    assert np.allclose(geometry.apply(geometry.invert(matrix), geometry.apply(matrix, points)), points)


def test_depth_scales_with_the_map() -> None:
    assert np.allclose(
        geometry.apply(np.array([[2.0, 0, 0], [0, 2.0, 0]]), np.array([[1, 1, 3]])), [[2, 2, 6]]
    )


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_follow_the_pixels(turns: int) -> None:
    picture = np.zeros((7, 11))
    picture[2, 8] = 1
    y, x = (int(v[0]) for v in np.nonzero(np.rot90(picture, turns)))
    assert np.allclose(geometry.rotate_quarter(np.array([8.5, 2.5]), turns, (11, 7)), [x + 0.5, y + 0.5])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_as_stored_undoes_exif_orientation(orientation: int) -> None:
    from PIL import Image, ImageOps

    stored = Image.new("L", (11, 7))
    stored.putpixel((8, 2), 255)
    exif = Image.Exif()
    exif[274] = orientation
    stored.info["exif"] = exif.tobytes()
    stored.getexif()[274] = orientation
    upright = ImageOps.exif_transpose(stored)
    y, x = (int(v[0]) for v in np.nonzero(np.asarray(upright)))
    assert np.allclose(as_stored(np.array([x + 0.5, y + 0.5]), upright.size, orientation), [8.5, 2.5])
