"""Reads a network as dlib serialises it: primitives, tensors, and one reader for each kind of layer.

A dlib file does not say how its network is wired: in C++ that is the type of the variable it is read into. So
the reader is given that type, as a chain of slots, and refuses a file that does not follow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from mien.core.errors import ConversionError
from mien.runtime.convert.dlib_layers import (
    Add,
    Affine,
    Convolution,
    FloatArray,
    FullyConnected,
    Input,
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

SOURCE = "the dlib network"
"""What errors call the file: its bytes come without a name."""

MAX_SIDE = 4096
"""No window or picture of a real network is larger; a damaged size must not ask for terabytes later."""

MAX_STRING = 256

Shape = tuple[int, int, int, int]


class Cursor:
    """A place in the bytes that moves on as primitives are read; every failure names its byte."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def fail(self, expected: str, found: str, at: int) -> NoReturn:
        """Raise a ConversionError that says what was expected at byte `at` and what is there."""
        raise ConversionError(
            SOURCE, f"at byte {at}: expected {expected}, found {found}; is it the right file, whole?"
        )

    def take(self, count: int, expected: str) -> bytes:
        """Return the next `count` bytes."""
        end = self.offset + count
        if end > len(self.data):
            self.fail(f"{expected} ({count} bytes)", f"the end at byte {len(self.data)}", self.offset)
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def integer(self, expected: str, low: int = -(2**63), high: int = 2**63 - 1) -> int:
        """Return an integer of low..high: a control byte (sign, number of bytes), magnitude little endian."""
        start = self.offset
        control = self.take(1, expected)[0]
        count = control & 0x0F
        if control & 0x70 or not 1 <= count <= 8:
            self.fail(expected, f"the byte {control:#04x}, which starts no integer", start)
        magnitude = int.from_bytes(self.take(count, expected), "little")
        value = -magnitude if control & 0x80 else magnitude
        if not low <= value <= high:
            self.fail(f"{expected} of {low}..{high}", str(value), start)
        return value

    def number(self, expected: str) -> float:
        """Return a float: integers m and e, for m * 2 ** e; three values of e are special."""
        start = self.offset
        mantissa, exponent = self.integer(expected), self.integer(expected)
        special = {32000: math.inf, 32001: -math.inf, 32002: math.nan}
        if exponent in special:
            return special[exponent]
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            self.fail(expected, f"{mantissa} * 2 ** {exponent}, which is too large", start)

    def boolean(self, expected: str) -> bool:
        """Return a bool, which is one ASCII digit, 0 or 1."""
        start = self.offset
        digit = self.take(1, expected)
        if digit not in (b"0", b"1"):
            self.fail(f"{expected}, '0' or '1'", f"the byte {digit[0]:#04x}", start)
        return digit == b"1"

    def string(self, expected: str) -> str:
        """Return a string: its length as an integer, then its bytes."""
        length = self.integer(f"the length of {expected}", 0, MAX_STRING)
        return self.take(length, expected).decode("latin-1")

    def choice(self, expected: str, *names: str) -> str:
        """Return a string that must be one of `names`."""
        start = self.offset
        wanted = f"{expected} ({' or '.join(map(repr, names))})"
        found = self.string(wanted)
        if found not in names:
            self.fail(wanted, repr(found), start)
        return found

    def shape(self, expected: str) -> Shape:
        """Return the four sizes of a tensor: samples, channels (k), rows (nr), columns (nc)."""
        samples, channels = self.integer(f"samples of {expected}", 0), self.integer(f"k of {expected}", 0)
        return samples, channels, self.integer(f"nr of {expected}", 0), self.integer(f"nc of {expected}", 0)

    def alias(self, expected: str) -> Shape:
        """Return an alias tensor: the shape of a part of another tensor, without content."""
        self.integer(f"the version of {expected}", 1, 1)
        return self.shape(expected)

    def tensor(self, expected: str) -> FloatArray:
        """Return a tensor, flat: version, four sizes, raw little-endian float32, all of them finite."""
        self.integer(f"the version of {expected}", 2, 2)
        sizes = self.shape(expected)
        start = self.offset
        raw = self.take(4 * math.prod(sizes), f"{expected}, {' x '.join(map(str, sizes))} floats")
        values = np.frombuffer(raw, "<f4").astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            self.fail(f"a finite float in {expected}", str(values[wrong[0]]), start + 4 * int(wrong[0]))
        return values

    def split(self, params: FloatArray, *shapes: Shape) -> list[FloatArray]:
        """Cut the parameters just read into tensors of `shapes`, which must use all of them."""
        sizes = [math.prod(shape) for shape in shapes]
        if sum(sizes) != params.size or min(sizes) < 1:
            wanted = " + ".join(map(str, shapes))
            self.fail(f"parameters of {wanted} before", f"{params.size} floats", self.offset)
        parts = np.split(params, np.cumsum(sizes[:-1]))
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def read_network(data: bytes, chain: Sequence[Slot]) -> Network:
    """Read a serialised network whose type is `chain` (from input to output) under a metric loss.

    Raises:
        ConversionError: the bytes are cut, foreign, or of another network; its text names the byte and what
            belongs there.
    """
    cursor = Cursor(data)
    cursor.integer("the version of the loss layer", 1, 1)
    cursor.choice("the loss", "loss_metric_2")
    cursor.number("the margin of the loss")
    cursor.number("the distance threshold of the loss")
    versions = _read_versions(cursor, chain)
    picture = _read_input(cursor)
    layers: list[Layer] = []
    for position, (slot, version) in enumerate(zip(chain, versions, strict=True)):
        layers.append(READERS[slot.kind](cursor, slot))
        if slot.kind not in (Kind.TAG, Kind.SKIP):
            _pass_training_state(cursor, version, innermost=position == 0)
    if cursor.offset != len(data):
        cursor.fail("the end of the file", f"{len(data) - cursor.offset} more bytes", cursor.offset)
    return Network(picture, tuple(layers))


