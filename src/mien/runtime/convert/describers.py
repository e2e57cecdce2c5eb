"""Puts preparation and decoding of known face describers into their ONNX files: crops in, fields out.

Every adapter here takes the published file and returns a model with one input `input` (n, 3, S, S), or
(n, 1, S, S) for grey, float32 0..255 in RGB order, and outputs named by the field of `core.fields.FIELDS`
that they make. The batch n is free where the file allows it (see `with_free_batch` in graph.py), else 1.
Each adapter raises `ConversionError` when the file is another than it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mien.runtime.convert.graph import Graph, with_free_batch

if TYPE_CHECKING:
    import onnx

_IMAGENET_MEAN = tuple(255 * value for value in (0.485, 0.456, 0.406))
_IMAGENET_DEVIATION = tuple(255 * value for value in (0.229, 0.224, 0.225))

_FLOAT = 1
"""onnx.TensorProto.FLOAT, known here without importing onnx."""


def mobilefacenet(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt foamliu's MobileFaceNet: 112 px, ImageNet's mean and deviation, 128 numbers."""
    return _recogniser(model, "mobilefacenet", 128, _IMAGENET_MEAN, _IMAGENET_DEVIATION)


def arcface(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt insightface's recognisers (w600k_r50, w600k_mbf, glint, antelope): 112 px RGB, 512 numbers.

    Files made from MXNet begin with their own Sub and Mul and want 0..255, the others (x - 127.5) / 127.5;
    this is the test that insightface itself makes.
    """
    if {"Sub", "Mul"}.issubset(node.op_type for node in model.graph.node[:8]):
        return _recogniser(model, "arcface", 512, (0.0,), (1.0,))
    return _recogniser(model, "arcface", 512, (127.5,), (127.5,))


def sface(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt SFace of OpenCV's zoo: 112 px, 128 numbers, normalised inside the file.

    It takes RGB 0..255: OpenCV's FaceRecognizerSF reads BGR pictures and swaps red and blue on the way in.
    """
    return _recogniser(model, "sface", 128, (0.0,), (1.0,))


def minifasnet(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt MiniFASNet (minivision's Silent-Face): 80 px BGR 0..255, three logits, index 1 is live."""
    graph = Graph(model, "minifasnet")
    graph.expect_input((None, 3, 80, 80))
    (logits,) = graph.expect_outputs([("logits", (None, 3))])
    graph.take_rgb((1, 3, 80, 80), blue_first=True)
    probabilities = graph.add("Softmax", logits, attributes={"axis": 1})
    live = graph.add("Gather", probabilities, graph.constant(1, np.int64), attributes={"axis": 1})
    return with_free_batch(graph.finish({"liveness": (live, (1,))}), "minifasnet")


def genderage(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt insightface's genderage_v1: 112 px RGB 0..255, 2 gender and 100 x 2 age logits.

    Gender's logits are female, male. Age is how many of the hundred no-yes pairs say yes, as its makers count
    it; the sum of the pairs' probabilities is worse (on 600 faces of UTKFace 8.5 against 7.1 years off).
    """
    graph = Graph(model, "genderage")
    graph.expect_input((None, 3, 112, 112))
    (logits,) = graph.expect_outputs([("gender and age", (None, 202))])
    graph.take_rgb((1, 3, 112, 112))
    gender = graph.add("Softmax", _columns(graph, logits, 0, 2), attributes={"axis": 1})
    even = graph.add("Gather", logits, graph.indices(*range(2, 202, 2)), attributes={"axis": 1})
    odd = graph.add("Gather", logits, graph.indices(*range(3, 202, 2)), attributes={"axis": 1})
    older = graph.add("Cast", graph.add("Greater", odd, even), attributes={"to": _FLOAT})
    age = graph.add("ReduceSum", older, graph.indices(1), attributes={"keepdims": 0})
    return with_free_batch(graph.finish({"gender": (gender, (1, 2)), "age": (age, (1,))}), "genderage")


def landmarks68(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt Peppa-Facial-Landmark's slim network: 160 px BGR (x - 127) / 127, 68 x y in 0..1 first."""
    graph = Graph(model, "landmarks68")
    graph.expect_input((None, 3, 160, 160))
    (numbers,) = graph.expect_outputs([("landmarks and states", (None, 143))])
    graph.take_rgb((1, 3, 160, 160), mean=(127.0,), deviation=(127.0,), blue_first=True)
    pairs = graph.add("Reshape", _columns(graph, numbers, 0, 136), graph.indices(0, 68, 2))
    points = graph.add("Mul", pairs, graph.constant(160.0))
    return with_free_batch(graph.finish({"landmarks68": (points, (1, 68, 2))}), "landmarks68")


def expression(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt mini-Xception trained on FER2013: 64 px grey, x / 127.5 - 1, seven probabilities.

    Their order is angry, disgust, fear, happy, sad, surprise, neutral.
    """
    graph = Graph(model, "fer-mini-xception")
    graph.expect_input((None, 1, 64, 64))
    (probabilities,) = graph.expect_outputs([("probabilities", (None, 7))])
    graph.take_rgb((1, 1, 64, 64), mean=(127.5,), deviation=(127.5,))
    return with_free_batch(graph.finish({"expression": (probabilities, (1, 7))}), "fer-mini-xception")


def ferplus_vgg13(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt FER+ VGG13 of the ONNX model zoo: 64 px grey 0..255, eight logits.

    Their order is neutral, happiness, surprise, sadness, anger, disgust, fear, contempt.
    """
    graph = Graph(model, "ferplus-vgg13")
    graph.expect_input((None, 1, 64, 64))
    (logits,) = graph.expect_outputs([("logits", (None, 8))])
    graph.take_rgb((1, 1, 64, 64))
    probabilities = graph.add("Softmax", logits, attributes={"axis": 1})
    return with_free_batch(graph.finish({"expression": (probabilities, (1, 8))}), "ferplus-vgg13")


def _recogniser(
    model: onnx.ModelProto, name: str, length: int, mean: Sequence[float], deviation: Sequence[float]
) -> onnx.ModelProto:
    """Return a network of 112 px crops whose embeddings are left as they are (not of unit length)."""
    graph = Graph(model, name)
    graph.expect_input((None, 3, 112, 112))
    (embeddings,) = graph.expect_outputs([("embedding", (None, length))])
    graph.take_rgb((1, 3, 112, 112), mean=mean, deviation=deviation)
    return with_free_batch(graph.finish({"embeddings": (embeddings, (1, length))}), name)


def _columns(graph: Graph, tensor: str, first: int, last: int) -> str:
    """Return columns first..last (without last) of (n, columns)."""
    return graph.add("Slice", tensor, graph.indices(first), graph.indices(last), graph.indices(1))
