"""Draws on what a camera shows, frame by frame: into a video that is written, and on a page that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from PIL import Image

from mien.report.annotate_video import drawn
from mien.report.record import Recorder
from mien.report.show import Screen
from mien.runtime.stream import Result
from mien.runtime.video import Frame


def drawn_live(
    watched: Iterable[tuple[Frame | None, Result]], recorder: Recorder | None, screen: Screen | None
) -> Iterator[Result]:
    """Yield the results of a camera's frames, each after its frame was drawn upon, written and shown.

    Args:
        watched: as `mien.runtime.footage.watch` yields them.
        recorder: writes the drawn frames, if they are to be kept.
        screen: shows them, if they are to be seen.

    Raises:
        UnwritableOutput: the video cannot be written.
    """
    for frame, result in watched:
        if frame is not None and (recorder or screen):
            image = drawn(frame.pixels, result) if len(result.faces) else Image.fromarray(frame.pixels)
            if screen:
                screen.put(image)
            if recorder:
                recorder.put(image, frame.seconds)
        yield result
