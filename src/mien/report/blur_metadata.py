"""Takes metadata, thumbnails and previews out of pictures' files: all, or what shows the face again."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import ExifTags, Image

from mien.core.errors import UnreadablePicture

_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
# TIFF 6.0: where a thumbnail's data lie and how long they are, as a JPEG or as strips
_PLACES, _LENGTHS = (513, 273), (514, 279)
# Adobe's image resource of IPTC data, and IPTC's data set 2:202, a preview
_IPTC, _IPTC_PREVIEW = 0x0404, b"\x1c\x02\xca"
# A marker of JPEG within a scan's data: neither a stuffed byte nor a restart
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# Chunks of PNG that decide how the pixels look, or are frames of an animation
_PNG_LOOK = (
    *(b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"bKGD", b"pHYs"),
    *(b"hIST", b"sPLT", b"acTL", b"fcTL", b"fdAT"),
)
_XMP_PREVIEW = re.compile(
    rb"<(xmpGImg|xapGImg):image>.*?</\1:image>|\s(?:xmpGImg|xapGImg):image=(['\"]).*?\2"
    rb"|\s(?:GImage|GDepth|GAudio):Data=(['\"]).*?\3|\sxmpNote:HasExtendedXMP=(['\"]).*?\4",
    re.DOTALL,
)


def without_thumbnail(exif: bytes) -> bytes | None:
    """Return an EXIF block that shows no picture any more; everything else in it stays, byte by byte.

    The second directory, which describes the thumbnail, is unlinked, its data are blanked, and so is every
    JPEG inside the block: makers keep previews in their notes.

    Returns:
        The block, beginning with its TIFF header; None when the block is damaged, and has to be dropped.
    """
    block = bytearray(exif.removeprefix(_EXIF))
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(block[:2])]
        (first,) = struct.unpack_from(order + "I", block, 4)
        link, following = _directory_end(block, order, first)
        struct.pack_into(order + "I", block, link, 0)
        seen = {first}
        while following and following not in seen:
            seen.add(following)
            for start, length in _pictures(block, order, following):
                block[start : start + length] = bytes(len(block[start : start + length]))
            _, following = _directory_end(block, order, following)
    except (KeyError, struct.error):
        return None
    _blank_jpegs(block)
    return bytes(block)


def _directory_end(block: bytearray, order: str, start: int) -> tuple[int, int]:
    """Return where a directory links to the next one, and that link."""
    (count,) = struct.unpack_from(order + "H", block, start)
    link = start + 2 + 12 * count
    return link, struct.unpack_from(order + "I", block, link)[0]


def _pictures(block: bytearray, order: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield the places and lengths of the data of a directory's picture."""
    numbers: dict[int, list[int]] = {}
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, many = struct.unpack_from(order + "HHI", block, entry)
        if tag not in (*_PLACES, *_LENGTHS) or kind not in (3, 4) or many > len(block):
            continue
        form, size = ("H", 2) if kind == 3 else ("I", 4)
        place = entry + 8 if many * size <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
        numbers[tag] = list(struct.unpack_from(f"{order}{many}{form}", block, place))
    for place_tag, length_tag in zip(_PLACES, _LENGTHS, strict=True):
        yield from zip(numbers.get(place_tag, []), numbers.get(length_tag, []), strict=False)


def _blank_jpegs(block: bytearray) -> None:
    start = block.find(b"\xff\xd8\xff")
    while start >= 0:
        depth, end = 0, len(block)
        for mark in re.finditer(rb"\xff(\xd8\xff|\xd9)", bytes(block[start:])):
            depth += -1 if mark[1] == b"\xd9" else 1
            if depth == 0:
                end = start + mark.end()
                break
        block[start:end] = bytes(end - start)
        start = block.find(b"\xff\xd8\xff", end)


def orientation_only(orientation: int) -> bytes:
    """Return an EXIF block that says how the picture is to be turned; empty when it is not."""
    if orientation == 1:
        return b""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes().removeprefix(_EXIF)


