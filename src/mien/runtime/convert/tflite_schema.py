"""Reads a TFLite file (a flatbuffer) into plain tables: tensors with their constants, and operators.

The field numbers are those of the public schema, tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.errors import ConversionError

IDENTIFIER = b"TFL3"
MAX_ENTRIES = 100_000
"""More tensors or operators than any network of ours has; a larger count is damage."""

TENSOR_TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f2"),
    2: np.dtype("<i4"),
    4: np.dtype("<i8"),
}
OPERATOR_NAMES = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    17: "MAX_POOL_2D",
    19: "RELU",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    34: "PAD",
    54: "PRELU",
}
ACTIVATION_NAMES = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}


@dataclass(frozen=True)
class Tensor:
    """One value of the graph: NHWC where it has four axes; `data` is set where the file holds a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: NDArray[Any] | None


@dataclass(frozen=True)
class Options:
    """What the operators of `OPERATOR_NAMES` are set to; an operator uses those that it knows.

    Attributes:
        same: the padding is "SAME" (as many zeros as keep ceil(size / stride) outputs), not "VALID".
        stride, dilation, window: (height, width) in pixels.
        activation: what is applied to the result, a name of `ACTIVATION_NAMES`.
        axis: along which tensors are joined.
        align_corners, half_pixel_centers: how a resize maps pixels.
    """

    same: bool = False
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    activation: str = "NONE"
    axis: int = 0
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True)
class Operator:
    """One step: its name, the tensors it reads (-1: left out) and writes, by index, and its options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True)
class Graph:
    """A whole TFLite model of one subgraph; `inputs` and `outputs` are indices of `tensors`."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(data: bytes, name: str) -> Graph:
    """Read the bytes of a .tflite file.

    Raises:
        ConversionError: with `name`, where the bytes are no TFLite file, are cut off or damaged, or use an
            operator or a number type that is not in the tables above.
    """
    if data[4:8] != IDENTIFIER:
        raise ConversionError(name, f"this is no TFLite file (bytes 4 to 8 are not {IDENTIFIER.decode()})")
    try:
        return _Reader(data, name).graph()
    except (struct.error, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ConversionError(name, f"the file is cut off or damaged ({error}); fetch it again") from error


class _Table:
    """A flatbuffer table, read by field number (`flatbuffers.Table` knows only byte offsets)."""

    def __init__(self, data: bytes, position: int) -> None:
        from flatbuffers.table import Table

        if not 0 < position < len(data):
            raise ValueError(f"a table would lie at byte {position} of {len(data)}")
        self._data = data
        self._table = Table(data, position)

    def _place(self, field: int) -> int:
        offset: int = self._table.Offset(4 + 2 * field)
        return offset and self._table.Pos + offset

    def number(self, field: int, code: str, default: int = 0) -> int:
        place = self._place(field)
        return int(struct.unpack_from("<" + code, self._data, place)[0]) if place else default

    def table(self, field: int) -> _Table | None:
        place = self._place(field)
        return _Table(self._data, self._table.Indirect(place)) if place else None

    def bytes_of(self, field: int, itemsize: int = 1) -> bytes:
        place = self._place(field)
        if not place:
            return b""
        start = self._table.Indirect(place)
        size = struct.unpack_from("<I", self._data, start)[0] * itemsize
        found = self._data[start + 4 : start + 4 + size]
        if len(found) != size:
            raise ValueError(f"{size} bytes should lie at byte {start + 4} but {len(found)} do")
        return found

    def integers(self, field: int) -> tuple[int, ...]:
        return tuple(np.frombuffer(self.bytes_of(field, 4), "<i4").tolist())

    def tables(self, field: int) -> Iterator[_Table]:
        place = self._place(field)
        if not place:
            return
        start = self._table.Indirect(place)
        count = struct.unpack_from("<I", self._data, start)[0]
        if count > MAX_ENTRIES:
            raise ValueError(f"a list of {count} entries")
        for entry in range(start + 4, start + 4 + 4 * count, 4):
            yield _Table(self._data, self._table.Indirect(entry))


class _Reader:
    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.model = _Table(data, struct.unpack_from("<I", data)[0])

    def graph(self) -> Graph:
        subgraphs = list(self.model.tables(2))
        if len(subgraphs) != 1:
            raise ConversionError(self.name, f"it has {len(subgraphs)} subgraphs; only one can be converted")
        buffers = [buffer.bytes_of(0) for buffer in self.model.tables(4)]
        # The first field is one byte from the time of fewer operators; the fourth is the full number.
        codes = [max(code.number(0, "b"), code.number(3, "i")) for code in self.model.tables(1)]
        tensors = tuple(self._tensor(table, buffers) for table in subgraphs[0].tables(0))
        operators = tuple(self._operator(table, codes) for table in subgraphs[0].tables(3))
        inputs, outputs = subgraphs[0].integers(1), subgraphs[0].integers(2)
        for index in (*inputs, *outputs, *(i for o in operators for i in (*o.inputs, *o.outputs))):
            if not -1 <= index < len(tensors):
                raise ValueError(f"tensor {index} of {len(tensors)} is used")
        return Graph(tensors, operators, inputs, outputs)

    def _tensor(self, table: _Table, buffers: list[bytes]) -> Tensor:
        name = table.bytes_of(3).decode("utf-8", "replace")
        shape, kind = table.integers(0), table.number(1, "b")
        if kind not in TENSOR_TYPES:
            raise ConversionError(
                self.name, f"tensor {name!r} has number type {kind}; only float and integer models convert"
            )
        if table.table(6) is not None:
            raise ConversionError(self.name, f"tensor {name!r} is sparse; convert the dense model")
        raw = buffers[table.number(2, "I")]
        data = None
        if raw:
            data = np.frombuffer(raw, TENSOR_TYPES[kind])
            if data.size != prod(shape):
                raise ValueError(f"tensor {name!r} of shape {shape} holds {data.size} numbers")
            data = data.reshape(shape)
        return Tensor(name, shape, TENSOR_TYPES[kind], data)

    def _operator(self, table: _Table, codes: list[int]) -> Operator:
        code = codes[table.number(0, "I")]
        if code not in OPERATOR_NAMES:
            raise ConversionError(
                self.name, f"operator number {code} is not known; known: {', '.join(OPERATOR_NAMES.values())}"
            )
        kind = OPERATOR_NAMES[code]
        given = table.table(4)
        options = Options() if given is None else self._options(kind, given)
        return Operator(kind, table.integers(1), table.integers(2), options)

    def _options(self, kind: str, given: _Table) -> Options:
        def pair(height: int, width: int) -> tuple[int, int]:
            return given.number(height, "i", 1), given.number(width, "i", 1)

        def activation(field: int) -> str:
            number = given.number(field, "b")
            if number not in ACTIVATION_NAMES:
                raise ConversionError(self.name, f"activation number {number} of {kind} is not known")
            return ACTIVATION_NAMES[number]

        same = given.number(0, "b") == 0
        if kind == "CONV_2D":
            return Options(same, pair(2, 1), pair(5, 4), activation=activation(3))
        if kind == "DEPTHWISE_CONV_2D":
            return Options(same, pair(2, 1), pair(6, 5), activation=activation(4))
        if kind == "MAX_POOL_2D":
            return Options(same, pair(2, 1), window=pair(4, 3), activation=activation(5))
        if kind == "ADD":
            return Options(activation=activation(0))
        if kind == "CONCATENATION":
            return Options(axis=given.number(0, "i"), activation=activation(1))
        if kind == "RESIZE_BILINEAR":
            return Options(
                align_corners=bool(given.number(2, "b")), half_pixel_centers=bool(given.number(3, "b"))
            )
        return Options()
