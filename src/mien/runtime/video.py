"""Reads videos and cameras frame by frame: upright RGB with true time stamps; damage is told at the end."""

from __future__ import annotations

import math
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import MissingExtra, UnreadablePicture, printable
from mien.core.picture import Limits, Pixels
from mien.runtime.truncation import missing_bytes

EXTENSIONS = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv"),
        *(".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts", ".ogv", ".mxf", ".dv", ".y4m"),
    ]
)
"""File names' endings taken as videos where pictures could be meant too."""

# FFmpeg reads these, but they are lists of other files or text drawn as a film, never what is meant here.
_NO_VIDEO = frozenset(["tty", "hls", "concat", "dash", "sdp", "rtsp"])
# What a file says of its length is only an estimate; less than this share of it is a damage.
_LEAST_SHARE = 0.5
# Non-square pixels outside this range are a wrong header rather than an anamorphic film.
_WIDEST_PIXEL = 4


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        index: its number from 0, counting every frame that could be decoded.
        seconds: its time stamp, 0 for the first frame; steps vary where the frame rate does.
        pixels: (H, W, 3) uint8 RGB, upright, with square pixels.
        clock: its time stamp as the file has it, seconds: what the sound's stamps are to be compared with.
    """

    index: int
    seconds: float
    pixels: Pixels
    clock: float


@dataclass(frozen=True)
class Video:
    """What a video says of itself, without decoding it.

    Attributes:
        frames: estimated number of frames; None when the file does not tell.
        seconds: length; None when the file does not tell.
        rate: mean frames a second; None when the file does not tell.
        sound: whether there is any.
    """

    frames: int | None
    seconds: float | None
    rate: Fraction | None
    sound: bool


def is_video(given: Any) -> bool:
    """Tell whether a camera's number or a file name with a video's ending is meant."""
    if isinstance(given, int) and not isinstance(given, bool):
        return True
    if isinstance(given, (str, os.PathLike)):
        name = os.fsdecode(given)
        return os.path.splitext(name)[1].lower() in EXTENSIONS and not os.path.isdir(name)  # noqa: PTH112, PTH122
    return False


def name_of(source: str | os.PathLike[str] | int) -> str:
    """Return the name of a video or camera for results and messages."""
    return f"camera {source}" if isinstance(source, int) else os.fspath(source)


def inspect(source: str | os.PathLike[str] | int) -> Video:
    """Return what a video says of itself.

    Raises:
        UnreadablePicture: as `frames`.
        MissingExtra: PyAV is not installed.
    """
    if isinstance(source, int):
        return Video(None, None, None, False)
    with open_video(source) as container:
        stream = picture_stream(container, name_of(source))
        rate = stream.average_rate or None
        seconds = _length(stream) or (container.duration / 1e6 if container.duration else None)
        count = stream.frames or (round(seconds * rate) if seconds and rate else 0)
        return Video(count or None, seconds, rate, bool(container.streams.audio))


def frames(
    source: str | os.PathLike[str] | int, *, every: int = 1, limits: Limits | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video file or of a camera, one at a time in memory.

    Rotation and mirroring from the file's display matrix and non-square pixels are applied, so that frames
    look as in a player. Of several streams of pictures the main one is read; cover art is none.

    Args:
        source: a path, or a camera's number.
        every: yield frames 0, `every`, 2 `every` ...
        limits: refuse frames with more pixels than this; `bytes` does not count here.

    Raises:
        UnreadablePicture: it cannot be opened; or, after all frames that can be read, that some could not.
        MissingExtra: PyAV is not installed.
    """
    if every < 1:
        raise ValueError(f"every must be 1 or more, not {every}")
    name = name_of(source)
    limits = limits or Limits()
    with _open_camera(source) if isinstance(source, int) else open_video(source) as container:
        stream = picture_stream(container, name)
        _check_size(name, stream.codec_context.width, stream.codec_context.height, limits)
        damage = Damage()
        count = 0
        start: float | None = None
        for index, (decoded, clock) in enumerate(decode(container, stream, damage)):
            start = clock if start is None else start
            seconds, count = clock - start, index + 1
            if index % every == 0:
                _check_size(name, decoded.width, decoded.height, limits)
                yield Frame(index, seconds, upright(decoded, stream), clock)
        told = _length(stream) or 0.0
    reason = damage.reason
    if not isinstance(source, int):
        reason = _cut_short(name) or reason
        if not reason and damage.end - (start or 0.0) < _LEAST_SHARE * told:
            reason = f"it ends after {damage.end - (start or 0.0):.1f} of {told:.1f} seconds"
    if not count:
        raise UnreadablePicture(name, f"no frame could be read ({reason or 'there is none'})")
    if reason:
        raise UnreadablePicture(name, f"damaged: {reason}; {count} frames could be read")


