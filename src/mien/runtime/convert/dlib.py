"""Turns dlib's face recognition network, as dlib serialised it, into ONNX.

The network is a ResNet of 29 convolutions (King, blog.dlib.net/2017/02; its weights are in the public
domain). Its wiring is spelled in `FACE_RESNET`; sizes, strides and weights are read from the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt

from mien.core.errors import ConversionError, MissingExtra
from mien.runtime.convert.dlib_format import SOURCE, read_network
from mien.runtime.convert.dlib_layers import (
    Add,
    Affine,
    Convolution,
    FullyConnected,
    Kind,
    Layer,
    Network,
    Pool,
    Relu,
    Skip,
    Slot,
    Tag,
    Window,
)
from mien.runtime.convert.graph import IR_VERSION

if TYPE_CHECKING:
    import onnx

OPSET = 17

_TWO_CONVOLUTIONS = (
    Slot(Kind.CONVOLUTION),
    Slot(Kind.AFFINE),
    Slot(Kind.RELU),
    Slot(Kind.CONVOLUTION),
    Slot(Kind.AFFINE),
)
# f(x) + x
_SAME_SIZE = (Slot(Kind.TAG, 1), *_TWO_CONVOLUTIONS, Slot(Kind.ADD_PREVIOUS, 1), Slot(Kind.RELU))
# pool(x) + f(x), where f halves the size and may add channels
_HALF_SIZE = (
    Slot(Kind.TAG, 1),
    *_TWO_CONVOLUTIONS,
    Slot(Kind.TAG, 2),
    Slot(Kind.SKIP, 1),
    Slot(Kind.AVERAGE_POOL),
    Slot(Kind.ADD_PREVIOUS, 2),
    Slot(Kind.RELU),
)
FACE_RESNET: tuple[Slot, ...] = (
    *(Slot(Kind.CONVOLUTION), Slot(Kind.AFFINE), Slot(Kind.RELU), Slot(Kind.MAX_POOL)),
    *(_SAME_SIZE * 3),
    *(_HALF_SIZE + _SAME_SIZE * 3),
    *(_HALF_SIZE + _SAME_SIZE * 2),
    *(_HALF_SIZE + _SAME_SIZE * 2),
    *_HALF_SIZE,
    *(Slot(Kind.AVERAGE_POOL), Slot(Kind.FULLY_CONNECTED)),
)
"""The layers of `dlib_face_recognition_resnet_model_v1.dat` from input to output."""


def convert_dlib(data: bytes, chain: Sequence[Slot] = FACE_RESNET) -> onnx.ModelProto:
    """Return the network in `data` as an ONNX model.

    The model has one input, `input` (n, 3, height, width; 150 x 150 in the published file), float32 RGB
    0..255, and one output, `embeddings` (n, 128), not normalised (norm about 1.4; distances below 0.6 are
    one person).

    Args:
        data: the whole file, `dlib_face_recognition_resnet_model_v1.dat` unless `chain` says otherwise.
        chain: the network's layers from input to output, which the file itself does not say.

    Raises:
        ConversionError: the bytes are cut, foreign, or of another network; its text names the byte and what
            belongs there.
        MissingExtra: `onnx` is not installed.
    """
    network = read_network(data, chain)
    return build_model(replace(network, layers=fold_affine(network.layers)))


def fold_affine(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with each affine layer that directly follows a convolution merged into it.

    gamma (W * x + b) + beta = (gamma W) * x + (gamma b + beta).
    """
    folded: list[Layer] = []
    for layer in layers:
        below = folded[-1] if folded else None
        match below, layer:
            case Convolution(relu=False), Affine() if below.biases.size == layer.gamma.size:
                gamma, beta = layer.gamma.astype(np.float64), layer.beta.astype(np.float64)
                filters = (below.filters * gamma[:, None, None, None]).astype(np.float32)
                biases = (below.biases * gamma + beta).astype(np.float32)
                folded[-1] = replace(below, filters=filters, biases=biases)
            case _:
                folded.append(layer)
    return tuple(folded)


def build_model(network: Network) -> onnx.ModelProto:
    """Return the ONNX model that computes `network`, the normalisation of its input included.

    Raises:
        ConversionError: a layer does not fit what comes before it.
        MissingExtra: `onnx` is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise MissingExtra("onnx", "all") from None

    picture = network.input
    shape = (3, picture.height, picture.width)
    builder = Builder()
    mean = builder.constant("mean", np.array(picture.mean, np.float32).reshape(1, 3, 1, 1))
    centred = builder.node("Sub", ["input", mean])
    scaled = builder.node("Mul", [centred, builder.constant("scale", np.array(1 / 256, np.float32))])
    value = Value(scaled, shape)
    tagged: dict[int, Value] = {}
    for index, layer in enumerate(network.layers):
        value = _append(builder, index, layer, value, tagged)
    if len(value.shape) != 1:
        _misfit(len(network.layers), f"one vector as the result, not {value.shape}")
    builder.nodes.append(helper.make_node("Identity", [value.name], ["embeddings"]))

    model = helper.make_model(
        helper.make_graph(
            builder.nodes,
            "dlib",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", *value.shape])],
            builder.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mien",
    )
    checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class Value:
    """A value on its way: its name in the graph and its shape without the batch, (k, nr, nc) or (d,)."""

    name: str
    shape: tuple[int, ...]


class Builder:
    """The nodes and constants of an ONNX graph while it grows."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], window: Window | None = None) -> str:
        """Add a node of one output and return the output's name; convolutions and pools have a window."""
        from onnx import helper

        output = f"{operator.lower()}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output], name=output)
        if window is not None:
            node.attribute.append(helper.make_attribute("kernel_shape", window.size))
            node.attribute.append(helper.make_attribute("strides", window.stride))
            node.attribute.append(helper.make_attribute("pads", window.padding * 2))
        self.nodes.append(node)
        return output