def _read_versions(cursor: Cursor, chain: Sequence[Slot]) -> list[int]:
    """Return the layers' versions, input to output; in the file they come first, output to input."""
    versions = []
    for position, slot in reversed(list(enumerate(chain))):
        expected = f"the version of layer {position} ({slot.kind})"
        if slot.kind in (Kind.TAG, Kind.SKIP):
            versions.append(cursor.integer(expected, 1, 1))
        elif position == 0:
            versions.append(cursor.integer(expected, 2, 3))
        else:
            versions.append(cursor.integer(expected, 1, 2))
    return versions[::-1]


def _pass_training_state(cursor: Cursor, version: int, *, innermost: bool) -> None:
    """Read over what training left behind a layer; it does not change what the layer computes."""
    for name in ("setup_called", "gradient_input_is_stale", "get_output_disabled"):
        cursor.boolean(f"the flag {name}")
    cursor.tensor("x_grad")
    cursor.tensor("cached_output")
    if innermost:
        cursor.tensor("grad_final")
        if version >= 3:
            cursor.integer("the sample expansion factor")
    elif version >= 2:
        cursor.tensor("params_grad")


def _read_input(cursor: Cursor) -> Input:
    cursor.choice("the input layer", "input_rgb_image_sized")
    red, green, blue = (_read_mean(cursor, colour) for colour in ("red", "green", "blue"))
    height = cursor.integer("the input height", 1, MAX_SIDE)
    return Input((red, green, blue), height, cursor.integer("the input width", 1, MAX_SIDE))


def _read_mean(cursor: Cursor, colour: str) -> float:
    start = cursor.offset
    mean = cursor.number(f"the mean of {colour}")
    if not 0 <= mean <= 255:
        cursor.fail(f"a mean of {colour} of 0..255", str(mean), start)
    return mean


def _read_window(cursor: Cursor, smallest: int) -> Window:
    rows = cursor.integer("the window's nr", smallest, MAX_SIDE)
    columns = cursor.integer("the window's nc", smallest, MAX_SIDE)
    down, right = cursor.integer("the stride y", 1, MAX_SIDE), cursor.integer("the stride x", 1, MAX_SIDE)
    # A padding as large as the window would make cells that see no input.
    vertical = cursor.integer("the padding y", 0, max(rows - 1, 0))
    horizontal = cursor.integer("the padding x", 0, max(columns - 1, 0))
    return Window((rows, columns), (down, right), (vertical, horizontal))


def _pass_multipliers(cursor: Cursor) -> None:
    for name in ("learning rate", "weight decay", "bias learning rate", "bias weight decay"):
        cursor.number(f"the {name} multiplier")


