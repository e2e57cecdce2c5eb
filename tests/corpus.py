"""A corpus of pictures that go wrong in every way known, made from a real photo."""

from __future__ import annotations

import functools
import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


@dataclass(frozen=True)
class Case:
    """One file of the corpus.

    Attributes:
        path: the file.
        reason: a part of the reason with which it must be refused; "" when it must be read; None when either
            answer is right (what a decoder saves of a cut file is its own choice).
    """

    path: Path
    reason: str | None


def face(photo: Image.Image, side: int = 200) -> Image.Image:
    """Return the head of scikit-image's astronaut, square."""
    return photo.crop((100, 0, 356, 256)).resize((side, side), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, format_: str, **how: Any) -> bytes:
    """Return the bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **how)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def gif_header(width: int, height: int) -> bytes:
    """Return a GIF that claims a size and ends where its first frame's pixels should begin."""
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + bytes(3) + b",\0\0\0\0" + size + b"\0\x08\0"


def looping_tiff() -> bytes:
    """Return a TIFF whose directory names itself as the next one."""
    data = bytearray(encoded(Image.new("L", (8, 8), 90), "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return bytes(data)


def _cut(photo: Image.Image) -> dict[str, tuple[bytes, str | None]]:
    """Return JPEG, PNG and WebP cut at every tenth."""
    files: dict[str, tuple[bytes, str | None]] = {}
    for format_, ending, reason in (
        ("JPEG", "jpg", "truncated"),
        ("PNG", "png", "truncated"),
        ("WEBP", "webp", None),
    ):
        data = encoded(face(photo), format_)
        for tenth in range(1, 10):
            files[f"cut_{tenth}.{ending}"] = (data[: len(data) * tenth // 10], reason)
    return files


def _refused(photo: Image.Image) -> dict[str, tuple[bytes, str | None]]:
    jpeg = encoded(face(photo), "JPEG")
    return {
        "empty.jpg": (b"", "empty"),
        "zeros.png": (bytes(5000), "not a picture"),
        "noise.webp": (np.random.default_rng(3).bytes(5000), "not a picture"),
        "text.jpg": (b"These are words.\n" * 40, "not a picture"),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not a picture"),
        "drawing.jpg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not a picture"),
        "paper.jpg": (b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n", "not a picture"),
        "script.jpg": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
            "not a picture",
        ),
        "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(400), "not a picture"),
        "head_only.jpg": (jpeg[:20], None),
        "start_lost.jpg": (jpeg[100:], "not a picture"),
        "bomb_header.png": (png_header(100_000, 100_000), "pixels"),
        "bomb_header.gif": (gif_header(65_535, 65_535), "pixels"),
        "bomb_real.png": (_bomb(), "pixels"),
        "no_width.png": (png_header(0, 10), "not a picture"),
        "no_data.png": (png_header(200, 200), "damaged"),
        "nan.tif": (encoded(Image.fromarray(np.full((60, 60), np.nan, np.float32)), "TIFF"), ""),
    }


def _odd(photo: Image.Image) -> dict[str, tuple[bytes, str | None]]:
    """Return pictures that are unusual and yet right."""
    small = face(photo)
    blue = Image.new("RGB", small.size, "blue")
    grey = np.asarray(small.convert("L"))
    wrong = Image.Exif()
    wrong[274] = 77
    values = grey.astype(np.float32) / 255
    values[:5] = np.nan
    right = {
        "as_png.jpg": encoded(small, "PNG"),
        "as_jpeg.png": encoded(small, "JPEG"),
        "no_ending": encoded(small, "JPEG"),
        "dot.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "wide.png": encoded(Image.new("RGB", (30_000, 1), "red"), "PNG"),
        "tall.png": encoded(Image.new("RGB", (1, 30_000), "red"), "PNG"),
        "animated.gif": encoded(small.quantize(64), "GIF", save_all=True, append_images=[blue.quantize(2)]),
        "animated.webp": encoded(small, "WEBP", save_all=True, append_images=[blue]),
        "animated.png": encoded(small, "PNG", save_all=True, append_images=[blue]),
        "cmyk.jpg": encoded(small.convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "deep.tif": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        "float.tif": encoded(Image.fromarray(values), "TIFF"),
        "pages.tif": encoded(small, "TIFF", save_all=True, append_images=[blue]),
        "loop.tif": looping_tiff(),
        "exif_broken.jpg": encoded(small, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken"),
        "exif_wrong.jpg": encoded(small, "JPEG", exif=wrong.tobytes()),
        "trailing.jpg": encoded(small, "JPEG") + b"more bytes than belong here" * 100,
        "progressive.jpg": encoded(small, "JPEG", progressive=True),
        "two.mpo": encoded(small, "MPO", save_all=True, append_images=[blue]),
        "wavelet.jp2": encoded(small, "JPEG2000"),
        "icon.ico": encoded(small, "ICO", sizes=[(128, 128)]),
        "palette.png": encoded(small.quantize(32), "PNG", transparency=0),
        "veil.png": encoded(small.convert("LA"), "PNG"),
        "glass.png": encoded(small.convert("RGBA"), "PNG"),
        "bits.png": encoded(small.convert("1"), "PNG"),
        "modern.avif": encoded(small, "AVIF"),
        "modern.heic": _heic(small),
        "plain.bmp": encoded(small, "BMP"),
        "plain.ppm": encoded(small, "PPM"),
        "ending_in_capitals.JPG": encoded(small, "JPEG"),
        " blanks and (brackets)  .jpg": encoded(small, "JPEG"),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        stored = ImageOps.exif_transpose(
            _tagged(small, {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation))
        )
        right[f"orientation_{orientation}.jpg"] = encoded(stored, "JPEG", exif=exif.tobytes(), quality=92)
    return {name: (data, "") for name, data in right.items()}


@functools.cache
def _bomb() -> bytes:
    return encoded(Image.new("1", (20_000, 20_000)), "PNG", compress_level=1)


def _heic(image: Image.Image) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=90)
    return buffer.getvalue()


def _tagged(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image with an orientation written into its EXIF, as `ImageOps.exif_transpose` reads it."""
    exif = Image.Exif()
    exif[274] = orientation
    with Image.open(io.BytesIO(encoded(image, "PNG", exif=exif.tobytes()))) as opened:
        opened.load()
        return opened


def _no_files(folder: Path) -> list[Case]:
    """Make what has a picture's name and is no file."""

    def at(name: str, make: Callable[[Path], object], reason: str) -> Case:
        path = folder / name
        make(path)
        return Case(path, reason)

    def listen(path: Path) -> None:
        # The address of a socket must be short, and pytest's folders are not.
        at_folder = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{at_folder}/{path.name}")
        os.close(at_folder)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(1 << 41)

    def reservoir(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(1 << 29)

    return [
        at("pipe.jpg", os.mkfifo, "not a regular file"),
        at("socket.jpg", listen, "not a regular file"),
        at("device.jpg", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        at("nowhere.jpg", lambda path: path.symlink_to(folder / "is_not_there"), "no such file"),
        at("itself.jpg", lambda path: path.symlink_to(path), "symbolic links"),
        at("memory.jpg", lambda path: path.symlink_to("/proc/self/mem"), "empty"),
        at("sparse_huge.jpg", sparse, "more than the limit"),
        at("sparse_large.jpg", reservoir, "not a picture"),
        Case(folder / "never_was.jpg", "no such file"),
        Case(folder / f"{'long' * 70}.jpg", "too long"),
    ]


def make(folder: Path, photo: Image.Image) -> list[Case]:
    """Write the corpus into a folder and return its cases."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = _no_files(folder)
    for name, (data, reason) in {**_cut(photo), **_refused(photo), **_odd(photo)}.items():
        (folder / name).write_bytes(data)
        cases.append(Case(folder / name, reason))
    text = b"no picture at all"
    for raw in (b"new\nline.jpg", b"tab\tand\x1b[31mred.jpg", b"latin\xe9.jpg", "über ☃.jpg".encode()):
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + raw))
        path.write_bytes(text)
        cases.append(Case(path, "not a picture"))
        good = path.with_name(path.name.replace(".jpg", ".png"))
        good.write_bytes(encoded(face(photo), "PNG"))
        cases.append(Case(good, ""))
    (folder / "round").symlink_to(folder)
    return cases
