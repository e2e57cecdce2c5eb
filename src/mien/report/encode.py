"""Writes a video anew with other pictures: time stamps, rotation, colours, sound and subtitles stay."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import UnreadablePicture, UnwritableOutput, printable
from mien.runtime.video import Damage, decode, open_video, picture_stream

Change = Callable[[int, Any, Any, Any], None]
"""Changes a frame before it is written.

It is given the frame's number, PyAV's stream that it comes from, the frame as decoded, and the one to write:
of the same size, as stored, and its `planes` may be changed. The two may be the same object.
"""

# Encoders in order of preference, with the name of what they make; which of them a container takes is
# FFmpeg's to say.
_ENCODERS = {"libx264": "h264", "libvpx-vp9": "vp9", "mpeg4": "mpeg4", "mpeg2video": "mpeg2video"}
_ENCODER_OPTIONS = {
    "libx264": {"crf": "19", "preset": "fast"},
    "libvpx-vp9": {"crf": "30", "b:v": "0", "deadline": "good", "cpu-used": "5"},
    "mpeg4": {"qmin": "2", "qmax": "5"},
    "mpeg2video": {"qmin": "2", "qmax": "5"},
}
# Endings whose container FFmpeg does not guess, or guesses as something narrower.
_CONTAINERS = {".m4v": "mp4", ".qt": "mov", ".mts": "mpegts", ".m2ts": "mpegts", ".ts": "mpegts"}
# Planar formats, so that each plane can be blurred as it is, and what is not covered keeps its numbers.
_PLANAR = tuple(
    f"yuv{j}4{kind}p{deep}" for kind in ("20", "22", "44") for j in ("", "j") for deep in ("", "10le")
)


def require_writable(target: Path) -> None:
    """Say at once, rather than after an hour of finding faces, that the copy cannot be written."""
    folder = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not os.access(folder, os.W_OK):
        raise UnwritableOutput(target, "its folder is read-only")


def reencode(
    name: str,
    target: Path,
    change: Change,
    *,
    count: int | None = None,
    strip: bool = False,
    tick: Callable[[int], None] | None = None,
) -> int:
    """Write a copy of a video whose frames are changed one by one.

    Size, rotation, time stamps and colours stay; sound and subtitles are copied packet by packet. Cover art
    and tracks of data (telemetry, places) are left out. A damaged video is copied as far as it can be read.

    Args:
        name: the video.
        target: the file to write; its ending chooses the container.
        change: what to do with each frame.
        count: the frames to write; None takes all.
        strip: leave out the metadata, such as the place and the time.
        tick: is told how many frames are written.

    Returns:
        The number of frames written.

    Raises:
        UnreadablePicture: no frame can be read, or the container takes no video that can be written here.
    """
    written = 0
    with open_video(name) as source, open_video(name) as side, opened(name, target) as output:
        picture = picture_stream(source, name)
        rate = picture.average_rate or picture.guessed_rate or Fraction(25)
        stream = add_pictures(output, name, rate)
        rest = _Rest(side, output, ("audio", "subtitle"))
        if not strip:
            _describe(source, output)
            stream.metadata.update(picture.metadata)
        start = 0.0
        last: int | None = None
        for index, (frame, clock) in enumerate(decode(source, picture, Damage())):
            if index == count:
                break
            # The decoder goes on to build later frames on this one's data. This comes before all else: PyAV
            # keeps pointers to a frame's side data, once looked at, and a copy would leave them dangling.
            frame.make_writable()
            if not written:
                _prepare(stream, frame, picture)
                output.start_encoding()
                # AVI counts from 0; what its clock shows at the first frame is the decoder's delay.
                start = clock if output.format.name == "avi" else 0.0
            made = _like(frame, stream.pix_fmt)
            change(index, picture, frame, made)
            last = _stamp(made, clock - start, picture.time_base, last)
            output.mux(stream.encode(made))
            rest.until(clock)
            written = index + 1
            if tick is not None:
                tick(written)
        if not written:
            raise UnreadablePicture(name, "no frame could be read")
        output.mux(stream.encode())
        rest.until(None)
    return written


def _like(frame: Any, form: str) -> Any:
    from av.video.frame import PictureType

    made = frame if frame.format.name == form else frame.reformat(format=form)
    made.pict_type = PictureType.NONE
    return made


def planes(frame: Any) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
    """Yield each plane of a planar frame: PyAV's component, and its (height, width) numbers to change."""
    for plane, component in zip(frame.planes, frame.format.components, strict=True):
        kind = np.dtype(np.uint16 if component.bits > 8 else np.uint8)
        values = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
        yield component, values[:, : plane.width]


