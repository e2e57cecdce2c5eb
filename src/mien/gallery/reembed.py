"""Moves a gallery to another recogniser: faces are embedded anew from their pictures and keep their names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mien.core import geometry
from mien.core.errors import UnreadablePicture
from mien.core.fields import Floats
from mien.gallery.analyst import Analyst
from mien.gallery.records import StoredFace
from mien.runtime import stream as streams

# A face that is found again has this IoU with its old box, or more.
_SAME = 0.5
# Faces whose pictures are looked at before what was found is written.
_TOGETHER = 64


@dataclass(frozen=True)
class Moved:
    """What became of a gallery's faces.

    Attributes:
        recogniser: the one that the gallery has now, in words.
        done: the gallery has moved; else it is as it was, and a second run goes on.
        faces: how many faces have an embedding of the new recogniser.
        lost: numbers of those that have none: their picture is gone, or has changed, or they were not found.
    """

    recogniser: str
    done: bool
    faces: int
    lost: tuple[int, ...]


def reembed(analyst: Analyst, *, threads: int, drop: bool, progress: Callable[[int, int], None]) -> Moved:
    """Embed every face anew; see `Gallery.reembed`.

    Args:
        analyst: of the gallery, with the models to move to.
        threads: worker threads; 0 takes all cores.
        drop: remove the faces that are lost.
        progress: called with the number of faces that are done and their total.
    """
    store = analyst.store
    target = analyst.target()
    lost: set[int] = set()

    def look(group: list[StoredFace]) -> dict[int, Floats]:
        return _embedded(analyst, group)

    while True:
        todo = [face for face in store.left_to_move(target.contract) if face not in lost]
        total = len(store.ids())
        for start in range(0, len(todo), _TOGETHER):
            together = todo[start : start + _TOGETHER]
            groups: dict[int, list[StoredFace]] = {}
            for one in store.faces(together):
                groups.setdefault(one.picture, []).append(one)
            found: dict[int, Floats] = {}
            for part in streams.ordered(look, groups.values(), threads or streams.available_cores()):
                found |= part
            store.move(found, target.contract)
            lost |= set(together) - set(found)
            progress(total - len(todo) + start + len(together), total)
        gone = tuple(sorted(lost & set(store.left_to_move(target.contract))))
        faces = len(store.ids()) - len(gone)
        if gone and not drop:
            return Moved(str(store.recogniser() or target), False, faces, gone)
        if store.arrive(target, without=gone):
            return Moved(str(target), True, faces, gone)


def _embedded(analyst: Analyst, group: list[StoredFace]) -> dict[int, Floats]:
    """Return the new embeddings of faces of one picture, those that are found in it again."""
    path = next((path for path in group[0].paths if _is_still(path, group[0].sha256)), None)
    if path is None:
        return {}
    try:
        faces = analyst.raw_pipeline().analyze(path)
    except UnreadablePicture:
        return {}
    if not len(faces) or faces.embeddings is None:
        return {}
    overlap = geometry.iou(np.concatenate([one.faces.boxes for one in group]), faces.boxes)
    found: dict[int, Floats] = {}
    # The best pair first; no face is found twice.
    while overlap.max() >= _SAME:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        found[group[row].id] = np.asarray(faces.embeddings[column])
        overlap[row, :] = overlap[:, column] = 0
    return found


def _is_still(path: str, sha256: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - works for names that are no UTF-8
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
