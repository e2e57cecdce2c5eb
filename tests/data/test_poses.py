"""Poses of a set's faces follow from the landmarks that are stored of them."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from mien.core.pose import FIVE_POINT_MODEL, from_landmarks, rotations
from mien.data.landmarks import VERTICES, Landmarks, LandmarksMissing, store
from mien.data.poses import poses
from mien.data.reader import Images


def test_poses_are_those_of_the_turned_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    true = np.array([[0, 0, 0], [30, 0, 0], [-30, 0, 0], [0, 20, 0], [0, 0, 15]], np.float32)
    pixels = np.zeros((len(true), 40, 80, 3), np.uint8)
    hashes = np.array([f"{number:032d}".encode() for number in range(len(true))])
    images = Images("turned", "all", pixels, MappingProxyType({}), hashes)
    with pytest.raises(LandmarksMissing, match="mien data landmarks turned"):
        poses(images)
    points = np.einsum("nij,kj->nki", rotations(true), FIVE_POINT_MODEL)[..., :2] * 12 + (40, 12)
    # Where all points agree with a head, its pose does not depend on the shape of the picture: noise tells.
    points += np.random.default_rng(0).normal(0, 0.3, points.shape)
    mesh = np.zeros((len(true), VERTICES, 2), np.float32)
    for point, vertices in zip(range(5), ((33, 133), (263, 362), (4,), (61,), (291,)), strict=True):
        for vertex in vertices:
            mesh[:, vertex] = points[:, point] / (80, 40)
    store(images, Landmarks(mesh, np.ones(len(true), np.float32)))
    found = poses(images)
    np.testing.assert_allclose(found, from_landmarks(points), atol=0.3)
    np.testing.assert_allclose(found, true, atol=8)
