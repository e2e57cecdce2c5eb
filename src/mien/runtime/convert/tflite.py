"""Converts a TFLite file to ONNX: channels first inside, constants unfolded to float32, any batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import ConversionError
from mien.runtime.convert.graph import IR_VERSION, OPSET, Attribute, Dimension, Graph
from mien.runtime.convert.tflite_schema import Operator, Options, Tensor, read_tflite

if TYPE_CHECKING:
    import onnx

_CHANNELS_FIRST = (0, 3, 1, 2)
_CHANNELS_LAST = (0, 2, 3, 1)


def convert_tflite(data: bytes, name: str = "the TFLite file") -> onnx.ModelProto:
    """Convert the bytes of a .tflite file of one picture input.

    Args:
        data: the file; float32, or float16 constants that are dequantized in the graph.
        name: the model's name in errors.

    Returns:
        A model of the graph's OPSET with the input `input` (n, channels, height, width), scaled as the file
        wants it, and the file's outputs under their own names and in their own axes (NHWC where there are
        four), the first axis free.

    Raises:
        ConversionError: the bytes are no TFLite file, are damaged, or use what is not known here.
    """
    source = read_tflite(data, name)
    converter = _Converter(source.tensors, name)
    try:
        converter.take_input(source.inputs)
        for operator in source.operators:
            converter.convert(operator)
        return converter.finish(source.outputs)
    # What follows from numbers that are each legal but do not fit together, as only damage makes them.
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, MemoryError) as error:
        raise ConversionError(name, f"its tensors do not fit each other ({error}); fetch it again") from error


class _Converter:
    """Walks the operators in order; `made` holds what exists so far: TFLite tensor to ONNX tensor.

    A tensor of four axes is NHWC in TFLite and NCHW here; others are the same in both.
    """

    def __init__(self, tensors: tuple[Tensor, ...], name: str) -> None:
        from onnx import helper

        empty = helper.make_model(
            helper.make_graph([], "tflite", [], []),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        self.tensors = tensors
        self.name = name
        self.graph = Graph(empty, name)
        self.made: dict[int, str] = {}
        self.constants = {i: tensor.data for i, tensor in enumerate(tensors) if tensor.data is not None}

    def take_input(self, inputs: tuple[int, ...]) -> None:
        """Declare the picture input."""
        from onnx import TensorProto, helper

        shapes = [self.tensors[index].shape for index in inputs]
        if len(inputs) != 1 or len(shapes[0]) != 4:
            raise ConversionError(self.name, f"expected one input of four axes (NHWC), found {shapes}")
        shape: list[str | int | None] = ["n", *(shapes[0][axis] for axis in _CHANNELS_FIRST[1:])]
        declared = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        self.graph.model.graph.input.append(declared)
        self.made[inputs[0]] = "input"

    def convert(self, operator: Operator) -> None:
        """Append what does the same as a TFLite operator."""
        if operator.name == "DEQUANTIZE":
            # Halves become single floats here, once, instead of at every run.
            self.constants[operator.outputs[0]] = self.constant(operator, 0).astype(np.float32)
            return
        if self.shape(operator.outputs[0])[:1] != (1,):
            raise ConversionError(self.name, f"{operator.name} gives no first axis of 1 to make free")
        result = _OPERATORS[operator.name](self, operator)
        self.made[operator.outputs[0]] = self.activated(result, operator.options.activation)

    def finish(self, outputs: tuple[int, ...]) -> onnx.ModelProto:
        """Return the model, its outputs in TFLite's axes."""
        named: dict[str, tuple[str, tuple[Dimension, ...]]] = {}
        for index in outputs:
            tensor = self.made[index] if index in self.made else self.missing(index)
            if len(self.shape(index)) == 4:
                tensor = self.graph.add("Transpose", tensor, attributes={"perm": _CHANNELS_LAST})
            named[self.tensors[index].name] = (tensor, ("n", *self.shape(index)[1:]))
        model = self.graph.finish(named)
        # `Graph` gives the same names again when an adapter rebuilds this model.
        for number, node in enumerate(model.graph.node):
            node.name = f"tflite_{number}_{node.op_type}"
        return model

    def missing(self, index: int) -> str:
        raise ConversionError(self.name, f"tensor {self.tensors[index].name!r} is used before it is made")

    def shape(self, index: int) -> tuple[int, ...]:
        return self.tensors[index].shape

    def value(self, operator: Operator, position: int) -> str:
        """Return the ONNX tensor that is an operator's input."""
        index = operator.inputs[position]
        return self.made[index] if index in self.made else self.missing(index)

    def constant(self, operator: Operator, position: int) -> npt.NDArray[Any]:
        """Return an operator's input that has to be a constant."""
        index = operator.inputs[position]
        if index not in self.constants:
            raise ConversionError(
                self.name, f"input {position} of {operator.name} is computed; only a constant converts"
            )
        return self.constants[index]

    def activated(self, tensor: str, activation: str) -> str:
        if activation == "RELU":
            return self.graph.add("Relu", tensor)
        if activation == "TANH":
            return self.graph.add("Tanh", tensor)
        if activation in ("RELU6", "RELU_N1_TO_1"):
            low, high = (0.0, 6.0) if activation == "RELU6" else (-1.0, 1.0)
            return self.graph.add("Clip", tensor, self.graph.constant(low), self.graph.constant(high))
        return tensor

    def window(self, operator: Operator, kernel: tuple[int, int]) -> dict[str, Attribute]:
        """Return ONNX's attributes of a sliding window, with TFLite's padding written out."""
        options = operator.options
        pads = same_pads(self.shape(operator.inputs[0])[1:3], kernel, options) if options.same else (0,) * 4
        return {"kernel_shape": kernel, "strides": options.stride, "pads": pads}

    def convolution(self, operator: Operator) -> str:
        """CONV_2D (weights outputs, height, width, inputs), DEPTHWISE_CONV_2D (1, height, width, outputs)."""
        weights = self.constant(operator, 1)
        depthwise = operator.name == "DEPTHWISE_CONV_2D"
        weights = weights.transpose((3, 0, 1, 2) if depthwise else _CHANNELS_FIRST)
        group = self.shape(operator.inputs[0])[3] if depthwise else 1
        operands = [self.graph.constant(weights)]
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            operands.append(self.graph.constant(self.constant(operator, 2)))
        attributes = self.window(operator, (weights.shape[2], weights.shape[3]))
        attributes |= {"dilations": operator.options.dilation, "group": group}
        return self.graph.add("Conv", self.value(operator, 0), *operands, attributes=attributes)

    def max_pool(self, operator: Operator) -> str:
        attributes = self.window(operator, operator.options.window)
        return self.graph.add("MaxPool", self.value(operator, 0), attributes=attributes)

    def relu(self, operator: Operator) -> str:
        return self.graph.add("Relu", self.value(operator, 0))

    def prelu(self, operator: Operator) -> str:
        """PRELU as x + (1 - slope) relu(-x): onnxruntime's PRelu takes two thirds of a whole mesh model.

        Written with convolutions of one pixel for each channel, the tensor stays in the blocked layout that
        onnxruntime keeps between convolutions, and the sum is fused: 3.6 ms for the mesh become 1.0.
        """
        slope = self.constant(operator, 1)
        if slope.shape != (1, 1, self.shape(operator.inputs[0])[-1]):
            raise ConversionError(self.name, f"PRELU has slopes {slope.shape}, not one for each channel")
        tensor = self.value(operator, 0)
        below = self.graph.add("Relu", self.scaled(tensor, np.full(slope.size, -1.0)))
        return self.graph.add("Add", tensor, self.scaled(below, 1.0 - slope))

    def scaled(self, tensor: str, factors: npt.NDArray[Any]) -> str:
        """Return a tensor of four axes with each channel times its factor."""
        weights = self.graph.constant(factors.reshape(-1, 1, 1, 1))
        attributes: dict[str, Attribute] = {"group": factors.size, "kernel_shape": (1, 1)}
        return self.graph.add("Conv", tensor, weights, attributes=attributes)

    def add(self, operator: Operator) -> str:
        return self.graph.add("Add", self.value(operator, 0), self.value(operator, 1))

    def pad(self, operator: Operator) -> str:
        amounts = self.constant(operator, 1)
        if amounts.shape != (4, 2):
            raise ConversionError(self.name, f"PAD has amounts of shape {amounts.shape}, not four axes")
        tensor = self.value(operator, 0)
        channels = self.shape(operator.inputs[0])[3]
        if amounts.tolist() == [[0, 0], [0, 0], [0, 0], [0, channels]]:
            # As many zero channels again: joined on, they spare the way out of the blocked layout and back.
            return self.graph.add(
                "Concat", tensor, self.scaled(tensor, np.zeros(channels)), attributes={"axis": 1}
            )
        before, after = amounts[list(_CHANNELS_FIRST)].T.tolist()
        return self.graph.add("Pad", tensor, self.graph.indices(*before, *after))

    def concatenate(self, operator: Operator) -> str:
        rank = len(self.shape(operator.outputs[0]))
        axis = operator.options.axis % rank
        axis = _CHANNELS_FIRST.index(axis) if rank == 4 else axis
        values = [self.value(operator, position) for position in range(len(operator.inputs))]
        return self.graph.add("Concat", *values, attributes={"axis": axis})

    def reshape(self, operator: Operator) -> str:
        before, after = self.shape(operator.inputs[0]), self.shape(operator.outputs[0])
        tensor = self.value(operator, 0)
        if prod(before) != prod(after):
            raise ConversionError(self.name, f"RESHAPE from {before} to {after}")
        if len(before) == 4 and before[1:3] != (1, 1):
            tensor = self.graph.add("Transpose", tensor, attributes={"perm": _CHANNELS_LAST})
        # 0 keeps the batch, whatever it is.
        tensor = self.graph.add("Reshape", tensor, self.graph.indices(0, *after[1:]))
        if len(after) == 4:
            tensor = self.graph.add("Transpose", tensor, attributes={"perm": _CHANNELS_FIRST})
        return tensor

    def resize(self, operator: Operator) -> str:
        options = operator.options
        way = "align_corners" if options.align_corners else "asymmetric"
        way = "half_pixel" if options.half_pixel_centers else way
        size = self.graph.indices(*self.shape(operator.outputs[0])[1:3])
        attributes: dict[str, Attribute] = {
            "mode": "linear",
            "coordinate_transformation_mode": way,
            "axes": (2, 3),
        }
        return self.graph.add("Resize", self.value(operator, 0), "", "", size, attributes=attributes)


