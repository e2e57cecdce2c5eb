"""Fuzz the picture reader: any bytes are a picture or an `UnreadablePicture`, soon and in little memory."""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mien", "PIL"]):
    from PIL import Image

    from mien.core.errors import UnreadablePicture
    from mien.core.picture import Limits, Picture

    Image.init()  # imports the decoders, so that they are watched too

_LIMITS = Limits(pixels=1 << 22)


def one(data: bytes) -> None:
    """Read one input at full and at reduced size."""
    for least_side in (None, 8):
        try:
            picture = Picture.read(data, least_side=least_side, limits=_LIMITS)
        except UnreadablePicture as error:
            assert error.reason
            assert str(error).encode()
        else:
            assert picture.pixels.ndim == 3
            assert picture.pixels.shape[2] == 3
            assert picture.pixels.size
            assert 0 < picture.scale <= 1


def seeds(folder: Path) -> None:
    """Write one small picture of each kind that the reader knows."""
    ramp = Image.linear_gradient("L").resize((24, 16))
    colour = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp))
    exif = Image.Exif()
    exif[274] = 6
    for format_ in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "ICO", "MPO"):
        colour.save(folder / f"colour.{format_}", format_)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16", "F", "CMYK"):
        image = ramp.convert("I").convert(mode) if mode == "I;16" else colour.convert(mode)
        format_ = "TIFF" if mode in ("F", "CMYK", "I;16") else "PNG"
        image.save(folder / f"mode.{mode.replace(';', '')}", format_)
    colour.save(folder / "progressive", "JPEG", progressive=True, exif=exif.tobytes())
    for format_ in ("GIF", "WEBP", "PNG", "TIFF"):
        colour.save(folder / f"animated.{format_}", format_, save_all=True, append_images=[colour.rotate(90)])
    buffer = io.BytesIO()
    colour.save(buffer, "TIFF", compression="tiff_lzw")
    (folder / "lzw").write_bytes(buffer.getvalue())


def main() -> None:
    """Run libFuzzer."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        seeds(Path(made))
        atheris.Setup([*sys.argv, made], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
