"""Official layouts become Parquet: made small, converted, read back."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import madesets
from mien.core.errors import UnwritableOutput
from mien.core.labels import CELEBA_ATTRIBUTES, FERPLUS_VOTES
from mien.data import registry
from mien.data.convert.layout import WrongLayout
from mien.data.convert.write import READERS, Converted, convert
from mien.data.registry import UnknownSet


def _rows(made: Converted, split: str) -> list[dict[str, Any]]:
    return madesets.read(made.files[split])


def test_every_set_with_an_official_layout_has_a_converter() -> None:
    assert set(READERS) == {row.name for row in registry.table().values() if row.layout}


@pytest.mark.parametrize("name", list(READERS))
def test_another_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    with pytest.raises(WrongLayout, match="given"):
        convert(name, tmp_path / "given", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["celeba10k", "nothing"])
def test_sets_without_a_layout_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownSet, match=name):
        convert(name, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("icml", [False, True])
def test_fer2013_keeps_pixels_labels_splits_and_votes(icml: bool, tmp_path: Path) -> None:
    faces = madesets.fer2013(tmp_path / "given", icml=icml)
    made = convert("fer2013", tmp_path / "given", tmp_path / "out")
    assert made.rows == {"train": 2, "valid": 1, "test": 1}
    assert made.bad == ()
    rows = [row for split in ("train", "valid", "test") for row in _rows(made, split)]
    assert [row["emotion"] for row in rows] == [0, 3, 4, 6]
    assert [row["neutral"] for row in rows] == [0, 1, 2, 0]
    assert [row["fear"] for row in rows] == [10, 9, 8, 0]
    assert rows[3]["NF"] == 10
    assert rows[2]["image"]["path"] == "fer0000002.png"
    for row, face in zip(rows, faces, strict=True):
        assert np.array_equal(madesets.pixels_of(row)[..., 1], face)


def test_fer2013_without_votes_lacks_their_columns(tmp_path: Path) -> None:
    madesets.fer2013(tmp_path, votes=False)
    made = convert("fer2013", tmp_path / "fer2013.csv", tmp_path / "out")
    assert set(_rows(made, "train")[0]) == {"image", "emotion"}


def test_fer2013_bad_rows_are_named_and_do_not_shift_the_votes(tmp_path: Path) -> None:
    madesets.fer2013(tmp_path)
    table = (tmp_path / "fer2013.csv").read_text().splitlines()
    table[1] = table[1].replace(" ", " 3000 ", 1)
    (tmp_path / "fer2013.csv").write_text("\n".join(table))
    made = convert("fer2013", tmp_path, tmp_path / "out")
    assert [bad.where for bad in made.bad] == ["fer2013.csv row 0"]
    assert "2305 pixels" in made.bad[0].reason
    assert [(row["image"]["path"], row["neutral"]) for row in _rows(made, "train")] == [("fer0000001.png", 1)]


def test_votes_of_another_release_are_refused(tmp_path: Path) -> None:
    madesets.fer2013(tmp_path)
    votes = (tmp_path / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join([votes[0], votes[4], *votes[1:4]]))
    with pytest.raises(WrongLayout, match=r"row 0 is of 'PrivateTest' and in fer2013\.csv of 'Training'"):
        convert("fer2013", tmp_path, tmp_path / "out")
    (tmp_path / "fer2013new.csv").write_text("\n".join(votes[:4]))
    with pytest.raises(WrongLayout, match=r"has 3 rows and fer2013\.csv 4"):
        convert("fer2013", tmp_path, tmp_path / "out")


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text("emotion,pixels\n0,1 2\n")
    with pytest.raises(WrongLayout, match="has no column Usage"):
        convert("fer2013", tmp_path, tmp_path / "out")


def test_utkface_reads_names_and_splits_by_their_md5(tmp_path: Path) -> None:
    names = [f"{age}_{age % 2}_{age % 5}_201701091505573{age:02d}.jpg.chip.jpg" for age in range(10, 60)]
    for number, name in enumerate(names):
        madesets.save(tmp_path / "given" / f"part{number % 3}" / name, madesets.picture(number))
    made = convert("utkface", tmp_path / "given", tmp_path / "out")
    assert sum(made.rows.values()) == 50
    assert set(made.rows) == {"train", "valid", "test"}
    for split, tenths in (("train", range(8)), ("valid", [8]), ("test", [9])):
        for row in _rows(made, split):
            name = row["image"]["path"]
            age, gender, race = (int(part) for part in name.split("_")[:3])
            assert (row["age"], row["gender"], row["race"]) == (age, gender, race)
            assert int(hashlib.md5(name.encode()).hexdigest(), 16) % 10 in tenths


def test_utkface_bytes_are_untouched(tmp_path: Path) -> None:
    file = tmp_path / "given" / f"30_1_2_{madesets.DATE}.jpg"
    madesets.save(file, madesets.picture(1))
    made = convert("utkface", tmp_path / "given", tmp_path / "out")
    (split,) = made.files
    assert _rows(made, split)[0]["image"]["bytes"] == file.read_bytes()


def test_utkface_names_what_it_leaves_out(tmp_path: Path) -> None:
    given = tmp_path / "given"
    good = f"30_1_2_{madesets.DATE}.jpg.chip.jpg"
    for folder in ("a", "b"):
        madesets.save(given / folder / good, madesets.picture(1))
    madesets.save(given / f"24_0_1_{madesets.DATE} .jpg", madesets.picture(2))
    # as in the release: no race, and in it twice the sign
    for name in (
        f"61_1_{madesets.DATE}.jpg.chip.jpg",
        f"53__0_{madesets.DATE}.jpg",
        f"200_0_0_{madesets.DATE}.jpg",
    ):
        madesets.save(given / name, madesets.picture(3))
    (given / f"40_0_0_{madesets.DATE}.jpg").write_bytes(b"\xff\xd8\xff nothing")
    made = convert("utkface", given, tmp_path / "out")
    assert sum(made.rows.values()) == 2
    assert sorted((Path(bad.where).name.split("_")[0], bad.reason.split()[0]) for bad in made.bad) == [
        ("200", "an"),
        ("30", "is"),
        ("40", "not"),
        ("53", "the"),
        ("61", "the"),
    ]


def test_celeba_reads_attributes_parts_people_and_landmarks(tmp_path: Path) -> None:
    pictures = madesets.celeba(tmp_path / "given")
    made = convert("celeba", tmp_path / "given", tmp_path / "out")
    assert made.rows == {"train": 4, "valid": 1, "test": 1}
    (row,) = _rows(made, "valid")
    assert row["image"]["path"] == "000005.jpg"
    assert [row[name] for name in CELEBA_ATTRIBUTES] == [int(number % 5 == 0) for number in range(40)]
    assert row["identity"] == 105
    assert row["landmarks"] == [float(5 + k) for k in range(10)]
    assert np.array_equal(madesets.pixels_of(row), pictures[4])


def test_celeba_in_one_folder_without_people_and_landmarks(tmp_path: Path) -> None:
    madesets.celeba(tmp_path / "given")
    flat = tmp_path / "flat"
    (tmp_path / "given" / "Img").rename(flat)
    for name in ("Anno/list_attr_celeba.txt", "Eval/list_eval_partition.txt"):
        (tmp_path / "given" / name).rename(flat / Path(name).name)
    (flat / "img_align_celeba" / "000002.jpg").unlink()
    made = convert("celeba", flat, tmp_path / "out")
    assert made.rows == {"train": 3, "valid": 1, "test": 1}
    assert [(Path(bad.where).name, bad.reason) for bad in made.bad] == [
        ("000002.jpg", "No such file or directory")
    ]
    assert not {"identity", "landmarks"} & set(_rows(made, "train")[0])


def test_celeba_with_other_attributes_is_refused(tmp_path: Path) -> None:
    madesets.celeba(tmp_path)
    table = tmp_path / "Anno" / "list_attr_celeba.txt"
    table.write_text(table.read_text().replace("Young", "Old"))
    with pytest.raises(WrongLayout, match="forty names"):
        convert("celeba", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("inside", ["", "basic"])
def test_rafdb_counts_labels_from_zero(inside: str, tmp_path: Path) -> None:
    madesets.rafdb(tmp_path / "given")
    made = convert("rafdb", tmp_path / "given" / inside, tmp_path / "out")
    assert made.rows == {"train": 7, "test": 1}
    assert [row["expression"] for row in _rows(made, "train")] == list(range(7))
    (row,) = _rows(made, "test")
    column = registry.known("rafdb").column("expression")
    assert column.classes[row["expression"]] == "happiness"
    assert (row["gender"], row["race"], row["age_group"]) == (1, 2, 4)
    assert row["image"]["path"] == "test_0001_aligned.jpg"


def test_rafdb_wrong_labels_are_bad_rows_and_missing_attributes_unknown(tmp_path: Path) -> None:
    madesets.rafdb(tmp_path)
    table = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    table.write_text(table.read_text().replace("train_00002.jpg 2", "train_00002.jpg 8"))
    (tmp_path / "basic" / "Annotation" / "manual" / "train_00003_manu_attri.txt").unlink()
    made = convert("rafdb", tmp_path, tmp_path / "out")
    assert [bad.where for bad in made.bad] == ["train_00002.jpg 8"]
    assert [row["gender"] for row in _rows(made, "train")] == [1, -1, 1, 1, 1, 1]


def test_lfw_pictures_and_pairs(tmp_path: Path) -> None:
    madesets.lfw(tmp_path / "given")
    made = convert("lfw_pairs", tmp_path / "given", tmp_path / "out")
    rows = _rows(made, "images")
    assert [row["name"] for row in rows] == [
        "Ann_A_0001",
        "Ann_A_0002",
        "Ann_A_0003",
        "Bob_B_0001",
        "Bob_B_0002",
        "Cid_C_0001",
    ]
    assert [row["development"] for row in rows] == ["train"] * 3 + ["", "", "test"]
    with (tmp_path / "out" / "lfw_pairs" / "pairs.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["fold", "name_a", "name_b", "same"],
            ["0", "Ann_A_0001", "Ann_A_0003", "1"],
            ["0", "Ann_A_0002", "Bob_B_0001", "0"],
            ["1", "Bob_B_0001", "Bob_B_0002", "1"],
            ["1", "Bob_B_0002", "Cid_C_0001", "0"],
        ]


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (0, "10", "first line"),
        (1, "Ann_A\t1\t4", "line 2 names Ann_A_0004"),
        (2, "Ann_A\t2\t3", "line 3 is no pair of two people"),
        (4, "", "has 3 pairs, and its first line says 4"),
    ],
)
def test_wrong_pairs_are_refused(line: int, text: str, said: str, tmp_path: Path) -> None:
    madesets.lfw(tmp_path)
    lines = (tmp_path / "pairs.txt").read_text().splitlines()
    lines[line] = text
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    with pytest.raises(WrongLayout, match=said):
        convert("lfw_pairs", tmp_path, tmp_path / "out")


HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


def _affectnet_line(name: str, box: str, expression: int, valence: float, x: float = 60.0) -> str:
    points = ";".join(f"{x + k};{40.0 + k}" for k in range(68))
    return f"{name},{box},{points},{expression},{valence},0.5"


def _affectnet(folder: Path) -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    photo[20:120, 50:150] = (200, 100, 50)
    for name in ("1/a.png", "1/b.png", "2/c.png"):
        madesets.save(folder / "Manually_Annotated_Images" / name, photo)
    (folder / "training.csv").write_text(
        "\n".join(
            [
                HEADER,
                _affectnet_line("1/a.png", "50,20,100,100", 1, 0.75),
                _affectnet_line("1/b.png", "50,20,100,100", 10, -2),
                _affectnet_line("1/b.png", "400,20,100,100", 1, 0.5),
                _affectnet_line("1/b.png", "50,20,100,100", 11, 0.5),
                _affectnet_line("1/b.png", "50,20,100,100", 1, 1.5),
                _affectnet_line("1/no.png", "50,20,100,100", 1, 0.5),
            ]
        )
    )
    # the release's second table has no header
    (folder / "validation.csv").write_text(_affectnet_line("2/c.png", "50,20,100,100", 7, -0.25) + "\n")


def test_affectnet_tables_cut_the_face_and_take_its_landmarks_along(tmp_path: Path) -> None:
    _affectnet(tmp_path / "given")
    made = convert("affectnet", tmp_path / "given", tmp_path / "out")
    assert made.rows == {"train": 2, "valid": 1}
    first, second = _rows(made, "train")
    face = madesets.pixels_of(first)
    assert face.shape == (224, 224, 3)
    # the whole box is the face's colour: nothing of the black photo around it is inside
    assert np.abs(face.astype(int) - (200, 100, 50)).max() <= 3
    assert (first["expression"], first["valence"], first["arousal"]) == (1, 0.75, 0.5)
    assert first["landmarks"][:4] == pytest.approx([22.4, 44.8, 24.64, 47.04])
    assert (second["expression"], second["valence"]) == (10, -2)
    (row,) = _rows(made, "valid")
    assert registry.known("affectnet").column("expression").classes[row["expression"]] == "contempt"
    assert [bad.reason for bad in made.bad] == [
        "the box 400 20 100 100 is outside the photo of 300 x 200 px",
        "11 is not a label of this set",
        "a valence of 1.5",
        "no such file",
    ]


def test_affectnet_arrays_hold_numbers_or_text(tmp_path: Path) -> None:
    for folder, values in (
        ("train_set", (np.array("3"), np.array("-0.5"), np.array("0.25"))),
        ("val_set", (np.array(6), np.array(0.5), np.array(-1.0))),
    ):
        madesets.save(tmp_path / folder / "images" / "7.jpg", madesets.picture(7, 224, 224))
        notes = tmp_path / folder / "annotations"
        notes.mkdir()
        for name, value in zip(("exp", "val", "aro"), values, strict=True):
            np.save(notes / f"7_{name}.npy", value)
        np.save(notes / "7_lnd.npy", np.arange(136.0))
    madesets.save(tmp_path / "val_set" / "images" / "8.jpg", madesets.picture(8, 224, 224))
    made = convert("affectnet", tmp_path, tmp_path / "out")
    (train,), (valid,) = _rows(made, "train"), _rows(made, "valid")
    assert (train["expression"], train["valence"], train["arousal"]) == (3, -0.5, 0.25)
    assert (valid["expression"], valid["valence"], valid["arousal"]) == (6, 0.5, -1)
    assert valid["landmarks"] == list(range(136))
    assert [(bad.where, bad.reason) for bad in made.bad] == [("8.jpg", "No such file or directory")]


def test_a_second_conversion_replaces_the_first_and_a_stopped_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    madesets.fer2013(tmp_path / "given")
    made = convert("fer2013", tmp_path / "given", tmp_path / "out")
    before = {file: file.read_bytes() for file in made.files.values()}

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    table = tmp_path / "given" / "fer2013.csv"
    table.write_text(table.read_text().replace("\n0,", "\n5,"))
    with pytest.raises(KeyboardInterrupt):
        convert("fer2013", tmp_path / "given", tmp_path / "out", stop)
    assert {file: file.read_bytes() for file in (tmp_path / "out" / "fer2013").iterdir()} == before
    convert("fer2013", tmp_path / "given", tmp_path / "out")
    assert _rows(made, "train")[0]["emotion"] == 5


def test_rows_are_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.data.convert.write._GROUP", 2)
    madesets.celeba(tmp_path / "given")
    made = convert("celeba", tmp_path / "given", tmp_path / "out")
    from pyarrow import parquet

    assert parquet.read_metadata(made.files["train"]).num_row_groups == 2
    assert [row["identity"] for row in _rows(made, "train")] == [101, 102, 103, 104]


def test_a_file_in_the_way_is_an_error_that_names_it(tmp_path: Path) -> None:
    madesets.fer2013(tmp_path / "given")
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UnwritableOutput, match="out"):
        convert("fer2013", tmp_path / "given", tmp_path / "out")


def test_converted_sets_load_with_their_pictures(tmp_path: Path) -> None:
    import datasets

    madesets.fer2013(tmp_path / "given")
    made = convert("fer2013", tmp_path / "given", tmp_path / "out")
    loaded = datasets.Dataset.from_parquet(str(made.files["train"]), cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["image"].size == (48, 48)
    assert set(loaded.column_names) == {"image", "emotion", *FERPLUS_VOTES}
