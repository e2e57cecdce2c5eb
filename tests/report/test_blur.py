from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

import programs
from mien.core.errors import UnreadablePicture, UnwritableOutput
from mien.core.faces import Faces
from mien.core.picture import Picture
from mien.report import blur as effects
from mien.report.blur import Cover, blur, extents, hide, mask_boxes
from mien.report.blur_formats import indexed
from mien.report.blur_metadata import stripped, without_previews, without_thumbnail
from mien.report.blur_photo import blur_photo
from mien.report.blur_run import finder
from mien.runtime.describe import describe
from mien.runtime.pipeline import Options, Pipeline

Pixels = npt.NDArray[np.uint8]
PHOTOS = ["astronaut.png", "biden.jpg", "grace_hopper.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"]
STYLES = ["gaussian", "pixelate", "solid"]


@pytest.fixture(scope="session")
def search() -> Pipeline:
    return finder(Options(threads=1))


@pytest.fixture(scope="session")
def portrait(astronaut: Pixels) -> Pixels:
    """Return (240, 240, 3) with one face in the middle."""
    return np.ascontiguousarray(astronaut[10:250, 100:340])


@pytest.fixture(scope="session")
def portrait_faces(search: Pipeline, portrait: Pixels) -> Faces:
    faces = search.analyze(portrait)
    assert len(faces) == 1
    return faces


@pytest.fixture(scope="session")
def landscape(astronaut: Pixels) -> Pixels:
    """Return (200, 200, 3) without a face."""
    return np.ascontiguousarray(astronaut[300:500, 20:220])


def outside(shape: tuple[int, ...], boxes: npt.NDArray[Any], cover: Cover) -> npt.NDArray[np.bool_]:
    """Return which pixels lie in no mask, soft edges included."""
    mask = np.ones(shape[:2], bool)
    for x1, y1, x2, y2 in mask_boxes(boxes, cover):
        edge_x, edge_y = cover.feather * (x2 - x1) / 2 + 1, cover.feather * (y2 - y1) / 2 + 1
        mask[
            max(0, int(y1 - edge_y)) : int(y2 + edge_y) + 2, max(0, int(x1 - edge_x)) : int(x2 + edge_x) + 2
        ] = False
    return mask


def middle(values: npt.NDArray[Any], faces: Faces) -> npt.NDArray[Any]:
    """Return the inner part of the first face."""
    x1, y1, x2, y2 = (round(float(v)) for v in faces.boxes[0])
    third = (x2 - x1) // 3
    return values[y1 + third : y2 - third, x1 + third : x2 - third]


