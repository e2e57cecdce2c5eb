"""Embeds the largest face of each of many pictures: what protocols and thresholds are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mien.core.fields import Floats
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import stream
from mien.runtime.verify import largest


def embed(
    pictures: Iterable[Any],
    pipeline: Pipeline,
    *,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Send pictures through detector, landmarks, the recogniser's own crop and the recogniser.

    Args:
        pictures: paths, bytes, PIL images, RGB arrays (H, W, 3) uint8 or `Picture`s; an array of n pictures.
        pipeline: one whose fields hold `embeddings`.
        threads: worker threads; 0 takes all cores.
        progress: called with the number of pictures done.

    Returns:
        (n, d) embeddings of unit length; a row of zeros where a picture cannot be read or shows no face.
    """
    rows: list[Floats | None] = []
    # One array may hold all pictures: `stream` would take that for a single one.
    for result in stream(iter(pictures), Options(threads=threads), pipeline=pipeline):
        found = largest(result.faces).embeddings if len(result.faces) else None
        rows.append(None if found is None else found[0])
        progress(len(rows))
    model = pipeline.model_for("embeddings")
    known = next((row for row in rows if row is not None), None)
    if known is None:
        assert model is not None
        known = np.zeros(model.empty("embeddings").shape[1], np.float32)
    nothing = np.zeros_like(known)
    return np.stack([nothing if row is None else row for row in rows]) if rows else nothing[None][:0]
