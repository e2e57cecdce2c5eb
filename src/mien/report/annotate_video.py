"""Draws what was found onto the frames of a video: boxes, tracks, expressions; all else stays as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.core.atomic import replacing
from mien.core.drawing import draw
from mien.core.errors import UnreadablePicture, UnwritableOutput
from mien.core.fields import FIELDS, Kind
from mien.core.picture import Pixels
from mien.report.blur_photo import is_same_file
from mien.report.encode import copy, planes, reencode, require_writable
from mien.runtime.stream import Result
from mien.runtime.video import display_matrix, turned_back, upright

Mask = npt.NDArray[np.bool_]

Drawing = Callable[[Pixels, Result], Image.Image]
"""Returns a picture of the same size: an upright frame, and on it what is to be seen of its faces."""


@dataclass(frozen=True)
class Annotated:
    """What became of a video.

    Attributes:
        tracks: number of tracks that were drawn.
        frames: number of frames written.
        copied: there was no face; the file was copied.
        damage: why the source could not be read to its end; what came before was written.
    """

    tracks: int
    frames: int
    copied: bool = False
    damage: str = ""


def drawn(pixels: Pixels, result: Result) -> Image.Image:
    """Draw the box of each face, with its track, expression and age where known."""
    return draw(Image.fromarray(pixels), result.faces, captions=captions(result))


def annotate_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    results: Iterable[Result],
    drawing: Drawing = drawn,
) -> Annotated:
    """Write a copy of a video with its faces drawn on it: box, track, expression and age where known.

    Only the pixels under the drawing change; all others are encoded from the very numbers that were decoded.
    Size, rotation, time stamps and colours stay; sound and subtitles are copied packet by packet. Cover art
    and tracks of data (telemetry, places) are left out.

    Args:
        source: the video.
        target: the file to write, another than the source. It is complete or absent.
        results: of the video's frames, as `mien.runtime.footage.analyze_video` yields them, taken one by one
            while frames are written. Where they are of every n-th frame, faces in the frames between are
            drawn on the straight line between two places of their track.
        drawing: draws on the frames that have faces.

    Raises:
        UnreadablePicture: no frame can be read, or its container takes no video that can be written here.
        UnwritableOutput: the target cannot be written, or is the source.
        MissingExtra: PyAV is not installed.
    """
    name = os.fspath(source)
    if is_same_file(source, target):
        raise UnwritableOutput(target, "it is the video itself, which is never overwritten")
    require_writable(Path(target))
    shown = _Shown(name, results)

    def change(index: int, picture: Any, frame: Any, made: Any) -> None:
        result = shown.at(index)
        if len(result.faces):
            pixels = upright(frame, picture)
            _lay(made, frame, np.asarray(drawing(pixels, result)), pixels)

    with replacing(target) as file:
        frames = reencode(name, file, change)
        damage = shown.damage()
        same_container = os.path.splitext(name)[1].lower() == file.suffix.lower()  # noqa: PTH122
        copied = not shown.tracks and not damage and same_container
        if copied:
            copy(name, file, strip=False)
    return Annotated(len(shown.tracks), frames, copied, damage)


def captions(result: Result) -> list[str]:
    """Return a text for each face of a frame: its track, its most probable expression, and its age."""
    faces = result.faces
    parts = [[f"#{number}"] for number in result.track or range(len(faces))]
    if faces.expression is not None:
        highest = faces.expression.max(axis=1)
        for part, label, value in zip(parts, faces.best("expression"), highest, strict=True):
            part.append(f"{label} {value:.0%}")
    if faces.age is not None:
        for part, age in zip(parts, faces.age, strict=True):
            part.append(f"age {float(age):.0f}")
    return [" ".join(part[:2]) + "".join(f", {more}" for more in part[2:]) for part in parts]


class _Shown:
    """Knows what is to be seen in each frame, from the results of some of them.

    Attributes:
        tracks: numbers of the tracks so far.
    """

    def __init__(self, name: str, results: Iterable[Result]) -> None:
        self.tracks: set[int] = set()
        self._name = name
        self._damage = ""
        self._results = self._known(results)
        self._before: Result | None = None
        self._after: Result | None = None

    def _known(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            if result.error is not None:
                self._damage = result.error.reason
            if result.frame is not None:
                self.tracks.update(result.track or ())
                yield result

    def at(self, index: int) -> Result:
        """Return what is to be seen in a frame; numbers of frames must rise.

        Raises:
            UnreadablePicture: there is no result for this frame, nor for any before it.
        """
        if self._before is None:
            self._before = next(self._results, None)
            self._after = next(self._results, None)
        while self._after is not None and _number(self._after) <= index:
            self._before, self._after = self._after, next(self._results, None)
        if self._before is None:
            raise UnreadablePicture(self._name, self._damage or "no frame could be read")
        if self._after is None or _number(self._before) >= index:
            return self._before
        passed, apart = index - _number(self._before), _number(self._after) - _number(self._before)
        return between(self._before, self._after, passed / apart)

    def damage(self) -> str:
        """Return why the results ended early; empty when they did not."""
        for _ in self._results:
            pass
        return self._damage


def _number(result: Result) -> int:
    assert result.frame is not None
    return result.frame


def between(before: Result, after: Result, share: float) -> Result:
    """Return the earlier of two results with its faces moved to where they are on the way to the later one.

    Args:
        before: of the earlier frame.
        after: of the later one; faces whose track is missing there stay where they were.
        share: of the way, 0..1.
    """
    later = {track: face for face, track in enumerate(after.track or ())}
    here = [face for face, track in enumerate(before.track or ()) if track in later]
    there = [later[track] for track in before.track or () if track in later]
    moved = {}
    for name in set(before.faces.known()) & set(after.faces.known()):
        if here and FIELDS[name].kind in (Kind.BOX, Kind.POINTS):
            values = np.array(getattr(before.faces, name), np.float32)
            values[here] += np.float32(share) * (getattr(after.faces, name)[there] - values[here])
            moved[name] = values
    return replace(before, faces=before.faces.with_fields(**moved))


def _lay(made: Any, frame: Any, drawn: Pixels, pixels: Pixels) -> None:
    """Put the pixels of an upright drawing that differ from the picture drawn on into a frame as stored."""
    from av import VideoFrame

    matrix = display_matrix(frame)
    sheet = VideoFrame.from_ndarray(np.ascontiguousarray(turned_back(drawn, matrix)), format="rgb24")
    sheet = sheet.reformat(
        made.width,
        made.height,
        made.format.name,
        dst_colorspace=made.colorspace,
        dst_color_range=made.color_range,
    )
    # NumPy reduces so short axes many times slower than it joins them
    red, green, blue = np.moveaxis(drawn != pixels, 2, 0)
    changed = Image.fromarray(turned_back((red | green | blue).astype(np.uint8) * 255, matrix))
    # where pixels are not square, fewer or more of them are stored than shown
    mask = np.asarray(changed.resize((made.width, made.height), Image.Resampling.BOX)) > 0
    for (_, values), (_, new) in zip(planes(made), planes(sheet), strict=True):
        np.copyto(values, new, where=_reduced(mask, values.shape))


def _reduced(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return a mask of a smaller plane: true where any of the pixels is that share its number."""
    down, right = (-(-size // fewer) for size, fewer in zip(mask.shape, shape, strict=True))
    padded = np.zeros((shape[0] * down, shape[1] * right), np.bool_)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    reduced = np.zeros(shape, np.bool_)
    for row in range(down):
        for column in range(right):
            reduced |= padded[row::down, column::right]
    return reduced
