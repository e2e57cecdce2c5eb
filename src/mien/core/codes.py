"""Embeddings in one byte a number: what is kept of a face where millions are, and how it is compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LARGEST = 127


def encode(embeddings: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Return embeddings in a byte a number: 128 bytes for 128 numbers.

    Each embedding is stretched so that its largest number is 127 or -127, and rounded. By how much need not
    be kept: embeddings are compared by their directions. No number is off by more than a 254th of the
    largest.

    Args:
        embeddings: (..., d), of any lengths.

    Returns:
        (..., d) codes, -127..127.

    Raises:
        ValueError: an embedding without a direction: of length 0, or with a number that is not finite.
    """
    values = np.asarray(embeddings, np.float64)
    largest = np.abs(values).max(axis=-1, keepdims=True, initial=0.0)
    if not (np.isfinite(largest) & (largest > 0)).all():
        raise ValueError("an embedding of length 0, or with a number that is not finite, has no code")
    # Divided first: a tiny embedding would overflow the other way round.
    codes: npt.NDArray[np.int8] = np.rint(values / largest * _LARGEST).astype(np.int8)
    return codes


def decode(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Return (..., d) embeddings of length 1 of (..., d) codes."""
    values = codes.astype(np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True))


def cosines(first: npt.NDArray[np.int8], second: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Return the (n, m) cosines of (n, d) codes and (m, d) others.

    By the matrix product of floats, which is many times faster than that of whole numbers, and up to
    d = 1,040 as exact: sums of that many products of two codes are below 2^24.
    """
    one, other = first.astype(np.float32), second.astype(np.float32)
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.asarray(one @ other.T / lengths)