def _append(builder: Builder, index: int, layer: Layer, value: Value, tagged: dict[int, Value]) -> Value:
    """Add the nodes of one layer after `value` and return what they make; a tag is noted in `tagged`."""
    match layer:
        case Tag(tag):
            tagged[tag] = value
            return value
        case Skip(tag):
            return _look_up(index, tagged, tag)
        case Convolution():
            return _append_convolution(builder, index, layer, value)
        case Affine():
            return _append_affine(builder, index, layer, value)
        case Relu():
            return Value(builder.node("Relu", [value.name]), value.shape)
        case Pool():
            return _append_pool(builder, index, layer, value)
        case Add(tag):
            return _append_add(builder, index, value, _look_up(index, tagged, tag))
        case FullyConnected():
            return _append_fully_connected(builder, index, layer, value)


def _misfit(index: int, expected: str) -> NoReturn:
    raise ConversionError(
        SOURCE, f"at layer {index} (after folding): expected {expected}; is it the right file?"
    )


def _look_up(index: int, tagged: dict[int, Value], tag: int) -> Value:
    if tag not in tagged:
        _misfit(index, f"a tag {tag} before it")
    return tagged[tag]


def _slide(index: int, window: Window, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many rows and columns of a (k, nr, nc) value the window visits."""
    rows, columns = (
        (side + 2 * padding - size) // stride + 1
        for side, size, stride, padding in zip(
            shape[1:], window.size, window.stride, window.padding, strict=True
        )
    )
    if min(rows, columns) < 1:
        _misfit(index, f"at least {window.size} cells, not {shape[1:]}")
    return rows, columns


def _append_convolution(builder: Builder, index: int, layer: Convolution, value: Value) -> Value:
    if len(value.shape) != 3 or layer.filters.shape[1] != value.shape[0]:
        _misfit(index, f"a picture of {layer.filters.shape[1]} channels, not {value.shape}")
    filters = builder.constant(f"filters_{index}", layer.filters)
    biases = builder.constant(f"biases_{index}", layer.biases)
    output = builder.node("Conv", [value.name, filters, biases], layer.window)
    if layer.relu:
        output = builder.node("Relu", [output])
    return Value(output, (layer.biases.size, *_slide(index, layer.window, value.shape)))


def _append_affine(builder: Builder, index: int, layer: Affine, value: Value) -> Value:
    if layer.gamma.size != value.shape[0]:
        _misfit(index, f"{layer.gamma.size} channels, not {value.shape}")
    shape = (1, layer.gamma.size, *(1 for _ in value.shape[1:]))
    gamma = builder.constant(f"gamma_{index}", layer.gamma.reshape(shape))
    beta = builder.constant(f"beta_{index}", layer.beta.reshape(shape))
    return Value(builder.node("Add", [builder.node("Mul", [value.name, gamma]), beta]), value.shape)


def _append_pool(builder: Builder, index: int, layer: Pool, value: Value) -> Value:
    if len(value.shape) != 3:
        _misfit(index, f"a picture, not {value.shape}")
    size = (layer.window.size[0] or value.shape[1], layer.window.size[1] or value.shape[2])
    window = replace(layer.window, size=size)
    # Both dlib and ONNX (count_include_pad = 0) leave the padding out of the mean.
    output = builder.node("AveragePool" if layer.mean else "MaxPool", [value.name], window)
    return Value(output, (value.shape[0], *_slide(index, window, value.shape)))


def _append_add(builder: Builder, index: int, value: Value, other: Value) -> Value:
    if len(value.shape) != len(other.shape):
        _misfit(index, f"two pictures or two vectors, not {value.shape} and {other.shape}")
    shape = tuple(max(sizes) for sizes in zip(value.shape, other.shape, strict=True))
    left = _pad(builder, f"pads_{index}_left", value, shape)
    right = _pad(builder, f"pads_{index}_right", other, shape)
    return Value(builder.node("Add", [left, right]), shape)


def _pad(builder: Builder, name: str, value: Value, shape: tuple[int, ...]) -> str:
    """Return the name of `value` zero-padded to `shape` at the end of each axis, as dlib's add_prev does."""
    missing = [wanted - size for wanted, size in zip(shape, value.shape, strict=True)]
    if not any(missing):
        return value.name
    # ONNX wants all beginnings, then all ends; the batch is never padded.
    pads = [0] * (1 + len(missing)) + [0, *missing]
    return builder.node("Pad", [value.name, builder.constant(name, np.array(pads, np.int64))])


def _append_fully_connected(builder: Builder, index: int, layer: FullyConnected, value: Value) -> Value:
    inputs, outputs = layer.weights.shape
    if math.prod(value.shape) != inputs:
        _misfit(index, f"{inputs} numbers, not {value.shape}")
    operands = [builder.node("Flatten", [value.name]), builder.constant(f"weights_{index}", layer.weights)]
    if layer.biases is not None:
        operands.append(builder.constant(f"biases_{index}", layer.biases))
    return Value(builder.node("Gemm", operands), (outputs,))