def exiftool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [programs.exiftool(), *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def tags(path: Path) -> dict[str, Any]:
    """Return what exiftool reads of a file, without what it says of the file itself."""
    found: dict[str, Any] = json.loads(exiftool("-j", "-G1", "-a", path))[0]
    return {
        k: v for k, v in found.items() if k.split(":")[0] not in ("System", "ExifTool", "File", "SourceFile")
    }


# --- what a recogniser and a detector still see


@pytest.mark.parametrize("photo", PHOTOS)
def test_a_recogniser_and_the_detector_are_lost(pipeline: Pipeline, demo_photos: Path, photo: str) -> None:
    pixels = Picture.read(demo_photos / photo, least_side=1000).pixels
    faces = pipeline.analyze(pixels)
    recogniser = pipeline.model_for("embeddings")
    assert recogniser is not None
    threshold = recogniser.card.threshold("embeddings")
    assert threshold is not None
    assert faces.mesh is not None
    assert faces.embeddings is not None
    known = {"mesh": faces.mesh, "boxes": faces.boxes}
    covered = [blur(pixels, faces, Cover(style=style)) for style in STYLES]
    made = describe(recogniser, [(each, known) for each in covered])
    similarities = [float(each["embeddings"][0] @ faces.embeddings[0]) for each in made]
    assert max(similarities) < threshold.value
    # as little as of a black patch in the face's place
    assert max(similarities) < similarities[-1] + 0.05
    assert [len(pipeline.analyze(each)) for each in covered] == [0, 0, 0]


@pytest.mark.parametrize("style", ["gaussian", "pixelate"])
def test_a_large_face_is_as_unrecognisable_as_a_small_one(
    portrait: Pixels, portrait_faces: Faces, style: str
) -> None:
    large = np.asarray(Image.fromarray(portrait).resize((960, 960), Image.Resampling.BICUBIC))
    faces = portrait_faces.scaled(4, (960, 960))
    blurred = Image.fromarray(blur(large, faces, Cover(style=style)))
    small = blurred.resize((240, 240), Image.Resampling.BOX)
    expected = blur(portrait, portrait_faces, Cover(style=style))
    difference = np.abs(middle(np.asarray(small).astype(int) - expected, portrait_faces))
    assert difference.mean() < 6
    assert np.abs(middle(portrait.astype(int) - expected, portrait_faces)).mean() > 20


def test_strength_leaves_less(portrait: Pixels, portrait_faces: Faces) -> None:
    spread = [
        float(middle(blur(portrait, portrait_faces, Cover(style=style, strength=s)), portrait_faces).std())
        for style in ("gaussian", "pixelate")
        for s in (0.25, 0.5, 1, 2)
    ]
    assert spread[:4] == sorted(spread[:4], reverse=True)
    assert spread[4] > spread[7]


# --- masks


@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize("feather", [0.0, 0.1])
def test_the_whole_box_is_covered_and_nothing_beyond_the_edge(shape: str, feather: float) -> None:
    pixels = np.full((300, 300, 3), 200, np.uint8)
    cover = Cover("solid", shape, margin=0.3, feather=feather)
    box = np.array([[100, 90, 180, 200]], np.float32)
    covered = pixels.copy()
    hide(covered, box, cover)
    assert (covered[90:200, 100:180] == 0).all()
    free = outside(pixels.shape, box, cover)
    assert (covered[free] == 200).all()
    assert 0.4 < free.mean() < 0.95
    soft = (covered > 0) & (covered < 200)
    assert soft.any() == (feather > 0)
    if shape == "ellipse":
        assert (covered[59:62, 77:80] == 200).all()


def test_faces_over_the_border_smaller_than_a_pixel_and_without_size_do_no_harm() -> None:
    pixels = np.full((40, 60), 100, np.uint16)
    boxes = [
        [-30, -30, 10, 10],
        [50.2, 30.2, 50.4, 30.4],
        [20, 20, 20, 20],
        [np.nan, 0, 5, 5],
        [500, 0, 600, 9],
    ]
    for style in STYLES:
        covered = pixels.copy()
        hide(covered, np.array(boxes), Cover(style))
        assert covered.shape == pixels.shape
    assert covered[0, 0] == 0
    assert covered[30, 50] < 100
    assert covered[20, 20] == 100
    assert covered[0, 59] == 100


def test_the_mesh_widens_the_box_where_it_looks_at_a_face(portrait_faces: Faces) -> None:
    mesh = np.zeros((1, 468, 3), np.float32)
    mesh[0, :, :2] = np.random.default_rng(0).uniform(50, 200, (468, 2))
    one = np.ones(1, np.float32)
    faces = Faces(np.array([[100, 100, 150, 150]], np.float32), one, mesh=mesh, presence=one)
    assert extents(faces)[0] == pytest.approx([*mesh[0, :, :2].min(axis=0), *mesh[0, :, :2].max(axis=0)])
    unsure = faces.with_fields(presence=np.full(1, 0.2, np.float32))
    assert extents(unsure)[0].tolist() == [100, 100, 150, 150]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"style": "blur"}, "gaussian"), ({"shape": "star"}, "ellipse"), ({"margin": -1}, "margin")],
)
def test_wrong_settings_are_refused_with_the_right_ones(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cover(**settings)


# --- files


def as_mode(pixels: Pixels, mode: str) -> Image.Image:
    if mode == "I;16":
        grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.uint16)
        return Image.fromarray(grey * 257 + np.arange(grey.shape[1], dtype=np.uint16) % 7)
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: 128 + v // 2))
    return image.quantize(200) if mode == "P" else image.convert(mode)


