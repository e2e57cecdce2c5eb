"""No person is in two parts, and pairs are drawn evenly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.data.people import drawn_pairs, people


@pytest.fixture(autouse=True)
def data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))


def test_no_person_is_in_two_parts() -> None:
    train, valid, test = (
        set(people(part, 32, many=True).columns["person"].tolist()) for part in ("train", "valid", "test")
    )
    assert (len(valid), len(test)) == (28, 40)
    assert not train & valid
    assert not train & test
    assert not valid & test
    # Their second numbers are left out, too.
    assert not train & {7314, 7393}
    few = people("train", 32)
    assert len(np.unique(few.columns["person"])) == 201
    assert few.columns["person"].min() > 7000


def test_faces_of_both_sets_are_cut_alike() -> None:
    # The eyes of ArcFace's template at 32 px are darker than the cheeks below them, on the mean face of each.
    many = people("train", 32, many=True)
    few = len(people("train", 32))
    for part in (many.pixels[:few], many.pixels[few:]):
        mean = np.asarray(part).mean(axis=(0, 3))
        for x in (38.3 / 112 * 32, 73.5 / 112 * 32):
            eye, cheek = mean[round(51.6 / 112 * 32), round(x)], mean[round(70 / 112 * 32), round(x)]
            assert eye < cheek - 20


def test_pairs_are_half_and_half_and_of_the_right_people() -> None:
    person = np.repeat([4, 7, 9, 11], [10, 2, 1, 50])
    pairs = drawn_pairs(person, 4000)
    assert pairs.same.sum() == 2000
    assert ((person[pairs.first] == person[pairs.second]) == pairs.same).all()
    assert (pairs.first != pairs.second).all()
    of_one = person[pairs.first[pairs.same]]
    shares = [(of_one == who).mean() for who in (4, 7, 9, 11)]
    assert shares == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.01)
    others = np.concatenate([person[pairs.first[~pairs.same]], person[pairs.second[~pairs.same]]])
    assert [(others == who).mean() for who in (4, 7, 9, 11)] == pytest.approx([0.25] * 4, abs=0.03)


def test_pairs_need_two_people_and_two_pictures() -> None:
    with pytest.raises(ValueError, match="pairs need two people"):
        drawn_pairs(np.array([1, 1]), 4)
    with pytest.raises(ValueError, match="pairs need two people"):
        drawn_pairs(np.array([1, 2]), 4)
