"""Decides where faces are to be covered in each frame: gaps filled, ends extended, paths smoothed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core.fields import Floats
from mien.core.geometry import iou

Table = npt.NDArray[np.float64]

# A face is covered for so long before it is first seen and after it is last seen, seconds and frames.
_LEAD, _LEAD_FRAMES = 0.25, 3
# Two tracks are one face that was lost for a while: at most so long, and so far (in its sides) and
# changed in size ...
_LOST, _REACH, _GROWTH = 1.0, 2.0, 2.0
# ... or at most so long when it came back at the same place.
_LOST_IN_PLACE, _SAME_PLACE = 4.0, 0.3
# Frames on either side whose boxes are averaged: what trembles most on a masked face is the detector's box.
_SMOOTH = 2
# A box may stick out of the smoothed one by this part of its side; masks have a margin for that.
_SLACK = 0.05


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face that was seen in a frame.

    Attributes:
        frame: number of the frame.
        track: number of the face's track.
        box: (4,) px.
    """

    frame: int
    track: int
    box: Floats


@dataclass(frozen=True, eq=False)
class Covered:
    """What is to be covered in one frame.

    Attributes:
        boxes: (n, 4) px, of faces; the mask's margin comes on top.
        tracks: (n,) numbers of the tracks; tracks that were joined have the number of the first.
    """

    boxes: Table
    tracks: npt.NDArray[np.intp]


@dataclass(eq=False)
class _Path:
    """The frames at which a face was seen, rising, and its box in each."""

    number: int
    frames: npt.NDArray[np.intp]
    boxes: Table


def cover_frames(seconds: Sequence[float], sightings: Iterable[Sighting]) -> list[Covered]:
    """Return what is to be covered in each frame of a video.

    Detectors miss a face in some frames, and find it late and lose it early. So a face is covered in every
    frame between the first and the last in which it was seen, on the straight line between its neighbours in
    time, and for a moment before and after. A face that was lost and came back near by is taken as the same.
    Covering too much costs little here; a single frame uncovered shows the face.

    Args:
        seconds: time stamp of each frame, rising.
        sightings: in any order.
    """
    times = np.asarray(seconds, np.float64)
    boxes: list[list[Table]] = [[] for _ in times]
    tracks: list[list[int]] = [[] for _ in times]
    for path in _joined(_paths(sightings), times):
        first, filled = _filled(path, times)
        for frame, box in enumerate(filled, first):
            boxes[frame].append(box)
            tracks[frame].append(path.number)
    return [
        Covered(np.asarray(found, np.float64).reshape(-1, 4), np.asarray(numbers, np.intp))
        for found, numbers in zip(boxes, tracks, strict=True)
    ]


def _paths(sightings: Iterable[Sighting]) -> list[_Path]:
    seen: dict[int, dict[int, Floats]] = {}
    for sighting in sightings:
        seen.setdefault(sighting.track, {})[sighting.frame] = sighting.box
    paths = []
    for number, places in sorted(seen.items()):
        frames = sorted(places)
        boxes = np.asarray([places[frame] for frame in frames], np.float64)
        paths.append(_Path(number, np.asarray(frames, np.intp), boxes))
    return paths


def _joined(paths: list[_Path], times: Table) -> list[_Path]:
    """Join tracks that go on where another one ended, each with the one that begins soonest after it."""
    waiting = sorted(paths, key=lambda path: int(path.frames[0]))
    done: list[_Path] = []
    while waiting:
        path = waiting.pop(0)
        following = next((other for other in waiting if _goes_on(path, other, times)), None)
        if following is None:
            done.append(path)
            continue
        waiting.remove(following)
        frames = np.concatenate([path.frames, following.frames])
        waiting.insert(0, _Path(path.number, frames, np.concatenate([path.boxes, following.boxes])))
    return done


def _goes_on(path: _Path, other: _Path, times: Table) -> bool:
    gap = times[other.frames[0]] - times[path.frames[-1]]
    if other.frames[0] <= path.frames[-1]:
        return False
    last, first = path.boxes[-1], other.boxes[0]
    if gap <= _LOST_IN_PLACE and iou(last[None], first[None])[0, 0] >= _SAME_PLACE:
        return True
    sides = sorted(float((box[2:] - box[:2]).mean()) for box in (last, first))
    apart = float(np.linalg.norm(last[:2] + last[2:] - first[:2] - first[2:])) / 2
    return bool(gap <= _LOST and apart <= _REACH * sides[1] and sides[1] <= _GROWTH * sides[0])


def _filled(path: _Path, times: Table) -> tuple[int, Table]:
    """Return the first frame in which a face is covered, and its box in that and each following one."""
    first, last = int(path.frames[0]), int(path.frames[-1])
    known = times[path.frames]
    between = times[first : last + 1]
    boxes = np.stack([np.interp(between, known, path.boxes[:, i]) for i in range(4)], axis=1)
    start = min(int(np.searchsorted(times, times[first] - _LEAD)), max(0, first - _LEAD_FRAMES))
    end = max(
        int(np.searchsorted(times, times[last] + _LEAD, "right")), min(len(times), last + 1 + _LEAD_FRAMES)
    )
    before = _led(boxes, between, times[start:first])
    after = _led(boxes[::-1], between[::-1], times[last + 1 : end])
    return start, np.concatenate([before, _smoothed(boxes), after])


def _led(boxes: Table, seconds: Table, wanted: Table) -> Table:
    """Return a face's boxes beyond its first frame: where it was seen, joined with where it seems to go."""
    few = min(len(boxes), 4)
    passed = seconds[few - 1] - seconds[0]
    centres = (boxes[:few, :2] + boxes[:few, 2:]) / 2
    speed = (centres[-1] - centres[0]) / passed if passed else np.zeros(2)
    moved = boxes[0] + np.tile((wanted - seconds[0])[:, None] * speed, 2)
    return np.concatenate(
        [np.minimum(boxes[0, :2], moved[:, :2]), np.maximum(boxes[0, 2:], moved[:, 2:])], axis=1
    )


def _smoothed(boxes: Table) -> Table:
    """Return boxes without the detector's tremor, that still hold the boxes they came from."""
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centres, widest = _windows(centres).mean(axis=1), _windows(sides).max(axis=1)
    sides = _windows(widest).mean(axis=1)
    smooth = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    slack = np.tile(_SLACK * sides, 2) * [-1, -1, 1, 1]
    out = boxes - smooth
    out[:, :2], out[:, 2:] = (
        np.minimum(out[:, :2] - slack[:, :2], 0),
        np.maximum(out[:, 2:] - slack[:, 2:], 0),
    )
    return np.asarray(smooth + out)


def _windows(values: Table) -> Table:
    """Return the (n, 2 k + 1, c) neighbours in time of each of the (n, c) values; the ends are repeated."""
    padded = np.pad(values, ((_SMOOTH, _SMOOTH), (0, 0)), mode="edge")
    return np.stack([padded[i : i + len(values)] for i in range(2 * _SMOOTH + 1)], axis=1)
