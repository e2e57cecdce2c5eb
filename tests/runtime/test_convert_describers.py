"""Describers' adapters answer as the published files do when prepared and decoded in plain numpy."""

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
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mien.core.errors import ConversionError
from mien.runtime.convert import describers
from mien.runtime.convert.graph import with_free_batch

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Describer:
    """An adapter, its file, the crop of the astronaut, and what the file's makers do before and after it.

    The astronaut's face is (181, 58, 270, 178). Crops are squares around it, but for two: genderage wants the
    eyes where ArcFace's template has them, and MiniFASNet's makers take 2.7 times the box in its own shape,
    moved to lie inside the picture (a padded square looks like a fake to it).
    """

    adapt: Callable[[onnx.ModelProto], onnx.ModelProto]
    file: str
    size: int
    box: tuple[float, float, float, float]
    grey: bool
    prepare: Callable[[Array], Array]
    decode: Callable[[Array], dict[str, Array]]


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def imagenet(rgb: Array) -> Array:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return np.asarray((rgb / 255 - mean[:, None, None]) / deviation[:, None, None], np.float32)


def decode_genderage(raw: Array) -> dict[str, Array]:
    pairs = raw[2:].reshape(100, 2)
    return {"gender": softmax(raw[:2]), "age": np.argmax(pairs, axis=1).sum(keepdims=True)}


DESCRIBERS = {
    "mobilefacenet": Describer(
        describers.mobilefacenet,
        "mobilefacenet_foamliu",
        112,
        (165.5, 58, 285.5, 178),
        False,
        imagenet,
        lambda raw: {"embeddings": raw},
    ),
    "minifasnet": Describer(
        describers.minifasnet,
        "2.7_80x80_MiniFASNetV2",
        80,
        (105.3, 0, 345.6, 324),
        False,
        lambda rgb: rgb[:, ::-1],
        lambda raw: {"liveness": softmax(raw)[1:2]},
    ),
    "genderage": Describer(
        describers.genderage,
        "genderage_v1",
        112,
        (156.3, 40, 293, 176.7),
        False,
        lambda rgb: rgb,
        decode_genderage,
    ),
    "landmarks68": Describer(
        describers.landmarks68,
        "peppa_slim_160",
        160,
        (141.5, 34, 309.5, 202),
        False,
        lambda rgb: (rgb[:, ::-1] - 127) / 127,
        lambda raw: {"landmarks68": raw[:136].reshape(68, 2) * 160},
    ),
    "fer-mini-xception": Describer(
        describers.expression,
        "fer_mini_xception",
        64,
        (159.5, 52, 291.5, 184),
        True,
        lambda grey: grey / 127.5 - 1,
        lambda raw: {"expression": raw},
    ),
}


def published(name: str, shared_data: Path) -> onnx.ModelProto:
    return onnx.load(shared_data / "weights" / f"{DESCRIBERS[name].file}.onnx")


