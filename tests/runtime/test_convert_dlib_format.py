"""dlib's format reads back as written; a small network equals its formula; damage is named by its byte."""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.core.errors import ConversionError
from mien.runtime.convert.dlib import convert_dlib, fold_affine
from mien.runtime.convert.dlib_format import Cursor
from mien.runtime.convert.dlib_layers import Affine, Convolution, Kind, Layer, Relu, Slot, Tag, Window

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MEAN = (122.782, 117.001, 104.298)


# A writer of the format, from ../shared/notes/dlib_format.md, that shares nothing with the reader.


def write_integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def write_float(value: float) -> bytes:
    if math.isnan(value):
        return write_integer(0) + write_integer(32002)
    if math.isinf(value):
        return write_integer(0) + write_integer(32000 if value > 0 else 32001)
    fraction, exponent = math.frexp(value)
    return write_integer(int(fraction * 2**53)) + write_integer(exponent - 53)


def write_string(text: str) -> bytes:
    return write_integer(len(text)) + text.encode()


def write_integers(*values: int) -> bytes:
    return b"".join(map(write_integer, values))


def write_tensor(values: npt.ArrayLike, *shape: int) -> bytes:
    return write_integers(2, *shape) + np.asarray(values, "<f4").tobytes()


def write_convolution(
    filters: Floats,
    biases: Floats,
    strides: tuple[int, int],
    padding: tuple[int, int],
    version: int = 4,
    flags: bytes = b"",
) -> bytes:
    params = np.concatenate([filters.ravel(), biases])
    count = len(filters)
    bias_shape = (1, count if biases.size else 0, 1, 1)
    return b"".join(
        [
            write_string(f"con_{version}"),
            write_tensor(params, params.size, 1, 1, 1),
            write_integers(count, *filters.shape[2:], *strides, *padding),
            write_integers(1, *filters.shape, 1, *bias_shape),
            write_float(1.0) * 4,
            flags,
        ]
    )


def write_affine(gamma: Floats, beta: Floats) -> bytes:
    shape = (1, 1, gamma.size, 1, 1)
    params = write_tensor(np.concatenate([gamma, beta]), 2 * gamma.size, 1, 1, 1)
    return write_string("affine_") + params + write_integers(*shape, *shape, 0)


def write_pool(kind: Kind, size: tuple[int, int], strides: tuple[int, int]) -> bytes:
    return write_string(f"{kind}_2") + write_integers(*size, *strides, 0, 0)


def write_fully_connected(weights: Floats, biases: Floats) -> bytes:
    inputs, outputs = weights.shape
    params = write_tensor(np.concatenate([weights.ravel(), biases]), inputs + 1, outputs, 1, 1)
    shapes = write_integers(1, inputs, outputs, 1, 1, 1, 1, outputs, 1, 1)
    multipliers = write_float(1.0) * 4
    return (
        write_string("fc_2")
        + write_integers(outputs, inputs)
        + params
        + shapes
        + write_integer(0)
        + multipliers
    )


def write_network(layers: Sequence[tuple[Slot, bytes]], height: int, width: int) -> bytes:
    passing = {Kind.TAG, Kind.SKIP}
    versions = [1 if slot.kind in passing else 2 for slot, _ in layers]
    versions[0] = 3
    parts = [write_integer(1), write_string("loss_metric_2"), write_float(0.04), write_float(0.6)]
    parts += [write_integer(version) for version in reversed(versions)]
    parts += [write_string("input_rgb_image_sized"), *map(write_float, MEAN), write_integers(height, width)]
    empty = write_tensor([], 0, 0, 0, 0)
    for position, (slot, content) in enumerate(layers):
        parts.append(content)
        if slot.kind not in passing:
            parts += [b"100", empty * 3, write_integer(1) if position == 0 else b""]
    return b"".join(parts)


# A small network with every kind of layer, and what it computes, by literal loops in double precision.


