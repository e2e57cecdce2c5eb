"""Faces that are too small, too blurred or turned too far are told from fit ones, on real photos."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import made
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from mien.gallery.enrol import LEAST_EYES, MOST_PITCH, MOST_YAW, WORDS, faults

if TYPE_CHECKING:
    from mien.runtime.pipeline import Pipeline


@pytest.mark.parametrize(
    ("eyes", "blur", "expected"),
    [
        (45, 0.0, ()),
        (20, 0.0, ()),
        (10, 0.0, ("too_small",)),
        (45, 0.12, ("too_blurred",)),
        (20, 0.18, ("too_blurred",)),
    ],
)
def test_size_and_blur_of_a_photo(
    pipeline: Pipeline, astronaut: npt.NDArray[np.uint8], eyes: int, blur: float, expected: tuple[str, ...]
) -> None:
    photo = Image.fromarray(astronaut).crop((100, 0, 360, 300))
    (face,) = pipeline.analyze(np.asarray(photo))
    assert face.landmarks is not None
    factor = eyes / float(np.hypot(*(face.landmarks[0, 1] - face.landmarks[0, 0])))
    small = photo.resize(
        (round(photo.width * factor), round(photo.height * factor)), Image.Resampling.BICUBIC
    )
    shown = np.asarray(small.filter(ImageFilter.GaussianBlur(blur * eyes)))
    assert faults(pipeline.analyze(shown)) == [expected]


@pytest.mark.parametrize("sign", [-1, 1])
def test_turned_faces(sign: int) -> None:
    given = made.faces(made.vectors(1, 4)[0])
    poses = [(0, 0, 80), (MOST_YAW - 1, MOST_PITCH - 1, 0), (MOST_YAW + 1, 0, 0), (0, MOST_PITCH + 1, 0)]
    turned = given.with_fields(pose=sign * np.array(poses, np.float32))
    assert faults(turned) == [(), (), ("extreme_pose",), ("extreme_pose",)]


def test_without_landmarks_the_box_tells_the_size() -> None:
    given = replace(made.faces(made.vectors(1, 1)[0]), landmarks=None)
    assert faults(given) == [()]
    assert faults(given.scaled(LEAST_EYES / 80, (10, 10))) == [("too_small",)]


def test_every_fault_has_words() -> None:
    assert set(WORDS) == {"no_face", "second_face", "too_small", "too_blurred", "extreme_pose"}