LOSSLESS = [
    ("a.png", "RGB", {}),
    ("a.png", "RGBA", {}),
    ("a.png", "L", {}),
    ("a.png", "LA", {}),
    ("a.png", "P", {}),
    ("a.png", "I;16", {}),
    ("a.tif", "RGB", {"compression": "tiff_lzw"}),
    ("a.tif", "CMYK", {}),
    ("a.tif", "I;16", {}),
    ("a.bmp", "RGB", {}),
    ("a.ppm", "RGB", {}),
    ("a.webp", "RGBA", {"lossless": True, "exact": True}),
    ("a.gif", "P", {}),
    ("a.jp2", "RGB", {}),
]


@pytest.mark.parametrize(("name", "mode", "settings"), LOSSLESS, ids=[f"{n[2:]}-{m}" for n, m, _ in LOSSLESS])
def test_lossless_formats_keep_every_pixel_outside_the_masks(
    tmp_path: Path, search: Pipeline, portrait: Pixels, name: str, mode: str, settings: dict[str, Any]
) -> None:
    source, target = tmp_path / name, tmp_path / f"out-{name}"
    as_mode(portrait, mode).save(source, **settings)
    made = blur_photo(source, target, search)
    assert (made.faces, made.remaining) == (1, ())
    stored, written = Image.open(source), Image.open(target)
    assert (written.format, written.size) == (stored.format, stored.size)
    if mode != "P":
        assert written.mode == stored.mode
    before, after = (image.convert("RGB") if mode == "P" else image for image in (stored, written))
    old, new = np.asarray(before).astype(np.int64), np.asarray(after).astype(np.int64)
    faces = search.analyze(source)
    free = outside(old.shape, extents(faces), Cover())
    assert free.mean() > 0.2
    assert np.array_equal(old[free], new[free])
    assert (middle(old, faces) != middle(new, faces)).mean() > 0.4
    if mode in ("RGBA", "LA"):
        assert np.array_equal(old[..., -1], new[..., -1])


@pytest.mark.parametrize(("mode", "sampling"), [("RGB", 0), ("RGB", 2), ("L", -1), ("CMYK", 0)])
def test_jpegs_are_encoded_with_their_own_tables(
    tmp_path: Path, search: Pipeline, portrait: Pixels, mode: str, sampling: int
) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    settings: dict[str, Any] = {} if sampling < 0 else {"subsampling": sampling}
    as_mode(portrait, mode).save(
        source, quality=83, icc_profile=profile, progressive=sampling == 0, dpi=(240, 240), **settings
    )
    made = blur_photo(source, target, search)
    assert (made.faces, made.style, made.remaining) == (1, "gaussian", ())
    before, after = Image.open(source), Image.open(target)
    assert after.mode == mode
    assert after.quantization == before.quantization  # type: ignore[attr-defined]
    for fact in ("icc_profile", "dpi", "progressive"):
        assert after.info.get(fact) == before.info.get(fact)
    old, new = np.asarray(before).astype(int), np.asarray(after).astype(int)
    free = outside(old.shape, extents(search.analyze(source)), Cover())
    assert np.abs(old - new)[free].mean() < 1.5


@pytest.mark.parametrize("ending", ["avif", "heic", "webp"])
def test_lossy_formats_stay_what_they_are(
    tmp_path: Path, search: Pipeline, portrait: Pixels, ending: str
) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    source, target = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    Image.fromarray(portrait).save(source, quality=90)
    made = blur_photo(source, target, search)
    assert (made.faces, made.remaining) == (1, ())
    before, after = Image.open(source), Image.open(target)
    assert (after.format, after.size) == (before.format, before.size)
    old, new = np.asarray(before).astype(int), np.asarray(after).astype(int)
    free = outside(old.shape, extents(search.analyze(source)), Cover())
    assert np.abs(old - new)[free].mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_picture_is_stored_as_it_was_and_covered_where_it_is_upright(
    tmp_path: Path, search: Pipeline, portrait: Pixels, orientation: int, ending: str
) -> None:
    wide = np.ascontiguousarray(portrait[:, 10:200])
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    upright = Image.fromarray(wide)
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[274] = orientation
    source, target = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    stored.save(source, exif=exif)
    assert np.array_equal(Picture.read(source).pixels, wide)
    cover = Cover("solid", feather=0)
    blur_photo(source, target, search, cover, strip=orientation % 2 == 0)
    written = Picture.read(target)
    if ending == "png":
        assert written.orientation == orientation
        assert Image.open(target).size == stored.size
    expected = blur(wide, search.analyze(source), cover)
    assert (written.pixels != expected).any(axis=2).mean() < 0.001


