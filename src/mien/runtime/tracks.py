"""Follows faces from frame to frame: a number for each person as long as they stay in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import MissingExtra
from mien.core.faces import Faces
from mien.core.fields import QUALITY, Floats
from mien.core.geometry import iou

Table = npt.NDArray[np.float64]

# Boxes that overlap this much may be one face; without embeddings there is nothing else to go by.
_NEAR = 0.3
# How far below the threshold a similarity may be, as a part of the way from the threshold to 1, when the box
# is where the track was a moment ago: a blurred or turned face looks less like itself. Faces of 60 and 100 px
# smeared over a seventh of their height stay above this with dlib's network (0.896); ten pairs of strangers
# are below it (at most 0.889).
_DOUBT = 0.5
# A face that jumped may be this many of its own sides away, and bigger or smaller by this factor.
_REACH, _GROWTH = 3.0, 2.0
# Share of the newest movement in a track's velocity, and of the newest embedding in its appearance.
_VELOCITY, _APPEARANCE = 0.5, 0.1
# Longest time over which a velocity is trusted, seconds.
_FORESIGHT = 0.5
# A face with sides of this many px or more is large enough; the best shot asks for no more.
_LARGE = 200.0
_UNIFIED = QUALITY.index("UnifiedQualityScore")


@dataclass(frozen=True)
class Shot:
    """The best view of a track.

    Attributes:
        track: the track's number.
        frame: number of the frame.
        seconds: the frame's time stamp.
        face: the face's index in its frame.
        value: quality x size x frontal, each 0..1.
        faces: the face itself, a `Faces` of length one.
    """

    track: int
    frame: int
    seconds: float
    face: int
    value: float
    faces: Faces


@dataclass
class _Track:
    number: int
    box: Table
    seconds: float
    velocity: Table | None = None
    missed: int = 0
    look: Table | None = None
    last_look: Table | None = None

    def predicted(self, seconds: float) -> Table:
        """Return the box moved on by its centre's velocity; its size stays."""
        if self.velocity is None:
            return self.box
        ahead = min(max(seconds - self.seconds, 0.0), _FORESIGHT)
        return np.asarray(self.box + np.tile(self.velocity * ahead, 2))

    def follow(self, box: Table, look: Table | None, seconds: float) -> None:
        passed = seconds - self.seconds
        if passed > 0:
            moved = (_centre(box) - _centre(self.box)) / passed
            old = moved if self.velocity is None else self.velocity
            self.velocity = (1 - _VELOCITY) * old + _VELOCITY * moved
        self.box, self.seconds, self.missed = box, seconds, 0
        if look is not None:
            mean = look if self.look is None else (1 - _APPEARANCE) * self.look + _APPEARANCE * look
            self.look = mean / max(float(np.linalg.norm(mean)), 1e-12)
            self.last_look = look


