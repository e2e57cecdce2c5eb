"""Thousands of calls in one process: memory is that of the first hundred."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

import corpus
from mien.core.errors import UnreadablePicture
from mien.runtime.pipeline import Options
from mien.runtime.stream import stream

if TYPE_CHECKING:
    from mien.runtime.pipeline import Pipeline

WARM_UP = 200
LOOKED_AT = 160
TOLERANCE = 4e6
"""Bytes by which the resident memory may have grown: keeping the faces of every call would be more."""


@pytest.fixture(scope="module")
def pictures(astronaut: npt.NDArray[np.uint8]) -> list[Any]:
    """Return small pictures of many sizes as arrays and as files, and one that cannot be read."""
    photo = Image.fromarray(astronaut)
    arrays: list[Any] = [np.asarray(corpus.face(photo, side)) for side in range(64, 112, 4)]
    files = [corpus.encoded(corpus.face(photo, side), "JPEG") for side in range(66, 112, 8)]
    return [*arrays, *files, files[0][:300]]


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def growth(calls: Iterator[Any], number: int) -> int:
    """Make calls and return how much the resident memory grew after the warm-up, in bytes.

    The least of several looks on both sides, for memory that is only borrowed does not count.
    """
    taken = 0
    first: list[int] = []
    last: list[int] = []
    for taken, _ in enumerate(calls, 1):
        if taken % 20 == 0 and WARM_UP <= taken <= WARM_UP + LOOKED_AT:
            first.append(resident())
        if taken % 20 == 0 and taken > number - LOOKED_AT:
            last.append(resident())
    assert taken == number
    return min(last) - min(first)


def test_two_thousand_calls_of_analyze_leave_memory_as_it_was(
    pipeline: Pipeline, pictures: list[Any]
) -> None:
    faces = failed = 0

    def call(picture: Any) -> int:
        try:
            return len(pipeline.analyze(picture))
        except UnreadablePicture:
            return -1

    def calls() -> Iterator[None]:
        nonlocal faces, failed
        for found in pool.map(call, itertools.islice(itertools.cycle(pictures), 2000)):
            faces += max(0, found)
            failed += found < 0
            yield

    with ThreadPoolExecutor(2) as pool:
        grown = growth(calls(), 2000)
    print(f"2,000 calls of analyze: {grown / 1e6:+.1f} MB after the first {WARM_UP}, {faces} faces")
    assert failed == pytest.approx(2000 / len(pictures), abs=1)
    assert faces > 1600, "the calls did describe faces"
    assert grown < TOLERANCE


def test_six_hundred_pictures_streamed_leave_memory_as_it_was(
    pipeline: Pipeline, pictures: list[Any]
) -> None:
    many = itertools.islice(itertools.cycle(pictures), 600)
    grown = growth(stream(many, Options(threads=2), pipeline=pipeline), 600)
    print(f"600 pictures streamed: {grown / 1e6:+.1f} MB after the first {WARM_UP}")
    assert grown < TOLERANCE
