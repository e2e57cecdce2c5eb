"""CompreFace's responses as JSON: for each picture what its detection service answers.

The structure is that of CompreFace 1.2's "Rest API description", "Face Detection Service". A service answers
one picture; here an object holds an answer under each picture's name (film.mp4#12 is frame 12).

- `box`: x_min, y_min, x_max, y_max in whole px, and `probability`, the detector's score.
- `landmarks`: five points in whole px: eyes, nose, mouth corners, the picture's left first.
- `embedding`: as it is. It is comparable with others of mien only.
- `age`: low and high in whole years; the 5 % to 95 % interval with probability 0.9 where a model gives one,
  else the age twice, without probability. `gender`: value "female" or "male" with its probability.
- Left out, as by a service whose plugin is off: `mask`, `subjects` (mien's gallery gives names),
  `execution_time`, and `pose`: its keys are not documented, and in CompreFace's code the roll of an upright
  face is about 180 degrees.
- A picture without faces has an empty `result` (CompreFace answers it with an error); one that could not be
  read is left out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mien.core.faces import Faces
from mien.report.formats import convert
from mien.runtime.stream import Result


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write the answers.

    Raises:
        UnwritableOutput: full disk, read-only folder.
    """
    convert.write_json_object(path, _answers(results))


def answer(faces: Faces) -> dict[str, Any]:
    """Return what CompreFace would answer for a picture with these faces."""
    return {"result": [_face(faces, index) for index in range(len(faces))]}


def _answers(results: Iterable[Result]) -> Iterator[tuple[str, Any]]:
    for _, result in convert.numbered(results):
        yield convert.name_of(result), answer(result.faces)


def _face(faces: Faces, index: int) -> dict[str, Any]:
    x1, y1, x2, y2 = np.rint(faces.boxes[index]).astype(int).tolist()
    face: dict[str, Any] = {}
    if faces.age_interval is not None and np.isfinite(faces.age_interval[index]).all():
        low, high = faces.age_interval[index].tolist()
        face["age"] = {"probability": 0.9, "low": round(low), "high": math.ceil(high)}
    elif faces.age is not None and np.isfinite(faces.age[index]):
        years = round(float(faces.age[index]))
        face["age"] = {"low": years, "high": years}
    if faces.gender is not None:
        probability = float(faces.gender[index].max())
        face["gender"] = {"probability": probability, "value": faces[index].best("gender")[0]}
    if faces.embeddings is not None:
        face["embedding"] = faces.embeddings[index].tolist()
    face["box"] = {
        "probability": float(faces.scores[index]),
        "x_max": x2,
        "y_max": y2,
        "x_min": x1,
        "y_min": y1,
    }
    if faces.landmarks is not None and np.isfinite(faces.landmarks[index]).all():
        face["landmarks"] = np.rint(faces.landmarks[index]).astype(int).tolist()
    return face