@pytest.fixture(scope="module")
def photo_with_everything(tmp_path_factory: pytest.TempPathFactory, portrait: Pixels) -> Path:
    """Return a JPEG with thumbnails (EXIF, Photoshop), GPS, IPTC, XMP, a comment and a second picture."""
    folder = tmp_path_factory.mktemp("everything")
    path, small = folder / "photo.jpg", folder / "thumb.jpg"
    Image.fromarray(portrait).resize((96, 96)).save(small, quality=70)
    Image.fromarray(portrait).save(path, quality=90, comment=b"taken at home")
    exiftool(
        "-overwrite_original",
        *(
            "-Make=Acme",
            "-Model=One",
            "-Artist=Ann",
            "-DateTimeOriginal=2020:01:02 03:04:05",
            "-Orientation#=6",
        ),
        *("-GPSLatitude=48.1", "-GPSLatitudeRef=N", "-GPSLongitude=11.5", "-GPSLongitudeRef=E"),
        *(
            "-XMP-dc:Title=Party",
            "-XMP-photoshop:City=Ulm",
            "-IPTC:Caption-Abstract=A party",
            "-IPTC:City=Ulm",
        ),
        *(f"-ThumbnailImage<={small}", f"-PhotoshopThumbnail<={small}"),
        path,
    )
    # what phones append: a second picture of the moment
    path.write_bytes(path.read_bytes() + small.read_bytes())
    assert path.read_bytes().count(scan_of(small)) == 3
    return path


def scan_of(jpeg: Path) -> bytes:
    """Return some of a JPEG's compressed data, by which it is found in another file."""
    data = jpeg.read_bytes()
    start = data.index(b"\xff\xda")
    return data[start + 30 : start + 130]


def test_nothing_shows_the_face_again_and_the_rest_of_the_metadata_stays(
    tmp_path: Path, search: Pipeline, photo_with_everything: Path
) -> None:
    target = tmp_path / "out.jpg"
    assert blur_photo(photo_with_everything, target, search).faces == 1
    assert scan_of(photo_with_everything.with_name("thumb.jpg")) not in target.read_bytes()
    before, after = tags(photo_with_everything), tags(target)
    assert "IFD1:ThumbnailImage" in before
    assert not [name for name in after if "Thumbnail" in name or "Preview" in name]
    stays = [
        name for name in before if name.split(":")[0] in ("IFD0", "ExifIFD", "GPS", "XMP-dc", "XMP-photoshop")
    ]
    stays += [name for name in before if name.startswith("IPTC:") and "Digest" not in name]
    assert len(stays) >= 12
    assert {name: after.get(name) for name in stays} == {name: before[name] for name in stays}
    assert Image.open(target).info["comment"] == b"taken at home"


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("with_face", [True, False])
def test_stripped_copies_tell_nothing_but_how_the_picture_looks(
    tmp_path: Path,
    search: Pipeline,
    portrait: Pixels,
    landscape: Pixels,
    photo_with_everything: Path,
    ending: str,
    with_face: bool,
) -> None:
    source, target = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(portrait if with_face else landscape).save(source, icc_profile=profile)
    exiftool("-overwrite_original", "-TagsFromFile", photo_with_everything, "-all:all", source)
    if ending == "jpg":
        exiftool(
            "-overwrite_original", f"-ThumbnailImage<={photo_with_everything.with_name('thumb.jpg')}", source
        )
    found = tags(source)
    assert any("GPSLatitude" in name for name in found)
    assert any(name.startswith("XMP") for name in found)
    made = blur_photo(source, target, search, strip=True)
    assert made.copied is not with_face
    left = {name for name in tags(target) if not name.startswith(("ICC", "JFIF", "PNG", "Composite", "RIFF"))}
    allowed = {"IFD0:Orientation"} if ending != "tif" else set(left)
    assert left <= allowed, left
    text = target.read_bytes()
    for secret in (b"Acme", b"Ann", b"Party", b"Ulm", b"2020:01:02", b"GPS", b"home", b"http://ns.adobe.com"):
        assert secret not in text
    assert scan_of(photo_with_everything.with_name("thumb.jpg")) not in text
    assert Image.open(target).info.get("icc_profile") == profile
    # TIFFs are turned upright as Pillow reads them
    assert Picture.read(source).orientation == 6
    assert Picture.read(target).orientation == (1 if ending == "tif" else 6)
    if not with_face:
        assert np.array_equal(Picture.read(target).pixels, Picture.read(source).pixels)


