"""XMP of picture files: sidecars beside them, and the segments inside JPEGs, changed byte by byte."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mien.core.atomic import writing
from mien.core.errors import UnreadableMetadata, UnwritableOutput
from mien.report import xmp
from mien.report.xmp import Merged, Region

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_APP0, _APP1, _APP2, _SOS, _EOI = 0xE0, 0xE1, 0xE2, 0xDA, 0xD9
# A segment's length is 16 bits and counts itself.
_MOST = 0xFFFF - 2 - len(_XMP)
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Tagged:
    """What became of a picture's face regions.

    Attributes:
        path: the file that holds them: the sidecar or the picture.
        merged: what was added to what was there.
        changed: whether the file was written (or would be, in a dry run).
    """

    path: Path
    merged: Merged
    changed: bool


def sidecar_of(picture: str | os.PathLike[str]) -> Path:
    """Return the path of a picture's sidecar: photo.jpg.xmp, as darktable, digiKam and immich name it.

    Adobe's programs read sidecars (photo.xmp) of raw files only; of JPEGs they read what is inside.
    """
    path = Path(picture)
    return path.with_name(path.name + ".xmp")


def tag_sidecar(
    picture: str | os.PathLike[str], regions: Sequence[Region], size: tuple[int, int], *, dry: bool = False
) -> Tagged:
    """Add face regions to a picture's sidecar, which is made when there is none; the picture is not touched.

    Regions that the picture itself holds go into a sidecar with ours: programs that read it forget the
    picture's own.

    Args:
        picture: the picture's path.
        regions: its faces.
        size: (width, height) in px as stored.
        dry: write nothing.

    Raises:
        UnreadableMetadata: there is a sidecar that cannot be read; it stays as it is.
        UnwritableOutput: full disk, read-only folder.
    """
    path = sidecar_of(picture)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    packet = _read(path) if os.path.lexists(path) else None
    merged = xmp.merge(packet, _with_own(regions, embedded(picture)), size, str(path))
    return _finish(path, packet or b"", merged.packet, merged, dry=dry)


def tag_jpeg(
    picture: str | os.PathLike[str], regions: Sequence[Region], size: tuple[int, int], *, dry: bool = False
) -> Tagged:
    """Add face regions to the XMP inside a JPEG; every byte that is not of its XMP segment stays.

    Args:
        picture: the JPEG's path; behind a link, the file it leads to.
        regions: its faces.
        size: (width, height) in px as stored.
        dry: write nothing.

    Raises:
        UnreadableMetadata: no JPEG, or its XMP cannot be changed; the file stays as it is.
        UnwritableOutput: full disk, read-only folder; the file stays as it is.
    """
    path = Path(os.path.realpath(picture))
    where = str(picture)
    data = path.read_bytes()
    if not data.startswith(b"\xff\xd8"):
        raise UnreadableMetadata(
            where, "no JPEG: regions go into JPEGs only, into a sidecar for others (--into sidecar)"
        )
    found = list(_segments(data, where))
    mine = next((segment for segment in found if segment.holds(data, _XMP)), None)
    _check_extended(data, found, where)
    packet = data[mine.start + 4 + len(_XMP) : mine.end] if mine else None
    merged = xmp.merge(packet, regions, size, where)
    fitted = _fitted(merged.packet, where)
    segment = b"\xff\xe1" + (2 + len(_XMP) + len(fitted)).to_bytes(2) + _XMP + fitted
    start, end = (mine.start, mine.end) if mine else (_place(found),) * 2
    behind_index = any(other.start < start and other.holds(data, b"MPF\0", _APP2) for other in found)
    if behind_index and len(segment) != end - start and merged.packet != packet:
        raise UnreadableMetadata(
            where, "its XMP stands behind an index of more pictures, which would no longer fit: use a sidecar"
        )
    changed = data[:start] + segment + data[end:] if merged.packet and merged.packet != packet else data
    return _finish(path, data, changed, merged, dry=dry)


def embedded(picture: str | os.PathLike[str]) -> list[Region]:
    """Return the face regions inside a picture file; none where there are none or they cannot be read."""
    try:
        with Image.open(picture) as image:
            packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        return xmp.read(packet.encode() if isinstance(packet, str) else packet) if packet else []
    except Exception:  # Pillow raises anything at all; what cannot be read holds no regions for anybody
        return []


def _with_own(regions: Sequence[Region], own: Sequence[Region]) -> list[Region]:
    """Join our regions with the picture's own ones, whose names win."""
    partners = xmp.pair(regions, own)
    named = [
        region if partner is None else Region(region.box, own[partner].name or region.name)
        for region, partner in zip(regions, partners, strict=True)
    ]
    return [*named, *(region for index, region in enumerate(own) if index not in partners)]