def open_video(source: str | os.PathLike[str]) -> Any:
    """Open a video file as a PyAV container, a context manager.

    Raises:
        UnreadablePicture: there is no such file, or it is no video.
        MissingExtra: PyAV is not installed.
    """
    name = os.fspath(source)
    try:
        # Ask before opening: opening a FIFO or a device would wait for ever.
        status = os.stat(name)  # noqa: PTH116 - works for names that are no UTF-8
    except FileNotFoundError as error:
        raise UnreadablePicture(name, "no such file") from error
    except (OSError, ValueError) as error:
        raise UnreadablePicture(name, getattr(error, "strerror", None) or str(error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadablePicture(name, "a folder, not a video")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadablePicture(name, "not a regular file")
    if status.st_size == 0:
        raise UnreadablePicture(name, "empty file")
    # "file:" keeps FFmpeg from reading a protocol into the name; nor may a video make it open addresses
    container = _open(name, f"file:{name}", None, {"protocol_whitelist": "file"})
    if _NO_VIDEO & set(container.format.name.split(",")):
        container.close()
        raise UnreadablePicture(name, "not a video")
    return container


def picture_stream(container: Any, name: str) -> Any:
    """Return the main stream of pictures of a PyAV container.

    Raises:
        UnreadablePicture: there is none (sound only), or its codec is unknown.
    """
    from av.stream import Disposition

    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & stills]
    if not streams:
        raise UnreadablePicture(name, "it holds no pictures" + (", only sound" if container.streams else ""))
    default = [stream for stream in streams if stream.disposition & Disposition.default]
    stream = (default or streams)[0]
    if stream.codec_context is None:
        raise UnreadablePicture(name, "its video codec is not known here")
    # The pipeline's workers use the cores; a decoder with threads of its own would only take them away.
    stream.codec_context.thread_count = 1
    return stream


def _open(name: str, file: str, form: str | None, options: dict[str, str]) -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("av", "video") from error
    try:
        return av.open(file, format=form, options=options)
    except (av.InvalidDataError, av.EOFError) as error:
        raise UnreadablePicture(name, "not a video, or truncated so that nothing can be read") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadablePicture(name, _plain(error)) from error


def _open_camera(number: int) -> Any:
    if number < 0:
        raise UnreadablePicture(name_of(number), "cameras are numbered from 0")
    if sys.platform == "darwin":
        return _open(name_of(number), str(number), "avfoundation", {"framerate": "30"})
    if sys.platform == "win32":
        return _open(name_of(number), str(number), "vfwcap", {})
    return _open(name_of(number), f"/dev/video{number}", "v4l2", {})


@dataclass
class Damage:
    """What went wrong while a video was decoded, and how far it came (seconds)."""

    reason: str = ""
    end: float = 0.0


def decode(container: Any, stream: Any, damage: Damage) -> Iterator[tuple[Any, float]]:
    """Yield a container's decoded frames as PyAV has them, each with its `clock`, as `frames` counts them.

    Packets that cannot be decoded are left out and noted.
    """
    import av

    step = float(1 / stream.average_rate) if stream.average_rate else 0.04
    clock = -step
    # AVI has stamps of decoding only; FFmpeg's guess of those for showing runs back and forth.
    unordered = container.format.name == "avi"
    bad = 0
    for packet in _packets(container, stream, damage):
        if packet.is_corrupt:
            # Decoders patch what is missing with the frame before: a picture that was never there.
            bad += 1
            continue
        try:
            for frame in packet.decode():
                stamp = frame.dts if unordered else frame.pts
                known = stamp is not None and frame.time_base is not None
                clock = float(stamp * frame.time_base) if known else clock + step
                damage.end = max(damage.end, clock + step)
                yield frame, clock
        except av.EOFError:
            continue
        except av.FFmpegError:
            bad += 1
    if bad:
        damage.reason = f"{bad} {'packet' if bad == 1 else 'packets'} could not be decoded"


def _packets(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.BlockingIOError:
            # a camera that has no new frame yet
            time.sleep(0.005)
            packets = container.demux(stream)
            continue
        except av.EOFError:
            return
        except IndexError:
            # PyAV stumbles so at the very end over streams that began in the middle, after ours was given out
            return
        except av.FFmpegError as error:
            damage.reason = _plain(error)
            return
        yield packet


def _cut_short(name: str) -> str:
    """Return in words how much of a file is missing; empty when nothing is, or when it cannot be told."""
    with open(name, "rb") as file:  # noqa: PTH123 - works for names that are no UTF-8
        missing = missing_bytes(file)
        size = file.tell() if missing == 0 else file.seek(0, 2)
    return f"truncated, {missing} of {size + missing} bytes are missing" if missing else ""


def _length(stream: Any) -> float | None:
    """Return the length of the pictures, not of the sound, as the file states it: seconds."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    try:
        # Matroska's tag
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        return None


def _check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise UnreadablePicture(name, f"{width} x {height} pixels, more than the limit of {limits.pixels}")


def upright(frame: Any, stream: Any) -> Pixels:
    """Return a decoded PyAV frame of a stream as `frames` gives it: RGB, turned, with square pixels."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width = frame.width
    if aspect != 1 and Fraction(1, _WIDEST_PIXEL) <= aspect <= _WIDEST_PIXEL:
        width = max(1, round(frame.width * aspect))
    rgb: Pixels = frame.reformat(width=width, height=frame.height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(turned(rgb, display_matrix(frame)))


def display_matrix(frame: Any) -> npt.NDArray[np.float64] | None:
    """Return ((a, b), (c, d)) of a PyAV frame's display matrix; None when the frame has none.

    It takes a stored offset (p, q) to the displayed one (a p + c q, b p + d q), as ISO/IEC 14496-12, 8.3.2.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None or len(bytes(data)) < 36:
        return None
    values = np.frombuffer(bytes(data)[:36], np.int32).reshape(3, 3)
    return values[:2, :2] / 65536.0


def turned(pixels: Pixels, matrix: npt.NDArray[np.float64] | None) -> Pixels:
    """Turn and mirror a stored picture as its display matrix says, to the nearest quarter turn (a view)."""
    if matrix is None or not math.isfinite(float(matrix.sum())):
        return pixels
    lying, down, right = _turn(matrix)
    return (pixels.swapaxes(0, 1) if lying else pixels)[::down, ::right]


def turned_back(pixels: Pixels, matrix: npt.NDArray[np.float64] | None) -> Pixels:
    """Undo `turned`: return an upright picture as it is to be stored (a view)."""
    if matrix is None or not math.isfinite(float(matrix.sum())):
        return pixels
    lying, down, right = _turn(matrix)
    pixels = pixels[::down, ::right]
    return pixels.swapaxes(0, 1) if lying else pixels


def _turn(matrix: npt.NDArray[np.float64]) -> tuple[bool, int, int]:
    """Return whether rows and columns change places, and then in which steps (1 or -1) each is read."""
    (a, b), (c, d) = matrix
    if abs(a * d) >= abs(b * c):
        return False, -1 if d < 0 else 1, -1 if a < 0 else 1
    return True, -1 if b < 0 else 1, -1 if c < 0 else 1


def _plain(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(text)[:160]
