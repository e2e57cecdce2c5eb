"""A split decoded once: its pixels in a file that is mapped into memory, hashes and labels beside it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image

from mien.core.errors import UnreadablePicture, UnwritableOutput, printable
from mien.core.picture import Picture, Pixels
from mien.core.places import cache_folder
from mien.data.registry import DamagedSet
from mien.data.rows import Rows

VERSION = 1
"""Raise it when decoding changes: caches of other versions are not looked at."""

HASH_BYTES = 16
Progress = Callable[[int, int], None]
"""Is told how many rows are done, and of how many."""

Crop = tuple[float, float, float, float]
"""The part of a picture to keep: x1, y1, x2, y2 in parts of its width and height, 0..1."""


@dataclass(frozen=True)
class Decoding:
    """What decoding makes of a picture.

    Attributes:
        size: width and height in px that the largest square in its middle is scaled to; None keeps it as it
            is.
        grey: one channel of luma (ITU-R BT.601) instead of RGB.
        crop: the part of the picture to keep, before anything else.
    """

    size: int | None = None
    grey: bool = False
    crop: Crop | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= 4096:
            raise ValueError(f"a size of {self.size} px: use 1..4096")
        if self.crop is not None:
            x1, y1, x2, y2 = self.crop
            if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
                raise ValueError(f"crop {self.crop}: x1 y1 x2 y2 in 0..1, the first two below the last two")

    def apply(self, pixels: Pixels) -> Pixels:
        """Return (H, W, 3 or 1) uint8 for (H, W, 3) uint8."""
        height, width = pixels.shape[:2]
        if self.crop is not None:
            x1, y1, x2, y2 = self.crop
            left, top = round(x1 * width), round(y1 * height)
            pixels = pixels[top : max(top + 1, round(y2 * height)), left : max(left + 1, round(x2 * width))]
        if self.size is not None:
            pixels = _square(pixels)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if self.grey:
            image = image.convert("L")
        if self.size is not None and image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(image.height, image.width, 1 if self.grey else 3)


def _square(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def hash_of(pixels: Pixels) -> bytes:
    """Return the hash of a picture's content: equal for equal pixels, whatever they are stored as.

    Args:
        pixels: (H, W, 3) uint8 as decoded, at full size.

    Returns:
        32 hexadecimal digits.
    """
    shape = np.array(pixels.shape, "<u4").tobytes()
    data = np.ascontiguousarray(pixels)
    return hashlib.blake2b(shape + data.tobytes(), digest_size=HASH_BYTES).hexdigest().encode()


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the cache holds of a split.

    Attributes:
        pixels: the file of pixels, for `open_pixels`.
        columns: label columns by name, each of n rows.
        hashes: (n,) of the full pictures' content, 32 hexadecimal digits each.
    """

    pixels: Path
    columns: Mapping[str, npt.NDArray[Any]]
    hashes: npt.NDArray[np.bytes_]


def open_pixels(file: Path) -> Pixels:
    """Map a file of pixels into memory, (n, H, W, C) uint8."""
    pixels: Pixels = np.load(file, mmap_mode="r")
    return pixels


def decoded(file: Path, decoding: Decoding, progress: Progress | None = None) -> Decoded:
    """Return a split as decoded; the first time it is decoded into the cache.

    Two processes that ask at once do not clash: one decodes, the other waits for it. A cache that is not as
    it was written is made again.

    Raises:
        DamagedSet: rows that cannot be read, or pictures of different sizes and no size to bring them to.
        UnwritableOutput: the cache cannot be written.
    """
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    key = json.dumps([VERSION, digest, decoding.size, decoding.grey, decoding.crop])
    folder = (
        cache_folder()
        / "data"
        / f"{file.parent.name}-{file.stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    )
    found = _read(folder)
    if found is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            found = _read(folder)
            if found is None:
                _write(folder, file, decoding, progress)
                found = _read(folder)
    except OSError as error:
        raise UnwritableOutput(folder, error.strerror or str(error)) from error
    if found is None:
        raise UnwritableOutput(folder, "what was just written there has changed; does something clean it up?")
    return found


_FILES = ("pixels.npy", "hashes.npy", "columns.npz")


def _seal(folder: Path) -> dict[str, list[int]]:
    # As git does: a file of the size and the time that it was written with is the one that was written.
    stats = {name: (folder / name).stat() for name in _FILES}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read(folder: Path) -> Decoded | None:
    try:
        if json.loads((folder / "seal.json").read_text("utf-8")) != _seal(folder):
            return None
        return Decoded(folder / "pixels.npy", _load_columns(folder), np.load(folder / "hashes.npy"))
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _save_columns(folder: Path, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    # By number, as NumPy takes some names ("file") for arguments of its own.
    arrays = {str(number): column for number, column in enumerate(columns.values())}
    np.savez(folder / "columns.npz", allow_pickle=False, names=np.array(list(columns)), **arrays)


def _load_columns(folder: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(folder / "columns.npz") as arrays:
        return {str(name): arrays[str(number)] for number, name in enumerate(arrays["names"])}


def _write(folder: Path, file: Path, decoding: Decoding, progress: Progress | None) -> None:
    # Under the lock, so a folder of that name is what a killed process left.
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        rows = Rows.open(file, part / "rows")
        # Plain writing and not a writable map: on a full disk that would kill the process.
        with (part / "pixels.npy").open("wb") as out:
            hashes = _write_pixels(out, rows, decoding, progress)
        _save_columns(part, rows.columns())
        del rows
        shutil.rmtree(part / "rows", ignore_errors=True)
        np.save(part / "hashes.npy", np.array(hashes, f"S{2 * HASH_BYTES}"))
        (part / "seal.json").write_text(json.dumps(_seal(part)), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_pixels(out: IO[bytes], rows: Rows, decoding: Decoding, progress: Progress | None) -> list[bytes]:
    hashes: list[bytes] = []
    unreadable: list[str] = []
    shape: tuple[int, ...] | None = None
    for number, (name, data) in enumerate(rows.pictures()):
        try:
            picture = Picture.read(data)
        except UnreadablePicture as error:
            unreadable.append(f"row {number} ({printable(name)}): {error.reason}")
            continue
        pixels = decoding.apply(picture.pixels)
        if shape is None:
            shape = pixels.shape
            _header(out, (len(rows), *shape))
        if pixels.shape != shape:
            raise DamagedSet(
                f"{printable(rows.file)}: row {number} ({printable(name)}) has {pixels.shape[1]} x"
                f" {pixels.shape[0]} px and earlier ones {shape[1]} x {shape[0]}: say to which `size`"
                " they are to be brought"
            )
        out.write(pixels.tobytes())
        hashes.append(hash_of(picture.pixels))
        if progress is not None:
            progress(number + 1, len(rows))
    if unreadable:
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise DamagedSet(
            f"{printable(rows.file)}: {len(unreadable)} of {len(rows)} pictures cannot be read: "
            + "; ".join(unreadable[:5])
            + more
        )
    if shape is None:
        raise DamagedSet(f"{printable(rows.file)}: has no rows")
    return hashes


def _header(out: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
