"""`mien tag` as people call it: photos with their regions, names, and files that cannot be tagged."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import mien
import programs
from mien.cli.app import app
from mien.runtime.pipeline import Pipeline

TURNED = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def run(*arguments: object) -> Result:
    given = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    return CliRunner().invoke(app, ["tag", *given, "--threads", "1"])


def rows_of(*arguments: object) -> dict[str, dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    return {Path(row["source"]).name: row for row in json.loads(result.stdout)}


def region_of(path: Path) -> tuple[float, float, float, float]:
    command = [programs.exiftool(), "-json", "-struct", "-n", "-XMP-mwg-rs:all", str(path)]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    (region,) = answer["RegionInfo"]["RegionList"]
    x, y, w, h = (region["Area"][key] for key in "XYWH")
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """Make a small photo of one face, upright."""
    path = tmp_path_factory.mktemp("portrait") / "hopper.jpg"
    image = Image.open(demo_photos / "grace_hopper.jpg").convert("RGB")
    image.thumbnail((320, 320))
    image.save(path, quality=90)
    return path


def stored(portrait: Path, path: Path, orientation: int, *, tagged: bool = True) -> Path:
    exif = Image.Exif()
    if tagged:
        exif[0x0112] = orientation
    image = Image.open(portrait)
    turn = TURNED.get(orientation)
    (image.transpose(turn) if turn is not None else image).save(path, quality=92, exif=exif)
    return path


def test_regions_of_turned_photos_are_on_the_face_in_the_stored_pixels(
    portrait: Path, tmp_path: Path
) -> None:
    upright = mien.analyze(portrait)
    (x1, y1, x2, y2), (width, height) = upright.boxes[0].tolist(), upright.picture_size
    expected = {
        1: (x1 / width, y1 / height, x2 / width, y2 / height),
        6: (y1 / height, 1 - x2 / width, y2 / height, 1 - x1 / width),
        8: (1 - y2 / height, x1 / width, 1 - y1 / height, x2 / width),
    }
    for orientation in expected:
        stored(portrait, tmp_path / f"{orientation}.jpg", orientation)
    # a scan on its side, without a tag: stored as 6, but nobody says so
    stored(portrait, tmp_path / "scan.jpg", 6, tagged=False)
    rows = rows_of(tmp_path)
    assert {row["added"] for row in rows.values()} == {1}
    for orientation, box in expected.items():
        assert np.allclose(region_of(tmp_path / f"{orientation}.jpg.xmp"), box, atol=0.03)
    assert np.allclose(region_of(tmp_path / "scan.jpg.xmp"), expected[6], atol=0.06)


def test_into_the_file_names_and_a_second_run(portrait: Path, tmp_path: Path) -> None:
    photo = stored(portrait, tmp_path / "a.jpg", 1)
    pixels = Image.open(photo).tobytes()
    table = tmp_path / "names.csv"
    table.write_text("source,face,name\na.jpg,0,Grace Hopper\nb.jpg,0,Nobody\n")
    first = run(photo, "--into", "file", "--names", table)
    assert first.exit_code == 0
    assert f"{photo}: 1 face, 1 new went into {photo}" in first.stdout
    assert "no face was found for line 3" in first.stderr
    assert Image.open(photo).tobytes() == pixels
    before = photo.read_bytes()
    assert b"Grace Hopper" in before
    second = run(photo, "--into", "file")
    assert "1 face, nothing to add" in second.stdout
    assert photo.read_bytes() == before
    table.write_text("source,name\na.jpg,Somebody Else\n")
    assert rows_of(photo, "--into", "file", "--names", table)["a.jpg"]["kept"] == ["Grace Hopper"]
    assert photo.read_bytes() == before


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(portrait: Path, tmp_path: Path) -> None:
    photo = stored(portrait, tmp_path / "a.jpg", 1)
    result = run(photo, "--dry-run")
    assert f"1 new would go into {photo}.xmp" in result.stdout
    assert list(tmp_path.iterdir()) == [photo]


def test_quiet_leaves_out_the_notes_and_keeps_results_and_errors(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "research_only", lambda pipeline: [pipeline.models()[0].card])
    photo = stored(portrait, tmp_path / "a.jpg", 1)
    (tmp_path / "text.jpg").write_text("no picture")
    told = run(tmp_path, "--dry-run")
    quiet = run(tmp_path, "--dry-run", "--quiet")
    assert told.stderr.startswith("not for commercial use: ")
    assert quiet.stderr == ""
    assert quiet.exit_code == 1
    assert quiet.stdout == told.stdout
    assert f"{photo}: 1 face" in quiet.stdout
    assert "text.jpg: not a picture" in quiet.stdout


def test_faces_below_the_least_score_are_left_out(portrait: Path, tmp_path: Path) -> None:
    photo = stored(portrait, tmp_path / "a.jpg", 1)
    row = rows_of(photo, "--min-score", "1")["a.jpg"]
    assert (row["faces"], row["changed"], row["error"]) == (0, False, None)
    assert list(tmp_path.iterdir()) == [photo]


def test_bad_files_get_a_row_each_and_their_neighbours_are_tagged(portrait: Path, tmp_path: Path) -> None:
    good = portrait.read_bytes()
    (tmp_path / "cut.jpg").write_bytes(good[: len(good) // 50])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    odd = tmp_path / os.fsdecode(b"caf\xe9\n.jpg")
    odd.write_bytes(good)
    (tmp_path / "good.jpg").write_bytes(good)
    (tmp_path / "taken.jpg").write_bytes(good)
    (tmp_path / "taken.jpg.xmp").mkdir()
    (tmp_path / "broken.jpg").write_bytes(good)
    (tmp_path / "broken.jpg.xmp").write_text("<!DOCTYPE x><x/>")
    result = run(tmp_path, "--json")
    assert result.exit_code == 1
    rows = {Path(row["source"]).name: row for row in json.loads(result.stdout)}
    done = sorted(name for name, row in rows.items() if row["error"] is None)
    assert done == ["caf\\udce9\\n.jpg", "good.jpg"]
    assert Path(os.fspath(odd) + ".xmp").is_file()
    assert "not a regular file" in rows["fifo.jpg"]["error"]
    assert "no file" in rows["taken.jpg"]["error"]
    assert "document type" in rows["broken.jpg"]["error"]
    assert (tmp_path / "broken.jpg.xmp").read_text() == "<!DOCTYPE x><x/>"
    assert all(row["error"] for name, row in rows.items() if name not in done)


def test_what_is_no_jpeg_is_told_to_take_a_sidecar(portrait: Path, tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    Image.open(portrait).save(png)
    result = run(png, "--into", "file")
    assert result.exit_code == 1
    assert result.stdout.count(str(png)) == 1
    assert "--into sidecar" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--into", "exif"], "use 'sidecar' or 'file'"),
        (["--names", "missing.csv"], "missing.csv: No such file"),
    ],
)
def test_wrong_usage_is_one_clear_line(portrait: Path, arguments: list[str], reason: str) -> None:
    result = run(portrait, *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not portrait.with_name("hopper.jpg.xmp").exists()


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "no pictures in" in result.stderr