_OPERATORS: Mapping[str, Callable[[_Converter, Operator], str]] = MappingProxyType(
    {
        "ADD": _Converter.add,
        "CONCATENATION": _Converter.concatenate,
        "CONV_2D": _Converter.convolution,
        "DEPTHWISE_CONV_2D": _Converter.convolution,
        "MAX_POOL_2D": _Converter.max_pool,
        "PAD": _Converter.pad,
        "PRELU": _Converter.prelu,
        "RELU": _Converter.relu,
        "RESHAPE": _Converter.reshape,
        "RESIZE_BILINEAR": _Converter.resize,
    }
)


def same_pads(size: tuple[int, ...], kernel: tuple[int, int], options: Options) -> tuple[int, int, int, int]:
    """Return TFLite's "SAME" padding: top, left, bottom, right.

    There are ceil(size / stride) outputs; of an odd amount of padding the larger part lies at the end, so a
    stride of 2 on an even size pads one side only.
    """
    lacking = [
        max((-(-length // stride) - 1) * stride + (width - 1) * dilation + 1 - length, 0)
        for length, width, stride, dilation in zip(
            size, kernel, options.stride, options.dilation, strict=True
        )
    ]
    top, left = (amount // 2 for amount in lacking)
    return top, left, lacking[0] - top, lacking[1] - left