def _read_convolution(cursor: Cursor, slot: Slot) -> Layer:
    version = cursor.choice("a convolution", "con_4", "con_5", "con_6")
    params = cursor.tensor("the convolution's parameters")
    count = cursor.integer("the number of filters", 1)
    window = _read_window(cursor, 1)
    shape, bias_shape = cursor.alias("the filters"), cursor.alias("the biases")
    if (shape[0], *shape[2:]) != (count, *window.size):
        cursor.fail(f"{count} filters of {window.size} before", f"the shape {shape}", cursor.offset)
    _pass_multipliers(cursor)
    biased = version == "con_4" or cursor.boolean("use_bias")
    relu = version == "con_6" and cursor.boolean("use_relu")
    if not biased:
        (filters,) = cursor.split(params, shape)
        return Convolution(filters, np.zeros(count, np.float32), window, relu)
    filters, biases = cursor.split(params, shape, bias_shape)
    return Convolution(filters, _vector(cursor, biases, count), window, relu)


def _vector(cursor: Cursor, biases: FloatArray, count: int) -> FloatArray:
    if biases.size != count:
        cursor.fail(f"{count} biases before", f"biases of {biases.shape}", cursor.offset)
    return biases.ravel()


def _read_affine(cursor: Cursor, slot: Slot) -> Layer:
    version = cursor.choice("an affine layer", "affine_", "affine_2")
    params = cursor.tensor("the affine layer's parameters")
    gamma_shape, beta_shape = cursor.alias("gamma"), cursor.alias("beta")
    cursor.integer("the affine mode", 0, 1)
    if gamma_shape != (1, gamma_shape[1], 1, 1) or beta_shape != gamma_shape:
        found = f"the shapes {gamma_shape} and {beta_shape}"
        cursor.fail("one gamma and one beta a channel before", found, cursor.offset)
    gamma, beta = cursor.split(params, gamma_shape, beta_shape)
    # dlib disables an affine layer when it has folded it into the convolution below.
    if version == "affine_2" and cursor.boolean("the flag disabled"):
        return Affine(np.ones(gamma.size, np.float32), np.zeros(gamma.size, np.float32))
    return Affine(gamma.ravel(), beta.ravel())


def _read_relu(cursor: Cursor, slot: Slot) -> Layer:
    cursor.choice("a ReLU", "relu_")
    return Relu()


def _read_pool(cursor: Cursor, slot: Slot) -> Layer:
    cursor.choice("a pooling layer", f"{slot.kind}_2")
    return Pool(slot.kind is Kind.AVERAGE_POOL, _read_window(cursor, 0))


def _read_add(cursor: Cursor, slot: Slot) -> Layer:
    cursor.choice("an addition", "add_prev_")
    return Add(slot.tag)


def _read_fully_connected(cursor: Cursor, slot: Slot) -> Layer:
    cursor.choice("a fully connected layer", "fc_2")
    outputs, inputs = cursor.integer("the number of outputs", 1), cursor.integer("the number of inputs", 1)
    params = cursor.tensor("the fully connected layer's parameters")
    shape, bias_shape = cursor.alias("the weights"), cursor.alias("the biases")
    unbiased = cursor.integer("the bias mode", 0, 1) == 1
    _pass_multipliers(cursor)
    if shape != (inputs, outputs, 1, 1):
        cursor.fail(f"weights of ({inputs}, {outputs}, 1, 1) before", f"the shape {shape}", cursor.offset)
    if unbiased:
        (weights,) = cursor.split(params, shape)
        return FullyConnected(weights.reshape(inputs, outputs), None)
    weights, biases = cursor.split(params, shape, bias_shape)
    return FullyConnected(weights.reshape(inputs, outputs), _vector(cursor, biases, outputs))


def _read_tag(cursor: Cursor, slot: Slot) -> Layer:
    # A tag and a skip have a version in the file and no content.
    return Tag(slot.tag)


def _read_skip(cursor: Cursor, slot: Slot) -> Layer:
    return Skip(slot.tag)


READERS: dict[Kind, Callable[[Cursor, Slot], Layer]] = {
    Kind.CONVOLUTION: _read_convolution,
    Kind.AFFINE: _read_affine,
    Kind.RELU: _read_relu,
    Kind.MAX_POOL: _read_pool,
    Kind.AVERAGE_POOL: _read_pool,
    Kind.ADD_PREVIOUS: _read_add,
    Kind.FULLY_CONNECTED: _read_fully_connected,
    Kind.TAG: _read_tag,
    Kind.SKIP: _read_skip,
}
