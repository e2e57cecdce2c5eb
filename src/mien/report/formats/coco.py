"""COCO keypoints JSON: images, annotations and one category "face".

The structure is that of cocodataset.org, "Data format", parts 1 and 2; what is measured goes by "Results
format" too:

- `bbox` is [x, y, width, height] in px from the picture's top-left corner, `area` its area, `score` the
  detector's, 0..1. `segmentation` is empty and `iscrowd` 0: nothing is known of either.
- `keypoints` is [x, y, v, ...] in px: v = 2 inside the picture, 1 outside of it (labelled, not visible), 0
  (with x = y = 0) where not known. `num_keypoints` counts those with v > 0.
- The category has the 68 landmarks of iBUG in COCO-WholeBody's order ("face-0".."face-67", as MMPose names
  them) where a model of 68 landmarks or the mesh is there, else mien's five. Left and right in names are the
  person's, as COCO's are.
- Frames of a video are images with `frame_id` (from 0), and `track_id` stands with their annotations, as in
  CocoVID.
- `file_name` is the path as it was given. Pictures without faces are images without annotations; those that
  could not be read are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from mien.core.atomic import writing
from mien.core.faces import Faces
from mien.core.fields import Floats
from mien.report.formats import convert
from mien.runtime.stream import Result

FIVE = ("right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner")
SIXTY_EIGHT = tuple(f"face-{point}" for point in range(68))


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write one COCO file.

    Raises:
        UnwritableOutput: full disk, read-only folder.
    """
    found = [result for _, result in convert.numbered(results)]
    names = SIXTY_EIGHT if any(convert.landmarks68(result.faces) is not None for result in found) else FIVE
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, result in enumerate(found, start=1):
        width, height = result.faces.picture_size
        image = {
            "id": number,
            "width": width,
            "height": height,
            "file_name": result.source.encode("utf-8", "backslashreplace").decode(),
        }
        if result.frame is not None:
            image["frame_id"] = result.frame
        images.append(image)
        for annotation in _annotations(result, names):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    whole = {
        "info": {"description": "faces found by mien", "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "face", "supercategory": "person", "keypoints": list(names), "skeleton": []}
        ],
    }
    with writing(path, text=True) as file:
        file.write(convert.dumped(whole) + "\n")


def _annotations(result: Result, names: tuple[str, ...]) -> Iterable[dict[str, Any]]:
    faces = result.faces
    points = convert.landmarks68(faces) if names == SIXTY_EIGHT else faces.landmarks
    for index in range(len(faces)):
        x1, y1, x2, y2 = faces.boxes[index].tolist()
        keypoints = [0.0] * (3 * len(names)) if points is None else _flagged(points[index], faces)
        annotation = {
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "segmentation": [],
            "iscrowd": 0,
            "keypoints": keypoints,
            "num_keypoints": sum(flag > 0 for flag in keypoints[2::3]),
            "score": float(faces.scores[index]),
        }
        if result.track:
            annotation["track_id"] = result.track[index]
        yield annotation


def _flagged(points: Floats, faces: Faces) -> list[float]:
    """Return x, y, v of each point in turn."""
    known = np.isfinite(points).all(axis=1)
    inside = (points >= 0).all(axis=1) & (points <= np.asarray(faces.picture_size)).all(axis=1)
    flags = np.where(known, np.where(inside, 2, 1), 0)
    flagged: list[float] = []
    for (x, y), flag in zip(points.tolist(), flags.tolist(), strict=True):
        flagged += [x, y, flag] if flag else [0.0, 0.0, 0]
    return flagged
