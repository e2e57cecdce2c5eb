"""deepface's dictionaries as JSON: for each picture the list that its functions return.

One dictionary a face holds what `extract_faces`, `represent` and `analyze` of deepface 0.0.100 return for it
(`deepface/modules/detection.py`, `representation.py`, `demography.py`); deepface takes a picture a call, here
an object holds each picture's list under its name (film.mp4#12 is frame 12).

- `facial_area` (also as `region`): x, y, w, h in whole px, cut at the picture's border as deepface does;
  `left_eye`, `right_eye`, `nose`, `mouth_left`, `mouth_right` as [x, y] in whole px, or null outside of the
  picture. Left and right are the person's: `left_eye` is on the right of the picture.
- `confidence` (also as `face_confidence`): the detector's score, 0..1, rounded to two places.
- `emotion` in per cent over deepface's seven names with `dominant_emotion`; `gender` in per cent ("Woman",
  "Man") with `dominant_gender`; `age` in whole years; `is_real` and `antispoof_score` (the probability of
  that answer) from liveness.
- `embedding`: as it is. It is comparable with others of mien only.
- Left out: `face` (pixels) and `race`. A picture without faces has an empty list (deepface raises); one that
  could not be read is left out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

from mien.core.faces import Faces
from mien.report.formats import convert
from mien.runtime.stream import Result

EMOTIONS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}
# Ours are the picture's left first, theirs the person's.
POINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write the lists.

    Raises:
        UnwritableOutput: full disk, read-only folder.
    """
    convert.write_json_object(path, _lists(results))


def dictionaries(faces: Faces) -> list[dict[str, Any]]:
    """Return deepface's dictionary of each face."""
    moods = convert.expressions(faces)
    return [_face(faces, index, moods) for index in range(len(faces))]


def _lists(results: Iterable[Result]) -> Iterator[tuple[str, Any]]:
    for _, result in convert.numbered(results):
        yield convert.name_of(result), dictionaries(result.faces)


def _face(faces: Faces, index: int, moods: dict[str, Any]) -> dict[str, Any]:
    area = _area(faces, index)
    confidence = round(float(faces.scores[index]), 2)
    face: dict[str, Any] = {
        "facial_area": area,
        "confidence": confidence,
        "region": area,
        "face_confidence": confidence,
    }
    if faces.embeddings is not None:
        face["embedding"] = faces.embeddings[index].tolist()
    if moods:
        emotion = {name: 100 * float(moods[ours][index]) for name, ours in EMOTIONS.items() if ours in moods}
        face |= {"emotion": emotion, "dominant_emotion": max(emotion, key=lambda name: emotion[name])}
    if faces.age is not None and math.isfinite(faces.age[index]):
        face["age"] = int(faces.age[index])
    if faces.gender is not None:
        shares = dict(zip(faces.labels("gender"), faces.gender[index].tolist(), strict=True))
        gender = {"Woman": 100 * shares["female"], "Man": 100 * shares["male"]}
        face |= {"gender": gender, "dominant_gender": max(gender, key=lambda name: gender[name])}
    if faces.liveness is not None:
        live = float(faces.liveness[index])
        face |= {"is_real": live >= 0.5, "antispoof_score": max(live, 1 - live)}
    return face


def _area(faces: Faces, index: int) -> dict[str, Any]:
    width, height = faces.picture_size
    x1, y1, x2, y2 = faces.boxes[index].tolist()
    x, y = max(0, int(x1)), max(0, int(y1))
    area: dict[str, Any] = {
        "x": x,
        "y": y,
        "w": min(width - x - 1, int(x2 - x1)),
        "h": min(height - y - 1, int(y2 - y1)),
        "left_eye": None,
        "right_eye": None,
    }
    if faces.landmarks is not None:
        for name, (px, py) in zip(POINTS, faces.landmarks[index].tolist(), strict=True):
            area[name] = [int(px), int(py)] if 0 <= px < width and 0 <= py < height else None
    return area
