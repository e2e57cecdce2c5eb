"""Operators of small made TFLite graphs answer as LiteRT's own; damaged files are refused, never worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import ConversionError
from mien.runtime.assets import source_bytes
from mien.runtime.convert.registry import ADAPTERS
from mien.runtime.convert.tflite import convert_tflite

Array = npt.NDArray[Any]
NUMBERS = np.random.default_rng(7)
SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6, TANH = range(5)


class Maker:
    """Makes a TFLite file operator by operator with LiteRT's own schema; `last` is the newest tensor."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.last = self.tensor(shape)
        self.graph.inputs = [self.last]

    def tensor(self, shape: Sequence[int], values: Array | None = None) -> int:
        made = schema.TensorT()
        made.name = f"t{len(self.graph.tensors)}"
        made.shape = list(shape)
        made.type = 0
        if values is not None:
            made.type = {"float32": 0, "float16": 1, "int32": 2}[values.dtype.name]
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, values: Array) -> int:
        return self.tensor(values.shape, values)

    def weights(self, *shape: int) -> int:
        return self.constant(NUMBERS.normal(size=shape).astype(np.float32))

    def add(
        self, code: int, inputs: Sequence[int], shape: Sequence[int], options: Any = None, kind: int = 0
    ) -> int:
        number = schema.OperatorCodeT()
        number.builtinCode = number.deprecatedBuiltinCode = code
        self.model.operatorCodes.append(number)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = list(inputs)
        self.last = self.tensor(shape)
        operator.outputs = [self.last]
        operator.builtinOptions, operator.builtinOptionsType = options, kind
        self.graph.operators.append(operator)
        return self.last

    def file(self) -> bytes:
        self.graph.outputs = [self.last]
        builder = Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def convolution(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: int,
    activation: int = NONE,
    *,
    depthwise: bool = False,
) -> bytes:
    maker = Maker((1, *size, 3))
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = stride
    options.dilationHFactor, options.dilationWFactor = dilation
    options.fusedActivationFunction = activation
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    result = [
        -(-length // s) if padding == SAME else (length - e) // s + 1
        for length, s, e in zip(size, stride, extent, strict=True)
    ]
    channels = 6 if depthwise else 5
    if depthwise:
        options.depthMultiplier = 2
    weights = maker.weights(*((1, *kernel, 6) if depthwise else (5, *kernel, 3)))
    inputs = [0, weights, maker.weights(channels)]
    maker.add(4 if depthwise else 3, inputs, (1, *result, channels), options, 2 if depthwise else 1)
    return maker.file()


def max_pool(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int], padding: int) -> bytes:
    maker = Maker((1, *size, 2))
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.filterHeight, options.filterWidth = window
    options.strideH, options.strideW = stride
    result = [
        -(-length // s) if padding == SAME else (length - w) // s + 1
        for length, s, w in zip(size, stride, window, strict=True)
    ]
    maker.add(17, [0], (1, *result, 2), options, 5)
    return maker.file()


def resize(
    size: tuple[int, int], target: tuple[int, int], align_corners: bool, half_pixel_centers: bool
) -> bytes:
    maker = Maker((1, *size, 2))
    options = schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = align_corners, half_pixel_centers
    maker.add(23, [0, maker.constant(np.array(target, np.int32))], (1, *target, 2), options, 15)
    return maker.file()


def pad(amounts: Sequence[Sequence[int]]) -> bytes:
    maker = Maker((1, 4, 5, 3))
    shape = [length + sum(pair) for length, pair in zip((1, 4, 5, 3), amounts, strict=True)]
    maker.add(34, [0, maker.constant(np.array(amounts, np.int32))], shape, schema.PadOptionsT(), 22)
    return maker.file()


def several() -> bytes:
    """Return a small network that uses PRELU, ADD, CONCATENATION, RELU, DEQUANTIZE and RESHAPE."""
    maker = Maker((1, 3, 4, 2))
    slopes = maker.add(6, [maker.constant(NUMBERS.normal(size=(1, 1, 2)).astype(np.float16))], (1, 1, 2))
    bent = maker.add(54, [0, slopes], (1, 3, 4, 2))
    addition = schema.AddOptionsT()
    addition.fusedActivationFunction = RELU6
    summed = maker.add(0, [bent, 0], (1, 3, 4, 2), addition, 11)
    joining = schema.ConcatenationOptionsT()
    joining.axis = -1
    joined = maker.add(2, [summed, 0], (1, 3, 4, 4), joining, 10)
    positive = maker.add(19, [joined], (1, 3, 4, 4))
    flat = maker.add(22, [positive, maker.constant(np.array([1, 48], np.int32))], (1, 48))
    maker.add(22, [flat, maker.constant(np.array([1, 2, 6, 4], np.int32))], (1, 2, 6, 4))
    return maker.file()


CASES: dict[str, Callable[[], bytes]] = {
    "odd size, stride 2": lambda: convolution((7, 9), (3, 3), (2, 2), (1, 1), SAME),
    "even size, stride 2": lambda: convolution((8, 10), (3, 3), (2, 2), (1, 1), SAME),
    "even kernel": lambda: convolution((7, 8), (2, 4), (1, 1), (1, 1), SAME),
    "kernel wider than the picture": lambda: convolution((2, 2), (5, 5), (1, 1), (1, 1), SAME),
    "stride wider than the kernel": lambda: convolution((9, 9), (1, 1), (2, 3), (1, 1), SAME),
    "dilated": lambda: convolution((9, 11), (3, 3), (1, 1), (2, 3), SAME),
    "valid": lambda: convolution((9, 10), (3, 2), (2, 2), (1, 1), VALID),
    "valid, dilated": lambda: convolution((9, 10), (3, 3), (1, 1), (2, 2), VALID),
    "relu": lambda: convolution((5, 5), (3, 3), (1, 1), (1, 1), SAME, RELU),
    "relu between -1 and 1": lambda: convolution((5, 5), (3, 3), (1, 1), (1, 1), SAME, RELU_N1_TO_1),
    "relu up to 6": lambda: convolution((5, 5), (3, 3), (1, 1), (1, 1), SAME, RELU6),
    "depthwise": lambda: convolution((7, 8), (3, 3), (2, 2), (1, 1), SAME, depthwise=True),
    "depthwise, dilated": lambda: convolution((9, 9), (3, 3), (1, 1), (2, 2), SAME, depthwise=True),
    "pool of an odd size": lambda: max_pool((7, 5), (2, 2), (2, 2), SAME),
    "overlapping pool": lambda: max_pool((8, 9), (3, 3), (2, 2), SAME),
    "valid pool": lambda: max_pool((7, 9), (2, 3), (2, 2), VALID),
    "resize, half pixels": lambda: resize((3, 4), (6, 8), False, True),
    "resize to odd sizes, half pixels": lambda: resize((5, 4), (7, 9), False, True),
    "resize, corners aligned": lambda: resize((3, 4), (7, 9), True, False),
    "resize, plain": lambda: resize((3, 4), (6, 8), False, False),
    "pad in space": lambda: pad([[0, 0], [1, 2], [0, 3], [0, 0]]),
    "pad channels": lambda: pad([[0, 0], [0, 0], [0, 0], [1, 2]]),
    "pad as many channels again": lambda: pad([[0, 0], [0, 0], [0, 0], [0, 3]]),
    "seven operators": several,
}


def litert(data: bytes, pictures: Array) -> list[Array]:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    rows = []
    for picture in pictures:
        interpreter.set_tensor(source["index"], picture[None])
        interpreter.invoke()
        rows.append([interpreter.get_tensor(out["index"]) for out in interpreter.get_output_details()])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def converted(data: bytes, pictures: Array) -> list[Array]:
    """Return the converted file's answers to NHWC pictures, all in one batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(convert_tflite(data).SerializeToString(), options)
    answers: list[Array] = session.run(
        None, {"input": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)}
    )
    return answers


def pictures_for(data: bytes) -> Array:
    interpreter = Interpreter(model_content=data, num_threads=1)
    shape = interpreter.get_input_details()[0]["shape"][1:]
    return NUMBERS.normal(size=(3, *shape)).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_three_answers_as_litert_does_one_by_one(case: str) -> None:
    data = CASES[case]()
    pictures = pictures_for(data)
    for mine, theirs in zip(converted(data, pictures), litert(data, pictures), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_cases_use_every_operator_that_converts() -> None:
    from mien.runtime.convert.tflite_schema import OPERATOR_NAMES, read_tflite

    used = {operator.name for case in CASES.values() for operator in read_tflite(case(), "case").operators}
    assert used == set(OPERATOR_NAMES.values())


def with_operator(code: int) -> bytes:
    maker = Maker((1, 4, 4, 2))
    maker.add(code, [0], (1, 4, 4, 2))
    return maker.file()


def test_an_operator_that_is_not_known_is_refused_by_its_number() -> None:
    with pytest.raises(ConversionError, match="operator number 14 is not known; known: ADD"):
        convert_tflite(with_operator(14), "small")  # LOGISTIC


def test_a_quantized_file_is_refused_by_its_tensor() -> None:
    maker = Maker((1, 4, 4, 2))
    maker.graph.tensors[0].type = 9  # int8
    maker.add(19, [0], (1, 4, 4, 2))
    with pytest.raises(ConversionError, match="tensor 't0' has number type 9"):
        convert_tflite(maker.file(), "small")


def test_two_inputs_are_refused() -> None:
    maker = Maker((1, 4, 4, 2))
    maker.graph.inputs = [0, maker.tensor((1, 4, 4, 2))]
    maker.add(0, maker.graph.inputs, (1, 4, 4, 2), schema.AddOptionsT(), 11)
    with pytest.raises(ConversionError, match="expected one input of four axes"):
        convert_tflite(maker.file(), "small")


def test_weights_that_are_computed_are_refused() -> None:
    maker = Maker((1, 4, 4, 2))
    maker.add(54, [0, 0], (1, 4, 4, 2))
    with pytest.raises(ConversionError, match="input 1 of PRELU is computed"):
        convert_tflite(maker.file(), "small")


def outcome(data: bytes, convert: Callable[[bytes], onnx.ModelProto] = convert_tflite) -> str:
    """Return "refused" or "converted"; anything else that is raised fails the test."""
    try:
        convert(data)
    except ConversionError:
        return "refused"
    return "converted"


def test_a_small_file_cut_anywhere_is_refused_or_whole() -> None:
    data = several()
    whole = converted(data, pictures_for(data))[0].shape
    for length in range(len(data)):
        if outcome(data[:length]) == "converted":
            # Only bytes that nothing points to may be missing.
            assert converted(data[:length], pictures_for(data))[0].shape == whole
    assert outcome(data) == "converted"


def test_a_small_file_with_any_byte_changed_never_raises_anything_else() -> None:
    data = several()
    for place in range(0, len(data), 2):
        for value in (0x00, 0x80, 0xFF):
            outcome(data[:place] + bytes([value]) + data[place + 1 :])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
    st.floats(0, 1),
)
def test_a_damaged_published_file_never_raises_anything_else(
    flips: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(source_bytes("blazeface-short-range"))
    for place, value in flips:
        data[int(place * len(data))] = value
    outcome(bytes(data), ADAPTERS["blazeface-short-range"])
    outcome(bytes(data[: int(kept * len(data))]), ADAPTERS["blazeface-short-range"])


@pytest.mark.parametrize("name", ["blazeface-back", "blazeface-full-range", "face-mesh", "iris"])
def test_a_published_file_cut_at_any_tenth_is_refused(name: str) -> None:
    data = source_bytes(name)
    for tenth in range(10):
        assert outcome(data[: len(data) * tenth // 10], ADAPTERS[name]) == "refused"
