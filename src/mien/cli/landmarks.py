"""`mien data landmarks`: finds the landmarks of a set's faces, once, for systems that learn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from mien.cli import common
from mien.core.crops import Crop, batch, cut
from mien.core.fields import Floats
from mien.core.geometry import apply, invert

if TYPE_CHECKING:
    from rich.progress import Progress

    from mien.data.landmarks import Landmarks
    from mien.data.reader import Images
    from mien.runtime.model import Model

_BATCH = 16
_PART = 2048
"""Rows that are written down together: what a stopped run loses at most."""

FACE = 1 / 1.08
"""What our detector's box takes of the side of a FER2013 face; cut so, the mesh is surest of its faces."""


@common.guarded
def landmarks(
    name: Annotated[str, typer.Argument(help="Name of a set of faces.", show_default=False)],
    face: Annotated[
        float, typer.Option("--face", help="Part of the pictures' side that a face takes.", min=0.1, max=2)
    ] = FACE,
    json: common.Json = False,
) -> None:
    """Find the landmarks of a set whose pictures are one face each. Stopped, it goes on where it was."""
    from mien.data import landmarks as storage
    from mien.data.reader import load
    from mien.data.registry import files_of
    from mien.runtime.model import Model

    model = Model.load("face-mesh", threads=1)
    counts: dict[str, dict[str, float]] = {}
    for split in files_of(name):
        images = load(name, split)
        with common.progress(quiet=json) as bar:
            made = find(model, images, face, _Shown(bar, split))
        presence = storage.landmarks(images).presence
        counts[split] = {"rows": len(images), "found_now": made, "sure": float((presence > 0.5).mean())}
    if json:
        common.out_json({"name": name, "folder": str(storage.folder_of(name)), "splits": counts})
        return
    for split, count in counts.items():
        common.out(
            f"{name}/{split}: {count['rows']:,} faces, {count['found_now']:,} of them looked at now;"
            f" the mesh is sure of {count['sure']:.1%}"
        )
    common.out(f"stored in {storage.folder_of(name)}")


class _Shown:
    """A bar of the rows of a split."""

    def __init__(self, bar: Progress, split: str) -> None:
        self._bar, self._task = bar, bar.add_task(split, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)


def find(
    model: Model, images: Images, face: float = FACE, progress: Callable[[int, int], None] | None = None
) -> int:
    """Find and store the landmarks of the rows that have none; return how many those were.

    Args:
        model: the face mesh.
        images: rows of one size, one face each.
        face: part of the pictures' shorter side that the face takes, in its middle.
        progress: is told how many rows are done, and of how many.
    """
    from mien.data import landmarks as storage

    todo = np.flatnonzero(storage.missing(images))
    for start in range(0, len(todo), _PART):
        rows = images.take(todo[start : start + _PART])
        storage.store(rows, _found(model, rows, face))
        if progress is not None:
            progress(start + len(rows), len(todo))
    return len(todo)


def _found(model: Model, rows: Images, face: float) -> Landmarks:
    from mien.data.landmarks import Landmarks

    wanted = model.card.crop
    assert wanted is not None
    # Turning the crop upright takes points that nothing has found yet.
    crop: Crop = replace(wanted, upright=False, fill="edge")
    _, height, width, channels = rows.pixels.shape
    middle, half = np.array([width, height]) / 2, face * min(width, height) / 2
    boxes = np.concatenate([middle - half, middle + half])[None].astype(np.float32)
    matrix = crop.matrices({"boxes": boxes}, (width, height))[0, 0]
    back = invert(matrix)
    meshes: list[Floats] = []
    presences: list[Floats] = []
    for start in range(0, len(rows), _BATCH):
        pixels = np.asarray(rows.pixels[start : start + _BATCH])
        pixels = np.repeat(pixels, 3, axis=3) if channels == 1 else pixels
        values = model.run(batch([cut(one, matrix, crop.width, crop.height, crop.fill) for one in pixels]))
        points = apply(back, values["mesh"].reshape(-1, 3))[:, :2].reshape(len(pixels), -1, 2)
        meshes.append((points / (width, height)).astype(np.float32))
        presences.append(values["presence"])
    return Landmarks(np.concatenate(meshes), np.concatenate(presences))
