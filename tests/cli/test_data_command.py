"""`mien data`: lists, shows, checks and converts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import madesets
from mien.cli.app import app


def _mien(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["data", *arguments])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_DATA", str(tmp_path / "sets"))
    return tmp_path / "sets"


def _faces(*seeds: int) -> list[bytes]:
    return [madesets.encoded(madesets.picture(seed)) for seed in seeds]


def _utkface(sets: Path) -> None:
    """Write a set whose test repeats a picture of train, which repeats one itself, and a broken one."""
    for split, files in (("train", _faces(1, 2, 2)), ("test", [*_faces(3, 1), b"no picture"])):
        labels: dict[str, Any] = {
            "age": np.array([20, 30, 40], np.int16),
            "gender": np.array([0, 1, 1], np.int8),
            "race": np.array([0, 4, 5 if split == "test" else 1], np.int8),
        }
        madesets.split(sets / "utkface" / f"{split}.parquet", files, labels)


def test_the_list_tells_terms_and_what_is_here(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    rows = {row["name"]: row for row in json.loads(_mien("--json").stdout)}
    fer2013 = {split["name"]: split for split in rows["fer2013"]["splits"]}
    assert {name: split["rows"] for name, split in fer2013.items()} == {
        "train": 28555,
        "valid": 3579,
        "test": 3572,
    }
    assert fer2013["train"]["official_rows"] == 28709
    assert fer2013["train"]["bytes"] == (shared_data / "fer2013" / "train.parquet").stat().st_size
    assert rows["fer2013"]["here"]
    assert not rows["affectnet"]["here"]
    assert all(row["terms"] for row in rows.values())
    shown = _mien("list").stdout
    for text in ("fer2013", "28,555", "lfw_pairs", "7,701", str(shared_data)):
        assert text in shown


def test_the_list_works_without_any_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_DATA", raising=False)
    assert "not set" in _mien().stdout
    assert not any(row["here"] for row in json.loads(_mien("--json").stdout))


def test_the_list_marks_a_file_that_cannot_be_read(sets: Path) -> None:
    (sets / "utkface").mkdir(parents=True)
    (sets / "utkface" / "train.parquet").write_bytes(b"nothing")
    assert "unreadable" in _mien().stdout


def test_show_tells_classes_and_defects() -> None:
    said = _mien("show", "fer2013").stdout
    assert "3 happiness" in said
    assert "-1 where not known" in said
    assert "288" in said
    assert "no data set 'fer2014'" in _mien("show", "fer2014", code=2).output


def test_check_counts_classes_and_names_what_is_wrong(sets: Path) -> None:
    _utkface(sets)
    done = _mien("check", "utkface", "--json", code=1)
    found = json.loads(done.stdout)
    assert not found["sound"]
    assert found["splits"]["train"]["labels"]["gender"] == {"male": 1, "female": 2}
    assert found["splits"]["test"]["unreadable"] == [
        ["2.png", "not a picture, or one of a format that is not read here"]
    ]
    assert found["splits"]["test"]["strange"] == ["race = 5 in 1 rows is no class"]
    pairs = {(d["split"], d["other"]): (d["rows"], d["examples"]) for d in found["duplicates"]}
    assert pairs == {
        ("train", "train"): (1, [["2.png", "1.png"]]),
        ("test", "train"): (1, [["1.png", "0.png"]]),
    }
    shown = _mien("check", "utkface", code=1).stdout
    assert "1 pictures cannot be read: 2.png" in shown
    assert "1 rows of test are also in train: 1.png = 0.png" in shown
    assert shown.endswith("not sound\n")


def test_a_known_overlap_is_sound(sets: Path) -> None:
    for split, seeds in (("train", (1, 2)), ("test", (2, 3))):
        labels = {"emotion": np.array([-1, 3], np.int8)}
        madesets.split(sets / "fer2013" / f"{split}.parquet", _faces(*seeds), labels)
    found = json.loads(_mien("check", "fer2013", "--json").stdout)
    assert found["sound"]
    assert [(d["rows"], d["known"]) for d in found["duplicates"]] == [(1, True)]
    assert found["splits"]["test"]["labels"]["emotion"]["(not known)"] == 1


def test_an_overlap_that_nobody_knew_of_is_not_sound(sets: Path) -> None:
    labels = {
        name: np.array([1, 1], kind) for name, kind in (("age", "i2"), ("gender", "i1"), ("race", "i1"))
    }
    for split, seeds in (("train", (1, 2)), ("test", (2, 3))):
        madesets.split(sets / "utkface" / f"{split}.parquet", _faces(*seeds), labels)
    assert not json.loads(_mien("check", "utkface", "--json", code=1).stdout)["sound"]
    madesets.split(sets / "utkface" / "test.parquet", _faces(3, 3), labels)
    assert json.loads(_mien("check", "utkface", "--json").stdout)["sound"]


def test_a_missing_column_is_not_sound(sets: Path) -> None:
    madesets.split(sets / "utkface" / "train.parquet", _faces(1), {"age": np.array([20], np.int16)})
    found = json.loads(_mien("check", "utkface", "--json", code=1).stdout)
    assert found["splits"]["train"]["missing"] == ["gender", "race"]


def test_check_of_a_set_that_is_not_here_says_how_to_make_it(sets: Path) -> None:
    assert "mien data convert rafdb PATH" in _mien("check", "rafdb", code=2).output


def test_convert_then_check(sets: Path, tmp_path: Path) -> None:
    madesets.fer2013(tmp_path / "given")
    done = _mien("convert", "fer2013", str(tmp_path / "given"))
    assert "train: 2 rows" in done.stdout
    found = json.loads(_mien("check", "fer2013", "--json").stdout)
    assert found["sound"]
    assert found["splits"]["train"]["sizes"] == {"48 x 48": 2}


def test_convert_names_bad_rows_and_says_so_in_its_exit_code(tmp_path: Path) -> None:
    madesets.rafdb(tmp_path / "given")
    (tmp_path / "given" / "basic" / "Image" / "aligned" / "train_00004_aligned.jpg").write_bytes(b"")
    out = tmp_path / "out"
    done = _mien("convert", "rafdb", str(tmp_path / "given"), "-o", str(out), "--json", code=1)
    made = json.loads(done.stdout)
    assert made["rows"] == {"train": 6, "test": 1}
    assert [Path(bad["where"]).name for bad in made["bad"]] == ["train_00004_aligned.jpg"]
    assert "left out 1 rows" in done.stderr
    assert f"MIEN_DATA={out}" in done.stderr


def test_convert_without_a_place_to_write_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIEN_DATA", raising=False)
    assert "-o" in _mien("convert", "fer2013", str(tmp_path), code=2).output


def test_convert_refuses_another_layout(tmp_path: Path) -> None:
    done = _mien("convert", "fer2013", str(tmp_path), "-o", str(tmp_path / "out"), code=2)
    assert "has no fer2013.csv or icml_face_data.csv" in done.output


def test_sorting_tells_what_it_made_and_what_it_left_out(sets: Path, tmp_path: Path) -> None:
    faces = _faces(1, 2, 3, 4)
    madesets.split(sets / "many" / "train-0.parquet", faces[:3], {"identity": [2, 1, 2]})
    madesets.split(sets / "many" / "train-1.parquet", [faces[3], b"no picture"], {"identity": [1, 3]})
    madesets.split(sets / "judged" / "test.parquet", [faces[1]], {"identity": [1]})
    out = tmp_path / "sorted"
    given = ["sort", str(sets / "many"), "-o", str(out), "--without", "judged/test"]
    done = _mien(*given, "--json", code=1)
    told = json.loads(done.stdout)
    assert told["folder"] == str(out)
    assert (told["rows"], told["people"], told["unreadable"], told["shared"]) == (3, 2, 1, 1)
    assert [row["identity"] for name in told["files"] for row in madesets.read(out / name)] == [1, 2, 2]
    assert "left out 1 pictures that occur in judged/test" in done.stderr
    assert "row 4 (1.png)" in done.stderr
    assert "is there already" in _mien(*given, code=1).stderr
    assert "no .parquet file" in _mien("sort", str(tmp_path), "-o", str(out / "more"), code=2).stderr
    shown = _mien("sort", str(sets / "judged" / "test.parquet"), "-o", str(tmp_path / "one")).stdout
    assert "1 pictures of 1 people in 1 files" in " ".join(shown.split())