def test_previews_in_makers_notes_and_xmp_are_blanked(tmp_path: Path, landscape: Pixels) -> None:
    small = io.BytesIO()
    Image.fromarray(landscape).resize((32, 32)).save(small, "JPEG")
    exif = Image.Exif()
    exif[271] = "Acme"
    exif.get_ifd(0x8769)[37500] = b"ACME\0" + small.getvalue() + b"serial 17"
    clean = without_thumbnail(exif.tobytes())
    assert clean is not None
    assert small.getvalue()[2:40] not in clean
    assert len(clean) == len(exif.tobytes().removeprefix(b"Exif\0\0"))
    again = Image.Exif()
    again.load(clean)
    assert again[271] == "Acme"
    assert again.get_ifd(0x8769)[37500].endswith(b"serial 17")
    xmp = (
        b'<a xmpNote:HasExtendedXMP="7F" b="1"><xmpGImg:image>/9j/4AA</xmpGImg:image>'
        b"<dc:title>x</dc:title></a>"
    )
    assert without_previews(xmp) == b'<a b="1"><dc:title>x</dc:title></a>'


def test_the_thumbnail_of_jfif_goes_too(landscape: Pixels) -> None:
    file = io.BytesIO()
    Image.fromarray(landscape).save(file, "JPEG")
    data, small = file.getvalue(), bytes(range(192))
    assert data[2:6] == b"\xff\xe0\0\x10"
    # JFIF 1.02: width, height and the RGB values of a thumbnail end its segment
    with_thumbnail = data[:2] + b"\xff\xe0\0\xd0" + data[6:18] + b"\x08\x08" + small + data[20:]
    assert Image.open(io.BytesIO(with_thumbnail)).size == (200, 200)
    clean = stripped(with_thumbnail, 1)
    assert clean == data


def test_a_broken_exif_block_is_dropped() -> None:
    for broken in (b"", b"II*\0", b"XX*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\xff\xff"):
        assert without_thumbnail(broken) is None


@pytest.mark.parametrize("settings", [{"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
def test_taking_metadata_out_of_a_jpeg_leaves_its_scans_alone(
    landscape: Pixels, settings: dict[str, Any]
) -> None:
    plain = io.BytesIO()
    Image.fromarray(landscape).save(plain, "JPEG", **settings)
    exif = Image.Exif()
    exif[271] = "Acme"
    full = io.BytesIO()
    Image.fromarray(landscape).save(full, "JPEG", exif=exif, comment=b"hello", **settings)
    clean = stripped(full.getvalue() + b"trailing film", 1)
    assert clean is not None
    assert len(clean) == len(plain.getvalue())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(clean))), np.asarray(Image.open(plain)))
    with pytest.raises(UnreadablePicture):
        stripped(full.getvalue()[:-200], 1)


def test_a_photo_without_a_face_is_copied_as_it_is(
    tmp_path: Path, search: Pipeline, landscape: Pixels
) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "deep" / "er" / "b.jpg"
    Image.fromarray(landscape).save(source)
    assert blur_photo(source, target, search).copied
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_animations_are_covered_in_frames_where_the_face_is_missed(
    tmp_path: Path, search: Pipeline, portrait: Pixels, ending: str
) -> None:
    source, target = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    frames = [Image.fromarray(np.roll(portrait, 3 * i, axis=1)) for i in range(6)]
    settings: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=100, loop=0, **settings)
    forgetful: Any = Forgetful(search, missing={2, 3})
    made = blur_photo(source, target, forgetful, Cover("solid"))
    assert (made.faces, made.frames, made.remaining) == (1, 6, ())
    before, after = Image.open(source), Image.open(target)
    assert getattr(after, "n_frames", 1) == 6
    cover = Cover("solid")
    for index in range(6):
        before.seek(index)
        after.seek(index)
        old, new = np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB"))
        assert after.info["duration"] == before.info["duration"] == 100
        faces = search.analyze(old)
        assert (middle(new, faces) == 0).all()
        # half a pixel of the smoothed path
        free = outside(old.shape, extents(faces) + np.array([-9, -9, 9, 9], np.float32), cover)
        assert free.mean() > 0.05
        assert np.array_equal(old[free], new[free])


