"""The functions behind `import mien`: analyze, stream, verify."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mien.core.faces import Faces
from mien.runtime import stream as streams
from mien.runtime import verify as verification
from mien.runtime.detect import Search
from mien.runtime.pipeline import Options, Pipeline, ready
from mien.runtime.stream import Result
from mien.runtime.verify import Verification


def _options(
    want: Sequence[str] | None, models: Sequence[str], terms: str, threads: int, smallest: float, mirror: bool
) -> Options:
    return Options(
        want=None if want is None else tuple(want),
        models=tuple(models),
        terms=terms,
        threads=threads,
        search=Search(smallest=smallest),
        mirror=mirror,
    )


def _ready(options: Options) -> Pipeline:
    """Return a pipeline, having said once a process which of its models are not for commercial use.

    A caller who named the models knows them.
    """
    pipeline = ready(options)
    if not options.models:
        for card in pipeline.research_only():
            _say_terms(card.maker, card.licence.weights)
    return pipeline


@functools.cache
def _say_terms(maker: str, terms: str) -> None:
    logging.getLogger("mien").warning(
        '%s (%s) is not for commercial use; terms="permissive" leaves it out, models=[...] names another',
        maker,
        terms,
    )


def analyze(
    picture: Any,
    want: Sequence[str] | None = None,
    models: Sequence[str] = (),
    *,
    terms: str = "any",
    threads: int = 0,
    smallest: float = 0.0,
    mirror: bool = False,
) -> Faces:
    """Find and describe every face of a picture.

    Models are loaded at the first call and kept for the next ones with the same options. Safe from many
    threads.

    Args:
        picture: a path, bytes, a PIL image, an RGB array (H, W, 3) or a `Picture`.
        want: the fields to make, such as ["embeddings", "pose"]; None makes all that the default models here
            make.
        models: names or .onnx paths of models that take the place of the default ones.
        terms: "permissive" keeps to models whose card allows commercial use.
        threads: threads to use; 0 takes all cores.
        smallest: height in px of the smallest face to look for; 0 chooses by the picture's size.
        mirror: add the mirrored face's embedding to each embedding.

    Returns:
        The faces, best score first; none is an empty `Faces`, no error.

    Raises:
        UnreadablePicture: the picture cannot be read.
        ModelMissing: a model is not on this machine; the message holds the command that gets it.
        UnknownField: no model here makes a wanted field.
    """
    return _ready(_options(want, models, terms, threads, smallest, mirror)).analyze(picture)


def stream(
    given: Any,
    want: Sequence[str] | None = None,
    models: Sequence[str] = (),
    *,
    terms: str = "any",
    threads: int = 0,
    smallest: float = 0.0,
    mirror: bool = False,
    every: int = 1,
    on: str = "",
) -> Iterator[Result]:
    """Find and describe the faces of many pictures, or of the frames of a video or camera.

    Order is kept and memory does not grow with their number.

    Args:
        given: a folder, an iterable of what `analyze` takes, the path of a video or of a Parquet file of
            pictures, or a camera's number.
        want: as `analyze`.
        models: as `analyze`.
        terms: as `analyze`.
        threads: number of workers; 0 makes one for each core.
        smallest: as `analyze`.
        mirror: as `analyze`.
        every: of a video or camera take frames 0, `every`, 2 `every` ... only.
        on: "" computes in this process; "ray" on a Ray of this machine or the cluster of RAY_ADDRESS, an
            address such as "HOST:6379" on that cluster. Needs `mien[scale]`; no videos.

    Yields:
        One `Result` a picture or frame; one that cannot be read carries `error` and the others go on. Those
        of a video also carry `frame`, `seconds`, and each face's `track`.
    """
    options = _options(want, models, terms, threads, smallest, mirror)
    pipeline = None if on else _ready(replace(options, threads=1))
    yield from streams.stream(given, options, every=every, pipeline=pipeline, on=on)


def verify(
    first: Any,
    second: Any,
    models: Sequence[str] = (),
    *,
    terms: str = "any",
    threads: int = 0,
    threshold: float | None = None,
    mirror: bool = False,
) -> Verification:
    """Tell whether two pictures show the same person (the largest face of each), and how often that is wrong.

    Args:
        first: a picture, as `analyze` takes it.
        second: a picture.
        models: names or .onnx paths of models that take the place of the default ones.
        terms: "permissive" keeps to models whose card allows commercial use.
        threads: threads to use; 0 takes all cores.
        threshold: decide at this similarity instead of the model's calibrated one.
        mirror: add the mirrored face's embedding to each embedding.

    Raises:
        NoFace: one of the pictures shows none.
        UnreadablePicture, ModelMissing: as `analyze`.
    """
    options = _options(("embeddings",), models, terms, threads, 0.0, mirror)
    return verification.verify(_ready(options), first, second, threshold=threshold)