def _finish(path: Path, before: bytes, after: bytes, merged: Merged, *, dry: bool) -> Tagged:
    if not after or after == before:
        return Tagged(path, merged, changed=False)
    if not dry:
        if before and not os.access(path, os.W_OK):
            raise UnwritableOutput(path, "permission denied")
        with writing(path) as file:
            file.write(after)
            if before:
                shutil.copymode(path, file.name)
    return Tagged(path, merged, changed=True)


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        # Ask before opening: opening a FIFO would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableMetadata(path, "the sidecar's name is taken by what is no file")
        if status.st_size > _LARGEST:
            raise UnreadableMetadata(path, f"a sidecar of {status.st_size} bytes; the limit is {_LARGEST}")
        packet = path.read_bytes()
    except OSError as error:
        raise UnreadableMetadata(path, f"cannot read the sidecar: {error.strerror}") from error
    if not packet.strip():
        raise UnreadableMetadata(path, "the sidecar is empty: remove it to have it made anew")
    return packet


# Inside JPEGs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Segment:
    """A segment before the picture's scan: its marker, and its bytes from the marker on."""

    marker: int
    start: int
    end: int

    def holds(self, data: bytes, label: bytes, marker: int = _APP1) -> bool:
        return self.marker == marker and data[self.start + 4 : self.end].startswith(label)


def _segments(data: bytes, where: str) -> Iterator[_Segment]:
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF:
            raise UnreadableMetadata(where, f"a damaged JPEG: no segment at byte {at}")
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in (_SOS, _EOI):
            return
        if length < 2 or at + 2 + length > len(data):
            raise UnreadableMetadata(where, f"a damaged JPEG: a segment at byte {at} does not end")
        yield _Segment(marker, at, at + 2 + length)
        at += 2 + length


def _place(found: Sequence[_Segment]) -> int:
    """Return where a new XMP segment goes: behind JFIF's and Exif's, which come first by their standards."""
    at = 2
    for segment in found:
        if segment.marker not in (_APP0, _APP1):
            break
        at = segment.end
    return at


def _check_extended(data: bytes, found: Sequence[_Segment], where: str) -> None:
    """Refuse a JPEG whose regions are in XMP that was too long for one segment.

    Raises:
        UnreadableMetadata: they are.
    """
    parts = [data[part.start + 4 : part.end] for part in found if part.holds(data, _EXTENSION)]
    whole = b"".join(part[len(_EXTENSION) + 40 :] for part in sorted(parts, key=_offset))
    if b"schemas/regions/" in whole or b"photo/1.2/t/Region" in whole:
        raise UnreadableMetadata(
            where, "its face regions are in extended XMP, which is left alone: use a sidecar"
        )


def _offset(part: bytes) -> int:
    # After the label: 32 bytes of the packet's digest, 4 of its length, 4 of this part's offset.
    return int.from_bytes(part[len(_EXTENSION) + 36 : len(_EXTENSION) + 40])


def _fitted(packet: bytes, where: str) -> bytes:
    """Return the packet, without its padding where it would be too long for a segment.

    Raises:
        UnreadableMetadata: it is too long all the same.
    """
    if len(packet) > _MOST:
        body, mark, trailer = packet.rpartition(b"<?xpacket end")
        packet = body.rstrip() + b"\n" + mark + trailer if mark else packet
    if len(packet) > _MOST:
        raise UnreadableMetadata(
            where, f"too many regions for the {_MOST} bytes of a JPEG's XMP: use a sidecar"
        )
    return packet
