"""Blurs the faces of a video: masks follow them without gaps, all else stays as it was, sound included."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.atomic import replacing
from mien.core.errors import UnreadablePicture
from mien.core.geometry import overlap_of_smaller
from mien.report.blur import Cover, extents, hide
from mien.report.blur_photo import Blurred, faces_left, is_same_file
from mien.report.blur_tracks import Covered, Sighting, cover_frames
from mien.report.encode import copy, planes, reencode, require_writable
from mien.runtime.footage import watch
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.video import display_matrix, inspect

Table = npt.NDArray[np.float64]
Tick = Callable[[float], None]
"""Is told how much of a video is done, 0..1."""

# Frames that the check looks at: all of a short video, else one of these many.
_CHECK_ALL, _CHECK_EVERY = 250, 5
# Two boxes are one face when this part of the smaller one lies in the other.
_SAME_FACE = 0.5
# Shares of finding, writing and checking in the time that a video takes.
_FIND, _WRITE = 0.6, 0.25
_MOST_TOLD = 20


def blur_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pipeline: Pipeline,
    cover: Cover | None = None,
    *,
    options: Options | None = None,
    strip: bool = False,
    tick: Tick | None = None,
) -> Blurred:
    """Write a copy of a video whose faces cannot be recognised, and look whether a face is still found in it.

    The video is read twice: first every face in every frame is found and followed, gaps are filled and paths
    smoothed (`mien.report.blur_tracks`); then the frames are covered and encoded. Size, rotation, time stamps
    and colours stay; sound and subtitles are copied packet by packet. Cover art and tracks of data
    (telemetry, places) are left out. Where the check finds a face, it is painted over along its whole track.

    Args:
        source: the video.
        target: the file to write; it may be the source. It is complete or absent.
        pipeline: finds the faces.
        cover: how to cover them; None blurs ellipses.
        options: `threads` is the number of workers; None takes the pipeline's.
        strip: leave out the metadata, such as the place and the time.
        tick: is told the progress.

    Returns:
        What became of it; with `damage`, the copy holds what could be read.

    Raises:
        UnreadablePicture: no frame can be read, or its container takes no video that can be written here.
        UnwritableOutput: the target cannot be written.
        MissingExtra: PyAV or scipy is not installed.
    """
    cover, tick, name = cover or Cover(), tick or (lambda _: None), os.fspath(source)
    expected = max(inspect(source).frames or 1, 1)
    require_writable(Path(target))
    seconds: list[float] = []
    sightings: list[Sighting] = []
    damage = ""
    for frame, result in watch(source, options, pipeline=pipeline):
        if frame is None or result.error is not None:
            damage = result.error.reason if result.error else ""
            continue
        seconds.append(frame.seconds)
        for track, box in zip(result.track or (), extents(result.faces), strict=True):
            sightings.append(Sighting(len(seconds) - 1, track, box))
        tick(_FIND * min(len(seconds) / expected, 1))
    if not seconds:
        raise UnreadablePicture(name, damage or "no frame could be read")
    if not sightings and not damage:
        if not is_same_file(source, target) or strip:
            with replacing(target) as file:
                copy(name, file, strip=strip)
        tick(1.0)
        return Blurred(0, len(seconds), copied=True)
    solid: set[int] = set()
    with replacing(target) as file:
        covered = cover_frames(seconds, sightings)
        _write(name, file, covered, cover, solid, strip=strip, tick=tick)
        found = _found(file, pipeline, options, len(seconds))
        if found:
            solid, missed = _again(covered, found)
            sightings += missed
            covered = cover_frames(seconds, sightings)
            _write(name, file, covered, cover, solid, strip=strip, tick=tick)
            found = _found(file, pipeline, options, len(seconds))
    tick(1.0)
    remaining = [
        f"frame {number}, {', '.join(f'{v:.0f}' for v in box)}"
        for number in sorted(found)
        for box in found[number]
    ]
    return Blurred(
        len({track for frame in covered for track in frame.tracks.tolist()}),
        len(seconds),
        style="solid" if solid else cover.style,
        remaining=tuple(remaining[:_MOST_TOLD]),
        damage=damage,
    )


def _found(file: Path, pipeline: Pipeline, options: Options | None, count: int) -> dict[int, Table]:
    """Return the boxes of the faces that are found in what was written, by frame."""
    every = 1 if count <= _CHECK_ALL else _CHECK_EVERY
    found = {}
    for frame, result in watch(file, options, every=every, pipeline=pipeline):
        faces = faces_left(pipeline, result.faces)
        if frame is not None and len(faces):
            found[frame.index] = np.asarray(faces.boxes, np.float64)
    return found


def _again(covered: Sequence[Covered], found: dict[int, Table]) -> tuple[set[int], list[Sighting]]:
    """Return the tracks of covered faces that were found again, and sightings of those that were not covered.

    The latter's tracks are numbered from -1 down, and are to be painted over too.
    """
    tracks: set[int] = set()
    missed: list[Sighting] = []
    for number, boxes in found.items():
        if number >= len(covered):
            continue
        there = covered[number]
        same = overlap_of_smaller(there.boxes, boxes) >= _SAME_FACE
        tracks |= set(there.tracks[same.any(axis=1)].tolist())
        for box in boxes[~same.any(axis=0)]:
            missed.append(Sighting(number, -1 - len(missed), box.astype(np.float32)))
    return tracks | {sighting.track for sighting in missed}, missed


def _write(
    name: str,
    target: Path,
    covered: Sequence[Covered],
    cover: Cover,
    solid: set[int],
    *,
    strip: bool,
    tick: Tick,
) -> None:
    def change(index: int, picture: Any, frame: Any, made: Any) -> None:
        there = covered[index]
        if not len(there.boxes):
            return
        aspect = float(picture.sample_aspect_ratio or 1)
        boxes = stored_boxes(there.boxes, (frame.width, frame.height), aspect, display_matrix(frame))
        _hide(made, boxes, np.isin(there.tracks, list(solid)), cover)

    def told(written: int) -> None:
        tick(_FIND + _WRITE * written / len(covered))

    reencode(name, target, change, count=len(covered), strip=strip, tick=told)


def _hide(made: Any, boxes: Table, paint: npt.NDArray[np.bool_], cover: Cover) -> None:
    for component, values in planes(made):
        # in video's range black is 16, and no colour is the middle
        black = (16 if component.is_luma else 128) << (component.bits - 8)
        scale = np.tile([values.shape[1] / made.width, values.shape[0] / made.height], 2)
        hide(values, boxes[~paint] * scale, cover, black)
        hide(values, boxes[paint] * scale, cover.solid, black)


def stored_boxes(boxes: Table, size: tuple[int, int], aspect: float, matrix: Table | None) -> Table:
    """Map boxes of upright frames with square pixels to frames as they are stored.

    Args:
        boxes: (n, 4) px.
        size: (width, height) as stored, px.
        aspect: width over height of a stored pixel.
        matrix: the display matrix, as `mien.runtime.video.display_matrix` gives it.
    """
    width, height = size[0] * aspect, float(size[1])
    corners = boxes.reshape(-1, 2, 2)
    x, y = corners[..., 0], corners[..., 1]
    if matrix is not None and np.isfinite(matrix).all():
        (a, b), (c, d) = matrix
        if abs(a * d) >= abs(b * c):
            x, y = (width - x if a < 0 else x), (height - y if d < 0 else y)
        else:
            x, y = (width - y if b < 0 else y), (height - x if c < 0 else x)
    both = np.stack([x / aspect, y], axis=-1)
    return np.concatenate([both.min(axis=1), both.max(axis=1)], axis=1)
