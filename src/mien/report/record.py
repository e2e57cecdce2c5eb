"""Writes pictures that come one by one, each with its time, as a video: what a camera shows, drawn upon."""

from __future__ import annotations

import os
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

from mien.core.atomic import replacing
from mien.report.encode import add_pictures, opened, require_writable, whole_pairs

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Of the containers that keep uneven time stamps, which a camera's frames have."""

# Time stamps are written to the thousandth of a second, which Matroska's are in any case.
_TICKS = 1000
# What encoders that plan ahead are told of the rate; players go by the time stamps.
_RATE = Fraction(30)


class Recorder:
    """A video that is being written; it is complete when the block ends well, and absent otherwise.

    Attributes:
        frames: number of frames written.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        """Prepare to write.

        Args:
            target: the file; one of `ENDINGS`.

        Raises:
            UnwritableOutput: its folder is read-only.
        """
        self.frames = 0
        self._target = Path(target)
        self._files = ExitStack()
        self._output: Any = None
        self._stream: Any = None
        self._last = -1
        require_writable(self._target)

    def __enter__(self) -> Self:
        """Begin; no file is made before the first frame."""
        return self

    def put(self, image: Image.Image, seconds: float) -> None:
        """Write a frame.

        Args:
            image: its picture; the first one decides on the size of all, which others are brought to.
            seconds: its time stamp; it must not be below the one before.
        """
        from av import VideoFrame
        from av.video.reformatter import ColorRange, Colorspace

        frame = VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
        if self._stream is None:
            self._begin(frame.width, frame.height)
        made = frame.reformat(
            self._stream.width,
            self._stream.height,
            self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        self._last = max(round(seconds * _TICKS), self._last + 1)
        made.pts, made.time_base = self._last, Fraction(1, _TICKS)
        self._output.mux(self._stream.encode(made))
        self.frames += 1

    def _begin(self, width: int, height: int) -> None:
        from av.video.reformatter import ColorRange

        file = self._files.enter_context(replacing(self._target))
        self._output = self._files.enter_context(opened(os.fspath(self._target), file))
        self._stream = stream = add_pictures(self._output, os.fspath(self._target), _RATE)
        stream.width, stream.height = width, height
        stream.pix_fmt = whole_pairs(stream.codec_context.name, "yuv420p", width, height)
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        # BT.709 by the numbers of ISO/IEC 23091-2
        context.color_primaries = context.color_trc = context.colorspace = 1
        context.color_range = int(ColorRange.MPEG)
        self._output.start_encoding()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what the encoder still holds and close the file; what went wrong leaves none."""
        if kind is None and self._stream is not None:
            with self._files:
                self._output.mux(self._stream.encode())
            return
        self._files.__exit__(kind, error, trace)
