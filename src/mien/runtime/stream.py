"""Many pictures in, results out in order: the stages overlap and memory stays bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.picture import EXTENSIONS
from mien.runtime.parquet import is_parquet, rows
from mien.runtime.pipeline import Options, Pipeline, ready
from mien.runtime.video import is_video

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 4
"""Pictures that a worker takes at once: enough for full batches of faces, few enough to keep memory small."""


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


def walk(folder: str | os.PathLike[str], endings: Collection[str] = EXTENSIONS) -> Iterator[Path]:
    """Yield the pictures below a folder, sorted by name, each folder once even where links make a loop.

    A file that a picture's name promises is yielded even when it cannot be read, and so is a folder that
    cannot be listed; reading says why.

    Args:
        folder: where to begin.
        endings: of the names of the files wanted, in lower case, when it is not pictures.
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
            yield path
            return
        for entry in entries:
            if os.path.isdir(entry):  # noqa: PTH112 - Path.is_dir raises for what cannot be asked
                if not entry.name.startswith("."):
                    yield from enter(entry)
            elif entry.suffix.lower() in endings and not entry.name.startswith("._"):
                yield entry

    yield from enter(Path(folder))


def sources(given: Any) -> Iterable[Any]:
    """Return the pictures that are meant: those of a folder, of an iterable, or the one given.

    A Parquet file, alone or in an iterable, stands for the pictures in its rows (`mien.runtime.parquet`).
    """
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return walk(path) if os.path.isdir(path) else _unpacked([given])  # noqa: PTH112 - as in `walk`
    if isinstance(given, (bytes, bytearray, memoryview)) or hasattr(given, "__array__"):
        return [given]
    return _unpacked(given) if isinstance(given, Iterable) else [given]


def _unpacked(given: Iterable[Any]) -> Iterator[Any]:
    for source in given:
        if is_parquet(source):
            yield from rows(source)
        else:
            yield source


def stream(
    given: Any,
    options: Options | None = None,
    *,
    every: int = 1,
    pipeline: Pipeline | None = None,
    on: str = "",
) -> Iterator[Result]:
    """Find and describe the faces of many pictures.

    Each worker thread takes a few pictures at a time through all stages, so that one decodes while another
    computes. At most two chunks a worker are under way: memory does not grow with the number of pictures.

    Args:
        given: a folder (its pictures), a path, or an iterable of paths, bytes, PIL images, arrays and
            `Picture`s. The path of a video or the number of a camera stands for all its frames, the path of a
            Parquet file for the pictures in its rows.
        options: what to do; `threads` is the number of workers (0: one for each core).
        every: of videos and cameras take frames 0, `every`, 2 `every` ... only.
        pipeline: one to use instead of making it from `options`.
        on: "" computes in this process; "ray" or a Ray cluster's address on its machines (not for videos):
            see `mien.runtime.scale`.

    Yields:
        One result a picture, in order; a picture that cannot be read is a result with `error`. Results of a
        video carry `frame`, `seconds` and `track`; one more with `error` ends a video that is damaged.
    """
    if on:
        from mien.runtime.scale import stream_on_ray

        yield from stream_on_ray(given, on, options, pipeline=pipeline)
        return
    from mien.runtime.footage import analyze_video

    options, shared = prepared(options, pipeline)
    for video, group in groupby(sources(given), is_video):
        if video:
            for source in group:
                yield from analyze_video(source, options, every=every, pipeline=shared)
            continue
        chunks = chunked(group, lambda chunk: len(chunk) >= CHUNK)
        for outcomes in ordered(shared.analyze_many, chunks, options.threads or available_cores()):
            yield from map(result_of, outcomes)


def prepared(options: Options | None, pipeline: Pipeline | None) -> tuple[Options, Pipeline]:
    """Return the options and the pipeline that workers share, either made from the other when it is None.

    Each worker computes on one thread: many pictures side by side use the cores better than one on all.
    """
    options = options or (pipeline.options if pipeline else Options())
    return options, pipeline or ready(replace(options, threads=1))


def chunked(items: Iterable[T], full: Callable[[list[T]], bool]) -> Iterator[list[T]]:
    """Yield the items in lists that are ended as soon as `full` says so; the last one may not be.

    Raises:
        Exception: what the items raise, after what was taken before.
    """
    chunk: list[T] = []
    try:
        for item in items:
            chunk.append(item)
            if full(chunk):
                yield chunk
                chunk = []
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def ordered(
    function: Callable[[T], R], items: Iterable[T], workers: int, *, live: bool = False
) -> Iterator[R]:
    """Yield function(item) for each item, in order, computed by worker threads that stay a little ahead.

    At most two items a worker are under way, however many there are, one where they are live; items are taken
    in the caller's thread.

    Args:
        function: what the workers call.
        items: taken one at a time.
        workers: number of threads.
        live: the items come slowly and are wanted soon: never wait for the next one with a result at hand.

    Raises:
        Exception: what the function raised for an item, in that item's turn, and the rest is given up; or
            what the items raised, after the results of those before.
    """
    iterator = iter(items)
    most = workers if live else 2 * workers
    failure: Exception | None = None
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mien") as pool:
        try:
            while True:
                try:
                    waiting.append(pool.submit(function, next(iterator)))
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                while len(waiting) >= most or (live and waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    if failure:
        raise failure


def result_of(outcome: Faces | UnreadablePicture) -> Result:
    """Turn what `Pipeline.analyze_many` gave for a picture into a result."""
    if isinstance(outcome, UnreadablePicture):
        return Result(outcome.source, Faces.empty(source=outcome.source), outcome)
    return Result(outcome.source, outcome)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
