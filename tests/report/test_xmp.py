"""Face regions in XMP: where they are, what they leave alone, and that ExifTool reads them."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import programs
from mien.core.errors import UnreadableMetadata, UnwritableOutput
from mien.core.faces import Faces
from mien.core.picture import Picture
from mien.report import xmp
from mien.report.xmp import Region
from mien.report.xmp_files import embedded, sidecar_of, tag_jpeg, tag_sidecar

SIZE = (120, 80)
BOX = (20, 10, 50, 60)
"""A face in an upright picture of 120 x 80 px: off the middle and off every diagonal."""
INVERSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
REGION = Region((0.25, 0.25, 0.5, 0.75))
HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'


def faces_at(*boxes: tuple[float, ...], size: tuple[int, int] = SIZE) -> Faces:
    return Faces(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), 0.9, np.float32),
        picture_size=size,
    )


def stored_jpeg(path: Path, orientation: int = 1) -> Path:
    """Write a photo that is blue but for its face, which is red, stored as the orientation says."""
    upright = Image.new("RGB", SIZE, "blue")
    upright.paste("red", BOX)
    turn = INVERSE[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if turn is None else upright.transpose(turn)
    stored.save(path, quality=95, subsampling=0, exif=exif)
    return path


def exiftool(path: Path) -> dict[str, Any]:
    command = [
        programs.exiftool(),
        "-json",
        "-struct",
        "-n",
        "-XMP-mwg-rs:all",
        "-XMP-MP:all",
        "-XMP-dc:all",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)[0]
    return answer


def boxes_read(path: Path) -> list[tuple[Region, Region]]:
    """Return the regions that ExifTool reads, MWG's beside Microsoft's."""
    answer = exiftool(path)
    pairs = []
    for ours, theirs in zip(
        answer["RegionInfo"]["RegionList"], answer["RegionInfoMP"]["Regions"], strict=True
    ):
        assert ours["Type"] == "Face"
        assert ours["Area"]["Unit"] == "normalized"
        x, y, w, h = (ours["Area"][key] for key in "XYWH")
        left, top, wide, high = map(float, theirs["Rectangle"].split(","))
        pairs.append(
            (
                Region((x - w / 2, y - h / 2, x + w / 2, y + h / 2), str(ours.get("Name", ""))),
                Region((left, top, left + wide, top + high), str(theirs.get("PersonDisplayName", ""))),
            )
        )
    return pairs


@pytest.mark.parametrize("into", ["sidecar", "file"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exiftool_reads_regions_of_the_picture_as_stored(tmp_path: Path, orientation: int, into: str) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg", orientation)
    picture = Picture.read(photo)
    assert picture.size == SIZE
    assert picture.orientation == orientation
    faces = faces_at(BOX)
    regions = xmp.regions_of(faces, orientation, {0: "Ånna <& Co>"})
    size = xmp.stored_size(faces, orientation)
    tagged = (tag_jpeg if into == "file" else tag_sidecar)(photo, regions, size)
    assert tagged.path == (photo if into == "file" else tmp_path / "photo.jpg.xmp")
    with Image.open(photo) as stored:
        dimensions = exiftool(tagged.path)["RegionInfo"]["AppliedToDimensions"]
        assert dimensions == {"W": stored.width, "H": stored.height, "Unit": "pixel"}
        ((mwg, microsoft),) = boxes_read(tagged.path)
        assert mwg.name == microsoft.name == "Ånna <& Co>"
        assert np.allclose(mwg.box, microsoft.box, atol=1e-5)
        # in the stored pixels the region is the red face, and nothing but it
        red = np.asarray(stored.convert("RGB"))[..., 0] > 128
        x1, y1, x2, y2 = np.multiply(mwg.box, [*stored.size] * 2).round().astype(int)
        assert red[y1:y2, x1:x2].mean() > 0.97
        assert red.sum() == pytest.approx((x2 - x1) * (y2 - y1), rel=0.03)
        # a viewer that turns the picture and the region with it shows our box
        mask = Image.new("L", stored.size)
        mask.paste(255, (int(x1), int(y1), int(x2), int(y2)))
        mask.getexif()[0x0112] = orientation
        assert ImageOps.exif_transpose(mask).getbbox() == BOX


def test_regions_are_cut_at_the_border_and_faces_outside_are_left_out() -> None:
    faces = faces_at((-10, -10, 60, 40), (130, 10, 150, 20))
    assert xmp.regions_of(faces) == [Region((0, 0, 0.5, 0.5))]


@pytest.mark.parametrize("tag", [tag_sidecar, tag_jpeg])
def test_a_second_run_changes_nothing(tmp_path: Path, tag: Any) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    assert tag(photo, [REGION], SIZE).changed
    kept = {entry: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in tmp_path.iterdir()}
    again = tag(photo, [REGION], SIZE)
    assert not again.changed
    assert again.merged.added == 0
    assert kept == {entry: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in tmp_path.iterdir()}


@pytest.mark.parametrize("tag", [tag_sidecar, tag_jpeg])
def test_a_dry_run_and_a_picture_without_faces_write_nothing(tmp_path: Path, tag: Any) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    before = photo.read_bytes()
    dry = tag(photo, [REGION], SIZE, dry=True)
    assert (dry.changed, dry.merged.added) == (True, 1)
    assert not tag(photo, [], SIZE).changed
    assert photo.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.jpg"]


# What is there stays ----------------------------------------------------------------------------------------

# As digiKam and Picasa write them: structures as attributes of nested descriptions, foreign things all
# around.
DIGIKAM = f"""{HEAD}
<!-- kept -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:mwg="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
    xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
    xmlns:MP="http://ns.microsoft.com/photo/1.2/"
    xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
    xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"
    xmlns:strange="http://example.com/strange/"
   strange:quoted='a "b" &#10; c'>
   <dc:subject xmlns:dc="http://purl.org/dc/elements/1.1/">
    <rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>
   <mwg:Regions rdf:parseType="Resource">
    <mwg:AppliedToDimensions stDim:w="1200" stDim:h="800" stDim:unit="pixel"/>
    <mwg:RegionList>
     <rdf:Bag>
      <rdf:li>
       <rdf:Description mwg:Name="Anna" mwg:Type="Face" strange:note="mine">
        <mwg:Area stArea:x="0.375" stArea:y="0.5" stArea:w="0.3" stArea:h="0.4" stArea:unit="normalized"/>
       </rdf:Description>
      </rdf:li>
      <rdf:li rdf:parseType="Resource">
       <mwg:Type>Face</mwg:Type>
       <mwg:Area stArea:x="0.8" stArea:y="0.2" stArea:w="0.2" stArea:h="0.3" stArea:unit="normalized"/>
      </rdf:li>
      <rdf:li rdf:parseType="Resource">
       <mwg:Name>Rex</mwg:Name>
       <mwg:Type>Pet</mwg:Type>
       <mwg:Area stArea:x="0.1" stArea:y="0.9" stArea:w="0.1" stArea:h="0.1" stArea:unit="normalized"/>
      </rdf:li>
     </rdf:Bag>
    </mwg:RegionList>
   </mwg:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
{" " * 200}
<?xpacket end="w"?>"""
ANNA = Region((0.25, 0.25, 0.5, 0.75))
NAMELESS = Region((0.7, 0.05, 0.9, 0.35))
REX = Region((0.05, 0.85, 0.15, 0.95))


def test_regions_of_a_photo_manager_are_read() -> None:
    assert [region.name for region in xmp.read(DIGIKAM.encode())] == ["Anna", ""]
    assert np.allclose(xmp.read(DIGIKAM.encode())[1].box, NAMELESS.box)


def test_names_that_are_there_stay_and_go_into_the_other_kind(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg.xmp"
    path.write_text(DIGIKAM)
    merged = xmp.merge(path.read_bytes(), [Region(ANNA.box, "Bob")], SIZE)
    assert merged.kept == ("Anna",)
    path.write_bytes(merged.packet)
    answer = exiftool(path)
    names = [region.get("Name") for region in answer["RegionInfo"]["RegionList"]]
    assert names == ["Anna", None, "Rex"]
    (microsoft,) = answer["RegionInfoMP"]["Regions"]
    assert microsoft["PersonDisplayName"] == "Anna"
    assert "Bob" not in path.read_text()


def test_a_nameless_region_gets_its_name_once(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg.xmp"
    merged = xmp.merge(DIGIKAM.encode(), [Region(NAMELESS.box, "Cleo")], SIZE)
    assert merged.named == 1
    path.write_bytes(merged.packet)
    names = [region.get("Name") for region in exiftool(path)["RegionInfo"]["RegionList"]]
    assert names == ["Anna", "Cleo", "Rex"]
    assert xmp.merge(merged.packet, [Region(NAMELESS.box, "Cleo")], SIZE).packet == merged.packet


@pytest.mark.parametrize(
    "nameless",
    [
        '<rdf:Description mwg:Name="" mwg:Type="Face">{}</rdf:Description>',
        '<rdf:Description mwg:Type="Face">{}</rdf:Description>',
        "<rdf:Description><mwg:Name/><mwg:Type>Face</mwg:Type>{}</rdf:Description>",
    ],
)
def test_nameless_regions_of_every_make_get_their_name(tmp_path: Path, nameless: str) -> None:
    area = '<mwg:Area stArea:x="0.8" stArea:y="0.2" stArea:w="0.2" stArea:h="0.3" stArea:unit="normalized"/>'
    start = DIGIKAM.index('<rdf:li rdf:parseType="Resource">\n       <mwg:Type>Face')
    end = DIGIKAM.index("</rdf:li>", start)
    packet = DIGIKAM[:start] + "<rdf:li>" + nameless.format(area) + DIGIKAM[end:]
    path = tmp_path / "photo.jpg.xmp"
    path.write_bytes(xmp.merge(packet.encode(), [Region(NAMELESS.box, "Cleo")], SIZE).packet)
    regions = exiftool(path)["RegionInfo"]["RegionList"]
    assert [region.get("Name") for region in regions] == ["Anna", "Cleo", "Rex"]
    assert regions[1]["Area"]["X"] == 0.8
    # once: a second value of one property is no RDF structure any more
    item = path.read_text().split("<rdf:li")[3]
    assert len(re.findall(r"(?:mwg|mwg-rs):Name\b", item.replace("</mwg-rs:Name", ""))) == 1


def test_everything_else_stays_byte_for_byte(tmp_path: Path) -> None:
    new = Region((0.05, 0.05, 0.2, 0.3), "Dora")
    merged = xmp.merge(DIGIKAM.encode(), [new], SIZE)
    assert merged.added == 1
    # taking out what was put in gives the old packet back, whatever was put where
    rest, at = merged.packet, 0
    for piece in DIGIKAM.encode().splitlines(keepends=True):
        at = rest.index(piece.strip(), at)
    path = tmp_path / "photo.jpg.xmp"
    path.write_bytes(merged.packet)
    answer = exiftool(path)
    assert answer["Subject"] == ["sea"]
    assert [region.get("Name") for region in answer["RegionInfo"]["RegionList"]] == [
        "Anna",
        None,
        "Rex",
        "Dora",
    ]
    assert [region["PersonDisplayName"] for region in answer["RegionInfoMP"]["Regions"]] == ["Dora"]
    assert answer["RegionInfo"]["AppliedToDimensions"]["W"] == 1200


def test_regions_that_are_no_faces_are_no_face_s_partner() -> None:
    assert xmp.merge(DIGIKAM.encode(), [REX], SIZE).added == 1


def test_regions_of_another_picture_s_shape_are_not_mixed_with() -> None:
    assert xmp.merge(DIGIKAM.encode(), [REGION], (600, 400)).added == 1  # Microsoft's only
    with pytest.raises(UnreadableMetadata, match="1200 x 800 px, but this one is stored as 80 x 120"):
        xmp.merge(DIGIKAM.encode(), [REGION], (80, 120))


@pytest.mark.parametrize(
    "packet",
    [
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        '\ufeff<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="uuid:1 &amp; 2"/>'
        "</rdf:RDF></x:xmpmeta>",
        '<?xml version="1.0" encoding="UTF-8"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><a:RDF '
        'xmlns:a="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><a:Description a:about="">'
        '<r:Regions xmlns:r="http://www.metadataworkinggroup.com/schemas/regions/" a:parseType="Resource"/>'
        "</a:Description></a:RDF></x:xmpmeta>",
    ],
    ids=["nothing in it", "a mark at its start", "empty regions, other prefixes"],
)
def test_regions_go_into_packets_of_every_shape(tmp_path: Path, packet: str) -> None:
    merged = xmp.merge(packet.encode(), [REGION], SIZE)
    path = tmp_path / "a.xmp"
    path.write_bytes(merged.packet)
    ((mwg, _),) = boxes_read(path)
    assert np.allclose(mwg.box, REGION.box)
    assert xmp.merge(merged.packet, [REGION], SIZE).packet == merged.packet


def test_a_description_of_ours_is_about_the_same_resource() -> None:
    packet = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="uuid:1 &amp; &quot;2&quot;"/></rdf:RDF>'
    )
    merged = xmp.merge(packet.encode(), [REGION], SIZE).packet.decode()
    assert merged.count('rdf:about="uuid:1 &amp; &quot;2&quot;"') == 2


@given(st.text(max_size=40))
def test_any_name_comes_back_but_for_what_xml_cannot_hold(name: str) -> None:
    packet = xmp.merge(None, [Region(REGION.box, name)], SIZE).packet
    kept = "".join(c for c in name if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff"))
    kept = kept.encode("utf-8", "ignore").decode()
    assert [region.name for region in xmp.read(packet)] == [kept.strip()]


def test_several_faces_keep_their_own_names() -> None:
    regions = [Region((0.1 * i, 0.1, 0.1 * i + 0.08, 0.3), f"P{i}") for i in range(9)]
    packet = xmp.merge(None, regions[:4], SIZE).packet
    merged = xmp.merge(packet, regions[::-1], SIZE)
    assert merged.added == 5
    found = sorted(xmp.read(merged.packet), key=lambda region: region.box)
    assert [region.name for region in found] == [region.name for region in regions]


# What cannot be read ----------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (BOMB + "<x>&b;</x>", "document type"),
        ("not XML", "no XMP"),
        (DIGIKAM[: len(DIGIKAM) // 2], "no XMP"),
        ("<x/>", "no rdf:RDF"),
        ("<x>" * 200 + "</x>" * 200, "nested"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + "<x/>", "ISO-8859-1"),
        ("a" * ((1 << 24) + 1), "limit"),
    ],
    ids=["bomb", "text", "truncated", "no RDF", "deep", "Latin-1", "huge"],
)
def test_packets_that_are_no_xmp_are_refused_with_the_reason(packet: str, reason: str) -> None:
    with pytest.raises(UnreadableMetadata, match=reason):
        xmp.merge(packet.encode(), [REGION], SIZE)


def test_utf_16_is_refused() -> None:
    with pytest.raises(UnreadableMetadata, match="UTF-16"):
        xmp.merge(DIGIKAM.encode("utf-16"), [REGION], SIZE)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_packets_are_refused_or_come_out_readable(data: st.DataObject) -> None:
    packet = bytearray(DIGIKAM.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packet) - 1))
        replacement = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"<", b"/>", b">", b"&", b'"', b"'"])
        )
        packet[at : at + data.draw(st.integers(0, 6))] = replacement
    new = Region((0.02, 0.02, 0.12, 0.22), "Dora")
    try:
        merged = xmp.merge(bytes(packet), [new], SIZE)
    except UnreadableMetadata:
        return
    assert "Dora" in [region.name for region in xmp.read(merged.packet)]
    assert xmp.merge(merged.packet, [new], SIZE).packet == merged.packet


@pytest.mark.parametrize("content", [b"", b"  \n", b"not XML", b"\xff\xd8\xff\xe0"])
def test_a_broken_sidecar_is_named_and_stays(tmp_path: Path, content: bytes) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    sidecar_of(photo).write_bytes(content)
    with pytest.raises(UnreadableMetadata, match=r"photo\.jpg\.xmp: "):
        tag_sidecar(photo, [REGION], SIZE)
    assert sidecar_of(photo).read_bytes() == content


def test_a_sidecar_s_name_that_is_taken_is_said(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    os.mkfifo(sidecar_of(photo))
    with pytest.raises(UnreadableMetadata, match="no file"):
        tag_sidecar(photo, [REGION], SIZE)
    sidecar_of(photo).unlink()
    sidecar_of(photo).mkdir()
    with pytest.raises(UnreadableMetadata, match="no file"):
        tag_sidecar(photo, [REGION], SIZE)


# Inside JPEGs -----------------------------------------------------------------------------------------------


def segments_of(data: bytes) -> list[bytes]:
    """Return what stands before the scan, segment by segment, and the rest: a reader of the test's own."""
    parts, at = [data[:2]], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(data[at:end])
        at = end
    return [*parts, data[at:]]


