"""py-feat's Fex CSV, as its Detectorv1 writes it and `feat.utils.io.read_feat` reads it (py-feat 2.0.3).

Columns are those of `feat/utils/__init__.py` in the order of `feat/detector.py`:

- `FaceRectX`, `FaceRectY`, `FaceRectWidth`, `FaceRectHeight` in px: the corner and the size. `FaceScore`
  0..1.
- `x_0`..`x_67`, `y_0`..`y_67` px in the iBUG order, from a model of 68 landmarks or else from the mesh.
- `Pitch`, `Roll`, `Yaw` in radians: pitch > 0 looks up, yaw > 0 is turned to the subject's own right, roll >
  0 tilted to the subject's own right ("canonical convention" in `feat/detector.py`): mien's yaw and roll with
  the other sign. `X`, `Y`, `Z` stay empty: they need a camera.
- `AU01`.. are 0..1: mien's 0..5 over five. The seven emotions are probabilities. Both empty where no model
  makes them.
- `Identity_1`..`Identity_512`: the embedding, filled up with zeros (which changes no cosine) to the length
  that py-feat expects. It is comparable with others of mien only; py-feat's threshold does not fit it.
  `Identity` and gaze stay empty.
- `FrameHeight`, `FrameWidth`, `input` (the source), `frame` from 0.
- A picture without faces is one row with FaceScore 0 and nothing but its size and name, as py-feat has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mien.report.formats import convert
from mien.runtime.stream import Result

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
IDENTITY = tuple(f"Identity_{number}" for number in range(1, 513))
HEADER = (
    *("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"),
    *(f"{axis}_{point}" for axis in "xy" for point in range(68)),
    *("Pitch", "Roll", "Yaw", "X", "Y", "Z"),
    *(f"AU{unit:02}" for unit in ACTION_UNITS),
    *("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
    *IDENTITY,
    *("gaze_pitch", "gaze_yaw", "gaze_angle", "FrameHeight", "FrameWidth", "input", "frame", "Identity"),
)


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write py-feat's CSV.

    Raises:
        UnwritableOutput: full disk, read-only folder.
    """
    convert.write_csv(path, HEADER, _rows(results))


def _rows(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    for number, result in convert.numbered(results):
        width, height = result.faces.picture_size
        same = {
            "FrameHeight": height,
            "FrameWidth": width,
            "input": result.source.encode("utf-8", "backslashreplace").decode(),
            "frame": number,
        }
        if not len(result.faces):
            yield {**same, "FaceScore": 0}
        for row in _faces(result):
            yield {**row, **same}


def _faces(result: Result) -> Iterator[dict[str, Any]]:
    faces = result.faces
    points, units = convert.landmarks68(faces), convert.action_units(faces)
    moods = convert.expressions(faces)
    for index in range(len(faces)):
        x1, y1, x2, y2 = faces.boxes[index].tolist()
        row: dict[str, Any] = {
            "FaceRectX": x1,
            "FaceRectY": y1,
            "FaceRectWidth": x2 - x1,
            "FaceRectHeight": y2 - y1,
            "FaceScore": float(faces.scores[index]),
        }
        if points is not None:
            for at, (x, y) in enumerate(points[index].tolist()):
                row[f"x_{at}"], row[f"y_{at}"] = x, y
        if faces.pose is not None:
            yaw, pitch, roll = np.radians(faces.pose[index].astype(np.float64)).tolist()
            row |= {"Pitch": pitch, "Roll": -roll, "Yaw": -yaw}
        row |= {f"AU{unit:02}": float(v[index]) / 5 for unit, v in units.items() if unit in ACTION_UNITS}
        row |= {name: float(values[index]) for name, values in moods.items()}
        if faces.embeddings is not None and faces.embeddings.shape[1] <= len(IDENTITY):
            numbers = faces.embeddings[index].tolist()
            row |= dict(zip(IDENTITY, numbers + [0.0] * (len(IDENTITY) - len(numbers)), strict=True))
        yield row
