"""Makes small videos for tests: numbered frames, time stamps, rotation, sound, faces that move; a camera."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Frames are told apart by this many black or white squares along the top.
_BITS, _SQUARE = 6, 16
WIDTH, HEIGHT = 160, 96
# What the four corners of a numbered frame below its squares look like.
CORNERS = {"top left": (220, 30, 30), "top right": (30, 200, 30), "bottom left": (40, 40, 220)}


def numbered(number: int) -> Pixels:
    """Return a (96, 160, 3) frame that carries a number, and a colour in three of its corners."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for bit in range(_BITS):
        pixels[:_SQUARE, bit * _SQUARE : (bit + 1) * _SQUARE] = 235 if number >> bit & 1 else 20
    middle = HEIGHT // 2
    pixels[_SQUARE:middle, :40] = CORNERS["top left"]
    pixels[_SQUARE:middle, -40:] = CORNERS["top right"]
    pixels[-30:, :40] = CORNERS["bottom left"]
    return pixels


def number_of(pixels: Pixels) -> int:
    """Read the number of a frame back."""
    squares = pixels[4 : _SQUARE - 4].mean(axis=(0, 2))
    return sum(int(squares[bit * _SQUARE + 8] > 128) << bit for bit in range(_BITS))


def film(
    path: Path,
    pictures: Iterable[Pixels],
    *,
    seconds: Sequence[float] | None = None,
    rate: int = 10,
    rotation: int = 0,
    mirrored: bool = False,
    sound: bool = False,
    wide_pixels: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video.

    Args:
        path: the file; its ending chooses the container.
        pictures: the frames.
        seconds: their time stamps; None: regular ones.
        rate: frames a second.
        rotation: degrees counter-clockwise by which a player is to turn the frames.
        mirrored: a player is to mirror them left to right afterwards.
        sound: add a tone of the same length.
        wide_pixels: width over height of a pixel.
        options: of the container.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        pictures = list(pictures)
        stream: Any = container.add_stream("libvpx-vp9" if path.suffix == ".webm" else "h264", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2] if pictures else (HEIGHT, WIDTH)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate if seconds is None else 1000)
        if wide_pixels:
            stream.codec_context.sample_aspect_ratio = wide_pixels
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        tone = (
            container.add_stream("opus" if path.suffix == ".webm" else "aac", rate=48000) if sound else None
        )
        container.start_encoding()
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index if seconds is None else round(seconds[index] * 1000)
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone is not None:
            _sing(container, tone, len(pictures) / rate)
    return path


def song(path: Path, cover: Pixels | None = None) -> Path:
    """Write a file of sound only, with a cover picture when one is given."""
    with av.open(str(path), "w") as container:
        tone = container.add_stream("mp3" if path.suffix == ".mp3" else "aac", rate=48000)
        picture: Any = None
        if cover is not None:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width = cover.shape[:2]
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
            container.mux(picture.encode())
        _sing(container, tone, 1.0)
    return path


def _sing(container: Any, stream: Any, length: float) -> None:
    time = np.arange(int(48000 * length)) / 48000
    wave = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    for start in range(0, len(wave) - 1023, 1024):
        part = np.stack([wave[start : start + 1024]] * 2)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def pasted(background: Pixels, picture: Pixels, left: int, top: int, side: int) -> Pixels:
    """Return the background with a picture, made `side` px wide, at a place; it may hang over the edge."""
    image = Image.fromarray(background)
    height = round(side * picture.shape[0] / picture.shape[1])
    image.paste(Image.fromarray(picture).resize((side, height), Image.Resampling.BICUBIC), (left, top))
    return np.asarray(image)


class Camera:
    """A film that gives its frames in real time, in the place of a camera's PyAV container."""

    def __init__(self, path: Path) -> None:
        self._film: Any = av.open(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._film.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._film, name)

    def demux(self, stream: Any) -> Iterator[Any]:
        """Yield the film's packets, each at the time of its frame."""
        begin = time.monotonic()
        for packet in self._film.demux(stream):
            if packet.pts is not None:
                time.sleep(max(0.0, begin + float(packet.pts * packet.time_base) - time.monotonic()))
            yield packet
