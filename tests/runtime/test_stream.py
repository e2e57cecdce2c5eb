"""Many pictures in, results out: in order, with bounded memory, whatever fails or stops."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import mien
from films import Camera, film, numbered
from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.picture import Picture
from mien.runtime import video
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import CHUNK, Result, chunked, ordered, sources, stream, walk

WORKERS = 2
# What two workers may have under way.
AHEAD = 2 * WORKERS * CHUNK


class Slow:
    """Stands in for a pipeline: takes its time, finds as many faces as the first pixel says."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.options = Options(threads=WORKERS)
        self.seconds = seconds
        self.calls = 0
        self.makers: dict[str, str] = {}
        self._random = random.Random(1)

    def model_for(self, field: str) -> None:
        return None

    def analyze_many(self, pictures: Sequence[Any]) -> list[Faces | UnreadablePicture]:
        self.calls += 1
        time.sleep(self.seconds * self._random.random())
        return [self._one(picture) for picture in pictures]

    def _one(self, given: Any) -> Faces | UnreadablePicture:
        try:
            picture = Picture.read(given)
        except UnreadablePicture as error:
            return error
        if picture.pixels[0, 0, 0] == 255:
            raise RuntimeError("a fault of the program")
        count = int(picture.pixels[0, 0, 0])
        return Faces(np.zeros((count, 4), np.float32), np.zeros(count, np.float32), source=picture.source)


def run(given: Any, slow: Slow | None = None) -> Iterator[Result]:
    return stream(given, pipeline=cast(Pipeline, slow or Slow()))


def picture(number: int) -> npt.NDArray[np.uint8]:
    return np.full((4, 4, 3), number, np.uint8)


def test_order_is_kept_though_pictures_take_different_times() -> None:
    numbers = [i % 200 for i in range(500)]
    found = [len(result.faces) for result in run(map(picture, numbers), Slow(0.002))]
    assert found == numbers


def test_pictures_are_taken_only_a_little_ahead() -> None:
    taken, most = 0, 0

    def arrays() -> Iterator[npt.NDArray[np.uint8]]:
        nonlocal taken
        for number in range(500):
            taken += 1
            yield picture(number % 200)

    for given, _ in enumerate(run(arrays())):
        most = max(most, taken - given)
    assert taken == 500
    assert CHUNK < most <= AHEAD


def test_pictures_do_not_pile_up_in_memory() -> None:
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    most = 0

    def pictures() -> Iterator[Picture]:
        for number in range(500):
            made = Picture(picture(number % 200), str(number), (4, 4))
            alive.add(made)
            yield made
            del made

    for _ in run(pictures()):
        gc.collect(0)
        most = max(most, len(alive))
    assert most <= AHEAD + CHUNK


def test_pictures_that_cannot_be_read_are_results_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    given = [picture(1), tmp_path / "text.jpg", picture(2), tmp_path / "missing.jpg", object(), picture(3)]
    found = list(run(given))
    assert [len(result.faces) for result in found] == [1, 0, 2, 0, 0, 3]
    assert [result.error is not None for result in found] == [False, True, False, True, True, False]
    assert found[3].source == str(tmp_path / "missing.jpg")
    assert (found[0].frame, found[0].seconds, found[0].track) == (None, None, None)


def test_fault_in_a_worker_surfaces_after_the_results_before_it() -> None:
    numbers = [1] * 20 + [255] + [1] * 20
    found: list[Result] = []
    with pytest.raises(RuntimeError, match="a fault of the program"):
        found.extend(run(map(picture, numbers), Slow(0.002)))
    assert len(found) == 20


def test_fault_of_the_source_surfaces_after_the_results_before_it() -> None:
    def arrays() -> Iterator[npt.NDArray[np.uint8]]:
        for _ in range(22):
            yield picture(1)
        raise KeyError("the user's own")

    found: list[Result] = []
    with pytest.raises(KeyError, match="the user's own"):
        found.extend(run(arrays()))
    assert len(found) == 22