@dataclass(frozen=True)
class Weights:
    """The weights of the small network, drawn from one seed."""

    filters: Floats
    biases: Floats
    gamma: Floats
    beta: Floats
    gamma_alone: Floats
    beta_alone: Floats
    side_filters: Floats
    side_biases: Floats
    top_filters: Floats
    last: Floats
    last_biases: Floats


@pytest.fixture(scope="module")
def weights() -> Weights:
    random = np.random.default_rng(7)

    def draw(*shape: int) -> Floats:
        return random.normal(0, 1, shape).astype(np.float32)

    return Weights(
        *(draw(3, 3, 3, 2), draw(3), draw(3), draw(3)),
        *(draw(3), draw(3)),
        *(draw(5, 3, 3, 3), draw(5)),
        *(draw(4, 5, 1, 1), draw(4, 6), draw(6)),
    )


def small_layers(w: Weights) -> list[tuple[Slot, bytes]]:
    """The addition is of (3, larger, larger) and (5, smaller, smaller): each has to be padded."""
    unbiased = np.zeros(0, np.float32)
    relu = (Slot(Kind.RELU), write_string("relu_"))
    return [
        (Slot(Kind.CONVOLUTION), write_convolution(w.filters, w.biases, (1, 2), (1, 0))),
        (Slot(Kind.AFFINE), write_affine(w.gamma, w.beta)),
        relu,
        (Slot(Kind.MAX_POOL), write_pool(Kind.MAX_POOL, (3, 2), (2, 1))),
        (Slot(Kind.TAG, 1), b""),
        (Slot(Kind.AFFINE), write_affine(w.gamma_alone, w.beta_alone)),
        (Slot(Kind.CONVOLUTION), write_convolution(w.side_filters, w.side_biases, (2, 2), (0, 0))),
        relu,
        (Slot(Kind.TAG, 2), b""),
        (Slot(Kind.SKIP, 1), b""),
        (Slot(Kind.AVERAGE_POOL), write_pool(Kind.AVERAGE_POOL, (2, 2), (1, 1))),
        (Slot(Kind.ADD_PREVIOUS, 2), write_string("add_prev_")),
        (Slot(Kind.CONVOLUTION), write_convolution(w.top_filters, unbiased, (1, 1), (0, 0), 6, b"01")),
        (Slot(Kind.AVERAGE_POOL), write_pool(Kind.AVERAGE_POOL, (0, 0), (1, 1))),
        (Slot(Kind.FULLY_CONNECTED), write_fully_connected(w.last, w.last_biases)),
    ]


def chain_of(layers: Sequence[tuple[Slot, bytes]]) -> list[Slot]:
    return [slot for slot, _ in layers]


def windows(x: Doubles, size: tuple[int, int], strides: tuple[int, int]) -> Doubles:
    """Return (rows, columns, channels, *size): what each place of a window sees."""
    rows = range(0, x.shape[1] - size[0] + 1, strides[0])
    columns = range(0, x.shape[2] - size[1] + 1, strides[1])
    return np.array([[x[:, r : r + size[0], c : c + size[1]] for c in columns] for r in rows])


def correlate(x: Doubles, filters: Floats, biases: Floats, strides: tuple[int, int]) -> Doubles:
    seen = windows(x, (filters.shape[2], filters.shape[3]), strides)
    result: Doubles = np.einsum("rcihw,oihw->orc", seen, filters.astype(np.float64)) + biases[:, None, None]
    return result


def small_network(w: Weights, picture: Floats) -> Doubles:
    """Return the vector of one (3, height, width) picture, layer by layer."""
    x = (picture - np.array(MEAN)[:, None, None]) / 256
    x = correlate(np.pad(x, ((0, 0), (1, 1), (0, 0))), w.filters, w.biases, (1, 2))
    x = np.maximum(w.gamma[:, None, None] * x + w.beta[:, None, None], 0)
    first = windows(x, (3, 2), (2, 1)).max(axis=(3, 4)).transpose(2, 0, 1)
    x = w.gamma_alone[:, None, None] * first + w.beta_alone[:, None, None]
    second = np.maximum(correlate(x, w.side_filters, w.side_biases, (2, 2)), 0)
    x = windows(first, (2, 2), (1, 1)).mean(axis=(3, 4)).transpose(2, 0, 1)
    total = np.zeros((5, *x.shape[1:]))
    total[:3] += x
    total[:, : second.shape[1], : second.shape[2]] += second
    x = np.maximum(correlate(total, w.top_filters, np.zeros(4, np.float32), (1, 1)), 0)
    result: Doubles = x.mean(axis=(1, 2)) @ w.last + w.last_biases
    return result


