"""Drawing: lines fit picture and face, captions never cover each other, odd inputs do not break it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from mien.core import pose
from mien.core.drawing import caption, draw
from mien.core.faces import Faces
from mien.core.fields import Floats

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from mien.runtime.pipeline import Pipeline

GREY = 128


def faces_at(*boxes: tuple[float, float, float, float], size: tuple[int, int], **fields: Floats) -> Faces:
    count = len(boxes)
    plain = Faces(np.asarray(boxes, np.float32), np.full(count, 0.9, np.float32), picture_size=size)
    return plain.with_fields(**fields)


def changed(drawn: Image.Image) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any(np.asarray(drawn) != GREY, axis=2))


def blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (GREY, GREY, GREY))


def line_width(picture: Image.Image, faces: Faces, row: int) -> int:
    """Count the pixels of the box's left side that are more yellow than grey, in one row."""
    line = np.asarray(draw(picture, faces, captions=[""] * len(faces)))[row, : picture.width * 3 // 8].astype(
        int
    )
    return int((line[:, 0] - line[:, 2] > 60).sum())


def test_lines_grow_with_the_picture_and_stay_visible_in_a_thumbnail() -> None:
    whole = faces_at((1000, 1000, 2000, 2000), size=(4000, 3000))
    assert 8 <= line_width(blank(4000, 3000), whole, 1500) <= 12
    assert 2 <= line_width(blank(1280, 960), whole, 480) <= 4
    assert 1 <= line_width(blank(200, 150), whole, 75) <= 3


def test_a_small_face_of_a_large_picture_gets_a_thin_line() -> None:
    small = faces_at((1000, 1000, 1036, 1036), size=(4000, 3000))
    assert 1 <= line_width(blank(4000, 3000), small, 1018) <= 4


