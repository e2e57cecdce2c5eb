"""`Picture`: upright RGB pixels with their source; reading every common format within limits."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile

from mien.core.errors import UnreadablePicture, printable

Pixels = npt.NDArray[np.uint8]
PictureLike = "Picture | str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]"

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".gif",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".avif",
        ".avifs",
        ".heic",
        ".heif",
        ".ppm",
        ".pgm",
        ".jp2",
    ]
)
"""Endings of file names taken as pictures when a folder is walked; a named file is read whatever its name."""

# What a file's bytes are tried as. Pillow knows many more formats, but some of them start other programs
# (PostScript runs Ghostscript), and some have no mark by which noise could be told from a picture.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM", "ICO")

_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1"}

# From the stored picture to the upright one, by EXIF orientation (TIFF 6.0, tag 274).
_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """What a picture may cost before it is refused.

    Attributes:
        pixels: width times height as stored. Pillow itself refuses more than 178,956,970.
        bytes: size of the file.
    """

    pixels: int = 178_956_970
    bytes: int = 1 << 30


@dataclass(frozen=True, eq=False)
class Picture:
    """Upright RGB pixels and where they came from.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, EXIF orientation applied; possibly smaller than the stored picture.
        source: the path, or "<bytes>", "<array>", "<image>".
        size: (width, height) of the upright picture at full size, in pixels.
        orientation: the EXIF orientation as stored, 1..8; 1 when the file does not say.
        tagged: whether the file said how it is oriented.
        animated: whether the file holds more frames or pages than the first, which is the one read.
    """

    pixels: Pixels
    source: str
    size: tuple[int, int]
    orientation: int = 1
    tagged: bool = False
    animated: bool = False

    @property
    def scale(self) -> float:
        """Size of `pixels` over the full size: 1 unless the picture was decoded at a reduced scale."""
        return float(self.pixels.shape[1]) / self.size[0]

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) in pixels as stored, before the orientation was applied."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)

    @classmethod
    def read(cls, source: Any, *, least_side: int | None = None, limits: Limits | None = None) -> Picture:
        """Read a picture from a path, bytes, a PIL image, an RGB array or a `Picture` (returned as it is).

        JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000, PPM and ICO; HEIC with `mien[heic]`. CMYK, 16-bit,
        grey, palette and transparent pictures become RGB (transparency over white); of an animation the first
        frame is read.

        Args:
            source: the picture. An array is (H, W), (H, W, 3) or (H, W, 4): uint8, uint16 or floats in 0..1.
                Anything else with `read_bytes()` is read through that: a `zipfile.Path`, a row of a Parquet
                file.
            least_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its longer side stays
                at least this many pixels; None decodes everything at full size.
            limits: refuse pictures above these; None means the default ones.

        Raises:
            UnreadablePicture: for whatever is wrong with the file or the array.
        """
        limits = limits or Limits()
        if isinstance(source, Picture):
            return source
        if isinstance(source, np.ndarray):
            return _from_array(source)
        if isinstance(source, Image.Image):
            return _guarded("<image>", lambda: _from_image(source, "<image>", None, limits))
        if isinstance(source, (bytes, bytearray, memoryview)):
            return _from_bytes(bytes(source), "<bytes>", least_side, limits)
        if isinstance(source, (str, os.PathLike)):
            return _from_path(os.fspath(source), least_side, limits)
        if hasattr(source, "read_bytes"):
            name = printable(str(source))
            return _guarded(name, lambda: _from_bytes(source.read_bytes(), name, least_side, limits))
        raise UnreadablePicture(
            f"<{type(source).__name__}>", "not a path, bytes, PIL image, array or Picture"
        )

    def image(self) -> Image.Image:
        """Return the pixels as a PIL image (a copy)."""
        return Image.fromarray(self.pixels)


def as_stored(
    points: npt.NDArray[Any], picture_size: tuple[int, int], orientation: int
) -> npt.NDArray[np.float64]:
    """Map points of the upright picture to the picture as stored, which metadata are relative to.

    Args:
        points: (..., 2) x y in pixels of the upright picture.
        picture_size: (width, height) of the upright picture in pixels.
        orientation: EXIF orientation, 1..8.

    Returns:
        (..., 2) in pixels of the stored picture.
    """
    width, height = picture_size
    x, y = np.asarray(points, np.float64)[..., 0], np.asarray(points, np.float64)[..., 1]
    stored = {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, width - x),
        7: (height - y, width - x),
        8: (height - y, x),
    }[orientation]
    return np.stack(stored, axis=-1)


def _guarded(name: str, read: Callable[[], Picture]) -> Picture:
    try:
        return read()
    except UnreadablePicture:
        raise
    except MemoryError as error:
        raise UnreadablePicture(name, "not enough memory to decode it") from error
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        raise UnreadablePicture(name, _reason(error)) from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    lower = text.lower()
    if "cannot identify image file" in lower:
        return "not a picture, or one of a format that is not read here"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels (a decompression bomb?)"
    if "truncated" in lower or "unexpected end" in lower or "broken data stream" in lower:
        return f"truncated or damaged ({text[:120]})"
    return f"damaged ({text[:160]})"


def _from_path(path: str, least_side: int | None, limits: Limits) -> Picture:
    try:
        # Ask before opening: opening a FIFO or a device would wait for ever.
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError as error:
        raise UnreadablePicture(path, "no such file") from error
    except (OSError, ValueError) as error:
        raise UnreadablePicture(path, getattr(error, "strerror", None) or str(error)) from error
    if stat.S_ISDIR(status.st_mode):
        may = os.access(path, os.R_OK | os.X_OK)
        raise UnreadablePicture(path, "a folder, not a picture" if may else "a folder: permission denied")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadablePicture(path, "not a regular file")
    if status.st_size == 0:
        raise UnreadablePicture(path, "empty file")
    if status.st_size > limits.bytes:
        raise UnreadablePicture(path, f"{status.st_size} bytes, more than the limit of {limits.bytes}")

    def read() -> Picture:
        with Path(path).open("rb") as file:
            head = file.read(16)
            file.seek(0)
            return _open(file, head, path, least_side, limits)

    return _guarded(path, read)


def _from_bytes(data: bytes, name: str, least_side: int | None, limits: Limits) -> Picture:
    if len(data) > limits.bytes:
        raise UnreadablePicture(name, f"{len(data)} bytes, more than the limit of {limits.bytes}")
    if not data:
        raise UnreadablePicture(name, "no bytes")
    return _guarded(name, lambda: _open(io.BytesIO(data), data[:16], name, least_side, limits))


def _open(file: Any, head: bytes, name: str, least_side: int | None, limits: Limits) -> Picture:
    formats: tuple[str, ...] = _FORMATS
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        try:
            import pillow_heif
        except ImportError as error:
            raise UnreadablePicture(name, "HEIC pictures need: pip install 'mien[heic]'") from error
        pillow_heif.register_heif_opener()
        formats = (*formats, "HEIF")
    with Image.open(file, formats=formats) as image:
        return _from_image(image, name, least_side, limits)


def _from_image(image: Image.Image, name: str, least_side: int | None, limits: Limits) -> Picture:
    _check_size(image, name, limits)
    orientation, tagged = _orientation(image)
    animated = _animated(image)
    width, height = image.size
    # What phones call JPEG is often MPO: a JPEG with a second one (depth, brightness) behind it.
    if least_side is not None and image.format in ("JPEG", "MPO") and isinstance(image, ImageFile.ImageFile):
        longest = max(width, height)
        image.draft(None, (max(1, width * least_side // longest), max(1, height * least_side // longest)))
        image.load()
    else:
        image.load()
        # Only now are some (ICO) as large as they are.
        _check_size(image, name, limits)
        width, height = image.size
    rgb = _rgb(image)
    # Pillow turns TIFFs itself as it loads them, and then they no longer say that they are to be turned.
    still, _ = _orientation(image)
    turn = _UPRIGHT.get(still)
    if turn is not None:
        rgb = rgb.transpose(turn)
    pixels = np.asarray(rgb)
    size = (height, width) if still >= 5 else (width, height)
    return Picture(pixels, name, size, orientation, tagged, animated)


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadablePicture(name, f"no pixels ({width} x {height})")
    if width * height > limits.pixels:
        raise UnreadablePicture(name, f"{width} x {height} pixels, more than the limit of {limits.pixels}")


def _animated(image: Image.Image) -> bool:
    # Not `n_frames`: to count them Pillow reads them all, for an hour if somebody wishes.
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a broken second frame must not lose the first
        image.seek(0)
        return False


def _orientation(image: Image.Image) -> tuple[int, bool]:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a broken EXIF block must not lose the picture
        return 1, False
    if isinstance(value, int) and 1 <= value <= 8:
        return value, True
    return 1, False


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "RGB":
        return image
    if mode in ("I", "F") or mode.startswith("I;"):
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        base = Image.new("RGB", over.size, "white")
        base.paste(over, mask=over)
        return base
    return image.convert("RGB")


def _to_bytes(values: npt.NDArray[Any]) -> Pixels:
    """Bring 16-bit, 32-bit and float values to 0..255, by their type's range or else by their own."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    # float32 and in place: the largest pictures allowed would take 4 GB otherwise.
    numbers = np.nan_to_num(values.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        low, top = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, top = 0.0, 255.0
    elif low >= 0 and high <= 65535 and values.dtype.kind in "iu":
        low, top = 0.0, 65535.0
    else:
        top = max(high - low, 1e-9)
    numbers *= 255.0 / top
    numbers -= low * (255.0 / top)
    return np.clip(np.rint(numbers, out=numbers), 0, 255, out=numbers).astype(np.uint8)


def _from_array(values: npt.NDArray[Any]) -> Picture:
    name = "<array>"
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        raise UnreadablePicture(
            name, f"an array of shape {values.shape} is no picture: (H, W), (H, W, 3) or (H, W, 4)"
        )
    if values.shape[0] == 0 or values.shape[1] == 0:
        raise UnreadablePicture(name, f"no pixels in an array of shape {values.shape}")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise UnreadablePicture(name, "the array holds NaN or infinite values")
        if values.min() < 0 or values.max() > 1:
            raise UnreadablePicture(name, "an array of floats must be in 0..1; bytes are uint8 in 0..255")
    elif values.dtype not in (np.uint8, np.uint16):
        raise UnreadablePicture(name, f"an array of {values.dtype}: use uint8, uint16 or floats in 0..1")
    pixels = _to_bytes(values)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        pixels = np.asarray(_rgb(Image.fromarray(pixels)))
    return Picture(np.ascontiguousarray(pixels), name, (pixels.shape[1], pixels.shape[0]))
