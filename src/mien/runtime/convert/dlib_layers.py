"""The vocabulary of dlib's networks: the kinds of layer, their places in a chain, and what each layer holds.

In dlib every layer has exactly one layer below it, so a network is a chain, spelled here from input to output
as a sequence of `Slot`. Side branches are made by three kinds: a tag names the value that passes, a skip goes
back to a named value, and add_prev adds a named value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Kind(StrEnum):
    """The kinds of layer, by dlib's names for them."""

    CONVOLUTION = "con"
    AFFINE = "affine"
    RELU = "relu"
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "avg_pool"
    ADD_PREVIOUS = "add_prev"
    FULLY_CONNECTED = "fc"
    TAG = "tag"
    SKIP = "skip"


@dataclass(frozen=True)
class Slot:
    """One place of a chain: the kind of layer there, and the tag it sets or looks up (if it does)."""

    kind: Kind
    tag: int = 0


@dataclass(frozen=True)
class Input:
    """RGB pictures of one size; the network sees (pixel - mean) / 256.

    Attributes:
        mean: red, green, blue, in 0..255.
        height: pixels.
        width: pixels.
    """

    mean: tuple[float, float, float]
    height: int
    width: int


@dataclass(frozen=True)
class Window:
    """How a kernel is laid: size, stride, and padding on either side, each (vertical, horizontal)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Convolution:
    """Correlation with `filters` (out, in, height, width), plus `biases` (out,), then a ReLU if `relu`."""

    filters: FloatArray
    biases: FloatArray
    window: Window
    relu: bool = False


@dataclass(frozen=True)
class Affine:
    """y = gamma x + beta, both (channels,): what batch normalisation becomes after training."""

    gamma: FloatArray
    beta: FloatArray


@dataclass(frozen=True)
class Relu:
    """y = max(x, 0)."""


@dataclass(frozen=True)
class Pool:
    """The mean or the largest value under a window; a window size of 0 spans the whole picture."""

    mean: bool
    window: Window


@dataclass(frozen=True)
class Add:
    """The sum with the value last tagged `tag`; sizes may differ: zeros are put at the end of each axis."""

    tag: int


@dataclass(frozen=True)
class FullyConnected:
    """y = x W + b over the flattened value; `weights` (in, out), `biases` (out,) or None."""

    weights: FloatArray
    biases: FloatArray | None


@dataclass(frozen=True)
class Tag:
    """Names the value that passes here."""

    tag: int


@dataclass(frozen=True)
class Skip:
    """Goes on from the value last tagged `tag` instead of the one just made."""

    tag: int


Layer = Convolution | Affine | Relu | Pool | Add | FullyConnected | Tag | Skip


@dataclass(frozen=True)
class Network:
    """A network as read: its input, then its layers from input to output."""

    input: Input
    layers: tuple[Layer, ...]
