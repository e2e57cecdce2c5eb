"""Writes a picture as it was read: the mode, the encoder's settings and the metadata of each format."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

from mien.report import blur_metadata as metadata

# Where the file does not tell how well it was encoded.
_QUALITY = 90
# What the tags of a TIFF say about the picture, rather than how its pixels are stored or where a preview is.
_TIFF_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 33723)
_XMP, _MAKER_NOTE = 700, 37500


def writable(image: Any) -> Image.Image:
    """Return a frame in a mode whose numbers can be blurred and written: no palettes, no single bits."""
    if image.format == "GIF":
        return image.convert("RGBA")  # type: ignore[no-any-return]
    if image.mode in ("P", "PA") or "transparency" in image.info:
        clear = image.mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if clear else "RGB")  # type: ignore[no-any-return]
    if image.mode == "1":
        return image.convert("L")  # type: ignore[no-any-return]
    if image.mode in ("RGBX", "YCbCr", "RGBa", "La"):
        return image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGB"))  # type: ignore[no-any-return]
    return image  # type: ignore[no-any-return]


def settings_like(image: Any, data: bytes, orientation: int, *, strip: bool) -> dict[str, Any]:
    """Return what Pillow needs to write a file like the one read: how it was encoded, and its metadata."""
    info, form = image.info, image.format
    settings: dict[str, Any] = {"icc_profile": info.get("icc_profile")}
    if form in ("JPEG", "MPO"):
        settings |= {"qtables": image.quantization, "progressive": bool(info.get("progressive"))}
        sampling = JpegImagePlugin.get_sampling(image)
        if sampling >= 0:
            settings["subsampling"] = sampling
        settings["comment"] = None if strip else info.get("comment")
        settings["extra"] = b"" if strip else metadata.iptc_segment(info.get("photoshop") or {})
    elif form == "PNG":
        settings["pnginfo"] = _png_info(data, strip=strip)
    elif form == "WEBP":
        settings |= {"lossless": True, "exact": True} if b"VP8L" in data else {"quality": _QUALITY}
    elif form in ("AVIF", "HEIF"):
        settings["quality"] = _QUALITY
    elif form == "TIFF":
        return settings | _tiff_settings(image, strip=strip)
    elif form == "GIF":
        return {"comment": b"" if strip else info.get("comment", b""), "optimize": False, "disposal": 2}
    elif form == "JPEG2000":
        return {"no_jp2": data[:4] == b"\xff\x4f\xff\x51"}
    if "dpi" in info and form in ("JPEG", "MPO", "PNG", "BMP"):
        settings["dpi"] = info["dpi"]
    return settings | _exif_and_xmp(image, orientation, strip=strip)


def _exif_and_xmp(image: Any, orientation: int, *, strip: bool) -> dict[str, Any]:
    if image.format in ("BMP", "DIB", "PPM"):
        return {}
    exif = None if strip else metadata.without_thumbnail(image.info.get("exif") or b"")
    exif = exif or metadata.orientation_only(orientation)
    found: dict[str, Any] = {"exif": b"Exif\0\0" + exif} if exif else {}
    xmp = image.info.get("xmp")
    if xmp and not strip and image.format != "PNG":
        found["xmp"] = metadata.without_previews(xmp)
    return found


def _png_info(data: bytes, *, strip: bool) -> PngImagePlugin.PngInfo:
    """Return the chunks of a PNG that are kept as they are; the rest is made anew."""
    kept = [b"gAMA", b"cHRM", b"sRGB", b"cICP"] + ([] if strip else [b"tEXt", b"zTXt", b"iTXt", b"tIME"])
    info = PngImagePlugin.PngInfo()
    for chunk in metadata.png_chunks(data):
        # ImageMagick's raw profiles are EXIF and IPTC as text, and may hold a thumbnail
        if chunk.name in kept and not chunk.data.startswith(b"Raw profile type"):
            clean = metadata.without_previews(chunk.data) if chunk.name == b"iTXt" else chunk.data
            info.add(chunk.name, clean)
    return info


def _tiff_settings(image: Any, *, strip: bool) -> dict[str, Any]:
    exif = Image.Exif()
    # without the orientation: Pillow turns TIFFs upright as it loads them
    if not strip:
        own = image.getexif()
        for tag in _TIFF_TAGS:
            if tag in own:
                exif[tag] = own[tag]
        for place in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            values = {tag: value for tag, value in own.get_ifd(place).items() if tag != _MAKER_NOTE}
            if values:
                exif.get_ifd(place).update(values)
        if image.info.get("xmp"):
            exif[_XMP] = metadata.without_previews(image.info["xmp"])
    compression = image.info.get("compression", "raw")
    if compression in ("group3", "group4", "tiff_ccitt", "ccitt"):
        compression = "tiff_lzw"
    found: dict[str, Any] = {"exif": exif, "compression": compression}
    if compression == "jpeg":
        found["quality"] = _QUALITY
    return found


def indexed(pixels: npt.NDArray[np.uint8], changed: npt.NDArray[np.bool_]) -> Image.Image:
    """Return a picture of at most 256 colours; where nothing was changed its colours stay exactly the same.

    Args:
        pixels: (H, W, 4) RGBA; transparency is all or nothing.
        changed: (H, W) which pixels were covered.
    """
    height, width = changed.shape
    clear = pixels[..., 3] < 128
    packed = (pixels[..., :3].astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2)
    kept, places = np.unique(packed[~changed & ~clear], return_inverse=True)
    room = 255 - len(kept)
    blurred = changed & ~clear
    if room < 0:
        return Image.fromarray(pixels).quantize(256)
    palette = np.stack([kept >> 16 & 255, kept >> 8 & 255, kept & 255], axis=1).astype(np.uint8)
    index = np.zeros((height, width), np.uint8)
    index[~changed & ~clear] = places
    if blurred.any():
        colours = pixels[..., :3][blurred]
        if room >= 8:
            strip = Image.fromarray(colours[None]).quantize(room)
            extra = np.asarray(strip.getpalette() or [], np.uint8).reshape(-1, 3)[:room]
            index[blurred] = np.asarray(strip)[0].astype(np.int64) + len(palette)
            palette = np.concatenate([palette, extra])
        else:
            distance = ((colours[:, None].astype(np.int32) - palette[None].astype(np.int32)) ** 2).sum(axis=2)
            index[blurred] = distance.argmin(axis=1)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    if clear.any():
        index[clear] = 255
        image = Image.fromarray(index)
        image.putpalette(np.concatenate([palette, np.zeros((256 - len(palette), 3), np.uint8)]).tobytes())
        image.info["transparency"] = 255
    return image
