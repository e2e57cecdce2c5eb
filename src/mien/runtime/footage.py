"""Analyzes the frames of a video side by side, and follows the faces through them in order."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.picture import Picture
from mien.runtime.live import newest
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import CHUNK, Result, available_cores, chunked, ordered, prepared, result_of
from mien.runtime.tracks import Tracker
from mien.runtime.video import Frame, frames, name_of

Recall = Callable[[int], Faces | None]
"""Gives the faces of a frame that an earlier run finished, by the frame's number; None when it did not."""

# A worker takes no more pixels at once than these, unless it is one frame.
_CHUNK_PIXELS = 4_000_000

# A frame with its faces; or no frame, and why a video ended early.
Outcome = tuple[Frame | None, Faces | UnreadablePicture]


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
    stop: threading.Event | None = None,
) -> Iterator[tuple[Frame | None, Result]]:
    """Yield each frame with its result, for those who need its pixels too.

    A camera does not wait: frames that come while all workers are busy are left out, so that what is yielded
    is never old.

    Args:
        source: a path, or a camera's number.
        options: as `analyze_video`.
        every: as `analyze_video`.
        pipeline: as `analyze_video`.
        tracker: the one to use, so that its best shots can be asked for afterwards.
        recall: faces known from an earlier run; they are followed, not found again.
        stop: ends a camera when it is set; frames already taken are still yielded.

    Yields:
        As `analyze_video`, each with its frame; None beside an error of the video.
    """
    options, shared = prepared(options, pipeline)
    tracker = tracker or tracker_for(shared)
    name = name_of(source)
    live = isinstance(source, int)

    def full(chunk: list[Frame | UnreadablePicture]) -> bool:
        pixels = sum(item.pixels.size // 3 for item in chunk if isinstance(item, Frame))
        return live or len(chunk) >= CHUNK or pixels >= _CHUNK_PIXELS

    def work(chunk: list[Frame | UnreadablePicture]) -> list[Outcome]:
        return _analyze(shared, name, chunk, recall)

    taken = frames(source, every=every, limits=options.limits)
    if live:
        taken = newest(taken, stop or threading.Event())
    chunks = chunked(_ended(taken), full)
    for outcomes in ordered(work, chunks, options.threads or available_cores(), live=live):
        for frame, outcome in outcomes:
            result = result_of(outcome)
            if frame is not None:
                track = tracker.update(frame.index, frame.seconds, result.faces)
                result = replace(result, frame=frame.index, seconds=frame.seconds, track=track)
            yield frame, result


def tracker_for(pipeline: Pipeline) -> Tracker:
    """Return a tracker that takes two faces as one person where the pipeline's embeddings do."""
    model = pipeline.model_for("embeddings")
    threshold = model.card.threshold("embeddings", mirrored=pipeline.options.mirror) if model else None
    return Tracker(same=threshold.value if threshold else None)


def _ended(source: Iterator[Frame]) -> Iterator[Frame | UnreadablePicture]:
    """Make the error at the end of a video its last item: what was read before it is still to be analyzed."""
    try:
        yield from source
    except UnreadablePicture as error:
        yield error


def _analyze(
    pipeline: Pipeline, name: str, chunk: list[Frame | UnreadablePicture], recall: Recall | None
) -> list[Outcome]:
    todo = []
    outcomes: list[Outcome] = []
    for item in chunk:
        if isinstance(item, UnreadablePicture):
            outcomes.append((None, item))
            continue
        faces = recall(item.index) if recall else None
        if faces is None:
            todo.append(item)
        else:
            outcomes.append((item, faces))
    # A video says how it is to be turned (or is upright): empty frames need no search in four rotations.
    pictures = [
        Picture(frame.pixels, name, (frame.pixels.shape[1], frame.pixels.shape[0]), tagged=True)
        for frame in todo
    ]
    outcomes += zip(todo, pipeline.analyze_many(pictures), strict=True)
    return sorted(outcomes, key=lambda outcome: outcome[0].index if outcome[0] else math.inf)