def crop(name: str, shared_data: Path, shift: float = 0.0) -> Array:
    describer = DESCRIBERS[name]
    left, top, right, bottom = describer.box
    box = (left + shift, top, right + shift, bottom)
    size = (describer.size, describer.size)
    with Image.open(shared_data / "demo_photos" / "astronaut.png") as picture:
        whole = picture.convert("L" if describer.grey else "RGB")
        square = whole.transform(size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    pixels = np.asarray(square, np.float32).reshape(*size, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def run(model: onnx.ModelProto, pictures: Array) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {session.get_inputs()[0].name: np.ascontiguousarray(pictures)})
    return dict(zip(names, answers, strict=True))


@pytest.mark.parametrize("name", DESCRIBERS)
def test_answers_equal_the_raw_file_prepared_and_decoded_by_hand(name: str, shared_data: Path) -> None:
    describer = DESCRIBERS[name]
    picture = crop(name, shared_data)
    (raw,) = run(published(name, shared_data), describer.prepare(picture)).values()
    expected = describer.decode(raw[0])
    found = run(describer.adapt(published(name, shared_data)), picture)
    assert found.keys() == expected.keys()
    for field, value in expected.items():
        np.testing.assert_allclose(found[field][:1].reshape(value.shape), value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", DESCRIBERS)
def test_three_crops_together_answer_as_each_alone(name: str, shared_data: Path) -> None:
    model = DESCRIBERS[name].adapt(published(name, shared_data))
    crops = [crop(name, shared_data, shift) for shift in (0.0, 5.0, 60.0)]
    together = run(model, np.concatenate(crops))
    for field, values in together.items():
        apart = np.concatenate([run(model, one)[field] for one in crops])
        assert values.shape == apart.shape
        np.testing.assert_allclose(values, apart, rtol=1e-3, atol=1e-3)
        assert len(np.unique(apart.reshape(3, -1), axis=0)) > 1, "the crops say nothing about the batch"


def test_answers_about_the_astronaut_are_plausible(shared_data: Path) -> None:
    answers = {
        name: run(describer.adapt(published(name, shared_data)), crop(name, shared_data))
        for name, describer in DESCRIBERS.items()
    }
    assert answers["minifasnet"]["liveness"][0] > 0.8
    assert answers["genderage"]["gender"][0].argmax() == 0  # female
    assert 20 < answers["genderage"]["age"][0] < 50
    assert answers["fer-mini-xception"]["expression"][0].argmax() == 3  # happy


def test_68_landmarks_lie_on_the_astronauts_eyes_and_mouth(shared_data: Path) -> None:
    left, top, right, _ = DESCRIBERS["landmarks68"].box
    model = describers.landmarks68(published("landmarks68", shared_data))
    points = run(model, crop("landmarks68", shared_data))["landmarks68"][0]
    points = points * ((right - left) / 160) + (left, top)
    for first, last, place in (
        (36, 42, (203, 102)),
        (42, 48, (246, 104)),
        (48, 49, (202, 142)),
        (54, 55, (242, 143)),
    ):
        np.testing.assert_allclose(points[first:last].mean(0), place, atol=6)


def pooled(pictures: Array) -> Array:
    """Return the means of 16 x 16 pixels, flat for each picture: what the stand-ins see."""
    count, channels, size, _ = pictures.shape
    tiles = pictures.reshape(count, channels, size // 16, 16, size // 16, 16)
    return np.asarray(tiles.mean((3, 5)).reshape(count, -1))


def stand_in(
    channels: int, size: int, length: int, normalised_inside: bool = False
) -> tuple[onnx.ModelProto, Array]:
    """Return a model of a describer's signature, a matrix times `pooled`, for one picture; and the matrix."""
    shape = (channels * (size // 16) ** 2, length)
    weights = np.random.default_rng(3).normal(size=shape).astype(np.float32) * 0.1
    nodes, tensor = [], "picture"
    if normalised_inside:
        nodes += [
            helper.make_node("Sub", ["picture", "mean"], ["moved"]),
            helper.make_node("Mul", ["moved", "scale"], ["normalised"]),
        ]
        tensor = "normalised"
    nodes += [
        helper.make_node("AveragePool", [tensor], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["answer"]),
    ]
    constants = {
        "shape": np.array([1, -1], np.int64),
        "weights": weights,
        "mean": np.array([127.5], np.float32),
        "scale": np.array([1 / 128], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, length])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), weights


def noise(count: int, channels: int, size: int) -> Array:
    return (np.random.default_rng(5).random((count, channels, size, size)) * 255).astype(np.float32)


@pytest.mark.parametrize("inside", [True, False])
def test_arcface_is_normalised_once_by_the_file_or_by_the_adapter(inside: bool) -> None:
    model, weights = stand_in(3, 112, 512, normalised_inside=inside)
    pictures = noise(3, 3, 112)
    expected = pooled((pictures - 127.5) / (128 if inside else 127.5)) @ weights
    found = run(describers.arcface(model), pictures)["embeddings"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sface_gets_rgb_as_it_is() -> None:
    model, weights = stand_in(3, 112, 128)
    pictures = noise(2, 3, 112)
    found = run(describers.sface(model), pictures)["embeddings"]
    np.testing.assert_allclose(found, pooled(pictures) @ weights, rtol=1e-4, atol=1e-3)


def test_ferplus_gets_grey_as_it_is_and_gives_probabilities_in_its_own_order() -> None:
    model, weights = stand_in(1, 64, 8)
    pictures = noise(2, 1, 64)
    found = run(describers.ferplus_vgg13(model), pictures)["expression"]
    expected = [softmax(logits) for logits in pooled(pictures) @ weights]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_graph_that_mixes_the_batch_stays_at_one_picture() -> None:
    model, _ = stand_in(3, 112, 128)
    # The mean over the batch is the picture itself when there is one, and another thing when there are three.
    mix = helper.make_node("ReduceMean", ["picture"], ["mixed"], axes=[0], keepdims=1)
    model.graph.node.insert(0, mix)
    model.graph.node[1].input[0] = "mixed"
    adapted = describers.sface(model)
    assert adapted.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert run(adapted, noise(1, 3, 112))["embeddings"].shape == (1, 128)


def test_a_free_batch_leaves_the_model_it_was_given_alone() -> None:
    model, _ = stand_in(3, 112, 128)
    adapted = describers.sface(model)
    before = adapted.SerializeToString()
    with_free_batch(adapted, "sface")
    assert adapted.SerializeToString() == before


@pytest.mark.parametrize(
    ("adapt", "name", "wanted"),
    [
        (
            describers.minifasnet,
            "mobilefacenet",
            r"expected one input \?x3x80x80, found 'input0' 1x3x112x112",
        ),
        (describers.mobilefacenet, "genderage", r"embedding \?x128, found 'fc1' 1x202"),
        (describers.arcface, "mobilefacenet", r"embedding \?x512, found 'output0' 1x128"),
        (describers.sface, "landmarks68", r"expected one input \?x3x112x112, found 'input1' 1x3x160x160"),
        (describers.genderage, "mobilefacenet", r"gender and age \?x202, found 'output0' 1x128"),
        (describers.landmarks68, "fer-mini-xception", r"\?x3x160x160, found 'input' Nx1x64x64"),
        (describers.expression, "minifasnet", r"\?x1x64x64, found 'input' 1x3x80x80"),
        (describers.ferplus_vgg13, "fer-mini-xception", r"logits \?x8, found 'predictions' Nx7"),
    ],
)
def test_another_file_is_refused_with_what_was_found(
    adapt: Callable[[onnx.ModelProto], onnx.ModelProto], name: str, wanted: str, shared_data: Path
) -> None:
    with pytest.raises(ConversionError, match=wanted):
        adapt(published(name, shared_data))
