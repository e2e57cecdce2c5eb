"""Train and test are kept apart by what the pictures hold."""

from __future__ import annotations

import numpy as np
import pytest

import madesets
from mien.data.cache import hash_of
from mien.data.overlap import SharedPictures, disjoint, reported, shared, without
from mien.data.reader import Images


def _images(name: str, split: str, *seeds: int) -> Images:
    pixels = np.stack([madesets.picture(seed) for seed in seeds])
    paths = np.array([f"{split}{row}.png" for row in range(len(seeds))])
    return Images(name, split, pixels, {"path": paths}, np.array([hash_of(p) for p in pixels]))


TRAIN = _images("utkface", "train", 1, 2, 3, 4)
CLEAN = _images("utkface", "test", 5, 6)
PLANTED = _images("utkface", "test", 5, 2, 6, 2, 4)


def test_a_planted_duplicate_is_refused_by_count_and_name() -> None:
    disjoint(TRAIN, CLEAN)
    with pytest.raises(
        SharedPictures, match=r"3 of 5 pictures of utkface/test .*test1\.png = train1\.png"
    ) as error:
        disjoint(TRAIN, CLEAN, PLANTED)
    assert error.value.rows == 3


def test_known_does_not_let_pass_what_the_table_does_not_say() -> None:
    with pytest.raises(SharedPictures) as error:
        disjoint(TRAIN, PLANTED, known=True)
    assert "known=True" not in str(error.value)


def test_a_known_overlap_passes_only_when_asked_for() -> None:
    train, test = _images("fer2013", "train", 1, 2), _images("fer2013", "test", 2, 3)
    with pytest.raises(SharedPictures, match="known=True"):
        disjoint(train, test)
    disjoint(train, test, known=True)


def test_a_known_overlap_of_one_set_says_nothing_of_another() -> None:
    train, test = _images("fer2013", "train", 1, 2), _images("utkface", "test", 2, 3)
    with pytest.raises(SharedPictures):
        disjoint(train, test, known=True)


def test_without_leaves_out_the_rows_and_says_so() -> None:
    strict = without(PLANTED, TRAIN)
    assert strict.columns["path"].tolist() == ["test0.png", "test2.png"]
    assert strict.split == "test without train"
    disjoint(TRAIN, strict)
    assert without(CLEAN, TRAIN) is CLEAN
    assert without(PLANTED, TRAIN, _images("other", "all", 5)).split == "test without train and other/all"


def test_both_figures_are_asked_for_only_where_pictures_are_shared() -> None:
    assert reported(CLEAN, TRAIN) == (CLEAN,)
    official, strict = reported(PLANTED, TRAIN)
    assert official is PLANTED
    assert not shared(strict, TRAIN).any()
    assert len(strict) == 2


def test_shared_rows_are_marked() -> None:
    assert shared(PLANTED, TRAIN).tolist() == [False, True, False, True, True]
    assert not shared(PLANTED).any()
