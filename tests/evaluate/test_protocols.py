"""Protocols with made people: who is enrolled, searched for and compared, and what is told of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mien.data.reader import Images, Pairs
from mien.evaluate import protocols
from mien.evaluate.protocols import DRAWS, UnknownProtocol, judge


def made(person: npt.NDArray[Any], split: str) -> Images:
    """Return pictures of which every pixel is the number of the person."""
    pixels = np.broadcast_to(person.astype(np.uint8)[:, None, None, None], (len(person), 2, 2, 3))
    return Images("made", split, pixels, {"person": person}, np.full(len(person), b"0" * 32))


SETS = {
    "test": made(np.repeat(np.arange(6), 8), "test"),
    "train": made(np.repeat(np.arange(10, 13), 7), "train"),
    "valid": made(np.repeat(np.arange(20, 22), 3), "valid"),
}


@pytest.fixture(autouse=True)
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "people", lambda part, size: SETS[part])


def perfect(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.eye(32, dtype=np.float32)[pixels[:, 0, 0, 0]])


def test_halves_are_enrolled_in_turn_and_all_others_are_unknown() -> None:
    result = judge("identification", perfect)
    assert isinstance(result, protocols.Identified)
    assert result.distractors == 5
    for count, searches in result.searches.items():
        # 3 people enrolled from `count` of their 8 pictures and 3 unknown; both halves, every draw
        assert int(searches.mated.sum()) == DRAWS * 2 * 3 * (8 - count)
        assert int((~searches.mated).sum()) == DRAWS * 2 * 3 * 8
        assert searches.comparisons == DRAWS * 2 * (3 * (8 - count) + 3 * 8) * (3 + 5)
        assert set(searches.person.tolist()) == set(range(6))
        assert searches.hit_rate()[0] == 1
        assert (searches.best < 1e-6).all()
    told = result.to_dict()
    assert [row["pictures"] for row in told["enrolled_from"]] == [1, 5]
    point = told["enrolled_from"][0]["points"][0]
    assert {"wanted_fpir", "threshold", "fpir", "fpir_low", "fpir_high", "fnir", "fnir_low", "fnir_high"} == {
        *point
    }
    assert (point["fpir"], point["fnir"]) == (0, 0)
    assert any("rank 1 100.00 %" in line for line in result.lines())


def test_a_person_without_a_found_face_is_never_found() -> None:
    def blind(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.where(pixels[:, 0, 0, 0, None] == 2, 0, perfect(pixels))

    result = judge("identification", blind)
    assert isinstance(result, protocols.Identified)
    assert result.missed == 8
    searches = result.searches[1]
    assert searches.hit_rate()[0] == pytest.approx(5 / 6)
    assert (searches.rank[(searches.person == 2) & searches.mated] > 1).all()


def test_pairs_across_poses_are_all_whose_yaw_is_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    yaw = np.tile([0.0, 10, 20, 24, -3, 40, -20, 5], 6)
    monkeypatch.setattr(protocols, "poses", lambda images: np.stack([yaw, 0 * yaw, 0 * yaw], axis=1))
    result = judge("cross-pose", perfect)
    assert isinstance(result, protocols.Verified)
    person = np.arange(48) // 8
    far = [(i, j) for i in range(48) for j in range(i + 1, 48) if abs(yaw[i] - yaw[j]) >= 25]
    assert len(result.mated) == sum(person[i] == person[j] for i, j in far)
    assert len(result.other) == len(far) - len(result.mated)
    assert (result.mated == 1).all()
    assert result.accuracy is None
    assert result.auc == 1
    assert not any("accuracy" in line for line in result.lines())


def test_a_mask_is_put_on_the_second_of_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images(
        "lfw_pairs",
        "images",
        np.full((4, 112, 112, 3), 200, np.uint8),
        {"person": np.array(["a", "a", "b", "c"])},
        np.full(4, b"0" * 32),
    )
    pairs = Pairs(np.array([0, 2]), np.array([1, 3]), np.array([True, False]), np.array([0, 1]))
    monkeypatch.setattr(protocols, "load", lambda name, split: images)
    monkeypatch.setattr(protocols, "load_pairs", lambda images: pairs)

    def by_mouth(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        plain = (pixels[:, 90, 56] == 200).all(axis=1)
        return np.stack([plain, ~plain], axis=1).astype(np.float32)

    result = judge("masked-lfw", by_mouth)
    assert isinstance(result, protocols.Verified)
    # without a mask the first, with one the second
    assert result.mated.tolist() == result.other.tolist() == [0]
    assert result.accuracy is not None


def test_an_unknown_protocol_names_those_that_there_are() -> None:
    with pytest.raises(UnknownProtocol, match="lfw, masked-lfw, cross-pose, identification, demographics"):
        judge("ijb", perfect)


def test_groups_are_of_people_with_two_pictures_and_utkface_names_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    identity = np.array([5, 5, 5, 5, 6, 7, 7, 8, 8, 8])
    identity = np.concatenate([identity, identity + 10])
    pixels = np.broadcast_to(identity.astype(np.uint8)[:, None, None, None], (20, 2, 2, 3))
    male, young = (identity % 2 == 1).astype(int), np.tile([1, 1, 0, 0, 1, 0, 0, 1, 0, 1], 2)
    celeba = Images(
        "celeba10k",
        "train",
        pixels,
        {"identity": identity, "Male": male, "Young": young},
        np.full(20, b"0" * 32),
    )
    utkface = Images(
        "utkface",
        "test",
        random.integers(0, 30, (40, 2, 2, 3)).astype(np.uint8),
        {"gender": np.arange(40) % 2, "race": np.arange(40) // 2 % 5},
        np.full(40, b"0" * 32),
    )
    monkeypatch.setattr(
        protocols, "load", lambda name, split: {"celeba10k": celeba, "utkface": utkface}[name]
    )
    result = judge("demographics", perfect)
    assert isinstance(result, protocols.Demographics)
    (used, _, first), (_, _, second) = result.parts
    assert used.rows == 2 * (3 + 2 + 3)  # at most three of each person, nobody with one
    assert {name: count for name, (count, _) in first.groups.items()} == {
        "older men": 2,
        "younger men": 2,
        "younger women": 2,
    }
    assert dict(first.mated) == {"older men": 2, "younger men": 6, "younger women": 6}
    assert set(second.groups) == {
        f"{race} {gender}"
        for race in ("white", "black", "asian", "indian", "others")
        for gender in ("men", "women")
    }
    assert sum(second.mated.values()) == 0
    assert any("white women, 4 people: FMR" in line for line in result.lines())
    assert result.to_dict()["parts"][1]["fnmr"] is None