def run(model: onnx.ModelProto, pictures: Floats) -> Floats:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    (embeddings,) = session.run(["embeddings"], {"input": pictures})
    return np.asarray(embeddings, np.float32)


@pytest.fixture(scope="module")
def small_file(weights: Weights) -> bytes:
    return write_network(small_layers(weights), 15, 18)


# The primitives.


@settings(deadline=None)
@given(st.integers(-(2**63) + 1, 2**63 - 1))
@example(0)
@example(255)
@example(-256)
def test_an_integer_comes_back_as_written(value: int) -> None:
    cursor = Cursor(write_integer(value) + b"rest")
    assert cursor.integer("it") == value
    assert cursor.data[cursor.offset :] == b"rest"


@settings(deadline=None)
@given(st.floats())
@example(5e-324)
@example(-1.7976931348623157e308)
def test_a_float_comes_back_as_written_to_the_last_bit(value: float) -> None:
    cursor = Cursor(write_float(value) + b"rest")
    found = cursor.number("it")
    assert found == value or (math.isnan(found) and math.isnan(value))
    assert cursor.data[cursor.offset :] == b"rest"


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=200), st.booleans())
def test_a_string_and_a_bool_come_back_as_written(text: str, truth: bool) -> None:
    cursor = Cursor(write_string(text) + (b"1" if truth else b"0"))
    assert (cursor.string("text"), cursor.boolean("truth")) == (text, truth)


def test_a_float_as_the_published_file_has_it() -> None:
    # The bytes after "loss_metric_2": margin 0.04 and threshold 0.6 as float32.
    cursor = Cursor(bytes.fromhex("030ad7a3811c 039a99998118"))
    assert np.float32(cursor.number("margin")) == np.float32(0.04)
    assert np.float32(cursor.number("threshold")) == np.float32(0.6)


def test_an_integer_without_bytes_is_refused_with_its_place() -> None:
    cursor = Cursor(b"\x01\x05\x00")
    cursor.integer("first")
    with pytest.raises(ConversionError, match=r"byte 2: expected second, found the byte 0x00"):
        cursor.integer("second")


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused_before_it_is_made() -> None:
    with pytest.raises(ConversionError, match=r"expected weights, 1073741824 x 1073741824 x 1 x 1 floats"):
        Cursor(write_integers(2, 2**30, 2**30, 1, 1)).tensor("weights")


def test_a_tensor_with_a_number_that_is_none_is_refused_at_its_byte() -> None:
    data = write_tensor([1.0, math.nan], 2, 1, 1, 1)
    with pytest.raises(ConversionError, match=rf"byte {len(data) - 4}: expected a finite float"):
        Cursor(data).tensor("weights")


# The graph, without the published weights.


@pytest.mark.parametrize(("height", "width"), [(15, 18), (16, 15), (21, 27)])
def test_a_small_network_equals_its_formula(weights: Weights, height: int, width: int) -> None:
    layers = small_layers(weights)
    model = convert_dlib(write_network(layers, height, width), chain_of(layers))
    pictures = np.random.default_rng(1).integers(0, 256, (3, 3, height, width)).astype(np.float32)
    expected = np.array([small_network(weights, picture) for picture in pictures])
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(run(model, pictures), expected, rtol=1e-5, atol=1e-5)


