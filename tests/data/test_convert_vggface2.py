"""VGGFace2's official layout, made small, becomes Parquet with its boxes, landmarks and templates."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import madesets
from mien.data.convert.layout import WrongLayout
from mien.data.convert.write import convert


@pytest.fixture
def given(tmp_path: Path) -> Path:
    madesets.vggface2(tmp_path / "given")
    return tmp_path / "given"


def test_people_boxes_landmarks_and_templates_are_read(given: Path, tmp_path: Path) -> None:
    made = convert("vggface2", given, tmp_path / "out")
    assert made.rows == {"train": 2, "test": 100}
    assert made.bad == ()
    rows = {row["image"]["path"]: row for row in madesets.read(made.files["test"])}
    row = rows["n000001/0007_01.jpg"]
    assert (row["identity"], row["name"], row["gender"]) == (1, "Person_1", 1)
    assert row["box"] == [7, 2, 10, 12]
    assert row["landmarks"] == [7 + k for k in range(10)]
    assert [rows[f"n000002/{i:04d}_01.jpg"]["pose_template"] for i in (1, 5, 6, 30, 31)] == [0, 0, 1, 5, -1]
    assert [rows[f"n000002/{i:04d}_01.jpg"]["age_template"] for i in (30, 31, 36, 50)] == [-1, 0, 1, 3]
    for row in madesets.read(made.files["train"]):
        assert (row["identity"], row["gender"]) == (100, 0)
        assert (row["pose_template"], row["age_template"]) == (-1, -1)


def test_what_is_missing_is_left_out(given: Path, tmp_path: Path) -> None:
    shutil.rmtree(given / "bb_landmark")
    shutil.rmtree(given / "train")
    (given / "meta" / "identity_meta.csv").rename(given / "identity_meta.csv")
    shutil.rmtree(given / "meta")
    made = convert("vggface2", given, tmp_path / "out")
    assert set(madesets.read(made.files["test"])[0]) == {"image", "identity", "name", "gender"}


def test_pictures_of_which_nothing_is_known_are_named(given: Path, tmp_path: Path) -> None:
    boxes = given / "bb_landmark" / "loose_bb_train.csv"
    boxes.write_text("\n".join(boxes.read_text().splitlines()[:-1]))
    made = convert("vggface2", given, tmp_path / "out")
    assert [(bad.where, bad.reason) for bad in made.bad] == [
        ("n000100/0002_01", "nothing is known of 'n000100/0002_01'")
    ]


def test_lists_that_are_swapped_are_refused(given: Path, tmp_path: Path) -> None:
    poses, ages = (given / "meta" / f"test_{kind}temp_imglist.txt" for kind in ("pose", "age"))
    shutil.copy(ages, poses)
    with pytest.raises(WrongLayout, match="everybody has 30 pictures in it, but n000001 has 20"):
        convert("vggface2", given, tmp_path / "out")


def test_a_line_that_is_no_person_is_refused(given: Path, tmp_path: Path) -> None:
    table = given / "meta" / "identity_meta.csv"
    table.write_text(table.read_text().replace(" m", " x"))
    with pytest.raises(WrongLayout, match="a line is no person"):
        convert("vggface2", given, tmp_path / "out")
