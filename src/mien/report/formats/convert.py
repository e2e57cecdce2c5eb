"""What several of the formats need: 68 landmarks, expressions by name, sources as text, frames of a CSV."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mien.core.atomic import writing
from mien.core.faces import Faces
from mien.core.fields import Floats
from mien.report.tables import plain
from mien.runtime.stream import Result

IBUG68_FROM_MESH = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
)
"""For each of iBUG's 68 landmarks the vertex of MediaPipe's mesh nearest to it on the face.

The usual table for MediaPipe, found alike in many projects. It is an approximation: the mesh's jaw is a line
on the surface of the head, iBUG's is the outline that the camera sees, so the further cheek's points move as
the head turns. On the six demonstration photos it is 0.068 of the distance between the outer eye corners away
from what the model landmarks68-peppa says (jaw 0.105, brows 0.090, nose 0.050, eyes 0.057, mouth 0.041).
"""

NAMES_OF_EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "anger": ("angry",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "scared"),
    "happiness": ("happy", "smiling"),
    "sadness": ("sad",),
    "surprise": ("surprised",),
    "neutral": (),
}
"""The seven expressions that most programs know, each with the other names that models give it."""


def landmarks68(faces: Faces) -> Floats | None:
    """Return (n, 68, 2) landmarks in px: a model's own, else the mesh's; None when neither is known."""
    if faces.landmarks68 is not None:
        return faces.landmarks68
    if faces.mesh is not None:
        return np.ascontiguousarray(faces.mesh[:, IBUG68_FROM_MESH, :2])
    return None


def expressions(faces: Faces) -> dict[str, Floats]:
    """Return for each of the seven expressions that is known its (n,) probabilities; they sum to one.

    A model's other classes (contempt) are left aside and the rest scaled up to one.
    """
    if faces.expression is None:
        return {}
    labels = [label.lower() for label in faces.labels("expression")]
    found = {}
    for name, others in NAMES_OF_EXPRESSIONS.items():
        at = next((labels.index(label) for label in (name, *others) if label in labels), None)
        if at is not None:
            found[name] = faces.expression[:, at]
    total = np.maximum(np.sum([*found.values()], axis=0), 1e-12)
    return {name: np.asarray(values / total, np.float32) for name, values in found.items()}


def action_units(faces: Faces) -> dict[int, Floats]:
    """Return the (n,) intensities, 0..5, of the action units that are known, by their number."""
    if faces.action_units is None:
        return {}
    found = {}
    for at, label in enumerate(faces.labels("action_units")):
        digits = "".join(c for c in label if c.isdigit())
        if digits:
            found[int(digits)] = faces.action_units[:, at]
    return found


def name_of(result: Result) -> str:
    """Return the source of a result as text; of a frame with its number: film.mp4#12."""
    source = result.source.encode("utf-8", "backslashreplace").decode()
    return source if result.frame is None else f"{source}#{result.frame}"


def numbered(results: Iterable[Result]) -> Iterator[tuple[int, Result]]:
    """Yield what could be read, each with its number: the frame's in its video, else a count from 0."""
    count = 0
    for result in results:
        if result.error is None:
            yield (count if result.frame is None else result.frame), result
            count += 1


def write_csv(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a fixed header; what a row lacks and what is no number is left empty."""
    with writing(path, text=True) as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else ""
    return value


def write_json_object(path: str | os.PathLike[str], items: Iterable[tuple[str, Any]]) -> None:
    """Write one JSON object, one item in memory at a time; numbers that are none become null."""
    with writing(path, text=True) as file:
        separator = "{\n"
        for name, value in items:
            file.write(separator + dumped(name) + ": " + dumped(value))
            separator = ",\n"
        file.write("{}\n" if separator.startswith("{") else "\n}\n")


def dumped(value: Any) -> str:
    """Return strict JSON."""
    import json

    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