def is_xmp(segment: bytes) -> bool:
    return segment[4:].startswith(b"http://ns.adobe.com/xap/1.0/\0")


def test_every_byte_that_is_no_xmp_stays(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg", 6)
    trailing = photo.read_bytes() + b"a trailer, as phones append them"
    photo.write_bytes(trailing)
    photo.chmod(0o640)
    tag_jpeg(photo, [REGION], SIZE)
    first = segments_of(photo.read_bytes())
    assert [part for part in first if not is_xmp(part)] == segments_of(trailing)
    kinds = [part[4:8] for part in first[1:4]]
    assert kinds[kinds.index(b"Exif") + 1] == b"http"
    assert photo.stat().st_mode & 0o777 == 0o640
    tag_jpeg(photo, [Region((0.6, 0.6, 0.8, 0.9), "Eve")], SIZE)
    second = segments_of(photo.read_bytes())
    assert len(second) == len(first)
    assert [part for part in second if not is_xmp(part)] == segments_of(trailing)
    assert [mwg.name for mwg, _ in boxes_read(photo)] == ["", "Eve"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.jpg"]


def test_regions_that_exiftool_wrote_stay_with_ours(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    structure = (
        "{AppliedToDimensions={W=120,H=80,Unit=pixel},RegionList=[{Area={X=0.375,Y=0.5,W=0.25,H=0.5,"
        "Unit=normalized},Name=Anna,Type=Face}]}"
    )
    command = [
        programs.exiftool(),
        "-q",
        "-overwrite_original",
        f"-RegionInfo={structure}",
        "-XMP-dc:Subject=sea",
    ]
    subprocess.run([*command, str(photo)], check=True)
    before = segments_of(photo.read_bytes())
    tagged = tag_jpeg(photo, [REGION, Region((0.6, 0.1, 0.8, 0.4), "Ben")], SIZE)
    assert tagged.merged.added == 2  # Anna into Microsoft's, Ben into both
    assert [mwg.name for mwg, _ in boxes_read(photo)] == ["Anna", "Ben"]
    assert [microsoft.name for _, microsoft in boxes_read(photo)] == ["Anna", "Ben"]
    assert exiftool(photo)["Subject"] in ("sea", ["sea"])
    after = segments_of(photo.read_bytes())
    assert [part for part in after if not is_xmp(part)] == [part for part in before if not is_xmp(part)]


def test_the_file_behind_a_link_is_changed_and_the_link_stays(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    tag_jpeg(link, [REGION], SIZE)
    assert link.is_symlink()
    assert len(boxes_read(photo)) == 1


def test_what_is_no_jpeg_or_a_broken_one_is_refused_and_stays(tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    Image.new("RGB", SIZE).save(png)
    good = stored_jpeg(tmp_path / "photo.jpg").read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good[:60])
    for path, reason in ((png, "no JPEG"), (cut, "damaged JPEG")):
        before = path.read_bytes()
        with pytest.raises(UnreadableMetadata, match=reason):
            tag_jpeg(path, [REGION], SIZE)
        assert path.read_bytes() == before


def with_segment(photo: Path, marker: int, content: bytes, *, last: bool = False) -> None:
    """Put a segment into a JPEG, first or last before the scan."""
    parts = segments_of(photo.read_bytes())
    segment = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
    parts.insert(len(parts) - 1 if last else 1, segment)
    photo.write_bytes(b"".join(parts))


def test_regions_in_extended_xmp_are_left_alone(tmp_path: Path) -> None:
    label = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8)
    photo = stored_jpeg(tmp_path / "photo.jpg")
    with_segment(photo, 0xE1, label + b"<x:xmpmeta>depth map and the like</x:xmpmeta>")
    assert tag_jpeg(photo, [REGION], SIZE).changed
    with_segment(photo, 0xE1, label + b'<a xmlns="http://www.metadataworkinggroup.com/schemas/regions/"/>')
    before = photo.read_bytes()
    with pytest.raises(UnreadableMetadata, match="extended XMP"):
        tag_jpeg(photo, [Region((0.6, 0.1, 0.8, 0.4))], SIZE)
    assert photo.read_bytes() == before


def test_a_segment_that_would_be_too_long_gives_up_its_padding_and_then_refuses(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    packet = xmp.merge(None, [REGION], SIZE).packet
    padded = packet.replace(b"<?xpacket end", b" " * (65_502 - len(packet)) + b"<?xpacket end")
    with_segment(photo, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + padded)
    assert tag_jpeg(photo, [REGION, Region((0.6, 0.1, 0.8, 0.4))], SIZE).changed
    assert len(boxes_read(photo)) == 2
    before = photo.read_bytes()
    many = [Region((x / 20, y / 20, x / 20 + 0.04, y / 20 + 0.04)) for x in range(20) for y in range(20)]
    with pytest.raises(UnreadableMetadata, match="too many regions"):
        tag_jpeg(photo, many, SIZE)
    assert photo.read_bytes() == before


def test_xmp_behind_an_index_of_more_pictures_keeps_its_length_or_is_refused(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    with_segment(photo, 0xE2, b"MPF\0" + bytes(20), last=True)
    assert tag_jpeg(photo, [REGION], SIZE).changed  # before the index, which counts from itself
    other = stored_jpeg(tmp_path / "other.jpg")
    with_segment(other, 0xE2, b"MPF\0" + bytes(20))
    with_segment(other, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + DIGIKAM.encode(), last=True)
    with pytest.raises(UnreadableMetadata, match="index of more pictures"):
        tag_jpeg(other, [REX], SIZE)


# Files ------------------------------------------------------------------------------------------------------


def test_a_sidecar_takes_over_the_names_that_the_photo_holds(tmp_path: Path) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    tag_jpeg(photo, [Region(REGION.box, "Anna"), Region((0.6, 0.6, 0.8, 0.9), "Eve")], SIZE)
    assert [region.name for region in embedded(photo)] == ["Anna", "Eve"]
    tag_sidecar(photo, [REGION], SIZE)
    assert sorted(mwg.name for mwg, _ in boxes_read(sidecar_of(photo))) == ["Anna", "Eve"]


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_other_formats_have_sidecars_and_are_not_touched(tmp_path: Path, ending: str) -> None:
    photo = tmp_path / f"photo.{ending}"
    Image.new("RGB", SIZE).save(photo)
    before = photo.read_bytes()
    tag_sidecar(photo, [REGION], SIZE)
    assert photo.read_bytes() == before
    assert len(boxes_read(tmp_path / f"photo.{ending}.xmp")) == 1


@pytest.mark.parametrize("tag", [tag_sidecar, tag_jpeg])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, tag: Any) -> None:
    photo = stored_jpeg(tmp_path / "photo.jpg")
    tag(photo, [REGION], SIZE)
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UnwritableOutput, match=r"cannot write .*photo\.jpg"):
            tag(photo, [Region((0.6, 0.6, 0.8, 0.9), "Eve")], SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before