def without_previews(xmp: bytes) -> bytes:
    """Return an XMP packet without the pictures in it."""
    return _XMP_PREVIEW.sub(b"", xmp)


def iptc_segment(resources: dict[int, bytes]) -> bytes:
    """Return the JPEG segment that keeps of Adobe's image resources the IPTC data and nothing else."""
    data = resources.get(_IPTC, b"")
    if not data or _IPTC_PREVIEW in data:
        return b""
    payload = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(data)) + data
    return segment(0xED, payload + b"\0" * (len(data) % 2))


def segment(marker: int, payload: bytes) -> bytes:
    """Return a JPEG segment; empty when it would be longer than segments may be."""
    return (
        b"" if len(payload) > 65533 else bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload
    )


def stripped(data: bytes, orientation: int) -> bytes | None:
    """Return a JPEG, PNG or WebP file without metadata; its pixels are not encoded anew.

    The colour profile and the orientation stay: without them the picture would look different.

    Args:
        data: the file.
        orientation: its EXIF orientation.

    Returns:
        The file; None for other formats.

    Raises:
        UnreadablePicture: it is damaged.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _stripped_jpeg(data, orientation)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _stripped_png(data, orientation)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _stripped_webp(data, orientation)
    except (struct.error, IndexError) as error:
        raise UnreadablePicture("<bytes>", "damaged, its metadata cannot be taken out") from error
    return None


def _stripped_jpeg(data: bytes, orientation: int) -> bytes:
    parts = [b"\xff\xd8"]
    exif = orientation_only(orientation)
    if exif:
        parts.append(segment(0xE1, _EXIF + exif))
    at = 2
    while data[at + 1] != 0xD9:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        payload, at = data[at + 4 : at + 2 + length], at + 2 + length
        kept: bytes | None = payload
        if marker == 0xE0:
            # without the thumbnail that JFIF itself may carry
            kept = payload[:12] + b"\0\0" if payload[:5] == b"JFIF\0" else None
        elif marker == 0xE2:
            kept = payload if payload.startswith(_ICC) else None
        elif marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE):
            kept = None
        if kept is not None:
            parts.append(segment(marker, kept))
        if marker == 0xDA:
            start = at
            found = _MARKER.search(data, start)
            if found is None:
                raise IndexError("the picture has no end")
            at = found.start()
            parts.append(data[start:at])
    # what follows the end belongs to other pictures and films of the same moment
    return b"".join([*parts, b"\xff\xd9"])


def _stripped_png(data: bytes, orientation: int) -> bytes:
    parts = [data[:8]]
    exif = orientation_only(orientation)
    for chunk in png_chunks(data):
        if chunk.name == b"IDAT" and exif:
            parts.append(_png_chunk(b"eXIf", exif))
            exif = b""
        if chunk.name[:1].isupper() or chunk.name in _PNG_LOOK:
            parts.append(_png_chunk(chunk.name, chunk.data))
    return b"".join(parts)


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG file."""

    name: bytes
    data: bytes


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a PNG file, to its end."""
    at = 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield Chunk(name, data[at + 8 : at + 8 + length])
        at += 12 + length
        if name == b"IEND":
            return


def _png_chunk(name: bytes, data: bytes) -> bytes:
    from zlib import crc32

    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc32(name + data))


def _stripped_webp(data: bytes, orientation: int) -> bytes:
    exif = orientation_only(orientation)
    body = io.BytesIO()
    at = 12
    end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, at)
        payload = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
        if name == b"VP8X":
            # its flags say which of EXIF (8) and XMP (4) there are
            payload = bytes([payload[0] & ~12 | (8 if exif else 0)]) + payload[1:]
        if name in (b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"):
            body.write(struct.pack("<4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2))
    if exif:
        body.write(struct.pack("<4sI", b"EXIF", len(exif)) + exif + b"\0" * (len(exif) % 2))
    return b"RIFF" + struct.pack("<I", 4 + len(body.getvalue())) + b"WEBP" + body.getvalue()
