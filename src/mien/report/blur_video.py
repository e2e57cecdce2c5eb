"""Blurs the faces of a video: masks follow them without gaps, all else stays as it was, sound included."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.atomic import replacing
from mien.core.errors import UnreadablePicture, UnwritableOutput, printable
from mien.core.geometry import overlap_of_smaller
from mien.report.blur import Cover, extents, hide
from mien.report.blur_photo import Blurred, faces_left, is_same_file
from mien.report.blur_tracks import Covered, Sighting, cover_frames
from mien.runtime.footage import watch
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.video import Damage, decode, display_matrix, inspect, open_video, picture_stream

Table = npt.NDArray[np.float64]
Tick = Callable[[float], None]
"""Is told how much of a video is done, 0..1."""

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
    _require_writable(Path(target))
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
                _copy(name, file, strip=strip)
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


def _require_writable(target: Path) -> None:
    """Say at once, rather than after an hour of finding faces, that the copy cannot be written."""
    folder = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not os.access(folder, os.W_OK):
        raise UnwritableOutput(target, "its folder is read-only")


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
    with open_video(name) as source, open_video(name) as side, _output(name, target) as output:
        picture = picture_stream(source, name)
        stream = _stream_like(output, picture, name)
        rest = _Rest(side, output, ("audio", "subtitle"))
        if not strip:
            _describe(source, output)
            stream.metadata.update(picture.metadata)
        ready, start = False, 0.0
        last: int | None = None
        for index, (frame, clock) in enumerate(decode(source, picture, Damage())):
            if index >= len(covered):
                break
            if not ready:
                _prepare(stream, frame, picture)
                output.start_encoding()
                # AVI counts from 0; what its clock shows at the first frame is the decoder's delay.
                ready, start = True, clock if output.format.name == "avi" else 0.0
            made = _covered_frame(frame, stream.pix_fmt, picture, covered[index], cover, solid)
            last = _stamp(made, clock - start, picture.time_base, last)
            output.mux(stream.encode(made))
            rest.until(clock)
            tick(_FIND + _WRITE * (index + 1) / len(covered))
        output.mux(stream.encode())
        rest.until(None)


def _copy(name: str, target: Path, *, strip: bool) -> None:
    """Copy a video in which nothing is to be covered; without its metadata when asked, packet by packet."""
    if not strip:
        with open(name, "rb") as source, target.open("wb") as file:  # noqa: PTH123 - names that are no UTF-8
            shutil.copyfileobj(source, file)
        return
    with open_video(name) as source, _output(name, target) as output:
        picture = picture_stream(source, name)
        _Rest(source, output, ("audio", "subtitle"), picture).until(None)


@contextlib.contextmanager
def _output(name: str, target: Path) -> Iterator[Any]:
    """Open a container for writing; what FFmpeg has to complain of becomes mien's errors."""
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


def _stream_like(output: Any, picture: Any, name: str) -> Any:
    """Add a stream of pictures that is like another one, by the first encoder that the container takes."""
    import av

    rate = picture.average_rate or picture.guessed_rate or Fraction(25)
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
    stream.pix_fmt = frame.format.name if frame.format.name in possible else fits
    if (
        context.name == "libx264"
        and stream.pix_fmt.endswith("420p")
        and (frame.width % 2 or frame.height % 2)
    ):
        # H.264 counts a picture of half-size colours in pairs of pixels
        stream.pix_fmt = "yuv444p"
    context.time_base = picture.time_base
    for fact in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(context, fact, getattr(frame, fact))
    if picture.sample_aspect_ratio:
        context.sample_aspect_ratio = picture.sample_aspect_ratio
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is not None and len(bytes(data)) >= 36:
        stream.set_display_matrix(np.frombuffer(bytes(data)[:36], np.int32).tolist())


def _covered_frame(
    frame: Any, form: str, picture: Any, covered: Covered, cover: Cover, solid: set[int]
) -> Any:
    from av.video.frame import PictureType

    made = frame if frame.format.name == form else frame.reformat(format=form)
    # The decoder goes on to build later frames on this one's data.
    made.make_writable()
    made.pict_type = PictureType.NONE
    if len(covered.boxes):
        aspect = float(picture.sample_aspect_ratio or 1)
        boxes = stored_boxes(covered.boxes, (frame.width, frame.height), aspect, display_matrix(frame))
        paint = np.isin(covered.tracks, list(solid))
        bits = made.format.components[0].bits
        for plane, component in zip(made.planes, made.format.components, strict=True):
            # in video's range black is 16, and no colour is the middle
            black = (16 if component.is_luma else 128) << (bits - 8)
            kind = np.dtype(np.uint16 if bits > 8 else np.uint8)
            values = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
            values = values[:, : plane.width]
            scale = np.tile([plane.width / made.width, plane.height / made.height], 2)
            hide(values, boxes[~paint] * scale, cover, black)
            hide(values, boxes[paint] * scale, cover.solid, black)
    return made


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