class Tracker:
    """Gives each face of each frame the number of its track.

    Frame by frame the faces are assigned to the tracks so that the sum of the pairs' worth is greatest;
    two faces of a frame never share a track. The worth of a pair is the overlap of the face's box with the
    one predicted for the track, plus how far their similarity lies above `same`. A pair is ruled out when
    box and similarity say so: with a threshold, another face in the same place (a cut of the film) begins
    a new track.

    Attributes:
        count: the number of tracks so far; they are numbered from 1, and no number is used twice.
    """

    def __init__(self, *, same: float | None = None, max_gap: float = 1.0, max_missed: int = 3) -> None:
        """Begin without tracks.

        Args:
            same: cosine similarity at which two embeddings are taken as one person; None: overlap rules,
                and similarity only decides between pairs that overlap.
            max_gap: a track ends when its face was not seen for longer than this many seconds ...
            max_missed: ... and in more than this many frames.
        """
        self.count = 0
        self._same = same
        self._max_gap = max_gap
        self._max_missed = max_missed
        self._tracks: list[_Track] = []
        self._best: dict[int, Shot] = {}

    def update(self, frame: int, seconds: float, faces: Faces) -> tuple[int, ...]:
        """Take the faces of the next frame and return the track of each.

        Args:
            frame: number of the frame.
            seconds: its time stamp; steps may vary.
            faces: its faces; embeddings, pose and quality are used where they are.

        Raises:
            MissingExtra: scipy is not installed.
        """
        self._tracks = [track for track in self._tracks if not self._over(track, seconds)]
        boxes = np.asarray(faces.boxes, np.float64)
        looks = None if faces.embeddings is None else np.asarray(faces.embeddings, np.float64)
        given = dict(assign(self._worth(boxes, looks, seconds)))
        taken = {face: self._tracks[index] for index, face in given.items()}
        for track in self._tracks:
            track.missed += 1
        numbers = []
        for face, box in enumerate(boxes):
            look = None if looks is None else looks[face]
            if face in taken:
                taken[face].follow(box, look, seconds)
            else:
                self.count += 1
                taken[face] = _Track(self.count, box, seconds, look=look, last_look=look)
                self._tracks.append(taken[face])
            numbers.append(taken[face].number)
        self._judge(frame, seconds, faces, numbers)
        return tuple(numbers)

    def best_shot(self, track: int) -> Shot:
        """Return the best view of a track so far."""
        return self._best[track]

    def best_shots(self) -> list[Shot]:
        """Return the best view of each track so far, by number."""
        return [self._best[number] for number in sorted(self._best)]

    def _over(self, track: _Track, seconds: float) -> bool:
        return seconds - track.seconds > self._max_gap and track.missed >= self._max_missed

    def _worth(self, boxes: Table, looks: Table | None, seconds: float) -> Table:
        """Return the (tracks, faces) worth of each pair, 0 for those ruled out."""
        if not self._tracks or not len(boxes):
            return np.zeros((len(self._tracks), len(boxes)))
        predicted = np.stack([track.predicted(seconds) for track in self._tracks])
        overlap = iou(predicted, boxes)
        near = overlap >= _NEAR
        if looks is None or any(track.look is None for track in self._tracks):
            return np.where(near, overlap, 0.0)
        means = np.stack([track.look for track in self._tracks if track.look is not None])
        lasts = np.stack([track.last_look for track in self._tracks if track.last_look is not None])
        similar = np.maximum(means @ looks.T, lasts @ looks.T)
        if self._same is None:
            return np.where(near, overlap + np.clip(similar, 0.0, 1.0), 0.0)
        alike = np.clip((similar - self._same) / max(1.0 - self._same, 1e-6), -1.0, 1.0)
        fresh = np.array([[track.missed == 0] for track in self._tracks])
        allowed = (near & fresh & (alike >= -_DOUBT)) | (_reachable(predicted, boxes) & (alike >= 0.0))
        # a hair above 0, so that even a pair at the very threshold is worth more than none
        return np.where(allowed, overlap + np.maximum(alike, 0.0) + 1e-6, 0.0)

    def _judge(self, frame: int, seconds: float, faces: Faces, numbers: list[int]) -> None:
        for face, (number, value) in enumerate(zip(numbers, shot_values(faces).tolist(), strict=True)):
            if number not in self._best or value > self._best[number].value:
                self._best[number] = Shot(number, frame, seconds, face, value, faces[face])


def assign(worth: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Return the pairs (row, column), each row and column at most once, whose sum of worth is greatest.

    Args:
        worth: (n, m), 0 or more; pairs worth 0 are never made.

    Raises:
        MissingExtra: scipy is not installed.
    """
    if not worth.size:
        return []
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtra("scipy", "video") from error
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if worth[i, j] > 0]


def shot_values(faces: Faces) -> Floats:
    """Return how good a view of each face is: quality x size x frontal, each 0..1.

    Quality is the unified score (the detector's confidence where it was not asked for); size grows up to
    200 px; frontal is cos(yaw) cos(pitch), 0 from the side (1 where the pose was not asked for).
    """
    quality = faces.scores if faces.quality is None else faces.quality[:, _UNIFIED] / 100
    sides = np.sqrt(np.prod(np.clip(faces.boxes[:, 2:] - faces.boxes[:, :2], 0, None), axis=1))
    values = np.clip(quality, 0, 1) * np.minimum(sides / _LARGE, 1)
    if faces.pose is not None:
        turns = np.cos(np.clip(faces.pose[:, :2], -90, 90) * (math.pi / 180))
        values = values * turns[:, 0] * turns[:, 1]
    return np.asarray(np.nan_to_num(values), np.float32)


def _reachable(predicted: Table, boxes: Table) -> npt.NDArray[np.bool_]:
    sides_a, sides_b = _side(predicted)[:, None], _side(boxes)[None, :]
    distance = np.linalg.norm(_centre(predicted)[:, None] - _centre(boxes)[None, :], axis=2)
    larger, smaller = np.maximum(sides_a, sides_b), np.minimum(sides_a, sides_b)
    return np.asarray((distance <= _REACH * larger) & (larger <= _GROWTH * np.maximum(smaller, 1e-6)))


def _centre(boxes: Table) -> Table:
    return np.asarray((boxes[..., :2] + boxes[..., 2:]) / 2)


def _side(boxes: Table) -> Table:
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).mean(axis=-1))
