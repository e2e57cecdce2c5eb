"""The index finds what comparing by hand finds, and its file is not believed when anything is wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import made
import numpy as np
import numpy.typing as npt
import pytest

from mien.core.errors import UnwritableOutput
from mien.gallery import index
from mien.gallery.index import ExactIndex

GALLERY = "0f" * 16


def by_hand(
    ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32], query: npt.NDArray[np.float32], k: int
) -> list[int]:
    close = sorted(
        (-float(np.float32(query @ vector)), int(face)) for face, vector in zip(ids, vectors, strict=True)
    )
    return [face for _, face in close[:k]]


@pytest.fixture
def vectors() -> npt.NDArray[np.float32]:
    return made.vectors(50, 4).reshape(-1, made.SIZE)


@pytest.mark.parametrize("block", [7, 64, 65536])
@pytest.mark.parametrize("k", [1, 5, 200, 300])
def test_finds_what_comparing_one_by_one_finds(
    vectors: npt.NDArray[np.float32], block: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_BLOCK", block)
    ids = np.arange(10, 410, 2)
    built = ExactIndex(ids[:100], vectors[:100])
    for start in range(100, 200, 10):
        built.add(ids[start : start + 10], vectors[start : start + 10])
    assert len(built) == 200
    np.testing.assert_array_equal(built.ids, ids)
    np.testing.assert_array_equal(built.vectors, vectors)
    queries = made.vectors(50, 1, seed=0, spread=0.4)[:, 0]
    found, close = built.search(queries, k)
    assert found.shape == close.shape == (50, min(k, 200))
    for row, query in enumerate(queries):
        expected = by_hand(ids, vectors, query, k)
        if k < 200:
            assert found[row].tolist() == expected
        assert sorted(found[row].tolist()) == sorted(expected)
        assert (np.diff(close[row]) <= 0).all()
        np.testing.assert_allclose(close[row], vectors[(found[row] - 10) // 2] @ query, atol=1e-6)


def test_among_looks_only_at_these(vectors: npt.NDArray[np.float32]) -> None:
    ids = np.arange(1, 201)
    built = ExactIndex(ids[:150], vectors[:150])
    built.add(ids[150:], vectors[150:])
    among = np.array([3, 77, 160, 999])
    found, _ = built.search(vectors[:1], 5, among)
    assert sorted(found[0].tolist()) == [3, 77, 160]
    assert found[0].tolist() == by_hand(among[:3], vectors[among[:3] - 1], vectors[0], 5)
    assert built.search(vectors[:1], 5, np.zeros(0, np.int64))[0].shape == (1, 0)


def test_equal_ones_come_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BLOCK", 3)
    same = np.repeat(made.vectors(1, 1)[0], 10, axis=0)
    found, _ = ExactIndex(np.arange(1, 11), same).search(same[:1], 4)
    assert found.tolist() == [[1, 2, 3, 4]]


def test_nothing_is_found_in_nothing() -> None:
    empty = ExactIndex(np.zeros(0, np.int64), np.zeros((0, made.SIZE), np.float32))
    found, close = empty.search(made.vectors(1, 2)[0], 3)
    assert found.shape == close.shape == (2, 0)


@pytest.fixture
def file(tmp_path: Path, vectors: npt.NDArray[np.float32]) -> Path:
    path = tmp_path / "people.mien-index"
    index.write(path, np.arange(1, 201), vectors, gallery=GALLERY, removals=3)
    return path


def test_a_file_comes_back_mapped_and_is_private(file: Path, vectors: npt.NDArray[np.float32]) -> None:
    back = index.read(file, gallery=GALLERY, removals=3)
    assert back is not None
    np.testing.assert_array_equal(back.ids, np.arange(1, 201))
    np.testing.assert_array_equal(back.vectors, vectors)
    _, mapped = back._parts[0]
    assert not mapped.flags.writeable
    assert not mapped.flags.owndata
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_of_another_gallery_or_from_before_a_removal_is_not_used(file: Path) -> None:
    assert index.read(file, gallery="00" * 16, removals=3) is None
    assert index.read(file, gallery=GALLERY, removals=4) is None
    assert index.read(file.with_name("missing"), gallery=GALLERY, removals=3) is None


def test_any_changed_byte_and_any_cut_is_noticed(file: Path) -> None:
    data = file.read_bytes()
    used = [
        *range(data.index(b"\0")),
        *range(4096, 4096 + 1600, 37),
        *range(8192, len(data), 997),
        len(data) - 1,
    ]
    for at in used:
        changed = bytearray(data)
        changed[at] ^= 0x10
        file.write_bytes(changed)
        assert index.read(file, gallery=GALLERY, removals=3) is None, at
    for length in (0, 10, 4096, len(data) - 1):
        file.write_bytes(data[:length])
        assert index.read(file, gallery=GALLERY, removals=3) is None, length
    file.write_bytes(data + b"\0")
    assert index.read(file, gallery=GALLERY, removals=3) is None


def test_erasing_leaves_zeros_with_who_has_it_mapped(file: Path) -> None:
    back = index.read(file, gallery=GALLERY, removals=3)
    assert back is not None
    index.erase(file)
    assert not file.exists()
    assert not back.vectors.any()
    index.erase(file)


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path, vectors: npt.NDArray[np.float32]) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(UnwritableOutput, match="a folder has this name"):
        index.write(tmp_path / "taken", np.arange(1, 201), vectors, gallery=GALLERY, removals=0)
