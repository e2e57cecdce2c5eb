"""Tells from the sizes that a video container states itself whether its file was cut short."""

from __future__ import annotations

from typing import BinaryIO

# ISO/IEC 14496-12 (MP4, QuickTime), RIFF (AVI), and the EBML id of Matroska's Segment
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
_SEGMENT = b"\x18\x53\x80\x67"


def missing_bytes(file: BinaryIO) -> int:
    """Return how many bytes a container says it has beyond the end of its file; 0 also when it says nothing.

    MP4, QuickTime, AVI, Matroska and WebM state their size; transport streams and recordings that were never
    closed do not.

    Args:
        file: open for reading bytes; its position is moved.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in _BOXES:
        return _boxes(file, size)
    if head[:4] == b"RIFF":
        return _chunks(file, size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _segment(file, size)
    return 0


def _boxes(file: BinaryIO, size: int) -> int:
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:
            return 0
        if length < 8 or not head[4:8].isalnum():
            # not a box: padding, or another damage than a cut
            return 0
        place += length
    return max(0, place - size)


def _chunks(file: BinaryIO, size: int) -> int:
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        if head[:4] != b"RIFF":
            return 0
        length = int.from_bytes(head[4:], "little")
        place += 8 + length + length % 2
    # the padding byte of an odd last chunk is often left out
    return place - size if place - size > 1 else 0


def _segment(file: BinaryIO, size: int) -> int:
    file.seek(4)
    length = _number(file)
    if length is None:
        return 0
    file.seek(length, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _number(file)
    return 0 if length is None else max(0, file.tell() + length - size)


def _number(file: BinaryIO) -> int | None:
    """Read an EBML length (RFC 8794, 4): None when it is unknown or there is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    rest = file.read(extra)
    bits = 7 * (extra + 1)
    value = ((first[0] << 8 * extra) + int.from_bytes(rest, "big")) & ((1 << bits) - 1)
    return None if len(rest) < extra or value == (1 << bits) - 1 else value
