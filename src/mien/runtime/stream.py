"""Many pictures in, results out in order: the stages overlap and memory stays bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.picture import EXTENSIONS
from mien.runtime.pipeline import Options, Pipeline, ready
from mien.runtime.video import is_video

T = TypeVar("T")
R = TypeVar("R")

# Pictures that a worker takes at once: enough for full batches of faces, few enough to keep memory small.
_CHUNK = 4


@dataclass(frozen=True)
class Result:
    """What became of one picture, or of one frame of a video.

    Attributes:
        source: the picture's or video's path, or what it came from.
        faces: the faces; none when there is an error.
        error: what is wrong with the picture; None when it was read.
        frame: number of the frame in its video, from 0; None for a picture.
        seconds: the frame's time stamp in its video; None for a picture.
        track: for each face the number of its track in the video; None for a picture.
    """

    source: str
    faces: Faces
    error: UnreadablePicture | None = None
    frame: int | None = None
    seconds: float | None = None
    track: tuple[int, ...] | None = None


def walk(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the pictures below a folder, sorted by name, each folder once even where links make a loop.

    A file that a picture's name promises is yielded even when it cannot be read; reading says why.
    """
    seen: set[tuple[int, int]] = set()

    def enter(path: Path) -> Iterator[Path]:
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(path.iterdir(), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            return
        for entry in entries:
            if entry.is_dir():
                if not entry.name.startswith("."):
                    yield from enter(entry)
            elif entry.suffix.lower() in EXTENSIONS and not entry.name.startswith("._"):
                yield entry

    yield from enter(Path(folder))


def sources(given: Any) -> Iterable[Any]:
    """Return the pictures that are meant: those of a folder, of an iterable, or the one given."""
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return walk(path) if path.is_dir() else [given]
    if isinstance(given, (list, tuple)) or (hasattr(given, "__iter__") and not hasattr(given, "__array__")):
        if isinstance(given, (bytes, bytearray)):
            return [given]
        return given  # type: ignore[no-any-return]
    return [given]


def stream(
    given: Any, options: Options | None = None, *, pipeline: Pipeline | None = None
) -> Iterator[Result]:
    """Find and describe the faces of many pictures.

    Each worker thread takes a few pictures at a time through all stages, so that one decodes while another
    computes.
    At most two chunks a worker are under way: memory does not grow with the number of pictures.

    Args:
        given: a folder, a path, or an iterable of paths, bytes, PIL images, arrays and `Picture`s; or the
            path of a video or the number of a camera, whose frames are then the pictures.
        options: what to do; `threads` is the number of workers (0: one for each core).
        pipeline: one to use instead of making it from `options`.

    Yields:
        One result a picture, in order; a picture that cannot be read is a result with `error`. Results of a
        video carry `frame`, `seconds` and `track`.
    """
    if is_video(given):
        from mien.runtime.footage import analyze_video

        yield from analyze_video(given, options, pipeline=pipeline)
        return
    options = options or (pipeline.options if pipeline else Options())
    # Each worker computes on one thread: many pictures side by side use the cores better than one picture on
    # all.
    shared = pipeline or ready(replace(options, threads=1))
    iterator = iter(sources(given))
    chunks = iter(lambda: list(islice(iterator, _CHUNK)), [])
    for outcomes in ordered(shared.analyze_many, chunks, options.threads or available_cores()):
        for outcome in outcomes:
            yield result_of(outcome)


def ordered(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield function(item) for each item, in order, computed by worker threads that stay a little ahead.

    At most two items a worker are under way, however many there are; items are taken in the caller's thread.

    Raises:
        Exception: what the function raised for an item, in that item's turn; the rest is given up.
    """
    iterator = iter(items)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mien") as pool:
        try:
            while True:
                for item in islice(iterator, 2 * workers - len(waiting)):
                    waiting.append(pool.submit(function, item))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def result_of(outcome: Faces | UnreadablePicture) -> Result:
    """Turn what `Pipeline.analyze_many` gave for a picture into a result."""
    if isinstance(outcome, UnreadablePicture):
        return Result(outcome.path, Faces.empty(source=outcome.path), outcome)
    return Result(outcome.source, outcome)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
