"""Analyzes the frames of a video side by side, and follows the faces through them in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.picture import Picture
from mien.runtime.pipeline import Options, Pipeline, ready
from mien.runtime.stream import Result, available_cores, ordered
from mien.runtime.tracks import Tracker
from mien.runtime.video import Frame, frames, name_of

Recall = Callable[[int], Faces | None]
"""Gives the faces of a frame that an earlier run finished, by the frame's number; None when it did not."""

# Frames that a worker takes at once: at most so many, and no more pixels than these unless it is one frame.
_CHUNK, _CHUNK_PIXELS = 4, 4_000_000

Outcome = tuple[Frame, Faces | UnreadablePicture] | UnreadablePicture


def analyze_video(
    source: str | os.PathLike[str] | int,
    options: Options | None = None,
    *,
    every: int = 1,
    pipeline: Pipeline | None = None,
) -> Iterator[Result]:
    """Find, describe and follow the faces of a video or of a camera.

    Args:
        source: a path, or a camera's number.
        options: what to do; `threads` is the number of workers (0: one for each core).
        every: take frames 0, `every`, 2 `every` ...
        pipeline: one to use instead of making it from `options`.

    Yields:
        One result a frame, in order, with `frame`, `seconds` and `track`; when a video cannot be read to its
        end, one more with `error`.
    """
    for _, result in watch(source, options, every=every, pipeline=pipeline):
        yield result


def watch(
    source: str | os.PathLike[str] | int,
    options: Options | None = None,
    *,
    every: int = 1,
    pipeline: Pipeline | None = None,
    tracker: Tracker | None = None,
    recall: Recall | None = None,
) -> Iterator[tuple[Frame | None, Result]]:
    """Yield each frame with its result, for those who need its pixels too.

    Args:
        source: a path, or a camera's number.
        options: as `analyze_video`.
        every: as `analyze_video`.
        pipeline: as `analyze_video`.
        tracker: the one to use, so that its best shots can be asked for afterwards.
        recall: faces known from an earlier run; they are followed, not found again.

    Yields:
        As `analyze_video`, each with its frame; None beside an error of the video.
    """
    options = options or (pipeline.options if pipeline else Options())
    shared = pipeline or ready(replace(options, threads=1))
    tracker = tracker or tracker_for(shared)
    name = name_of(source)
    # From a camera each frame is wanted at once.
    most = 1 if isinstance(source, int) else _CHUNK

    def work(chunk: list[Frame | UnreadablePicture]) -> list[Outcome]:
        return _analyze(shared, name, chunk, recall)

    chunks = _chunks(_ended(frames(source, every=every, limits=options.limits)), most)
    for outcomes in ordered(work, chunks, options.threads or available_cores()):
        for outcome in outcomes:
            if isinstance(outcome, UnreadablePicture):
                yield None, Result(outcome.path, Faces.empty(source=name), outcome)
                continue
            frame, faces = outcome
            if isinstance(faces, UnreadablePicture):
                nothing = Faces.empty((frame.pixels.shape[1], frame.pixels.shape[0]), name)
                yield frame, Result(name, nothing, faces, frame.index, frame.seconds, ())
                continue
            track = tracker.update(frame.index, frame.seconds, faces)
            yield frame, Result(name, faces, None, frame.index, frame.seconds, track)


def tracker_for(pipeline: Pipeline) -> Tracker:
    """Return a tracker that takes two faces as one person where the pipeline's embeddings do."""
    model = pipeline.model_for("embeddings")
    threshold = model.card.threshold("embeddings") if model else None
    return Tracker(same=threshold.value if threshold else None)


def _ended(source: Iterator[Frame]) -> Iterator[Frame | UnreadablePicture]:
    """Make the error at the end of a video its last item: what was read before it is still to be analyzed."""
    try:
        yield from source
    except UnreadablePicture as error:
        yield error


def _chunks(
    items: Iterator[Frame | UnreadablePicture], most: int
) -> Iterator[list[Frame | UnreadablePicture]]:
    chunk: list[Frame | UnreadablePicture] = []
    pixels = 0
    for item in items:
        chunk.append(item)
        pixels += item.pixels.size // 3 if isinstance(item, Frame) else 0
        if len(chunk) >= most or pixels >= _CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def _analyze(
    pipeline: Pipeline, name: str, chunk: list[Frame | UnreadablePicture], recall: Recall | None
) -> list[Outcome]:
    known = {item.index: recall(item.index) for item in chunk if isinstance(item, Frame)} if recall else {}
    todo = [item for item in chunk if isinstance(item, Frame) and known.get(item.index) is None]
    # A video says how it is to be turned (or is upright): empty frames need no search in four rotations.
    pictures = [
        Picture(frame.pixels, name, (frame.pixels.shape[1], frame.pixels.shape[0]), tagged=True)
        for frame in todo
    ]
    made = iter(pipeline.analyze_many(pictures))
    outcomes: list[Outcome] = []
    for item in chunk:
        if isinstance(item, UnreadablePicture):
            outcomes.append(item)
        else:
            faces = known.get(item.index)
            outcomes.append((item, next(made) if faces is None else faces))
    return outcomes
