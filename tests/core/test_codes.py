"""Codes keep directions, within the bound that rounding has, in a byte a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mien.core.codes import cosines, decode, encode

finite = st.floats(-1e6, 1e6, width=32)


def unit(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9), elements=finite))
def test_no_number_is_off_by_more_than_a_254th_of_the_largest(values: np.ndarray) -> None:
    largest = np.abs(values).max(axis=-1, keepdims=True)
    if (largest == 0).any():
        with pytest.raises(ValueError, match="has no code"):
            encode(values)
        return
    codes = encode(values)
    assert codes.shape == values.shape
    assert codes.dtype == np.int8
    assert (np.abs(codes.astype(int)).max(axis=-1) == 127).all()
    assert (np.abs(codes / 127 - values / largest) <= 1 / 254 + 1e-12).all()


def test_128_numbers_take_128_bytes_and_their_cosines_stay() -> None:
    random = np.random.default_rng(0)
    faces = unit(random.normal(size=(200, 128)))
    codes = encode(faces)
    assert len(codes[0].tobytes()) == 128
    true, coded = faces @ faces.T, cosines(codes, codes)
    # the largest of 128 normal numbers is 0.24 or so: rounding adds 0.24 / 127 / sqrt(12) to each, in both
    assert np.abs(true - coded).std() < 1.5e-3
    assert np.abs(true - coded).max() < 6e-3
    np.testing.assert_allclose(decode(codes) @ decode(codes).T, coded, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(decode(codes), axis=-1), 1, atol=1e-6)


def test_length_does_not_count() -> None:
    face = np.random.default_rng(1).normal(size=(3, 64))
    np.testing.assert_array_equal(encode(face), encode(face * np.array([[1e-30], [7.0], [1e30]])))


@pytest.mark.parametrize("d", [3, 128, 1040, 2048])
def test_cosines_are_those_of_whole_numbers(d: int) -> None:
    random = np.random.default_rng(d)
    first, second = (random.integers(-127, 128, (4, d)).astype(np.int8) for _ in range(2))
    first[0] = second[0] = 127
    whole = first.astype(np.int64) @ second.astype(np.int64).T
    lengths = np.sqrt((first.astype(np.int64) ** 2).sum(axis=1))[:, None] * np.sqrt(
        (second.astype(np.int64) ** 2).sum(axis=1)
    )
    np.testing.assert_allclose(cosines(first, second), whole / lengths, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_has_no_direction_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="has no code"):
        encode(np.array([[1.0, 2.0], [broken, 1.0]]))
