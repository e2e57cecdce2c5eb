"""One pipeline, many threads: the same answers as one call after the other."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import corpus
from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.fields import FIELDS

if TYPE_CHECKING:
    from mien.runtime.pipeline import Pipeline

THREADS = 8


@pytest.fixture(scope="module")
def pictures(astronaut: npt.NDArray[np.uint8]) -> list[Any]:
    """Return pictures of several sizes and kinds: with a face, without one, unreadable."""
    photo = Image.fromarray(astronaut)
    faces: list[Any] = [np.asarray(corpus.face(photo, side)) for side in range(100, 260, 20)]
    files = [corpus.encoded(corpus.face(photo, side), "JPEG") for side in (150, 190)]
    return [*faces, *files, np.zeros((90, 60, 3), np.uint8), files[0][:500], np.asarray(photo)]


def outcome(pipeline: Pipeline, picture: Any) -> Faces | str:
    try:
        return pipeline.analyze(picture)
    except UnreadablePicture as error:
        return error.reason


def assert_same(found: Faces | str, expected: Faces | str) -> None:
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert found.picture_size == expected.picture_size
    for name in FIELDS:
        wanted = getattr(expected, name)
        if wanted is None:
            assert getattr(found, name) is None
        else:
            np.testing.assert_array_equal(getattr(found, name), wanted, err_msg=name)


def in_threads(function: Any, jobs: Sequence[Any]) -> list[Any]:
    """Call a function for each job from eight threads that begin at the same moment."""
    barrier = threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS, initializer=barrier.wait) as pool:
        return list(pool.map(function, jobs))


def test_a_pipeline_called_from_eight_threads_gives_what_serial_calls_give(
    pipeline: Pipeline, pictures: list[Any]
) -> None:
    expected = [outcome(pipeline, picture) for picture in pictures]
    assert sum(isinstance(faces, Faces) and len(faces) > 0 for faces in expected) >= 8
    assert sum(isinstance(faces, str) for faces in expected) == 1
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(pictures)), 4)).tolist()
    found = in_threads(lambda index: outcome(pipeline, pictures[index]), order)
    for index, faces in zip(order, found, strict=True):
        assert_same(faces, expected[index])


def test_batches_from_many_threads_do_not_mix(pipeline: Pipeline, pictures: list[Any]) -> None:
    """The complaint about peers: boxes of one caller's picture in another caller's answer."""
    batches = [pictures[start : start + 4] for start in range(0, len(pictures), 2)]
    expected = [pipeline.analyze_many(batch) for batch in batches]
    order = list(range(len(batches))) * 2
    found = in_threads(lambda index: pipeline.analyze_many(batches[index]), order)
    for index, outcomes in zip(order, found, strict=True):
        for one, other in zip(outcomes, expected[index], strict=True):
            if isinstance(other, UnreadablePicture):
                assert isinstance(one, UnreadablePicture)
            else:
                assert_same(one, other)


_FIRST_LOAD = """
import sys, threading
import mien
from mien.runtime import model
opened = []
open_session = model.open_session
def counted(*arguments):
    opened.append(arguments[1])
    return open_session(*arguments)
model.open_session = counted
barrier = threading.Barrier(8)
answers = []
def work():
    barrier.wait()
    answers.append(mien.analyze(sys.argv[1], want=["landmarks", "embeddings"], threads=1))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
again = mien.analyze(sys.argv[1], want=["landmarks", "embeddings"], threads=1)
same = [bool((a.boxes == again.boxes).all() and (a.embeddings == again.embeddings).all()) for a in answers]
print(len(again), len(answers), all(same), len(opened) == len(set(opened)))
"""


def test_eight_threads_may_be_the_first_to_call_analyze(
    tmp_path: Path, astronaut: npt.NDArray[np.uint8]
) -> None:
    """The models are loaded once, by whoever comes first."""
    corpus.face(Image.fromarray(astronaut)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_LOAD, str(tmp_path / "a.png")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["1", "8", "True", "True"], done.stderr
