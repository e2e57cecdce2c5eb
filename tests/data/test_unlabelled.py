"""Faces of several sets lie alike, and views of them can be made again."""

from __future__ import annotations

import io
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from mien.core import geometry
from mien.core.crops import TEMPLATES
from mien.data.reader import Images
from mien.data.unlabelled import Crowd, Views, near_duplicates

ARCFACE = TEMPLATES["arcface"].points


def images(name: str, pixels: npt.NDArray[np.uint8]) -> Images:
    hashes = np.array([f"{name}{row:031d}"[-32:].encode() for row in range(len(pixels))])
    return Images(name, "train", pixels, MappingProxyType({}), hashes)


def spotted(points: npt.NDArray[np.float64], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return (1, height, width, 1) black with a spot at each of (k, 2) points, parts of the sides."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    away = np.stack([(x - px * width) ** 2 + (y - py * height) ** 2 for px, py in points]).min(axis=0)
    return np.asarray((255 * np.exp(-away / 6)).astype(np.uint8)[None, :, :, None])


@pytest.mark.parametrize("name", ["utkface", "fer2013"])
def test_landmarks_of_every_set_come_to_lie_where_arcface_has_them(name: str) -> None:
    template = TEMPLATES[name].points
    crowd = Crowd(
        (images("x", np.zeros((2, 30, 40, 3), np.uint8)), images(name, spotted(template, 72, 72))),
        (np.eye(2, 3), geometry.similarity(ARCFACE, template)),
        np.array([0, 2]),
    )
    face = crowd.faces(np.array([1, 0]), 112)[0, 0].numpy()
    for point in ARCFACE * 112:
        column, row = point.round().astype(int)
        near = face[row - 5 : row + 5, column - 5 : column + 5]
        assert near.max() > 200
        assert near.max() > 5 * np.median(face)


def test_a_square_of_a_wider_picture_is_cut_as_it_lies() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 40, 60, 3), dtype=np.uint8)
    place = np.array([[32 / 60, 0, 10 / 60], [0, 32 / 40, 4 / 40]])
    crowd = Crowd((images("x", pixels),), (place,), np.array([0]))
    cut = crowd.faces(np.array([0]), 32)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(cut, pixels[0, 4:36, 10:42], atol=0.01)


@pytest.fixture
def crowd() -> Crowd:
    random = np.random.default_rng(1)
    small = random.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(one).resize((32, 32))) for one in small])
    return Crowd((images("x", pixels),), (np.eye(2, 3),), np.arange(40))


def test_a_block_shows_the_same_whenever_it_is_asked_for(crowd: Crowd) -> None:
    torch.manual_seed(5)
    first = Views(crowd, 32, passes=2, block=8)
    before = torch.random.get_rng_state()
    shown = first[3]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(Views(crowd, 32, passes=5, block=8)[3], shown)
    assert not torch.equal(first[4], shown)
    assert not torch.equal(Views(crowd, 32, passes=2, block=8, seed=1)[3], shown)
    assert len(first) == 10
    with pytest.raises(IndexError, match="block 10 of 10"):
        first[10]


def test_a_pass_shows_every_face_once_and_half_of_them_blended(crowd: Crowd) -> None:
    still = Views(crowd, 32, passes=2, block=8, turn=0, zoom=0, move=0)
    shown = torch.cat([still[number] for number in range(5)])
    faces = crowd.faces(np.arange(40), 32)
    plain = [
        row
        for one in shown
        for row, face in enumerate(faces)
        if torch.allclose(one, face, atol=0.1) or torch.allclose(one, face.flip(-1), atol=0.1)
    ]
    assert len(plain) == len(set(plain))
    assert 12 <= len(plain) <= 28


def test_those_gone_are_not_among_the_faces(crowd: Crowd) -> None:
    gone = np.arange(40) % 4 == 0
    left = crowd.without(gone)
    assert len(left) == 30
    assert set(left.hashes.tolist()) == set(crowd.hashes[~gone].tolist())
    assert left.sha256 != crowd.sha256


def test_copies_are_found_through_jpeg_and_another_size_and_strangers_are_not(crowd: Crowd) -> None:
    grey = crowd.faces(np.arange(40), 32).mean(dim=1).numpy().astype(np.uint8)
    copies = []
    for one in grey[:10]:
        file = io.BytesIO()
        Image.fromarray(one).resize((24, 24)).save(file, "JPEG", quality=60)
        copies.append(np.asarray(Image.open(file).resize((32, 32))))
    assert near_duplicates(np.stack(copies), grey, 6).all()
    assert not near_duplicates(grey[20:], grey[:20], 6).any()