def copy(name: str, target: Path, *, strip: bool) -> None:
    """Copy a video in which nothing is to be changed; without its metadata when asked, packet by packet."""
    if not strip:
        with open(name, "rb") as source, target.open("wb") as file:  # noqa: PTH123 - names that are no UTF-8
            shutil.copyfileobj(source, file)
        return
    with open_video(name) as source, opened(name, target) as output:
        picture = picture_stream(source, name)
        _Rest(source, output, ("audio", "subtitle"), picture).until(None)


@contextlib.contextmanager
def opened(name: str, target: Path) -> Iterator[Any]:
    """Open a container for writing; what FFmpeg has to complain of becomes mien's errors.

    Args:
        name: of what is written, for errors.
        target: the file; its ending chooses the container.
    """
    import av

    try:
        with av.open(f"file:{target}", "w", format=_CONTAINERS.get(target.suffix.lower())) as output:
            yield output
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno and error.errno in errno.errorcode and error.strerror:
            raise OSError(error.errno, error.strerror) from error
        text = printable(" ".join(str(error).split()).replace(os.fspath(target), name)[:160])
        raise UnreadablePicture(name, f"cannot be written back ({text})") from error


def _describe(source: Any, output: Any) -> None:
    output.metadata.update({key: value for key, value in source.metadata.items() if key != "encoder"})


def add_pictures(output: Any, name: str, rate: Fraction) -> Any:
    """Add a stream of pictures to a container, by the first encoder that it takes.

    Args:
        output: PyAV's container.
        name: of what is written, for errors.
        rate: frames a second, about.

    Raises:
        UnreadablePicture: it takes no video that can be made here.
    """
    import av

    for encoder, makes in _ENCODERS.items():
        # of transport streams FFmpeg does not say what they take
        fits = makes in output.supported_codecs or output.format.name == "mpegts"
        if encoder in av.codec.codecs_available and fits:
            stream = output.add_stream(encoder, rate=rate, options=_ENCODER_OPTIONS[encoder])
            if output.format.name == "avi":
                # AVI has stamps of decoding only, so frames must be stored in the order in which
                # they are shown.
                stream.codec_context.max_b_frames = 0
            return stream
    raise UnreadablePicture(name, f"no video that can be made here fits into {output.format.name} files")


def _prepare(stream: Any, frame: Any, picture: Any) -> None:
    context = stream.codec_context
    stream.width, stream.height = frame.width, frame.height
    possible = {form.name for form in context.codec.video_formats or ()} & set(_PLANAR)
    deep = max(component.bits for component in frame.format.components) > 8
    fits = "yuv420p10le" if deep and "yuv420p10le" in possible else "yuv420p"
    form = frame.format.name if frame.format.name in possible else fits
    stream.pix_fmt = whole_pairs(context.name, form, frame.width, frame.height)
    context.time_base = picture.time_base
    for fact in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(context, fact, getattr(frame, fact))
    if picture.sample_aspect_ratio:
        context.sample_aspect_ratio = picture.sample_aspect_ratio
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is not None and len(bytes(data)) >= 36:
        stream.set_display_matrix(np.frombuffer(bytes(data)[:36], np.int32).tolist())


def whole_pairs(encoder: str, form: str, width: int, height: int) -> str:
    """Return a format of pixels that an encoder takes for pictures of a size: the one given where it can."""
    # H.264 counts a picture of half-size colours in pairs of pixels
    paired = encoder == "libx264" and form.endswith("420p")
    return "yuv444p" if paired and (width % 2 or height % 2) else form


def _stamp(frame: Any, clock: float, time_base: Fraction, last: int | None) -> int:
    """Give a frame its time stamp, rising whatever the file says, and return it."""
    stamp = round(clock / time_base)
    if last is not None and stamp <= last:
        stamp = last + 1
    frame.pts, frame.time_base = stamp, time_base
    return stamp


class _Rest:
    """Copies streams packet by packet, as far as the pictures have come."""

    def __init__(self, source: Any, output: Any, kinds: tuple[str, ...], picture: Any = None) -> None:
        self._output = output
        streams = [stream for stream in source.streams if stream.type in kinds]
        streams = ([picture] if picture is not None else []) + streams
        self._into = {stream.index: output.add_stream_from_template(stream) for stream in streams}
        for stream in streams:
            self._into[stream.index].disposition = stream.disposition
        self._packets = self._read(source, streams)
        self._next: Any = next(self._packets, None)

    @staticmethod
    def _read(source: Any, streams: list[Any]) -> Iterator[Any]:
        import av

        if not streams:
            return
        try:
            for packet in source.demux(streams):
                if packet.dts is not None:
                    yield packet
        except av.FFmpegError:
            # The pictures say that the file is damaged.
            return

    def until(self, clock: float | None) -> None:
        while self._next is not None:
            if clock is not None and float(self._next.dts * self._next.time_base) > clock:
                return
            self._next.stream = self._into[self._next.stream.index]
            self._output.mux(self._next)
            self._next = next(self._packets, None)
