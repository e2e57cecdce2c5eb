"""Reading pictures: every common kind, and every kind of fault, with one clear error."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.core.errors import UnreadablePicture
from mien.core.picture import Limits, Picture

RED = (200, 30, 20)


def saved(folder: Path, name: str, image: Image.Image, **how: object) -> Path:
    path = folder / name
    image.save(path, **how)  # type: ignore[arg-type]
    return path


def plain(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


GOOD: dict[str, Callable[[Path], Path]] = {
    "jpeg": lambda f: saved(f, "a.jpg", plain(), quality=95),
    "png": lambda f: saved(f, "a.png", plain()),
    "webp": lambda f: saved(f, "a.webp", plain(), lossless=True),
    "gif": lambda f: saved(f, "a.gif", plain()),
    "tiff": lambda f: saved(f, "a.tif", plain()),
    "bmp": lambda f: saved(f, "a.bmp", plain()),
    "avif": lambda f: saved(f, "a.avif", plain(), quality=95),
    "cmyk": lambda f: saved(f, "a.jpg", plain("CMYK"), quality=95),
    "palette": lambda f: saved(f, "a.png", plain().quantize(4)),
    "alpha": lambda f: saved(f, "a.png", plain("RGBA")),
    "animated": lambda f: saved(
        f, "a.gif", plain(), save_all=True, append_images=[Image.new("RGB", (40, 30), "blue")]
    ),
    "wrong ending": lambda f: saved(f, "a.png", plain(), format="BMP"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_good_pictures_read_as_their_colour(kind: str, tmp_path: Path) -> None:
    picture = Picture.read(GOOD[kind](tmp_path))
    assert picture.pixels.shape == (30, 40, 3)
    assert picture.pixels.dtype == np.uint8
    assert np.abs(picture.pixels.astype(int) - RED).max() <= 25
    assert picture.size == (40, 30)


def test_an_animation_is_known_as_one_and_its_first_frame_is_read(tmp_path: Path) -> None:
    assert Picture.read(GOOD["animated"](tmp_path)).animated
    assert not Picture.read(GOOD["gif"](tmp_path)).animated


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path: Path) -> None:
    values = np.full((10, 12), 40_000, np.uint16)
    path = saved(tmp_path, "a.png", Image.fromarray(values))
    assert np.abs(Picture.read(path).pixels.astype(int) - 40_000 // 256).max() <= 1


def test_transparency_becomes_white(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    assert (Picture.read(path).pixels == 255).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, ending: str, tmp_path: Path) -> None:
    from PIL import ImageOps

    stored = Image.fromarray(np.random.default_rng(1).integers(0, 255, (6, 9, 3), np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path, f"a.{ending}", stored, exif=exif)
    picture = Picture.read(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(picture.pixels, expected)
    assert (picture.orientation, picture.tagged) == (orientation, True)
    assert picture.stored_size == (9, 6)


def test_big_jpeg_is_decoded_at_reduced_scale(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.jpg", plain(size=(4000, 3000)))
    picture = Picture.read(path, least_side=1900)
    assert picture.pixels.shape == (1500, 2000, 3)
    assert picture.size == (4000, 3000)
    assert picture.scale == 0.5


def test_arrays(astronaut: np.ndarray) -> None:
    assert np.array_equal(Picture.read(astronaut).pixels, astronaut)
    assert np.abs(Picture.read(astronaut / 255.0).pixels.astype(int) - astronaut).max() == 0
    assert Picture.read(astronaut[..., 0]).pixels.shape == astronaut.shape


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 5, 2), np.uint8), "no picture"),
        (np.zeros((5,), np.uint8), "no picture"),
        (np.full((5, 5, 3), np.nan), "NaN"),
        (np.full((5, 5, 3), 200.0), r"0\.\.1"),
        (np.zeros((5, 5, 3), np.int64), "int64"),
    ],
)
def test_wrong_arrays_say_what_is_wrong(array: np.ndarray, reason: str) -> None:
    with pytest.raises(UnreadablePicture, match=reason):
        Picture.read(array)


def _noise(size: int = 200) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("tenth", range(1, 10))
def test_pictures_cut_at_every_tenth_are_read_or_refused(format_: str, tenth: int, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    _noise().save(buffer, format_)
    data = buffer.getvalue()
    path = tmp_path / "cut"
    path.write_bytes(data[: len(data) * tenth // 10])
    try:
        assert Picture.read(path).pixels.shape == (200, 200, 3)
    except UnreadablePicture as error:
        assert error.reason
        assert str(path) in str(error)
    else:
        assert format_ in ("GIF", "BMP", "TIFF", "WEBP"), "a cut JPEG or PNG must not pass as whole"


def test_bytes_that_are_no_picture(tmp_path: Path) -> None:
    for name, data in {"text.jpg": b"hello " * 50, "zero.png": bytes(5000), "short.gif": b"GIF89a"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadablePicture):
            Picture.read(tmp_path / name)
    with pytest.raises(UnreadablePicture, match="no bytes"):
        Picture.read(b"")


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    reasons = {
        "fifo.jpg": "not a regular file",
        "empty.jpg": "empty file",
        ".": "folder",
        "none.jpg": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadablePicture, match=reason):
            Picture.read(tmp_path / name)
    with pytest.raises(UnreadablePicture):
        Picture.read(tmp_path / "loop.jpg")


def test_limits_are_checked_before_decoding(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", plain(size=(300, 200)))
    with pytest.raises(UnreadablePicture, match="300 x 200 pixels"):
        Picture.read(path, limits=Limits(pixels=50_000))
    with pytest.raises(UnreadablePicture, match="bytes, more than"):
        Picture.read(path, limits=Limits(bytes=10))


def test_extreme_sides(tmp_path: Path) -> None:
    assert Picture.read(saved(tmp_path, "wide.png", plain(size=(30_000, 1)))).size == (30_000, 1)
    assert Picture.read(saved(tmp_path, "dot.png", plain(size=(1, 1)))).size == (1, 1)


def test_broken_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.jpg", plain(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    assert Picture.read(path).orientation == 1


def test_names_with_newlines_and_foreign_bytes_are_printable(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/new\nline\xff.jpg"
    Path(os.fsdecode(name)).write_bytes(b"nothing")
    with pytest.raises(UnreadablePicture) as caught:
        Picture.read(os.fsdecode(name))
    assert "\\n" in str(caught.value)
    str(caught.value).encode()
