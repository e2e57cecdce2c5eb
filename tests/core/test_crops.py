"""Crops show what they should: the box's shape, moved inside the picture, smoothed or sampled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mien.core import crops, geometry
from mien.core.crops import Crop
from mien.core.errors import CardError
from mien.runtime import assets


def shown(
    crop: Crop, box: tuple[float, float, float, float], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return x1 y1 x2 y2 of the part of the picture that a crop shows."""
    matrix = crop.matrices({"boxes": np.array([box], np.float32)}, size)[0, 0]
    return geometry.apply(
        geometry.invert(matrix), np.array([[0, 0], [crop.width, crop.height]], float)
    ).reshape(4)


def minivision(
    size: tuple[int, int], box: tuple[float, float, float, float], scale: float
) -> tuple[float, float, float, float]:
    """Work out the patch as Silent-Face-Anti-Spoofing's code does, in corners instead of pixel indices."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(size[1] / height, size[0] / width, scale)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left, right = x - width * scale / 2, x + width * scale / 2
    top, bottom = y - height * scale / 2, y + height * scale / 2
    if left < 0:
        left, right = 0, right - left
    if top < 0:
        top, bottom = 0, bottom - top
    if right > size[0]:
        left, right = left - (right - size[0]), size[0]
    if bottom > size[1]:
        top, bottom = top - (bottom - size[1]), size[1]
    return left, top, right, bottom


@pytest.mark.parametrize(
    "box",
    [
        (200, 150, 260, 230),  # room on all sides
        (10, 150, 70, 230),  # moved from the left
        (200, 5, 260, 85),  # from the top
        (560, 380, 630, 470),  # from the corner
        (100, 50, 400, 450),  # too large: made smaller
        (-20, -30, 300, 500),  # larger than the picture
    ],
)
def test_a_stretched_crop_inside_the_picture_is_minivisions(box: tuple[float, float, float, float]) -> None:
    crop = Crop("box", 80, 80, scale=2.7, stretched=True, inside=True)
    found = shown(crop, box, (640, 480))
    np.testing.assert_allclose(found, minivision((640, 480), box, 2.7), atol=1e-6)
    assert (found >= -1e-6).all()
    assert (found <= np.array([640, 480, 640, 480]) + 1e-6).all()


def test_a_square_stays_a_square_when_it_is_moved_inside() -> None:
    left, top, right, bottom = shown(Crop("box", 64, 64, scale=1.5, inside=True), (0, 0, 100, 60), (300, 200))
    assert (left, top) == (0, 0)
    assert right - left == pytest.approx(150)
    assert bottom - top == pytest.approx(150)


def test_without_the_options_a_crop_is_a_centred_square_however_near_the_border() -> None:
    np.testing.assert_allclose(
        shown(Crop("box", 64, 64, scale=2.0), (0, 0, 40, 60), (640, 480)), (-40, -30, 80, 90), atol=1e-6
    )


def test_a_wide_crop_of_a_square_keeps_its_shape_and_a_stretched_one_takes_the_boxs() -> None:
    wide = shown(Crop("box", 100, 50), (100, 100, 200, 200), (640, 480))
    np.testing.assert_allclose(wide, (100, 125, 200, 175), atol=1e-6)
    stretched = shown(Crop("box", 100, 50, stretched=True), (100, 100, 200, 200), (640, 480))
    np.testing.assert_allclose(stretched, (100, 100, 200, 200), atol=1e-6)


def test_a_plain_sample_keeps_the_noise_that_smoothing_takes_away() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    matrix = np.array([[0.1, 0, 0], [0, 0.1, 0]])
    smooth = crops.cut(noise, matrix, 40, 40)
    plain = crops.cut(noise, matrix, 40, 40, smooth=False)
    assert smooth.std() < 0.35 * plain.std()
    # OpenCV's bilinear resizing takes the four pixels around each crop pixel's centre, whatever the scale.
    four = noise[4::10, 4::10].astype(float)
    four = (four + noise[5::10, 4::10] + noise[4::10, 5::10] + noise[5::10, 5::10]) / 4
    np.testing.assert_allclose(plain, four, atol=1.01)


def test_smoothing_is_near_a_resize_by_areas() -> None:
    picture = Image.effect_noise((320, 320), 60).convert("RGB")
    crop = crops.cut(np.asarray(picture), np.array([[0.25, 0, 0], [0, 0.25, 0]]), 80, 80)
    means = np.asarray(picture.resize((80, 80), Image.Resampling.BOX), float)
    assert np.abs(crop - means).mean() < 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "template", "template": "arcface", "inside": True}, "go with kind"),
        ({"kind": "template", "template": "arcface", "stretched": True}, "go with kind"),
        ({"kind": "box", "inside": True, "upright": True}, "cannot go with crop.upright"),
    ],
)
def test_options_that_do_not_go_together_are_refused(change: dict[str, object], reason: str) -> None:
    import json

    from mien.core.card import Card

    data = json.loads(assets.table()["minifasnet"].card.to_json())
    data["crop"] = {"width": 80, "height": 80, **change}
    with pytest.raises(CardError, match=reason):
        Card.from_json(json.dumps(data))


def test_a_template_of_the_mesh_takes_its_own_vertices_and_nothing_else() -> None:
    template = crops.TEMPLATES["dlib"]
    assert len(set(template.vertices)) == len(template.vertices) == len(template.points)
    crop = Crop("template", 150, 150, template="dlib", margin=0.2)
    assert crop.needs == ("mesh",)
    mesh = np.random.default_rng(0).uniform(0, 500, (1, 468, 3)).astype(np.float32)
    mesh[0, list(template.vertices), :2] = 300 * template.points + 40
    matrix = crop.matrices({"mesh": mesh}, (640, 480))[0, 0]
    corner, far = geometry.apply(matrix, np.array([[40.0, 40.0], [340.0, 340.0]]))
    np.testing.assert_allclose(corner, 150 * 0.2 / 1.4, atol=1e-4)
    np.testing.assert_allclose(far, 150 * 1.2 / 1.4, atol=1e-4)


def test_dlibs_crop_from_the_mesh_is_near_the_one_from_five_points(astronaut: npt.NDArray[np.uint8]) -> None:
    import mien

    face = mien.analyze(astronaut, ["landmarks", "mesh"])
    assert face.landmarks is not None
    assert face.mesh is not None
    size = (astronaut.shape[1], astronaut.shape[0])
    known = {"landmarks": face.landmarks, "mesh": face.mesh}
    places = []
    for name in ("dlib", "dlib5"):
        matrix = Crop("template", 150, 150, template=name, margin=0.2).matrices(known, size)[0, 0]
        places.append(geometry.apply(matrix, face.landmarks[0].astype(np.float64)))
    np.testing.assert_allclose(places[0], places[1], atol=6)
