"""`mien analyze --format` and `mien video --format`: other programs' files from the command line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import mien
from films import film
from mien.cli.app import app
from mien.report import formats


def run(*arguments: object) -> Result:
    given = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    return CliRunner().invoke(app, ["analyze", *given, "--threads", "1"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """Make a folder of a small photo of one face, one without faces, and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    image = Image.open(demo_photos / "grace_hopper.jpg").convert("RGB")
    image.thumbnail((320, 320))
    image.save(folder / "a.jpg")
    Image.new("RGB", (64, 48)).save(folder / "b.jpg")
    (folder / "c.jpg").write_bytes(b"broken")
    return folder


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_the_file_is_what_the_library_writes_and_errors_are_said(
    photos: Path, tmp_path: Path, name: str
) -> None:
    ending = formats.FORMATS[name].ending
    output = tmp_path / f"out{ending}"
    result = run(photos, "-o", output, "--format", name)
    assert result.exit_code == 1
    assert f"{photos / 'c.jpg'}: " in result.stderr
    same = tmp_path / f"same{ending}"
    formats.write(name, same, list(mien.stream(photos)))
    assert output.read_text() == same.read_text()
    again = run(photos, "-o", output, "--format", name)
    assert again.exit_code == 1
    assert output.read_text() == same.read_text()


def test_a_run_goes_on_in_another_format(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    run(photos, "-o", output, "--format", "openface")
    with output.open(newline="") as file:
        assert [row["success"] for row in csv.DictReader(file)] == ["1", "0"]
    result = run(photos, "-o", output, "--format", "pyfeat", "--json")
    assert json.loads(result.stdout)["analysed_now"] < 3
    with output.open(newline="") as file:
        assert [row["FaceScore"] != "0" for row in csv.DictReader(file)] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--format", "coco"], "say into which file with -o"),
        (["--format", "coco", "-o", "out.csv"], "name ends in .json"),
        (["--format", "dlib", "-o", "out.csv"], "no format 'dlib'; there are: openface"),
    ],
)
def test_wrong_usage_is_one_clear_line(photos: Path, arguments: list[str], reason: str) -> None:
    result = run(photos, *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_frames_of_a_video_keep_number_time_and_track(tmp_path: Path, photos: Path) -> None:
    face = np.asarray(Image.open(photos / "a.jpg").convert("RGB").resize((128, 160)))
    path = film(tmp_path / "v.mp4", [face, face, face], rate=10)
    output = tmp_path / "out.csv"
    arguments = ["video", path, "--every", 2, "-o", output, "--format", "openface", "--want", "boxes,pose"]
    ran = CliRunner().invoke(app, list(map(str, arguments)))
    assert ran.exit_code == 0, ran.stderr
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["timestamp"]) for row in rows] == [("1", "0"), ("3", "0.2")]
    assert len({row["face_id"] for row in rows}) == 1
    assert {row["source"] for row in rows} == {str(path)}