def test_closing_early_stops_the_workers() -> None:
    slow = Slow(0.3)
    taken = 0

    def arrays() -> Iterator[npt.NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield picture(1)

    results = run(arrays(), slow)
    for _ in range(10):
        next(results)
    begin = time.monotonic()
    cast(Any, results).close()
    assert time.monotonic() - begin < 2
    calls, given = slow.calls, taken
    time.sleep(0.1)
    assert (slow.calls, taken) == (calls, given)
    assert taken <= 10 + AHEAD
    # some of what was taken was waiting, and was never begun
    assert calls < taken / CHUNK
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mien")]


def test_nothing_happens_before_the_first_result_is_asked_for() -> None:
    slow = Slow()
    results = run([picture(1)], slow)
    assert slow.calls == 0
    assert len(next(results).faces) == 1


def test_slow_items_are_answered_before_the_next_is_waited_for() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(8):
            taken += 1
            yield number
            time.sleep(0.05)

    behind = [taken - number for number in ordered(lambda number: number, items(), 16, live=True)]
    assert max(behind) <= 3
    taken = 0
    behind = [taken - number for number in ordered(lambda number: number, items(), 16)]
    assert max(behind) == 8


def test_chunks_hold_all_items_in_order() -> None:
    assert list(chunked(range(7), lambda chunk: len(chunk) >= 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunked([], bool)) == []


def test_one_picture_of_any_kind_is_one_source() -> None:
    for one in (b"x", bytearray(b"x"), memoryview(b"x"), picture(0), Image.new("RGB", (2, 2)), "a.jpg", 3):
        assert [item is one for item in sources(one)] == [True]


def test_folder_gives_its_pictures_sorted_and_each_folder_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    for name in ("c.jpg", "a.PNG", "b/x.webp", ".hidden/y.jpg", "._c.jpg", "film.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in walk(tmp_path)] == ["a.PNG", "b/x.webp", "c.jpg"]
    assert [path.name for path in walk(tmp_path, video.EXTENSIONS)] == ["film.mp4"]


def test_video_among_pictures_gives_its_frames_in_its_place(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [numbered(i) for i in range(6)])
    found = list(run([picture(1), path, picture(2), str(path)]))
    assert [result.frame for result in found] == [None, *range(6), None, *range(6)]
    assert [result.seconds for result in found][1:7] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    every = list(stream(path, every=4, pipeline=cast(Pipeline, Slow())))
    assert [(result.frame, result.source) for result in every] == [(0, str(path)), (4, str(path))]


def test_camera_gives_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "film.mp4", [numbered(i) for i in range(5)])
    monkeypatch.setattr(video, "_open_camera", lambda number: Camera(path))
    found = list(run(0))
    taken = [result.frame for result in found if result.frame is not None]
    assert taken == sorted(set(taken))
    assert taken[-1] == 4
    assert {result.source for result in found} == {"camera 0"}
    assert all(result.error is None for result in found)


def test_missing_video_is_one_result_with_its_error(tmp_path: Path) -> None:
    found = list(run([tmp_path / "missing.mp4", picture(1)]))
    assert [result.error is not None for result in found] == [True, False]
    assert found[0].error is not None
    assert found[0].error.reason == "no such file"


def test_door_of_the_library_takes_a_video(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [numbered(i) for i in range(3)])
    found = list(mien.stream(path, ["boxes"], threads=1, every=2))
    assert [(result.frame, result.track) for result in found] == [(0, ()), (2, ())]


def mixed_pictures(folder: Path) -> list[npt.NDArray[np.uint8]]:
    """Return small pictures of several sizes with one face, two and none."""
    pictures = []
    for name, side in [("obama.jpg", 200), ("biden.jpg", 300), ("grace_hopper.jpg", 160)]:
        image = Image.open(folder / name).convert("RGB")
        image.thumbnail((side, side))
        pictures.append(np.asarray(image))
    height = min(len(pictures[0]), len(pictures[1]))
    pictures.append(np.concatenate([pictures[0][:height], pictures[1][:height]], axis=1))
    pictures.append(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    return pictures


def test_one_pipeline_from_many_threads_gives_what_it_gives_alone(demo_photos: Path) -> None:
    pipeline = Pipeline(Options(want=("landmarks", "pose", "quality", "embeddings"), threads=1))
    pictures = mixed_pictures(demo_photos)
    alone = [pipeline.analyze(pixels) for pixels in pictures]
    assert [len(faces) for faces in alone] == [1, 1, 1, 2, 0]
    start = threading.Barrier(8)

    def work(thread: int) -> list[tuple[int, Faces]]:
        start.wait()
        order = [(thread + i) % len(pictures) for i in range(len(pictures))]
        return [(index, pipeline.analyze(pictures[index])) for index in order]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(8)):
            for index, faces in results:
                assert faces == alone[index]