class Forgetful:
    """A pipeline that misses the face in some of the pictures that it is given, counted from 0."""

    def __init__(self, pipeline: Pipeline, missing: set[int]) -> None:
        self._pipeline = pipeline
        self._missing = missing
        self._calls = -2  # the first call looks at the file, before the frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def analyze(self, source: Any) -> Faces:
        self._calls += 1
        faces = self._pipeline.analyze(source)
        return faces[:0] if self._calls in self._missing else faces


def test_every_page_of_a_tiff_is_covered_and_reduced_pages_are_left_out(
    tmp_path: Path, search: Pipeline, portrait: Pixels, landscape: Pixels
) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    pages = [Image.fromarray(p) for p in (portrait, landscape, portrait[:, ::-1])]
    preview = pages[0].resize((60, 60))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(source, save_all=True, append_images=[*pages[1:], preview])
    made = blur_photo(source, target, search)
    assert (made.faces, made.frames) == (2, 3)
    written = Image.open(target)
    assert getattr(written, "n_frames", 1) == 3
    for index, page in enumerate(pages):
        written.seek(index)
        assert np.array_equal(np.asarray(written), np.asarray(page)) == (index == 1)
        assert not len(search.analyze(np.asarray(written)))


# --- the check of what was written


def test_a_face_that_shines_through_is_painted_over(
    tmp_path: Path, search: Pipeline, portrait: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "_gaussian", lambda plane, side, strength: plane)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(portrait).save(source)
    made = blur_photo(source, target, search)
    assert (made.style, made.remaining) == ("solid", ())
    assert (middle(np.asarray(Image.open(target)), search.analyze(source)) == 0).all()


def test_a_face_that_cannot_be_hidden_is_told(
    tmp_path: Path, search: Pipeline, portrait: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "_filling", lambda part, cover, side, black: part)
    source = tmp_path / "a.png"
    Image.fromarray(portrait).save(source)
    assert len(blur_photo(source, tmp_path / "b.png", search).remaining) == 1


# --- what is refused


def test_what_cannot_be_written_back_is_refused_and_leaves_no_file(tmp_path: Path, search: Pipeline) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(64 * 6) for _ in range(64))
    deep = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(rows)
    )
    source, target = tmp_path / "deep.png", tmp_path / "out" / "deep.png"
    source.write_bytes(b"\x89PNG\r\n\x1a\n" + deep + chunk(b"IEND", b""))
    with pytest.raises(UnreadablePicture, match="16 bits"):
        blur_photo(source, target, search)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.ico")
    with pytest.raises(UnreadablePicture):
        blur_photo(tmp_path / "a.ico", target, search)
    assert not target.parent.exists()


def test_a_name_that_is_taken_by_a_folder_is_refused(
    tmp_path: Path, search: Pipeline, portrait: Pixels
) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(portrait).save(source)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UnwritableOutput):
        blur_photo(source, tmp_path / "b.png", search)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


# --- palettes


def colours(seed: int, count: int) -> Iterator[tuple[int, int, int]]:
    generator = np.random.default_rng(seed)
    yield from map(tuple, generator.integers(0, 256, (count, 3)).tolist())


@pytest.mark.parametrize("count", [3, 200, 255, 300])
def test_colours_that_were_not_changed_stay_exact_in_a_palette(count: int) -> None:
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[..., 3] = 255
    picture[..., :3] = np.resize(np.array(list(colours(0, count))), (1600, 3)).reshape(40, 40, 3)
    changed = np.zeros((40, 40), bool)
    changed[:10] = True
    picture[:10, :, :3] = np.random.default_rng(1).integers(0, 256, (10, 40, 3))
    picture[39, 39, 3] = 0
    made = np.asarray(indexed(picture, changed).convert("RGBA"))
    assert made[39, 39, 3] == 0
    same = (made[..., :3] == picture[..., :3]).all(axis=2)
    same[39, 39] = True
    assert same[10:].all() == (count <= 255)
