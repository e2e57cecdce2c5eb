"""Plans what to run and runs it: a makefile of fields, each made by a model or by arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mien.core import pose, quality
from mien.core.errors import UnknownField
from mien.core.fields import FIELDS, Floats
from mien.core.picture import Pixels
from mien.runtime.describe import Known, describe
from mien.runtime.model import Model


class Maker(Protocol):
    """Something that makes fields out of fields: a card, or arithmetic."""

    @property
    def fields(self) -> tuple[str, ...]:
        """What it makes."""

    @property
    def all_needs(self) -> tuple[str, ...]:
        """What it needs."""

    @property
    def maker(self) -> str:
        """Its name and version."""


@dataclass(frozen=True)
class Arithmetic:
    """A maker that is no model: numbers computed from other fields."""

    maker: str
    fields: tuple[str, ...]
    all_needs: tuple[str, ...]
    compute: Callable[[Pixels, Known], Known]


def _guessed_points(pixels: Pixels, known: Known) -> Known:
    """Guess five points from the box alone: where they lie in an upright face seen from the front."""
    boxes = known["boxes"]
    places = np.array([[0.31, 0.38], [0.69, 0.38], [0.5, 0.58], [0.34, 0.76], [0.66, 0.76]], np.float32)
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    return {"keypoints": (boxes[:, None, :2] + places * sides).astype(np.float32)}


def _same_points(pixels: Pixels, known: Known) -> Known:
    return {"landmarks": known["keypoints"]}


def _pose_of_mesh(pixels: Pixels, known: Known) -> Known:
    return {"pose": pose.from_mesh(known["mesh"])}


def _pose_of_landmarks(pixels: Pixels, known: Known) -> Known:
    return {"pose": pose.from_landmarks(known["landmarks"])}


def _quality(pixels: Pixels, known: Known) -> Known:
    values: Floats = quality.assess(
        pixels, known["boxes"], known["landmarks"], known["pose"], known.get("keypoints")
    )
    return {"quality": values}


ARITHMETIC = (
    Arithmetic("mien.pose.mesh 1", ("pose",), ("mesh",), _pose_of_mesh),
    Arithmetic("mien.pose.landmarks 1", ("pose",), ("landmarks",), _pose_of_landmarks),
    Arithmetic("mien.quality 1", ("quality",), ("boxes", "landmarks", "pose"), _quality),
    Arithmetic("mien.landmarks.keypoints 1", ("landmarks",), ("keypoints",), _same_points),
    Arithmetic("mien.keypoints.box 1", ("keypoints",), ("boxes",), _guessed_points),
)
"""What can be computed without a model, in order of preference."""


@dataclass(frozen=True)
class Step:
    """One maker's turn.

    Attributes:
        by: the maker.
        fields: what is taken from it; it may make more, which a preferred maker makes.
    """

    by: Maker
    fields: tuple[str, ...]


def plan(want: Sequence[str], makers: Sequence[Maker]) -> list[Step]:
    """Return the makers to run, in order, so that every wanted field is made, each maker once.

    Args:
        want: names of fields; what the first one needs is made first.
        makers: all that may be used, preferred ones first. Of those that need nothing (detectors) only the
            first counts.

    Raises:
        UnknownField: nothing makes a field, or only from fields that nothing makes.
    """
    detectors = [maker for maker in makers if not maker.all_needs]
    allowed = [*detectors[:1], *(maker for maker in makers if maker.all_needs)]
    order: list[Maker] = []
    chosen: dict[str, Maker] = {}

    def resolve(field: str, trail: tuple[str, ...]) -> None:
        if field in chosen:
            return
        reasons = []
        other = FIELDS[field].goes_with if field in FIELDS else ""
        for maker in allowed:
            if field not in maker.fields or set(maker.all_needs) & {field, *trail}:
                continue
            before = (list(order), dict(chosen))
            try:
                if other:
                    resolve(other, (*trail, field))
                    if chosen[other] is not maker:
                        reasons.append(f"{chosen[other].maker} makes {other!r} and none to go with it")
                        continue
                for need in maker.all_needs:
                    resolve(need, (*trail, field))
            except UnknownField as error:
                order[:], restored = before
                chosen.clear()
                chosen.update(restored)
                reasons.append(f"{maker.maker} needs {error.field!r}")
                continue
            if maker not in order:
                order.append(maker)
            chosen[field] = maker
            return
        raise UnknownField(field, "; ".join(reasons) or "no model here makes it (see `mien models`)")

    for field in want:
        resolve(field, ())
    return [Step(maker, tuple(name for name, by in chosen.items() if by is maker)) for maker in order]


def follow(
    steps: Sequence[Step],
    models: Mapping[str, Model],
    pictures: Sequence[tuple[Pixels, Known]],
    *,
    mirror: bool = False,
) -> None:
    """Run steps of a plan on the faces of several pictures.

    A picture that has all fields of a step already is left out of it.

    Args:
        steps: what to run, in order; none of them a detector.
        models: the steps' models by `maker`.
        pictures: each one's pixels and what is known of its faces, which grows.
        mirror: add the mirrored face's embedding to each embedding.
    """
    for step in steps:
        lacking = [picture for picture in pictures if not set(step.fields) <= picture[1].keys()]
        if not lacking:
            continue
        if isinstance(step.by, Arithmetic):
            made = [step.by.compute(pixels, known) for pixels, known in lacking]
        else:
            made = describe(models[step.by.maker], lacking, mirror=mirror)
        for (_, known), values in zip(lacking, made, strict=True):
            known.update({name: values[name] for name in step.fields})
