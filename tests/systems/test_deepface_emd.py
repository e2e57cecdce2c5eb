"""DeepFace-EMD: the authors' network by its counts, and searches in two stages that find who is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from landmarked import with_landmarks
from mien.data.people import people
from mien.data.queries import CHANGES
from mien.evaluate.retrieval import map_at_r, precision_at_1
from mien.nn.cost import cost
from mien.systems.matching.deepface_emd import RECIPES, DeepFaceEMD, FaceResNet, Search, SmallNet

TINY = RECIPES["tiny"]


@pytest.fixture(autouse=True)
def data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))


def test_the_network_is_the_authors() -> None:
    # As counted of `resnet_face18(use_se=False)` of their code at 128 px.
    counted = cost(FaceResNet(512), 3, 128, 128)
    assert counted.parameters == 25_627_081
    assert counted.multiply_adds == 2_240_806_912
    net = FaceResNet(512).eval()
    embedding, places = net(torch.rand(2, 3, 128, 128) * 255)
    assert embedding.shape == (2, 512)
    assert places.shape == (2, 512, 8, 8)
    embedding, places = SmallNet(16, 4, 64).eval()(torch.rand(2, 3, 64, 64) * 255)
    assert embedding.shape == (2, 16)
    assert places.shape == (2, 32, 4, 4)


class Halves(nn.Module):
    """Embeds by the mean colour of a face alone; its map has the mean colour of each of 2 x 2 places."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        centred = pixels - 127.5
        return centred.mean(dim=(2, 3)), nn.functional.adaptive_avg_pool2d(centred, 2)


def lab(**settings: object) -> DeepFaceEMD:
    made = DeepFaceEMD(replace(TINY, **settings))  # type: ignore[arg-type]
    made.net = Halves()
    return made


def test_patches_find_what_the_whole_picture_does_not() -> None:
    # Person 1 in mirror image, the lower half another colour; person 2's mean is the query's exactly.
    red, green, yellow, orange, olive = (255, 0, 0), (0, 255, 0), (255, 255, 0), (255, 190, 0), (191, 191, 0)

    def face(*places: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        return np.repeat(np.repeat(np.array(places, np.uint8).reshape(2, 2, 3), 8, 0), 8, 1)

    query = face(red, green, yellow, yellow)
    gallery = np.stack([query, face(green, red, orange, orange), face(olive, olive, olive, olive)])
    rows = Search(query[None], np.array([0]), gallery, np.array([1, 1, 2]))
    np.testing.assert_array_equal(rows.targets, [[1, 1]])
    for weighting, first in (("cosine", 2), ("uniform", 1), ("apc", 1), ("sc", 1)):
        targets, found = lab(weighting=weighting).predictions(rows)
        np.testing.assert_array_equal(targets, [[1, 1]])
        assert found.tolist() == [[first]]
    # The place of the query's own picture is what nothing may be found at.
    assert lab(most=1).predictions(rows)[1].tolist() == [[2]]
    assert lab(alpha=0.0).predictions(rows)[1].tolist() == [[2]]


def test_the_own_picture_is_never_found_and_all_others_are_asked() -> None:
    images = people("test", 32)
    person = images.columns["person"]
    places = np.array([0, 5, 300])
    rows = Search(np.asarray(images.pixels)[places], places, images.pixels, person)
    counts = {int(who): int((person == who).sum()) for who in person}
    assert rows.targets.tolist() == [[int(person[p]), counts[int(person[p])] - 1] for p in places]
    # Everybody is somebody else but those who are asked for, whose places nobody may be found at.
    alone = np.arange(len(person))
    alone[places] = -1
    searched = lab(weighting="cosine")
    vectors, _ = searched._described(images.pixels, None)
    _, found = searched.predictions(replace(rows, person=alone))
    for row, place in enumerate(places):
        similar = vectors @ vectors[place]
        similar[place] = -2
        assert found[row, 0] == alone[int(np.argsort(-similar, kind="stable")[0])]


def test_each_kind_of_query_is_a_part_with_the_same_people() -> None:
    parts = lab(each=2).test_parts()
    assert [part.used.split.split()[0] for part in parts] == list(CHANGES)
    assert {part.used.rows for part in parts} == {80}
    for part in parts:
        assert part.units is not None
        assert np.unique(part.units, return_counts=True)[1].tolist() == [2] * 40
        np.testing.assert_array_equal(part.units, parts[0].units)
    pixels = [rows.pixels for part in parts if isinstance(rows := part.rows, Search)]
    assert all((one != pixels[-1]).any() for one in pixels[:-1])


def test_landmarks_weigh_the_patches_where_they_are_asked_for() -> None:
    with_landmarks(people("test", TINY.size))
    (part,) = lab(weighting="lmk", changes=("cropped",), grid=4).test_parts()
    rows = part.rows
    assert isinstance(rows, Search)
    assert rows.query_marks is not None
    assert rows.gallery_marks is not None
    # Of an aligned face most points lie in the middle; of a cropped one elsewhere.
    mean = rows.gallery_marks.mean(axis=0).reshape(4, 4)
    assert mean[1:, 1:3].sum() > 0.6
    assert np.abs(rows.query_marks - rows.gallery_marks[rows.places]).mean() > 0.01
    targets, found = lab(weighting="lmk", grid=4).predictions(rows)
    assert 0 < map_at_r(targets, found) <= precision_at_1(targets, found) <= 1
