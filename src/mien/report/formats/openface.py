"""OpenFace 2's CSV, as its FaceLandmarkVidMulti writes it.

Columns, units and signs are those of the project's wiki, page "Output Format", and of its `RecorderCSV.cpp`
(2.2):

- `frame` counts from 1: the frame of a video; of pictures their order in the run. `face_id` is the track in a
  video, else the face's number in its picture. `timestamp` is in seconds, 0 for pictures. `success` is 1; a
  picture without faces is one row with confidence and success 0 and nothing else, and one that could not be
  read is left out.
- `confidence` is the detector's score, 0..1 (OpenFace: its landmarks' confidence).
- `pose_Rx`, `pose_Ry`, `pose_Rz` in radians with R = Rx Ry Rz in camera axes (x to the right, y down, z
  away): Rx > 0 looks down, Ry > 0 is turned to the picture's left, Rz > 0 is tilted clockwise as seen. mien's
  yaw, pitch and roll turn in another order, so they go through the rotation matrix.
- `pose_Tx`, `pose_Ty`, `pose_Tz` (mm) stay empty: they need the camera's focal length and the head's true
  size.
- `x_0`..`x_67`, `y_0`..`y_67` are px in the iBUG order: from a model of 68 landmarks, else from the mesh
  (`convert.IBUG68_FROM_MESH`).
- `AU01_r`.. are intensities 0..5, empty where no model makes them. `AU.._c`, gaze, eye and 3-D landmarks are
  left out, as OpenFace does when they were not asked for.
- One column more at the end, `source`: OpenFace writes a file a picture and needs none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import pose
from mien.report.formats import convert
from mien.runtime.stream import Result

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
HEADER = (
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"),
    *(f"{axis}_{point}" for axis in "xy" for point in range(68)),
    *(f"AU{unit:02}_r" for unit in ACTION_UNITS),
    "source",
)


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write OpenFace's CSV.

    Raises:
        UnwritableOutput: full disk, read-only folder.
    """
    convert.write_csv(path, HEADER, _rows(results))


def _rows(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    for number, result in convert.numbered(results):
        faces = result.faces
        same = {
            "frame": number + 1,
            "timestamp": float(result.seconds or 0),
            "source": result.source.encode("utf-8", "backslashreplace").decode(),
        }
        if not len(faces):
            yield {**same, "face_id": 0, "confidence": 0, "success": 0}
        angles = None if faces.pose is None else euler(faces.pose)
        points, units = convert.landmarks68(faces), convert.action_units(faces)
        for index in range(len(faces)):
            row = {
                **same,
                "face_id": result.track[index] if result.track else index,
                "confidence": float(faces.scores[index]),
                "success": 1,
            }
            if angles is not None:
                row.update(zip(("pose_Rx", "pose_Ry", "pose_Rz"), angles[index].tolist(), strict=True))
            if points is not None:
                for at, (x, y) in enumerate(points[index].tolist()):
                    row[f"x_{at}"], row[f"y_{at}"] = x, y
            row.update(
                {f"AU{unit:02}_r": float(v[index]) for unit, v in units.items() if unit in ACTION_UNITS}
            )
            yield row


def euler(angles: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Turn mien's (n, 3) yaw, pitch, roll in degrees into OpenFace's (n, 3) Rx, Ry, Rz in radians."""
    turn = pose.rotations(angles)
    about_y = np.arcsin(np.clip(turn[:, 0, 2], -1, 1))
    about_x = np.arctan2(-turn[:, 1, 2], turn[:, 2, 2])
    about_z = np.arctan2(-turn[:, 0, 1], turn[:, 0, 0])
    return np.stack([about_x, about_y, about_z], axis=1)
