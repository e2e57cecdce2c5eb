"""Face regions in XMP metadata: MWG's and Microsoft's, added to what is there without touching the rest.

Both are relative to the picture as stored, before its EXIF orientation is applied:

- MWG ("Guidelines for handling image metadata" 2.0, section 5.9): `mwg-rs:Regions` holds
  `AppliedToDimensions` (the stored size in px) and a bag of regions of Type "Face", each with its `Name`
  where that is known and an `Area` whose x and y are the CENTRE, w and h the size, in fractions of the
  picture. Read by digiKam, Lightroom, darktable, immich, PhotoPrism.
- Microsoft ("People tagging overview"): `MP:RegionInfo` holds a bag of regions, each with a `Rectangle`
  "x, y, w, h" whose x and y are the top-left CORNER, in fractions, and `PersonDisplayName` where it is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mien.core import geometry
from mien.core.errors import UnreadableMetadata
from mien.core.faces import Faces
from mien.core.picture import as_stored
from mien.report.xmp_packet import RDF, Edit, Node, Packet, escaped, new_packet, text_of

MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
MP = "http://ns.microsoft.com/photo/1.2/"
MPRI = "http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
MPREG = "http://ns.microsoft.com/photo/1.2/t/Region#"

# A face that somebody else marked is the same one at this IoU: boxes differ in style, some take in the hair.
_SAME = 0.3
# Largest relative difference of two pictures' aspects that is rounding; more is another picture.
_ASPECT = 0.02

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """A face in a stored picture.

    Attributes:
        box: x1, y1, x2, y2 in fractions of the picture as stored, 0..1.
        name: the person's; empty when not known.
    """

    box: Box
    name: str = ""


@dataclass(frozen=True)
class Merged:
    """What became of a packet.

    Attributes:
        packet: the XMP; the very bytes that were given when there was nothing to add.
        added: how many faces it lacked as regions of one kind or of both.
        named: how many faces in it were nameless and have a name now.
        kept: names in it that stay although another name was given for the face.
    """

    packet: bytes
    added: int = 0
    named: int = 0
    kept: tuple[str, ...] = ()


def regions_of(faces: Faces, orientation: int = 1, names: Mapping[int, str] | None = None) -> list[Region]:
    """Return the regions of faces.

    Args:
        faces: with `picture_size`, the upright picture's.
        orientation: EXIF orientation of the stored picture, 1..8.
        names: names of persons by the index of their face.

    Returns:
        One region a face, cut at the picture's border; faces wholly outside of it are left out.
    """
    regions = []
    for index, corners in enumerate(faces.boxes.reshape(-1, 2, 2)):
        stored = as_stored(corners, faces.picture_size, orientation) / stored_size(faces, orientation)
        x1, y1, x2, y2 = np.clip([*stored.min(axis=0), *stored.max(axis=0)], 0, 1).tolist()
        if x2 > x1 and y2 > y1:
            regions.append(Region((x1, y1, x2, y2), (names or {}).get(index, "")))
    return regions


def stored_size(faces: Faces, orientation: int) -> tuple[int, int]:
    """Return (width, height) in px of the picture as stored."""
    width, height = faces.picture_size
    return (height, width) if orientation >= 5 else (width, height)


def read(packet: bytes, where: str = "XMP") -> list[Region]:
    """Return the face regions of an XMP packet: MWG's, and those of Microsoft's that are not among them.

    A name in either is the face's.

    Raises:
        UnreadableMetadata: it is no XMP.
    """
    found: list[Region] = []
    document = Packet(packet, where)
    for kind in _KINDS:
        theirs = [entry.region for entry in kind.entries(document)]
        partners = pair(theirs, found)
        found += [region for region, partner in zip(theirs, partners, strict=True) if partner is None]
    return _with_names(document, found)[0]


def merge(
    packet: bytes | None, regions: Sequence[Region], size: tuple[int, int], where: str = "XMP"
) -> Merged:
    """Add face regions to an XMP packet.

    What is there stays byte for byte: other properties, other regions, names. A face that is there already
    (IoU of at least 0.3) is not added again; if it has no name and we have one, it gets it. A face that has a
    name in one of the two kinds of regions has the same one in the other.

    Args:
        packet: the XMP that is there; None makes a new one.
        regions: the faces.
        size: (width, height) in px of the picture as stored.
        where: what the packet is of, for errors.

    Raises:
        UnreadableMetadata: the packet is no XMP, declares entities, or holds regions for a picture of another
            shape.
    """
    document = Packet(packet, where) if packet else None
    regions, kept = _with_names(document, regions)
    edits: list[Edit] = []
    fresh: list[str] = []
    added, named = 0, 0
    for kind in _KINDS:
        entries = list(kind.entries(document)) if document else []
        if document:
            kind.check(document, size)
        partners = pair(regions, [entry.region for entry in entries])
        new = [region for region, partner in zip(regions, partners, strict=True) if partner is None]
        added = max(added, len(new))
        nameless = [
            (entries[partner], region.name)
            for region, partner in zip(regions, partners, strict=True)
            if partner is not None and region.name and not entries[partner].region.name
        ]
        named = max(named, len(nameless))
        edits += [kind.name_edit(entry, name) for entry, name in nameless]
        if not new:
            continue
        array = kind.array(document) if document else None
        if array and array.children and array.inside is not None:
            edits.append(
                (array.inside, array.inside, "".join(kind.item(region, declared=False) for region in new))
            )
        elif document and (old := document.property(kind.name)) is not None:
            edits.append((old.start, old.end, kind.whole(new, size)))
        else:
            fresh.append(kind.whole(new, size))
    if document is None:
        return Merged(new_packet(fresh), added, named, kept) if fresh else Merged(b"", 0, 0, kept)
    if fresh:
        edits.append(document.insertion(fresh))
    return Merged(document.edited(edits), added, named, kept)


def _with_names(document: Packet | None, regions: Sequence[Region]) -> tuple[list[Region], tuple[str, ...]]:
    """Give each region the name that it has in the document already; a name there wins over one given."""
    result = list(regions)
    kept: list[str] = []
    if document is None:
        return result, ()
    for kind in _KINDS:
        theirs = [entry.region for entry in kind.entries(document) if entry.region.name]
        for index, partner in enumerate(pair(result, theirs)):
            if partner is None or theirs[partner].name == result[index].name:
                continue
            if result[index].name:
                kept.append(theirs[partner].name)
            result[index] = Region(result[index].box, theirs[partner].name)
    return result, tuple(dict.fromkeys(kept))


def pair(ours: Sequence[Region], theirs: Sequence[Region]) -> list[int | None]:
    """Return for each of our regions the index of theirs that is the same face; the best pairs first."""
    partners: list[int | None] = [None] * len(ours)
    if not ours or not theirs:
        return partners
    overlap = geometry.iou(
        np.array([region.box for region in ours]), np.array([region.box for region in theirs])
    )
    while overlap.max() >= _SAME:
        mine, other = divmod(int(overlap.argmax()), len(theirs))
        partners[mine] = other
        overlap[mine, :] = 0
        overlap[:, other] = 0
    return partners


@dataclass(frozen=True)
class _Entry:
    """A region that is in the packet, and where."""

    region: Region
    node: Node


class _Kind:
    """One of the two ways to write regions.

    Attributes:
        name: of the picture's property that holds them.
        list_name: of the property in it that is the array of regions.
        person: of a region's property that is the person's name.
        naming: an element of that property, with "{}" for the name.
    """

    name: str
    list_name: str
    person: str
    naming: str

    def array(self, document: Packet) -> Node | None:
        """Return the array of regions."""
        regions = document.property(self.name)
        found = regions.fields().get(self.list_name) if regions else None
        return found.array() if isinstance(found, Node) else None

    def entries(self, document: Packet) -> Iterator[_Entry]:
        """Yield the faces among the regions."""
        raise NotImplementedError

    def check(self, document: Packet, size: tuple[int, int]) -> None:
        """Refuse to mix regions of a picture that was cropped or turned since, where they tell.

        Raises:
            UnreadableMetadata: the regions are for a picture of another shape.
        """

    def item(self, region: Region, *, declared: bool) -> str:
        """Return an item of the array; it declares its namespaces itself unless that is done around it."""
        raise NotImplementedError

    def whole(self, regions: Sequence[Region], size: tuple[int, int]) -> str:
        """Return the whole property."""
        raise NotImplementedError

    def name_edit(self, entry: _Entry, name: str) -> Edit:
        """Return the edit that gives a name to a region that has none, or an empty one."""
        node = entry.node
        inner = next((child for child in node.children if child.tag == f"{{{RDF}}}Description"), node)
        if inner.inside is not None and self.person not in node.fields():
            return inner.inside, inner.inside, self.naming.format(escaped(name))
        return node.start, node.end, self.item(Region(entry.region.box, name), declared=False)


class _Mwg(_Kind):
    """Regions of the Metadata Working Group."""

    name = f"{{{MWG}}}Regions"
    list_name = f"{{{MWG}}}RegionList"
    person = f"{{{MWG}}}Name"
    naming = f'<mwg-rs:Name xmlns:mwg-rs="{MWG}">{{}}</mwg-rs:Name>'

    def entries(self, document: Packet) -> Iterator[_Entry]:
        array = self.array(document)
        for item in array.children if array else ():
            # Other types of regions (pets, focus points, bar codes) are nobody's face.
            fields = item.fields()
            area = fields.get(f"{{{MWG}}}Area")
            if not isinstance(area, Node) or text_of(fields.get(f"{{{MWG}}}Type")) not in ("", "Face"):
                continue
            numbers = [_float(area.fields().get(f"{{{AREA}}}{axis}")) for axis in "xywh"]
            if all(map(math.isfinite, numbers)):
                x, y, w, h = numbers
                box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                yield _Entry(Region(box, text_of(fields.get(self.person))), item)

    def check(self, document: Packet, size: tuple[int, int]) -> None:
        regions = document.property(self.name)
        found = regions.fields().get(f"{{{MWG}}}AppliedToDimensions") if regions else None
        array = self.array(document)
        if not isinstance(found, Node) or array is None or not array.children:
            return
        width, height = (_float(found.fields().get(f"{{{DIMENSIONS}}}{side}")) for side in "wh")
        if width > 0 and height > 0 and abs(width * size[1] / (height * size[0]) - 1) > _ASPECT:
            raise UnreadableMetadata(
                document.where,
                f"its face regions are for a picture of {width:g} x {height:g} px, but this one is stored as "
                f"{size[0]} x {size[1]}: bring them in order, or remove them, with the program that "
                "wrote them",
            )

    def item(self, region: Region, *, declared: bool) -> str:
        x1, y1, x2, y2 = region.box
        area = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "w": x2 - x1, "h": y2 - y1}
        numbers = " ".join(f'stArea:{axis}="{_number(value)}"' for axis, value in area.items())
        spaces = "" if declared else f' xmlns:rdf="{RDF}"{self._spaces()}'
        name = f"\n       <mwg-rs:Name>{escaped(region.name)}</mwg-rs:Name>" if region.name else ""
        return (
            f'\n      <rdf:li{spaces} rdf:parseType="Resource">{name}\n       <mwg-rs:Type>Face</mwg-rs:Type>'
            f'\n       <mwg-rs:Area {numbers} stArea:unit="normalized"/>\n      </rdf:li>'
        )

    def whole(self, regions: Sequence[Region], size: tuple[int, int]) -> str:
        items = "".join(self.item(region, declared=True) for region in regions)
        return (
            f'\n   <mwg-rs:Regions xmlns:rdf="{RDF}"{self._spaces()} xmlns:stDim="{DIMENSIONS}"'
            f' rdf:parseType="Resource">\n    <mwg-rs:AppliedToDimensions stDim:w="{size[0]}"'
            f' stDim:h="{size[1]}" stDim:unit="pixel"/>\n    <mwg-rs:RegionList>\n     <rdf:Bag>{items}'
            "\n     </rdf:Bag>\n    </mwg-rs:RegionList>\n   </mwg-rs:Regions>"
        )

    def _spaces(self) -> str:
        return f' xmlns:mwg-rs="{MWG}" xmlns:stArea="{AREA}"'


class _Microsoft(_Kind):
    """Regions of Microsoft's people tags; they do not say what picture they are for."""

    name = f"{{{MP}}}RegionInfo"
    list_name = f"{{{MPRI}}}Regions"
    person = f"{{{MPREG}}}PersonDisplayName"
    naming = f'<MPReg:PersonDisplayName xmlns:MPReg="{MPREG}">{{}}</MPReg:PersonDisplayName>'

    def entries(self, document: Packet) -> Iterator[_Entry]:
        array = self.array(document)
        for item in array.children if array else ():
            fields = item.fields()
            numbers = [_float(part) for part in text_of(fields.get(f"{{{MPREG}}}Rectangle")).split(",")]
            if len(numbers) == 4 and all(map(math.isfinite, numbers)):
                x, y, w, h = numbers
                yield _Entry(Region((x, y, x + w, y + h), text_of(fields.get(self.person))), item)

    def item(self, region: Region, *, declared: bool) -> str:
        x1, y1, x2, y2 = region.box
        rectangle = ", ".join(_number(value) for value in (x1, y1, x2 - x1, y2 - y1))
        spaces = "" if declared else f' xmlns:rdf="{RDF}" xmlns:MPReg="{MPREG}"'
        name = escaped(region.name)
        named = f"\n       <MPReg:PersonDisplayName>{name}</MPReg:PersonDisplayName>" if region.name else ""
        return (
            f'\n      <rdf:li{spaces} rdf:parseType="Resource">'
            f"\n       <MPReg:Rectangle>{rectangle}</MPReg:Rectangle>{named}\n      </rdf:li>"
        )

    def whole(self, regions: Sequence[Region], size: tuple[int, int]) -> str:
        items = "".join(self.item(region, declared=True) for region in regions)
        return (
            f'\n   <MP:RegionInfo xmlns:rdf="{RDF}" xmlns:MP="{MP}" xmlns:MPRI="{MPRI}" xmlns:MPReg="{MPREG}"'
            f' rdf:parseType="Resource">\n    <MPRI:Regions>\n     <rdf:Bag>{items}'
            "\n     </rdf:Bag>\n    </MPRI:Regions>\n   </MP:RegionInfo>"
        )


_KINDS: tuple[_Kind, ...] = (_Mwg(), _Microsoft())


def _float(value: Node | str | None) -> float:
    try:
        return float(text_of(value))
    except ValueError:
        return math.nan


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"
