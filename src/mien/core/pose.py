"""Head pose from landmarks: yaw, pitch and roll in degrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.fields import Floats

# Pairs of mesh vertices that mirror each other across the face (picture-left, picture-right): outer eye
# corners, inner eye corners, mouth corners, cheeks, jaw, temples. Their common direction is the head's
# lateral axis.
MESH_PAIRS = ((33, 263), (133, 362), (61, 291), (234, 454), (172, 397), (127, 356), (93, 323), (58, 288))
# The top of the forehead and the chin; on MediaPipe's own neutral face their line is vertical within a
# degree.
MESH_TOP, MESH_CHIN = 10, 152

# A neutral face seen from the front, for the five landmarks, in units of the distance between the eyes: x
# to the picture's right, y down, z away from the camera. Depths of nose and mouth are typical ones of
# adult faces.
FIVE_POINT_MODEL = np.array(
    [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.62, -0.42], [-0.39, 1.12, -0.06], [0.39, 1.12, -0.06]]
)


def angles(rotations: npt.NDArray[Any]) -> Floats:
    """Turn rotation matrices into yaw, pitch and roll.

    Args:
        rotations: (n, 3, 3); their columns are the head's axes (to its picture-right, down, backwards) in
            camera axes (x right, y down, z away from the camera), for a face that looks into the camera
            the identity.

    Returns:
        (n, 3) degrees: yaw > 0 turned to the picture's right, pitch > 0 looking up, roll > 0 clockwise as
        seen.
    """
    lateral, forward = rotations[:, :, 0], -rotations[:, :, 2]
    yaw = np.arctan2(forward[:, 0], -forward[:, 2])
    pitch = np.arctan2(-forward[:, 1], np.hypot(forward[:, 0], forward[:, 2]))
    # Roll is what is left of the lateral axis' turn once yaw is taken out of it: its angle against the
    # horizontal within the plane that is square to the line of sight of the face.
    level = np.stack([-forward[:, 2], np.zeros(len(forward)), forward[:, 0]], axis=1)
    level /= np.maximum(np.linalg.norm(level, axis=1, keepdims=True), 1e-9)
    below = np.cross(-forward, level)
    roll = np.arctan2((lateral * below).sum(axis=1), (lateral * level).sum(axis=1))
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=1)), np.float32)


def rotations(pose: Floats) -> npt.NDArray[np.float64]:
    """Turn yaw, pitch and roll into rotation matrices: the inverse of `angles`.

    Args:
        pose: (n, 3) degrees.

    Returns:
        (n, 3, 3), columns as in `angles`.
    """
    yaw, pitch, roll = np.radians(np.asarray(pose, np.float64)).T
    back = np.stack([-np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=1)
    level = np.stack([np.cos(yaw), np.zeros_like(yaw), np.sin(yaw)], axis=1)
    below = np.cross(back, level)
    lateral = np.cos(roll)[:, None] * level + np.sin(roll)[:, None] * below
    return np.stack([lateral, np.cross(back, lateral), back], axis=2)


def from_mesh(mesh: Floats) -> Floats:
    """Return the pose of faces from their dense mesh.

    The lateral axis is the mean direction of eight mirrored pairs of vertices, the vertical one runs from
    forehead to chin; both come from the mesh's own depth, so no camera is assumed (weak perspective).

    Args:
        mesh: (n, 468, 3) px, MediaPipe's topology.

    Returns:
        (n, 3) yaw, pitch, roll in degrees, signs as in `angles`.
    """
    points = np.asarray(mesh, np.float64).reshape(-1, 468, 3)
    pairs = np.asarray(MESH_PAIRS)
    across = points[:, pairs[:, 1]] - points[:, pairs[:, 0]]
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-9)
    lateral = _unit(across.mean(axis=1))
    down = points[:, MESH_CHIN] - points[:, MESH_TOP]
    down = _unit(down - (down * lateral).sum(axis=1, keepdims=True) * lateral)
    return angles(np.stack([lateral, down, np.cross(lateral, down)], axis=2))


def from_landmarks(landmarks: Floats) -> Floats:
    """Return the pose of faces from five landmarks: coarse, within about ten degrees on near-frontal faces.

    Scaled orthography: the affine camera that maps `FIVE_POINT_MODEL` to the points in the least-squares
    sense, its two rows brought to the nearest pair of equal length and right angle (DeMenthon and Davis,
    "Model-based object pose in 25 lines of code", IJCV 1995, first iteration).

    Args:
        landmarks: (n, 5, 2) px.

    Returns:
        (n, 3) yaw, pitch, roll in degrees, signs as in `angles`.
    """
    points = np.asarray(landmarks, np.float64).reshape(-1, 5, 2)
    model = FIVE_POINT_MODEL - FIVE_POINT_MODEL.mean(axis=0)
    rows = np.einsum("mk,nkc->ncm", np.linalg.pinv(model), points - points.mean(axis=1, keepdims=True))
    left, sizes, right = np.linalg.svd(rows, full_matrices=False)
    nearest = left @ right
    nearest[~(sizes[:, 1] > 1e-9)] = np.eye(2, 3)
    third = np.cross(nearest[:, 0], nearest[:, 1])
    return angles(np.concatenate([nearest, third[:, None]], axis=1))


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))
