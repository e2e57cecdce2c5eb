"""Measures a recogniser's error rates on a person's own pictures: a folder a person."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core import errorrates
from mien.core.errorrates import OperatingPoint, compare_all
from mien.core.errors import MienError
from mien.core.fields import Floats
from mien.runtime.pipeline import Pipeline
from mien.runtime.stream import stream, walk
from mien.runtime.verify import largest


class NothingToCalibrate(MienError):
    """A folder from which no error rates can be measured."""


@dataclass(frozen=True)
class Calibration:
    """Error rates measured on a folder.

    Attributes:
        people: number of persons with at least one usable picture.
        pictures: number of usable pictures.
        left_out: for each picture left out, why.
        mated: (m,) similarities of pictures of the same person.
        other: (n,) similarities of pictures of two persons.
        points: for each false match rate asked for that the data can show, the threshold and the errors.
        model: name and version of the recogniser.
    """

    people: int
    pictures: int
    left_out: tuple[tuple[str, str], ...]
    mated: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64]
    points: tuple[tuple[float, OperatingPoint], ...]
    model: str


def calibrate(
    pipeline: Pipeline,
    folder: str | os.PathLike[str],
    *,
    rates: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Measure thresholds on a folder with one folder for each person.

    Args:
        pipeline: one whose fields hold `embeddings`.
        folder: its sub-folders are the persons; every picture should show that person as its largest face.
        rates: false match rates to find thresholds for; those finer than one comparison are left out.
        progress: called with the number of pictures done and their total.

    Raises:
        NothingToCalibrate: fewer than two persons, or nobody with two usable pictures.
    """
    found = [
        (path, person.name)
        for person in sorted(Path(folder).iterdir())
        if person.is_dir()
        for path in walk(person)
    ]
    left_out: list[tuple[str, str]] = []
    people: list[str] = []
    embeddings: list[Floats] = []
    results = stream((path for path, _ in found), pipeline=pipeline)
    for done, ((path, person), result) in enumerate(zip(found, results, strict=True), start=1):
        progress(done, len(found))
        if result.error is not None:
            left_out.append((str(path), result.error.reason))
        elif not len(result.faces):
            left_out.append((str(path), "no face was found"))
        else:
            face = largest(result.faces).embeddings
            assert face is not None
            people.append(person)
            embeddings.append(face[0])
    if len(set(people)) < 2:
        raise NothingToCalibrate(
            f"{folder}: needs a folder for each of at least two persons, with faces in them"
        )
    compared = compare_all(np.stack(embeddings), np.asarray(people))
    mated, other = compared.mated, compared.other
    if not len(mated):
        raise NothingToCalibrate(f"{folder}: nobody has two usable pictures")
    shown = [rate for rate in rates if rate * len(other) >= 1]
    limits = [errorrates.at_fmr(mated, other, rate).threshold for rate in shown]
    points = tuple(zip(shown, compared.at(limits), strict=True))
    return Calibration(
        len(set(people)), len(people), tuple(left_out), mated, other, points, pipeline.makers["embeddings"]
    )
