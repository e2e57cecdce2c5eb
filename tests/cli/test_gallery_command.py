"""`mien gallery` as people call it: photos in, names on, people found, corrected, and forgotten."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from disks import Disk, disk
from mien.cli.app import app
from mien.gallery.gallery import Gallery
from mien.gallery.recogniser import Recogniser
from mien.gallery.records import NewPicture


def run(command: str, *arguments: object, expected: int = 0, given: str = "") -> Result:
    words = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    done = CliRunner().invoke(app, ["gallery", command, *words], input=given)
    assert done.exit_code == expected, f"{done.output}\n{done.exception!r}"
    return done


def told(command: str, *arguments: object, expected: int = 0) -> Any:
    return json.loads(run(command, *arguments, "--json", expected=expected).stdout)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("obama", "obama2", "grace_hopper"):
        picture = Image.open(demo_photos / f"{name}.jpg").convert("RGB")
        picture.thumbnail((400, 400))
        picture.save(folder / f"{name}.jpg")
    return folder


def test_from_photos_to_names_and_back(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "people.mien"
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    added = told("add", file, photos, bad, expected=1)
    assert (added["pictures"], added["known"], len(added["faces"])) == (3, 0, 3)
    assert [row["path"] for row in added["failed"]] == [str(bad)]
    again = told("add", file, photos)
    assert (again["pictures"], again["known"], again["faces"]) == (0, 3, [])

    run("add", file, photos / "obama.jpg", "--person", "Barack Obama")
    (answer,) = told("search", file, photos / "obama2.jpg")
    assert (answer["known"], answer["name"]) == (True, "Barack Obama")
    assert answer["fmr"] <= answer["fpir"] <= 0.01
    (answer,) = told("search", file, photos / "grace_hopper.jpg", "-k", 2)
    assert (answer["known"], answer["person"], len(answer["matches"])) == (False, None, 2)
    shown = run("search", file, photos / "obama2.jpg").stdout.splitlines()
    assert shown[0].endswith(": Barack Obama")
    assert "of strangers" in shown[1]
    assert "beyond what was measured" in shown[1]
    blank = tmp_path / "blank.png"
    Image.new("RGB", (64, 64)).save(blank)
    assert "no face was found" in run("search", file, blank, expected=1).stderr
    assert "not a picture" in run("search", file, bad, expected=1).stderr


def test_a_picture_unfit_for_a_person_is_said(photos: Path, tmp_path: Path) -> None:
    pair = Image.new("RGB", (800, 500))
    for place, name in enumerate(("obama", "grace_hopper")):
        pair.paste(Image.open(photos / f"{name}.jpg"), (400 * place, 0))
    pair.save(tmp_path / "pair.png")
    small = Image.open(photos / "obama.jpg")
    small.thumbnail((70, 70))
    small.save(tmp_path / "small.png")
    paths = (tmp_path / "pair.png", tmp_path / "small.png")
    said = run("add", tmp_path / "people.mien", *paths, "--person", "Ada", expected=1).stderr
    assert "pair.png: it shows more than one face" in said
    assert "small.png: the face is too small" in said
    assert told("people", tmp_path / "people.mien") == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a gallery of eight faces of nobody."""
    from mien.core.faces import Faces

    path = tmp_path / "people.mien"
    with Gallery(path) as gallery:
        for number in range(8):
            faces = Faces(
                boxes=np.array([[0, 0, 80, 80]], np.float32),
                scores=np.ones(1, np.float32),
                embeddings=np.eye(8, dtype=np.float32)[number : number + 1],
                picture_size=(80, 80),
                makers={"embeddings": "made 1"},
            )
            new = NewPicture(faces, f"/photos/{number}.jpg", (1, 1), bytes([number]) * 32)
            gallery.store.add([new], Recogniser("made", "1", 8))
    return path


