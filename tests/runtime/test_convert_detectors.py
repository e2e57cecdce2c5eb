"""Decoding put into detectors' graphs equals a plain decoding of the published files' raw outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

from mien.core.errors import ConversionError
from mien.runtime.assets import source_bytes
from mien.runtime.convert import detectors

Array = npt.NDArray[Any]
Decoded = tuple[Array, Array, Array]

SIZES = [(512, 512), (640, 480), (320, 256)]
# Where they are in astronaut.png (512 x 512), read off the picture, in the five-point order.
ASTRONAUT_POINTS = [(203, 102), (246, 104), (223, 127), (202, 142), (242, 143)]


@dataclass(frozen=True)
class Detector:
    """An adapter with a slow literal decoding of its file's raw outputs and what the file wants as input."""

    adapt: Callable[[onnx.ModelProto], onnx.ModelProto]
    decode: Callable[[list[Array], int, int], Decoded]
    prepare: Callable[[Array], Array]
    lowest: float


def decode_centerface(raw: list[Array], width: int, height: int) -> Decoded:
    heat, size, offset, points = (tensor[0] for tensor in raw)
    boxes, scores, keypoints = [], [], []
    for row in range(height // 4):
        for column in range(width // 4):
            score = heat[0, row, column]
            around = heat[0, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if score <= 0.1 or score < around.max():
                continue
            box_height = np.exp(size[0, row, column]) * 4
            box_width = np.exp(size[1, row, column]) * 4
            x1 = (column + offset[1, row, column] + 0.5) * 4 - box_width / 2
            y1 = (row + offset[0, row, column] + 0.5) * 4 - box_height / 2
            boxes.append([x1, y1, x1 + box_width, y1 + box_height])
            scores.append(score)
            keypoints.append(
                [
                    [
                        points[2 * i + 1, row, column] * box_width + x1,
                        points[2 * i, row, column] * box_height + y1,
                    ]
                    for i in range(5)
                ]
            )
    return np.array(boxes), np.array(scores), np.array(keypoints)


def decode_yunet(raw: list[Array], width: int, height: int) -> Decoded:
    boxes, scores, keypoints = [], [], []
    for level, stride in enumerate((8, 16, 32)):
        classes, objects, distances, points = (raw[level + first][0] for first in (0, 3, 6, 9))
        columns = width // stride
        for cell in range(columns * (height // stride)):
            row, column = divmod(cell, columns)
            score = np.sqrt(classes[cell, 0] * objects[cell, 0])
            if score <= 0.02:
                continue
            x = (column + distances[cell, 0]) * stride
            y = (row + distances[cell, 1]) * stride
            w = np.exp(distances[cell, 2]) * stride
            h = np.exp(distances[cell, 3]) * stride
            boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            scores.append(score)
            keypoints.append(
                [
                    [(column + points[cell, 2 * i]) * stride, (row + points[cell, 2 * i + 1]) * stride]
                    for i in range(5)
                ]
            )
    return np.array(boxes), np.array(scores), np.array(keypoints)


def decode_scrfd(raw: list[Array], width: int, height: int) -> Decoded:
    boxes, scores, keypoints = [], [], []
    for level, stride in enumerate((8, 16, 32)):
        chances, distances, points = raw[level], raw[level + 3], raw[level + 6]
        candidate = 0
        for row in range(height // stride):
            for column in range(width // stride):
                for _ in range(2):
                    x, y = column * stride, row * stride
                    left, top, right, bottom = distances[candidate] * stride
                    if chances[candidate, 0] > 0.02:
                        boxes.append([x - left, y - top, x + right, y + bottom])
                        scores.append(chances[candidate, 0])
                        keypoints.append(points[candidate].reshape(5, 2) * stride + (x, y))
                    candidate += 1
    return np.array(boxes), np.array(scores), np.array(keypoints)


def decode_ultraface(raw: list[Array], width: int, height: int) -> Decoded:
    chances, corners = raw[0][0], raw[1][0]
    kept = [i for i in range(len(chances)) if chances[i, 1] > 0.1]
    boxes = [
        [corners[i, 0] * width, corners[i, 1] * height, corners[i, 2] * width, corners[i, 3] * height]
        for i in kept
    ]
    return np.array(boxes), np.array([chances[i, 1] for i in kept]), np.zeros((len(kept), 0, 2))


DETECTORS = {
    "centerface": Detector(detectors.centerface, decode_centerface, lambda rgb: rgb, 0.1),
    "yunet": Detector(detectors.yunet, decode_yunet, lambda rgb: rgb[:, ::-1], 0.02),
    "scrfd": Detector(detectors.scrfd, decode_scrfd, lambda rgb: (rgb - 127.5) / 128, 0.02),
    "ultraface": Detector(detectors.ultraface, decode_ultraface, lambda rgb: (rgb - 127) / 128, 0.1),
}
FILES = {"yunet": "face_detection_yunet_2023mar", "scrfd": "det_500m", "ultraface": "version-RFB-320"}
WITH_POINTS = ["centerface", "yunet", "scrfd"]
CASES = [(name, size) for name in WITH_POINTS for size in SIZES] + [("ultraface", (320, 240))]


def published(name: str, shared_data: Path) -> onnx.ModelProto:
    if name == "centerface":
        return onnx.load_model_from_string(source_bytes("centerface"))
    return onnx.load(shared_data / "weights" / f"{FILES[name]}.onnx")


def astronaut(shared_data: Path, size: tuple[int, int]) -> Array:
    with Image.open(shared_data / "demo_photos" / "astronaut.png") as picture:
        pixels = np.asarray(picture.convert("RGB").resize(size), np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def raw_outputs(model: onnx.ModelProto, prepared: Array) -> list[Array]:
    """Run the published file as it is, but for its declared sizes."""
    weights = {weight.name for weight in model.graph.initializer}
    (source,) = (value for value in model.graph.input if value.name not in weights)
    for value in [source, *model.graph.output]:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    names = [value.name for value in model.graph.output]
    answers: list[Array] = opened(model).run(names, {source.name: np.ascontiguousarray(prepared)})
    return answers


def detect(model: onnx.ModelProto, rgb: Array) -> dict[str, Array]:
    session = opened(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": rgb}), strict=True))


@pytest.mark.parametrize(("name", "size"), CASES)
def test_decoding_in_the_graph_equals_the_plain_decoding(
    name: str, size: tuple[int, int], shared_data: Path
) -> None:
    detector = DETECTORS[name]
    rgb = astronaut(shared_data, size)
    found = detect(detector.adapt(published(name, shared_data)), rgb)
    raw = raw_outputs(published(name, shared_data), detector.prepare(rgb))
    boxes, scores, keypoints = detector.decode(raw, *size)
    assert found["scores"].min() > detector.lowest
    # Where a score touches the threshold, rounding may decide differently: compare what is clearly above.
    mine, theirs = found["scores"] > detector.lowest * 1.5, scores > detector.lowest * 1.5
    assert theirs.sum() >= 1
    np.testing.assert_allclose(found["scores"][mine], scores[theirs], atol=1e-4)
    np.testing.assert_allclose(found["boxes"][mine], boxes[theirs], atol=0.02)
    if name in WITH_POINTS:
        np.testing.assert_allclose(found["keypoints"][mine], keypoints[theirs], atol=0.02)
    else:
        assert "keypoints" not in found


@pytest.mark.parametrize("name", WITH_POINTS)
@pytest.mark.parametrize("size", SIZES)
def test_five_points_are_where_the_astronaut_has_them(
    name: str, size: tuple[int, int], shared_data: Path
) -> None:
    found = detect(DETECTORS[name].adapt(published(name, shared_data)), astronaut(shared_data, size))
    best = int(found["scores"].argmax())
    scale = np.array(size) / 512
    assert found["scores"][best] > 0.7
    np.testing.assert_allclose(found["keypoints"][best] / scale, ASTRONAUT_POINTS, atol=8)


def test_detectors_agree_on_the_astronauts_box(shared_data: Path) -> None:
    boxes = []
    for name, detector in DETECTORS.items():
        size = (320, 240) if name == "ultraface" else (512, 512)
        found = detect(detector.adapt(published(name, shared_data)), astronaut(shared_data, size))
        boxes.append(found["boxes"][found["scores"].argmax()] / np.tile(size, 2) * 512)
    for one in boxes:
        for other in boxes:
            shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
            both = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
            overlap = np.prod(shared) / (both - np.prod(shared))
            assert overlap > 0.6


@pytest.mark.parametrize("name", ["centerface", "yunet", "ultraface"])
def test_a_picture_of_nothing_gives_empty_outputs_of_full_rank(name: str, shared_data: Path) -> None:
    size = (240, 320) if name == "ultraface" else (96, 160)
    flat = np.full((1, 3, *size), 128, np.float32)
    found = detect(DETECTORS[name].adapt(published(name, shared_data)), flat)
    assert found["boxes"].shape == (0, 4)
    assert found["scores"].shape == (0,)
    if name in WITH_POINTS:
        assert found["keypoints"].shape == (0, 5, 2)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_adapter_leaves_the_model_it_was_given_alone(name: str, shared_data: Path) -> None:
    model = published(name, shared_data)
    before = model.SerializeToString()
    DETECTORS[name].adapt(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("name", "other"), [(one, two) for one in DETECTORS for two in DETECTORS if one != two]
)
def test_another_detectors_file_is_refused_with_what_was_found(
    name: str, other: str, shared_data: Path
) -> None:
    with pytest.raises(ConversionError, match=r"expected .*found") as caught:
        DETECTORS[name].adapt(published(other, shared_data))
    assert caught.value.name == name


def test_a_file_of_another_shape_is_refused_naming_the_tensor(shared_data: Path) -> None:
    model = published("yunet", shared_data)
    model.graph.output[9].type.tensor_type.shape.dim[2].dim_value = 12
    with pytest.raises(ConversionError, match=r"points of stride 8 1x\?x10, found 'kps_8' 1x6400x12"):
        detectors.yunet(model)