def test_affine_layers_are_folded_into_the_convolution_below_and_only_there() -> None:
    window = Window((1, 1), (1, 1), (0, 0))
    two = np.full(2, 2, np.float32)
    convolution = Convolution(np.ones((2, 3, 1, 1), np.float32), two, window)
    affine = Affine(np.array([3, 4], np.float32), np.array([5, 6], np.float32))
    layers: list[Layer] = [convolution, affine, Relu(), affine, convolution, Tag(1), affine]
    folded = fold_affine(layers)
    assert [type(layer) for layer in folded] == [Convolution, Relu, Affine, Convolution, Tag, Affine]
    assert isinstance(folded[0], Convolution)
    np.testing.assert_array_equal(folded[0].filters[:, 0, 0, 0], [3, 4])
    np.testing.assert_array_equal(folded[0].biases, [2 * 3 + 5, 2 * 4 + 6])


def test_an_addition_without_its_tag_is_refused(weights: Weights) -> None:
    layers = [layer for layer in small_layers(weights) if layer[0] != Slot(Kind.TAG, 2)]
    with pytest.raises(ConversionError, match="expected a tag 2 before it"):
        convert_dlib(write_network(layers, 15, 18), chain_of(layers))


def test_a_picture_too_small_for_the_windows_is_refused(weights: Weights) -> None:
    layers = small_layers(weights)
    with pytest.raises(ConversionError, match=r"expected at least \(3, 3\) cells"):
        convert_dlib(write_network(layers, 5, 18), chain_of(layers))


# Damage.


def test_a_file_cut_anywhere_names_a_byte_at_or_before_the_cut(weights: Weights, small_file: bytes) -> None:
    chain = chain_of(small_layers(weights))
    for length in range(len(small_file)):
        with pytest.raises(ConversionError, match=r"at byte \d+: expected .+ found the end") as caught:
            convert_dlib(small_file[:length], chain)
        named = re.search(r"at byte (\d+)", str(caught.value))
        assert named is not None
        assert int(named[1]) <= length


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_with_a_wrong_byte_is_converted_or_refused_never_a_crash(
    data: st.DataObject, weights: Weights, small_file: bytes
) -> None:
    # Half of the examples hit the short stretch of versions and sizes, which the weights would drown.
    place = data.draw(st.one_of(st.integers(0, 140), st.integers(0, len(small_file) - 1)))
    changed = bytearray(small_file)
    changed[place] = data.draw(st.integers(0, 255))
    reason = reason_against(bytes(changed), chain_of(small_layers(weights)))
    assert reason is None or re.search(r"at (byte|layer) \d+", reason)


def reason_against(data: bytes, chain: Sequence[Slot]) -> str | None:
    """Return why a file is refused; None for one that is converted. Any other error comes through."""
    try:
        convert_dlib(data, chain)
    except ConversionError as error:
        return str(error)
    return None


def picture_file() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", 0),
        (b"<html>not found</html>", 0),
        (picture_file(), 0),
        (bytes(1000), 0),
        (b"\x01\x01" * 1000, 2),
        (write_integer(1) + write_string("loss_mmod_3") + bytes(100), 2),
        (struct.pack("<q", 1) + bytes(100), 0),
    ],
    ids=["empty", "page", "picture", "zeros", "ones", "another loss", "plain integers"],
)
def test_a_foreign_file_is_refused_at_its_first_wrong_byte(data: bytes, place: int) -> None:
    with pytest.raises(ConversionError, match=rf"at byte {place}: expected .+, found .+"):
        convert_dlib(data)


def test_another_network_of_dlib_is_refused(small_file: bytes) -> None:
    with pytest.raises(ConversionError, match=r"expected the version of layer \d+ \(tag\) of 1..1, found 2"):
        convert_dlib(small_file)


def test_bytes_after_the_end_are_refused(weights: Weights, small_file: bytes) -> None:
    with pytest.raises(
        ConversionError, match=rf"byte {len(small_file)}: expected the end of the file, found 3"
    ):
        convert_dlib(small_file + b"abc", chain_of(small_layers(weights)))
