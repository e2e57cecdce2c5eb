"""Pose from points that were turned by known angles."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core import pose

ANGLES = [
    (0, 0, 0),
    (30, 0, 0),
    (-45, 0, 0),
    (0, 20, 0),
    (0, -25, 0),
    (0, 0, 40),
    (25, 10, -15),
    (-60, 5, 90),
]


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Turn about the viewer's axes: first roll, then pitch, then yaw, each by its sign's rule."""
    y, p, r = np.radians([yaw, pitch, roll])
    # towards the picture's right: the nose (0, 0, -1) moves to positive x
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    # looking up: the nose moves to negative y
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_y @ about_x @ about_z)


@pytest.mark.parametrize("angles", ANGLES)
def test_angles_of_a_rotation(angles: tuple[float, float, float]) -> None:
    assert np.allclose(pose.angles(rotation(*angles)[None])[0], angles, atol=1e-3)


@pytest.mark.parametrize("angles", ANGLES)
def test_mesh_turned_by_known_angles(angles: tuple[float, float, float]) -> None:
    mesh = np.random.default_rng(0).normal(0, 30, (468, 3))
    for left, right in pose.MESH_PAIRS:
        mesh[right] = mesh[left] * (-1, 1, 1)
        if mesh[left, 0] > 0:
            mesh[[left, right]] = mesh[[right, left]]
    mesh[pose.MESH_TOP], mesh[pose.MESH_CHIN] = (0, -80, 0), (0, 90, 0)
    turned = 2.5 * mesh @ rotation(*angles).T + (300, 200, 7)
    assert np.allclose(pose.from_mesh(turned[None].astype(np.float32))[0], angles, atol=0.05)


@pytest.mark.parametrize("angles", [a for a in ANGLES if abs(a[0]) < 50])
def test_five_points_turned_by_known_angles(angles: tuple[float, float, float]) -> None:
    turned = 80 * pose.FIVE_POINT_MODEL @ rotation(*angles).T
    assert np.allclose(pose.from_landmarks(turned[None, :, :2].astype(np.float32))[0], angles, atol=0.1)


def test_no_faces() -> None:
    assert pose.from_mesh(np.zeros((0, 468, 3), np.float32)).shape == (0, 3)
    assert pose.from_landmarks(np.zeros((0, 5, 2), np.float32)).shape == (0, 3)


def test_coinciding_points_give_finite_angles() -> None:
    assert np.isfinite(pose.from_landmarks(np.ones((1, 5, 2), np.float32))).all()
    assert np.isfinite(pose.from_mesh(np.ones((1, 468, 3), np.float32))).all()