def test_boxes_are_drawn_where_the_face_is_at_every_scale() -> None:
    faces = faces_at((400, 300, 800, 900), size=(2000, 1500))
    for width in (2000, 1000, 500):
        rows, columns = np.nonzero(changed(draw(blank(width, width * 3 // 4), faces, captions=[""])))
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * (2000 / width)
        assert np.abs(found - [400, 300, 800, 900]).max() <= 16


def test_captions_do_not_cover_each_other_nor_leave_the_picture() -> None:
    size = (600, 400)
    apart = [(50.0 + 180 * i, 60.0, 150.0 + 180 * i, 180.0) for i in range(3)]
    crowd = [(20.0 + 24 * i, 150.0 + 26 * (i % 2), 44.0 + 24 * i, 176.0 + 26 * (i % 2)) for i in range(22)]

    def plates(boxes: list[tuple[float, float, float, float]], texts: list[str]) -> npt.NDArray[np.bool_]:
        faces = faces_at(*boxes, size=size)
        without = np.asarray(draw(blank(*size), faces, captions=[""] * len(boxes)))
        return np.asarray(np.any(np.asarray(draw(blank(*size), faces, captions=texts)) != without, axis=2))

    alone = [plates(apart, ["a caption" if j == i else "" for j in range(3)]) for i in range(3)]
    assert all(part.any() for part in alone)
    together = plates(apart, ["a caption"] * 3)
    assert together.sum() == sum(part.sum() for part in alone)
    assert not plates(crowd, ["a caption"] * len(crowd)).any()
    top = faces_at((0, 0, 120, 120), size=size)
    assert (np.asarray(draw(blank(*size), top, captions=["at the edge"])) != GREY).any()


@pytest.mark.parametrize("shade", [0, GREY, 255])
def test_captions_are_readable_on_any_background(shade: int) -> None:
    picture = Image.new("RGB", (800, 600), (shade, shade, shade))
    faces = faces_at((200, 200, 500, 500), size=(800, 600))
    plate = np.asarray(draw(picture, faces, captions=["happiness"]).convert("L"))[172:196, 204:270]
    dark, bright = np.percentile(plate, 5), plate.max()
    # WCAG 2.2 asks for 4.5 : 1 between the luminances of text and background.
    assert (_luminance(bright) + 0.05) / (_luminance(dark) + 0.05) >= 4.5


def _luminance(value: Any) -> float:
    return float(((float(value) / 255 + 0.055) / 1.055) ** 2.4)


def test_contours_follow_the_mesh_only_where_the_face_is_large_enough() -> None:
    angle = np.linspace(0, 2 * np.pi, 468, endpoint=False)
    mesh = np.stack([200 + 90 * np.cos(angle), 200 + 90 * np.sin(angle), np.zeros(468)], 1)[None]
    faces = faces_at((100, 100, 300, 300), size=(400, 400), mesh=mesh.astype(np.float32))
    plain = faces_at((100, 100, 300, 300), size=(400, 400))

    def inner(of: Faces, width: int) -> int:
        edge = round(0.28 * width)
        return int(changed(draw(blank(width, width), of, captions=[""]))[edge:-edge, edge:-edge].sum())

    assert inner(plain, 400) == 0
    assert inner(faces, 400) > 500
    assert inner(faces, 120) == 0


def test_axes_point_where_the_head_does() -> None:
    turned = np.array([[60.0, 0.0, 0.0]], np.float32)
    faces = faces_at((100, 100, 300, 300), size=(400, 400), pose=turned)
    difference = np.asarray(draw(blank(400, 400), faces, captions=[""], axes=True)).astype(int)
    blue = np.nonzero((difference[..., 2] - difference[..., 0]) > 80)
    assert len(blue[1]) > 50
    assert blue[1].mean() > 225  # yaw > 0 looks to the picture's right
    assert abs(blue[0].mean() - 200) < 6


def test_rotations_are_the_inverse_of_angles() -> None:
    angles = np.random.default_rng(0).uniform(-85, 85, (200, 3)).astype(np.float32)
    matrices = pose.rotations(angles)
    assert np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    assert np.linalg.det(matrices) == pytest.approx(1)
    assert pose.angles(matrices) == pytest.approx(angles, abs=1e-3)


def test_the_picture_given_is_not_changed_and_faces_outside_do_no_harm() -> None:
    picture = blank(100, 80)
    drawn = draw(picture, faces_at((500, 500, 600, 600), (-50, -50, -10, -10), (5, 5, 5, 5), size=(100, 80)))
    assert not changed(picture).any()
    assert drawn.size == (100, 80)
    assert not changed(draw(picture, Faces.empty((100, 80)))).any()


def test_captions_must_be_as_many_as_faces() -> None:
    with pytest.raises(ValueError, match="1 captions for 0 faces"):
        draw(blank(10, 10), Faces.empty((10, 10)), captions=["a"])


def test_a_caption_says_what_is_known() -> None:
    face = faces_at((0, 0, 9, 9), size=(9, 9), age=np.array([31.4], np.float32))
    assert caption(face) == "appears 31"
    assert caption(face.with_fields(gender=np.array([[0.2, 0.8]], np.float32))) == "appears male, 31"
    assert caption(faces_at((0, 0, 9, 9), size=(9, 9))) == "0.90"


def test_a_real_face_gets_contours_that_lie_on_the_face(demo_photos: Path, pipeline: Pipeline) -> None:
    picture = Image.open(demo_photos / "grace_hopper.jpg").convert("RGB")
    faces = pipeline.analyze(picture)
    assert faces.draw(picture).size == picture.size
    drawn = np.asarray(draw(picture, faces, captions=[""])).astype(int)
    different = np.abs(drawn - np.asarray(picture).astype(int)).sum(axis=2) > 40
    x1, y1, x2, y2 = faces.boxes[0]
    side = x2 - x1
    rows, columns = np.nonzero(different)
    assert columns.min() > x1 - 0.3 * side
    assert columns.max() < x2 + 0.3 * side
    assert rows.min() > y1 - 0.3 * side
    assert rows.max() < y2 + 0.3 * side
    assert faces.landmarks is not None
    for point in faces.landmarks[0, [0, 1, 3, 4]]:
        x, y = (int(v) for v in point)
        assert different[y - 12 : y + 12, x - 12 : x + 12].any(), "eyes and mouth carry contours"