def test_people_are_named_merged_split_renamed_removed_and_forgotten(file: Path) -> None:
    run("name", file, "Ada", "--face", 1, "--face", 2)
    run("name", file, "Bob", "--face", 3)
    run("name", file, "Ada Lovelace", "--person", "ada")
    assert told("merge", file, "Ada Lovelace", "Bob")[0]["faces"] == [1, 2, 3]
    assert told("split", file, "#1", "--face", 3, "--to", "Robert")[0]["faces"] == [3]
    people = told("people", file)
    assert [(one["name"], one["faces"]) for one in people] == [("Ada Lovelace", [1, 2]), ("Robert", [3])]
    assert run("people", file).stdout.splitlines()[1] == "Robert (#3): 1 faces on 1 pictures: 3"
    removed = told("remove", file, "/photos/7.jpg", "--face", 2)
    assert (removed["faces"], removed["pictures"]) == ([8, 2], 1)
    asked = run("forget", file, "Robert", expected=1, given="n\n")
    assert "forget Robert with 1 faces for good?" in asked.stderr
    assert len(told("people", file)) == 2
    assert told("forget", file, "Robert", "--yes") == {"faces": 1, "pictures": 1, "resembling": []}
    stats = told("stats", file, "--check")
    assert (stats["faces"], stats["people"], stats["faults"]) == (5, 1, [])
    assert [line["action"] for line in stats["audit"]] == ["remove", "remove", "forget"]
    assert "Robert" not in run("stats", file).stdout


def test_export_and_a_damaged_gallery(file: Path, tmp_path: Path) -> None:
    assert told("export", file, tmp_path / "out.jsonl")["faces"] == 8
    data = file.read_bytes()
    at = data.find(np.eye(8, dtype=np.float32)[4].tobytes())
    file.write_bytes(data[:at] + b"\1" + data[at + 1 :])
    assert "damaged: the embedding of face 5" in run("stats", file, "--check", expected=1).stdout
    assert told("export", file, tmp_path / "out.jsonl", expected=1)["lost"] == [5]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["face"] for row in rows] == [1, 2, 3, 4, 6, 7, 8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("people", "missing.mien"), "no such gallery"),
        (("name", "GALLERY", "Ada"), "--face"),
        (("name", "GALLERY", "Ada", "--face", "99"), "there is no face 99"),
        (("merge", "GALLERY", "Nobody", "Ada"), "nobody here is 'Nobody'"),
        (("forget", "GALLERY", "Nobody"), "nobody here is 'Nobody'"),
        (("remove", "GALLERY"), "name the pictures"),
        (("remove", "GALLERY", "/elsewhere"), "nothing was added from /elsewhere"),
        (("search", "GALLERY", "x.jpg", "--fpir", "2"), "between 0 and 1"),
        (("add", "GALLERY", "empty"), "no pictures in empty"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    file: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    Path("empty").mkdir()
    command, *rest = (str(file) if word == "GALLERY" else word for word in arguments)
    error = run(command, *rest, expected=2).stderr
    assert error.startswith("mien: ")
    assert error.count("\n") == 1
    assert said in error
    assert not Path("missing.mien").exists()


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "disk", 2, mount=getattr(request, "param", "") != "limit") as made:
        yield made


@pytest.mark.parametrize("small", ["disk", "limit"], indirect=True)
def test_a_full_disk_is_one_clear_line_and_what_was_added_stays(small: Disk, photos: Path) -> None:
    file = small.path / "people.mien"
    small.run("gallery", "add", file, photos / "obama.jpg", expected=0)
    small.fill()
    said = small.run("gallery", "add", file, photos / "grace_hopper.jpg", expected=1).stderr
    assert said.startswith(f"mien: cannot write {file}")
    assert said.count("\n") == 1
    small.free()
    again = json.loads(small.run("gallery", "add", file, photos, "--json", expected=0).stdout)
    assert (again["pictures"], again["known"]) == (2, 1)
    stats = json.loads(small.run("gallery", "stats", file, "--check", "--json", expected=0).stdout)
    assert (stats["faces"], stats["faults"]) == (3, [])


def test_ctrl_c_keeps_what_is_done(photos: Path, tmp_path: Path) -> None:
    code = """
import sys, mien.gallery.intake as intake
from mien.cli.app import app
intake._TOGETHER = 1
write, count = intake.Intake._write, []
def interrupted(self, looked, done):
    write(self, looked, done)
    raise KeyboardInterrupt
intake.Intake._write = interrupted
app()
"""
    import sys

    command = [sys.executable, "-c", code, "gallery", "add", str(tmp_path / "people.mien"), str(photos)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 130
    assert "the same command goes on from there" in done.stderr
    assert told("add", tmp_path / "people.mien", photos)["known"] == 3
