"""Changed queries: what each change does and leaves, and that points go with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mien.core.crops import TEMPLATES
from mien.data.queries import CHANGES, Change, queries
from mien.data.sunglasses import Sunglasses

SIZE = 112
POINTS = TEMPLATES["arcface"].points.astype(np.float32)
NOISE = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)


@pytest.mark.parametrize("change", CHANGES)
def test_they_are_the_same_again_and_others_for_another_seed(change: Change) -> None:
    made = queries(NOISE, change, 3)
    assert made.pixels.shape == NOISE.shape
    assert made.pixels.dtype == np.uint8
    np.testing.assert_array_equal(made.pixels, queries(NOISE, change, 3).pixels)
    assert (made.pixels != queries(NOISE, change, 4).pixels).any() == (change != "normal")
    assert (made.pixels != NOISE).any() == (change != "normal")


def test_masks_hide_the_mouth_and_sunglasses_the_eyes() -> None:
    places = np.round(POINTS * SIZE).astype(int)
    for change, hidden, free in (("masked", (3, 4), (0, 1)), ("sunglasses", (0, 1), (2, 3, 4))):
        changed = (queries(NOISE, change).pixels != NOISE).any(axis=3)  # type: ignore[arg-type]
        for point in hidden:
            x, y = places[point]
            assert changed[:, y - 2 : y + 3, x - 2 : x + 3].mean() > 0.95
        for point in free:
            x, y = places[point]
            assert not changed[:, y - 2 : y + 3, x - 2 : x + 3].any()


def test_sunglasses_follow_the_points_and_a_part_of_the_faces_wears_them() -> None:
    faces = torch.as_tensor(NOISE).permute(0, 3, 1, 2).float()
    moved = torch.as_tensor(POINTS).expand(12, 5, 2) + torch.tensor([0.0, 0.2])
    drawn = Sunglasses(1.0)(faces, moved, torch.Generator().manual_seed(0))
    changed = ((drawn - faces).abs() > 1).any(dim=1)
    x, y = (moved[0, 0] * SIZE).long().tolist()
    assert changed[:, y - 2 : y + 3, x - 2 : x + 3].float().mean() > 0.95
    x, y = (POINTS[0] * SIZE).astype(int)
    assert not changed[:, y - 2 : y + 3, x - 2 : x + 3].any()
    many = faces.repeat(30, 1, 1, 1)
    some = Sunglasses(0.3)(many, generator=torch.Generator().manual_seed(0))
    assert (some != many).flatten(1).any(dim=1).float().mean() == pytest.approx(0.3, abs=0.08)
    assert Sunglasses(1.0)(faces[:, :1]).shape == (12, 1, SIZE, SIZE)
    with pytest.raises(ValueError, match="share 2"):
        Sunglasses(2)


@pytest.mark.parametrize("change", ["cropped", "rotated"])
def test_points_are_where_the_picture_shows_them(change: Change) -> None:
    # A white disc at each point: after the change it must be where the points say.
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    pixels = np.zeros((40, SIZE, SIZE, 3), np.uint8)
    point = np.array([0.35, 0.6], np.float32)
    pixels[:, np.hypot(columns - point[0] * SIZE, rows - point[1] * SIZE) < 4] = 255
    made = queries(pixels, change)
    moved = made.moved(np.tile(point, (40, 1, 1)))[:, 0] * SIZE
    weight = made.pixels[..., 0].astype(float)
    for k in range(40):
        centre = [(weight[k] * axis).sum() / weight[k].sum() for axis in (columns, rows)]
        np.testing.assert_allclose(moved[k], centre, atol=0.3)
    assert np.ptp(moved, axis=0).min() > 2


def test_crops_keep_seven_tenths_and_turns_are_of_15_to_30_degrees() -> None:
    faces = np.zeros((300, 8, 8, 3), np.uint8)
    cropped, rotated = queries(faces, "cropped").maps, queries(faces, "rotated").maps
    np.testing.assert_allclose(cropped[:, :, :2], np.tile(0.7 * np.eye(2), (300, 1, 1)), atol=1e-6)
    # The window never leaves the picture.
    assert 0.28 < np.abs(cropped[:, :, 2]).max() <= 0.3 + 1e-6
    angle = np.degrees(np.arctan2(rotated[:, 1, 0], rotated[:, 0, 0]))
    assert np.abs(angle).min() >= 15
    assert np.abs(angle).max() <= 30
    assert 0.4 < (angle > 0).mean() < 0.6
    np.testing.assert_allclose(np.linalg.det(rotated[:, :, :2]), 1, atol=1e-6)
