"""MediaPipe's five files answer as LiteRT's interpreter does, decoded, and land where the faces are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from mien.core import crops, geometry
from mien.core.errors import ConversionError
from mien.core.fields import Floats
from mien.runtime.assets import source_bytes
from mien.runtime.convert import mediapipe
from mien.runtime.convert.registry import ADAPTERS
from mien.runtime.convert.tflite import convert_tflite
from mien.runtime.pipeline import Options, Pipeline

Array = npt.NDArray[Any]
# Each file's input side and the range that it wants its pictures in.
FILES = {
    "blazeface-back": (256, (-1, 1)),
    "blazeface-full-range": (192, (-1, 1)),
    "blazeface-short-range": (128, (-1, 1)),
    "face-mesh": (192, (0, 1)),
    "iris": (64, (0, 1)),
}
BLAZEFACES = [name for name in FILES if name.startswith("blazeface")]
# Squares of the demo photos: picture, x1, y1, side. Whole faces, halves of faces, an eye, a plain background.
SQUARES = [
    ("astronaut.png", 130, 20, 190),
    ("astronaut.png", 190, 80, 40),
    ("obama.jpg", 200, 100, 600),
    ("biden.jpg", 0, 0, 970),
    ("grace_hopper.jpg", 250, 100, 150),
    ("obama2.jpg", 0, 800, 300),
]
PHOTOS = ["astronaut.png", "biden.jpg", "grace_hopper.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"]


def squares(demo_photos: Path, side: int) -> Array:
    """Return (6, side, side, 3) float32 0..255."""
    cut = []
    for name, left, top, width in SQUARES:
        with Image.open(demo_photos / name) as picture:
            part = picture.convert("RGB").crop((left, top, left + width, top + width))
            cut.append(np.asarray(part.resize((side, side)), np.float32))
    return np.stack(cut)


def litert(name: str, pictures: Array) -> list[Array]:
    interpreter = Interpreter(model_content=source_bytes(name), num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    low, high = FILES[name][1]
    rows = []
    for picture in pictures:
        interpreter.set_tensor(source["index"], picture[None] / np.float32(255) * (high - low) + low)
        interpreter.invoke()
        rows.append([interpreter.get_tensor(out["index"]) for out in interpreter.get_output_details()])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def run(model: bytes, pictures: Array) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    names = [output.name for output in session.get_outputs()]
    batch = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)
    return dict(zip(names, session.run(names, {"input": batch}), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_the_converted_file_equals_litert_on_real_pictures(name: str, demo_photos: Path) -> None:
    side, (low, high) = FILES[name]
    pictures = squares(demo_photos, side)
    theirs = litert(name, pictures)
    together = run(
        convert_tflite(source_bytes(name)).SerializeToString(), pictures / 255 * (high - low) + low
    )
    for mine, raw in zip(together.values(), theirs, strict=True):
        assert np.abs(raw).max() > 1  # the comparison is not one of zeros
        if raw.shape[-1] == 1 and name in BLAZEFACES:
            # Background's logits go to -1,000, where single floats agree to 2e-3; -30 is a chance of 1e-13.
            mine, raw = np.clip(mine, -30, 30), np.clip(raw, -30, 30)
        np.testing.assert_allclose(mine, raw, atol=1e-3, rtol=0)


def decoded(name: str, boxes: Array, logits: Array) -> tuple[Array, Array, Array]:
    """Decode one picture's raw output, anchor by anchor, as MediaPipe's graphs describe it."""
    side = FILES[name][0]
    layers = {
        "blazeface-back": [(16, 2), (32, 6)],
        "blazeface-short-range": [(8, 2), (16, 6)],
        "blazeface-full-range": [(4, 1)],
    }[name]
    centres = [
        ((column + 0.5) * stride, (row + 0.5) * stride)
        for stride, anchors in layers
        for row in range(side // stride)
        for column in range(side // stride)
        for _ in range(anchors)
    ]
    found_boxes, scores, points = [], [], []
    for (x, y), row, logit in zip(centres, boxes, logits[:, 0], strict=True):
        score = 1 / (1 + np.exp(-max(logit, -80.0)))
        if score < 0.1:
            continue
        middle_x, middle_y, width, height = x + row[0], y + row[1], row[2], row[3]
        found_boxes.append(
            [middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2]
        )
        left, right, nose, mouth = (np.array([x, y]) + row[4 + 2 * i : 6 + 2 * i] for i in range(4))
        across = right - left
        lips = mouth + 0.045 * np.array([across[1], -across[0]])
        points.append([left, right, nose, lips - 0.42 * across, lips + 0.42 * across])
        scores.append(score)
    return np.array(found_boxes), np.array(scores), np.array(points)


@pytest.mark.parametrize("name", BLAZEFACES)
def test_boxes_and_points_equal_a_plain_decoding_of_litert(name: str, demo_photos: Path) -> None:
    model = ADAPTERS[name](source_bytes(name)).SerializeToString()
    pictures = squares(demo_photos, FILES[name][0])[[0, 2, 3]]
    raw = litert(name, pictures)
    for index, picture in enumerate(pictures):
        boxes, scores, points = decoded(name, raw[0][index], raw[1][index])
        found = run(model, picture[None])
        assert scores.max() > 0.6
        np.testing.assert_allclose(found["scores"], scores, atol=1e-3)
        np.testing.assert_allclose(found["boxes"], boxes, atol=1e-2)
        np.testing.assert_allclose(found["keypoints"], points, atol=1e-2)


@pytest.mark.parametrize("name", BLAZEFACES)
def test_a_picture_of_nothing_gives_empty_outputs_of_full_rank(name: str) -> None:
    side = FILES[name][0]
    found = run(ADAPTERS[name](source_bytes(name)).SerializeToString(), np.full((1, side, side, 3), 200))
    assert {field: value.shape for field, value in found.items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "keypoints": (0, 5, 2),
    }


@pytest.mark.parametrize("name", ["face-mesh", "iris"])
def test_several_faces_at_once_answer_as_each_alone(name: str, demo_photos: Path) -> None:
    model = ADAPTERS[name](source_bytes(name)).SerializeToString()
    pictures = squares(demo_photos, FILES[name][0])
    together = run(model, pictures)
    for field, values in together.items():
        assert len(values) == len(pictures)
        alone = np.concatenate([run(model, picture[None])[field] for picture in pictures])
        np.testing.assert_allclose(values, alone, atol=1e-3)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("other", FILES)
def test_another_models_file_is_refused_with_what_was_found(name: str, other: str) -> None:
    if name == other:
        assert ADAPTERS[name](source_bytes(other)).graph.output
        return
    with pytest.raises(ConversionError, match=r"expected .*found") as caught:
        ADAPTERS[name](source_bytes(other))
    assert caught.value.name == name


def test_anchors_are_the_centres_of_cells() -> None:
    anchors = mediapipe.ssd_anchors(256, (16, 32, 32, 32), per_cell=2)
    assert anchors.shape == (896, 2)
    assert anchors[:2].tolist() == [[8, 8], [8, 8]]
    assert anchors[512:518].tolist() == [[16, 16]] * 6
    assert anchors[-1].tolist() == [240, 240]


@pytest.fixture(scope="module")
def dense() -> Pipeline:
    want = ("keypoints", "landmarks", "mesh", "irises", "presence")
    return Pipeline(Options(want=want, models=("centerface",), threads=1))


@pytest.fixture(scope="module")
def faces(dense: Pipeline, demo_photos: Path) -> dict[str, dict[str, Floats]]:
    """Return the fields of the best face of each demo photo, without the axis of faces."""
    found = {}
    for name in PHOTOS:
        best = dense.analyze(demo_photos / name)[:1]
        fields = ("boxes", "keypoints", "landmarks", "mesh", "irises", "presence")
        found[name] = {field: np.asarray(getattr(best, field))[0] for field in fields}
    return found


def between_eyes(face: dict[str, Floats]) -> float:
    return float(np.hypot(*(face["keypoints"][1] - face["keypoints"][0])))


@pytest.mark.parametrize("photo", PHOTOS)
def test_the_mesh_agrees_with_the_detectors_five_points(
    photo: str, faces: dict[str, dict[str, Floats]]
) -> None:
    face = faces[photo]
    assert face["presence"] > 0.95
    gaps = np.hypot(*(face["landmarks"] - face["keypoints"]).T) / between_eyes(face)
    assert gaps.max() < 0.25
    for eye, contour in enumerate((mediapipe.LEFT_EYE, mediapipe.RIGHT_EYE)):
        points = face["mesh"][list(contour), :2]
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        width = box[2] - box[0]
        near = np.abs(face["keypoints"][eye] - points.mean(axis=0)) < 0.5 * width
        assert near.all()


@pytest.mark.parametrize("photo", PHOTOS)
def test_each_iris_lies_in_its_eye_and_is_round(photo: str, faces: dict[str, dict[str, Floats]]) -> None:
    face = faces[photo]
    for eye, contour in enumerate((mediapipe.LEFT_EYE, mediapipe.RIGHT_EYE)):
        points = face["mesh"][list(contour), :2]
        width = float(np.hypot(*(points[0] - points[8])))  # between the corners
        centre, *rim = face["irises"][5 * eye : 5 * eye + 5]
        low, high = points.min(axis=0) - 0.1 * width, points.max(axis=0) + 0.1 * width
        assert (centre > low).all()
        assert (centre < high).all()
        radii = np.hypot(*(np.array(rim) - centre).T)
        assert radii.min() > 0.6 * radii.max()
        assert 0.25 < 2 * radii.mean() / width < 0.75  # an iris is about 0.4 of the eye's width


def test_a_mirrored_picture_gives_the_mirrored_face(
    dense: Pipeline, faces: dict[str, dict[str, Floats]], demo_photos: Path
) -> None:
    with Image.open(demo_photos / "obama.jpg") as picture:
        pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, ::-1])
    best = dense.analyze(pixels)[:1]
    face, tolerance = faces["obama.jpg"], 0.1 * between_eyes(faces["obama.jpg"])
    assert best.landmarks is not None
    assert best.irises is not None
    back = best.landmarks[0][[1, 0, 2, 4, 3]] * (-1, 1) + (pixels.shape[1], 0)
    np.testing.assert_allclose(back, face["landmarks"], atol=tolerance)
    # Centres of both irises; the eyes change places.
    back = best.irises[0][[5, 0]] * (-1, 1) + (pixels.shape[1], 0)
    np.testing.assert_allclose(back, face["irises"][[0, 5]], atol=tolerance)


def test_a_turned_face_gives_the_turned_mesh(demo_photos: Path) -> None:
    """The crop turns with the eyes, so a face that leans is described as one that does not."""
    with Image.open(demo_photos / "astronaut.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    eyes = np.array([[203.0, 102], [246, 104], [223, 127], [202, 142], [242, 143]], np.float32)
    box = np.array([[181.0, 58, 270, 178]], np.float32)
    crop = crops.Crop("box", 192, 192, points="keypoints", scale=1.5, upright=True)
    straight = crop.matrices({"boxes": box, "keypoints": eyes[None]}, (512, 512))[0, 0]
    leaning = np.ascontiguousarray(np.rot90(pixels))
    turned_box = geometry.rotate_quarter(box.reshape(2, 2), 1, (512, 512))
    known = {
        "boxes": geometry.box_of(turned_box)[None],
        "keypoints": geometry.rotate_quarter(eyes, 1, (512, 512)).astype(np.float32)[None],
    }
    turned = crop.matrices(known, (512, 512))[0, 0]
    model = ADAPTERS["face-mesh"](source_bytes("face-mesh")).SerializeToString()
    pair = np.stack([crops.cut(pixels, straight, 192, 192), crops.cut(leaning, turned, 192, 192)])
    first, second = run(model, pair.astype(np.float32))["mesh"]
    np.testing.assert_allclose(first, second, atol=1.5)
