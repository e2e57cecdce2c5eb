"""Reading a split: what comes out, the cache behind it, and its way into other processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import madesets
from mien.core.errors import UnwritableOutput
from mien.data import cache
from mien.data.reader import Images, load, load_pairs
from mien.data.registry import DamagedSet, SetMissing, UnknownSet


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of sets, with a cache of its own."""
    monkeypatch.setenv("MIEN_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "sets"


def _made(sets: Path, count: int = 5, width: int = 20, height: int = 20) -> list[madesets.Pixels]:
    pictures = [madesets.picture(seed, width, height) for seed in range(count)]
    labels = {
        "label": np.arange(count, dtype=np.int8),
        "name": [f"person {i}" for i in range(count)],
        "points": [[float(i), 0.5] for i in range(count)],
        "file": [str(i) for i in range(count)],
        "glasses": [i % 2 == 0 for i in range(count)],
    }
    madesets.split(sets / "made" / "train.parquet", [madesets.encoded(p) for p in pictures], labels)
    return pictures


def _folders(sets: Path) -> list[Path]:
    return [path for path in (sets.parent / "cache" / "mien" / "data").iterdir() if path.is_dir()]


def _decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that gets every folder that is decoded into from now on."""
    done: list[Path] = []
    write = cache._write

    def counted(folder: Path, *rest: object) -> None:
        done.append(folder)
        write(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_write", counted)
    return done


def test_pixels_and_columns_are_those_of_the_file(sets: Path) -> None:
    pictures = _made(sets)
    images = load("made", "train")
    assert isinstance(images.pixels, np.memmap)
    assert images.pixels.dtype == np.uint8
    assert np.array_equal(images.pixels, np.stack(pictures))
    assert images.columns["label"].dtype == np.int8
    assert images.columns["label"].tolist() == [0, 1, 2, 3, 4]
    assert images.columns["name"].tolist() == [f"person {i}" for i in range(5)]
    assert images.columns["points"].tolist() == [[i, 0.5] for i in range(5)]
    assert images.columns["file"].tolist() == list("01234")
    assert images.columns["glasses"].tolist() == [True, False, True, False, True]
    assert images.columns["path"].tolist() == [f"{i}.png" for i in range(5)]


def test_it_is_decoded_once_for_each_way(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _made(sets)
    done = _decodings(monkeypatch)
    for _ in range(2):
        load("made", "train")
        load("made", "train", grey=True)
        load("made", "train", size=8)
        load("made", "train", crop=(0, 0, 0.5, 1))
    assert len(done) == len(set(done)) == 4


def test_a_changed_file_is_decoded_anew(sets: Path) -> None:
    _made(sets)
    before = load("made", "train")
    madesets.split(sets / "made" / "train.parquet", [madesets.encoded(madesets.picture(9))])
    after = load("made", "train")
    assert len(after) == 1
    assert np.array_equal(after.pixels[0], madesets.picture(9))
    assert np.array_equal(before.pixels[1], madesets.picture(1))


def _cut_short(folder: Path) -> None:
    file = folder / "pixels.npy"
    file.write_bytes(file.read_bytes()[:-100])


def _change_a_byte(folder: Path) -> None:
    file = folder / "pixels.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 255
    file.write_bytes(data)


def _lose_columns(folder: Path) -> None:
    (folder / "columns.npz").unlink()


def _no_seal(folder: Path) -> None:
    (folder / "seal.json").write_text("{")


@pytest.mark.parametrize("harm", [_cut_short, _change_a_byte, _lose_columns, _no_seal])
def test_a_damaged_cache_is_made_again(
    harm: Callable[[Path], None], sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = _made(sets)
    load("made", "train")
    done = _decodings(monkeypatch)
    harm(_folders(sets)[0])
    assert np.array_equal(load("made", "train").pixels, np.stack(pictures))
    assert len(done) == 1


def test_what_a_killed_process_left_is_cleared(sets: Path) -> None:
    pictures = _made(sets)
    load("made", "train")
    (folder,) = _folders(sets)
    folder.rename(folder.with_name(folder.name + ".part"))
    (folder.with_name(folder.name + ".part") / "seal.json").unlink()
    assert np.array_equal(load("made", "train").pixels, np.stack(pictures))
    assert _folders(sets) == [folder]
    assert sorted(path.name for path in folder.iterdir()) == [
        "columns.npz",
        "hashes.npy",
        "pixels.npy",
        "seal.json",
    ]


def _load_in_child(said: str) -> None:
    images = load("made", "train")
    Path(said).write_text(json.dumps([len(images), int(np.asarray(images.pixels).sum())]))


def test_two_processes_at_once_decode_once(sets: Path, tmp_path: Path) -> None:
    pictures = _made(sets, 300)
    context = multiprocessing.get_context("spawn")
    said = [tmp_path / f"{number}.json" for number in range(2)]
    children = [context.Process(target=_load_in_child, args=(str(file),)) for file in said]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    expected = [300, int(np.stack(pictures).sum())]
    assert [json.loads(file.read_text()) for file in said] == [expected, expected]
    assert len(_folders(sets)) == 1


def test_a_pickle_maps_the_pixels_again_instead_of_copying_them(sets: Path) -> None:
    _made(sets, 40, 64, 64)
    part = load("made", "train").take(range(10, 30))
    data = pickle.dumps(part)
    assert len(data) < part.pixels.nbytes / 10
    again: Images = pickle.loads(data)
    assert isinstance(again.pixels, np.memmap)
    assert np.array_equal(again.pixels, part.pixels)
    assert again.sha256 == part.sha256
    assert again.columns["label"].tolist() == list(range(10, 30))


def test_rows_taken_out_of_order_survive_a_pickle(sets: Path) -> None:
    pictures = _made(sets)
    part = pickle.loads(pickle.dumps(load("made", "train").take([3, 1])))
    assert np.array_equal(part.pixels, np.stack([pictures[3], pictures[1]]))
    assert part.columns["label"].tolist() == [3, 1]


def test_take_of_take_keeps_its_place_in_the_file(sets: Path) -> None:
    pictures = _made(sets, 10)
    part = load("made", "train").take(range(2, 9)).take(range(1, 4))
    assert part.mapped is not None
    assert part.mapped[1] == 3
    assert np.array_equal(pickle.loads(pickle.dumps(part)).pixels, np.stack(pictures[3:6]))


def test_take_by_bools_and_its_refusals(sets: Path) -> None:
    _made(sets)
    images = load("made", "train")
    assert images.take(images.columns["glasses"]).columns["label"].tolist() == [0, 2, 4]
    assert len(images.take([])) == 0
    with pytest.raises(IndexError):
        images.take([5])
    with pytest.raises(IndexError, match="5 rows"):
        images.take(np.ones(4, bool))


def test_the_digest_is_of_the_rows_and_not_of_their_file(sets: Path) -> None:
    pictures = _made(sets)
    images = load("made", "train")
    small = load("made", "train", size=8, grey=True)
    assert small.sha256 == images.sha256
    assert images.used.rows == 5
    assert images.take([0, 1]).sha256 != images.sha256
    assert images.take([1, 0]).sha256 != images.take([0, 1]).sha256
    relabelled = np.array([0, 1, 2, 3, 3], np.int8)
    files = [madesets.encoded(picture) for picture in pictures]
    for name, labels in (("same", images.columns["label"]), ("other", relabelled)):
        madesets.split(sets / name / "train.parquet", files, {"label": labels})
    for name in ("bmp",):
        madesets.split(
            sets / name / "train.parquet",
            [madesets.encoded(picture, "bmp") for picture in pictures],
            {"label": images.columns["label"]},
        )
    same, other, bmp = (load(name, "train") for name in ("same", "other", "bmp"))
    assert same.sha256 == bmp.sha256
    assert same.sha256 != other.sha256


def test_hashes_tell_content_and_shape(sets: Path) -> None:
    flat = np.zeros((4, 6, 3), np.uint8)
    pictures = [flat, flat.copy(), flat.reshape(6, 4, 3), flat + 1]
    madesets.split(sets / "made" / "train.parquet", [madesets.encoded(p) for p in pictures])
    first, second, turned, other = load("made", "train", size=2).hashes.tolist()
    assert first == second
    assert len({first, turned, other}) == 3


def test_grey_is_luma_and_a_size_scales_the_middle_square(sets: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = (255, 0, 0)
    madesets.split(sets / "made" / "train.parquet", [madesets.encoded(wide)])
    grey = load("made", "train", size=4, grey=True)
    assert grey.pixels.shape == (1, 4, 4, 1)
    assert np.all(np.asarray(grey.pixels) == 76)
    colour = load("made", "train", size=4)
    assert np.all(np.asarray(colour.pixels) == (255, 0, 0))
    left = load("made", "train", crop=(0, 0, 0.5, 1))
    assert np.array_equal(left.pixels[0], wide[:, :12])


@pytest.mark.parametrize("crop", [(0, 0, 0, 1), (0, 0.5, 1, 0.2), (-0.1, 0, 1, 1), (0, 0, 1, 1.5)])
def test_a_crop_outside_the_picture_is_refused(crop: tuple[float, float, float, float], sets: Path) -> None:
    _made(sets)
    with pytest.raises(ValueError, match="crop"):
        load("made", "train", crop=crop)


def test_pictures_of_two_sizes_need_a_size(sets: Path) -> None:
    files = [madesets.encoded(madesets.picture(1, 20, 20)), madesets.encoded(madesets.picture(2, 30, 20))]
    madesets.split(sets / "made" / "train.parquet", files)
    with pytest.raises(DamagedSet, match=r"row 1 \(1\.png\) has 30 x 20 px and earlier ones 20 x 20.*`size`"):
        load("made", "train")
    assert load("made", "train", size=16).pixels.shape == (2, 16, 16, 3)


def test_unreadable_pictures_are_named_and_leave_no_cache(sets: Path) -> None:
    files = [madesets.encoded(madesets.picture(i)) for i in range(4)]
    files[1], files[3] = files[1][:60], b""
    madesets.split(sets / "made" / "train.parquet", files)
    with pytest.raises(DamagedSet, match=r"2 of 4 .*row 1 \(1\.png\): .*row 3 \(3\.png\): no bytes"):
        load("made", "train")
    assert _folders(sets) == []


def test_a_file_that_is_no_parquet_is_named(sets: Path) -> None:
    (sets / "made").mkdir(parents=True)
    (sets / "made" / "train.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DamagedSet, match=r"made/train\.parquet: cannot read it"):
        load("made", "train")


def test_a_label_that_a_row_lacks_is_named(sets: Path) -> None:
    files = [madesets.encoded(madesets.picture(i)) for i in range(2)]
    madesets.split(sets / "made" / "train.parquet", files, {"age": [30, None]})
    with pytest.raises(DamagedSet, match="1 rows have no 'age'"):
        load("made", "train")


def test_missing_and_unknown_sets_are_told_apart(sets: Path) -> None:
    _made(sets)
    with pytest.raises(UnknownSet, match="no data set 'nothing'; there are: fer2013"):
        load("nothing", "train")
    with pytest.raises(SetMissing, match=r"'utkface' is not here .*mien data convert utkface"):
        load("utkface", "train")
    with pytest.raises(UnknownSet, match="no split 'tset'; it has: train"):
        load("made", "tset")
    with pytest.raises(UnknownSet):
        load("../sets/made", "train")


def test_splits_of_two_copies_are_never_mixed(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, split in (("one", "train"), ("two", "train"), ("two", "test")):
        madesets.split(
            sets / folder / "utkface" / f"{split}.parquet", [madesets.encoded(madesets.picture(1))]
        )
    monkeypatch.setenv(
        "MIEN_DATA", os.pathsep.join([str(sets / "none"), str(sets / "one"), str(sets / "two")])
    )
    with pytest.raises(SetMissing, match="'test' of 'utkface' is not here"):
        load("utkface", "test")


def test_files_that_are_being_written_are_no_splits(sets: Path) -> None:
    _made(sets)
    (sets / "made" / ".mien-0123.parquet").write_bytes(b"")
    with pytest.raises(UnknownSet, match=r"it has: train$"):
        load("made", "test")


def test_a_cache_that_cannot_be_written_is_named(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _made(sets)
    (sets / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(sets / "file"))
    with pytest.raises(UnwritableOutput, match="file/mien/data"):
        load("made", "train")


def test_progress_tells_every_row(sets: Path) -> None:
    _made(sets)
    told: list[tuple[int, int]] = []
    load("made", "train", progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]


def test_pairs_are_rows_of_the_pictures(sets: Path) -> None:
    files = [madesets.encoded(madesets.picture(i)) for i in range(3)]
    madesets.split(sets / "made" / "images.parquet", files, {"name": ["c", "a", "b"]})
    table = sets / "made" / "pairs.csv"
    table.write_text("fold,name_a,name_b,same\n0,a,b,1\n3,c,a,0\n")
    pairs = load_pairs(load("made", "images"))
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([1, 0], [2, 1])
    assert (pairs.same.tolist(), pairs.fold.tolist()) == ([True, False], [0, 3])
    table.write_text("fold,name_a,name_b,same\n0,a,x,1\n")
    with pytest.raises(DamagedSet, match="'x'"):
        load_pairs(load("made", "images"))
