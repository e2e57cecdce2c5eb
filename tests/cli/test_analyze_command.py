"""`mien analyze` as people call it: resumed runs, drawn copies, stops, outputs that cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from click.testing import Result
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from mien.cli.app import app
from mien.core.picture import Picture
from mien.report.pictures import has_picture, picture_name
from mien.report.tables import read_rows
from mien.runtime.pipeline import Options, Pipeline


def mien(*arguments: object) -> Result:
    return CliRunner().invoke(app, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])


def started(*arguments: object, largest_file: int | None = None) -> subprocess.Popen[str]:
    """Start the command as a process of its own, optionally on a "disk" that takes no file above a size."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    program = [sys.executable, "-c", "from mien.cli.app import main; main()", "analyze"]
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


@pytest.fixture
def photos(tmp_path: Path, demo_photos: Path) -> Path:
    """Make a folder of two small photos of one face each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "grace_hopper.jpg"):
        image = Image.open(demo_photos / name).convert("RGB")
        image.thumbnail((400, 400))
        image.save(folder / f"{Path(name).stem}.jpg", quality=90)
    return folder


def test_a_report_has_every_picture_and_says_where_it_is(photos: Path, tmp_path: Path) -> None:
    ran = mien("analyze", photos, "-o", tmp_path / "report")
    assert ran.exit_code == 0, ran.output
    assert f"2 pictures, 2 faces, all could be read: {tmp_path / 'report' / 'index.html'}" in ran.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assert "astronaut.jpg" in page
    assert "centerface" in page
    assert all(has_picture(tmp_path / "report", path) for path in photos.iterdir())
    assert len(list(read_rows(tmp_path / "report" / "faces.csv"))) == 2


def test_a_bad_file_has_its_place_in_the_report_and_harms_no_other(photos: Path, tmp_path: Path) -> None:
    (photos / os.fsdecode(b"b\xe4d\n.jpg")).write_bytes(b"no picture")
    ran = mien("analyze", photos, "-o", tmp_path / "report")
    assert ran.exit_code == 1
    assert "3 pictures, 2 faces, 1 could not be read" in ran.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assert 'id="error-' in page
    assert page.count("b\\udce4d\\n.jpg</a>") == 1
    (photos / os.fsdecode(b"b\xe4d\n.jpg")).write_bytes((photos / "astronaut.jpg").read_bytes())
    assert (
        "3 pictures, 3 faces, all could be read" in mien("analyze", photos, "-o", tmp_path / "report").stderr
    )
    page = (tmp_path / "report" / "index.html").read_text()
    assert 'id="error-' not in page


def test_a_second_run_does_what_is_new_keeps_what_is_old_and_drops_what_is_gone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    first, second = photos / "astronaut.jpg", photos / "grace_hopper.jpg"
    aside = tmp_path / "aside.jpg"
    second.rename(aside)
    assert mien("analyze", photos, "-o", report).exit_code == 0
    kept = (report / "pictures" / picture_name(first)).stat().st_mtime_ns
    aside.rename(second)
    read: list[str] = []
    reading = Picture.read

    def counted(source: Any, **options: Any) -> Picture:
        read.append(str(source))
        return reading(source, **options)

    monkeypatch.setattr(Picture, "read", counted)
    ran = mien("analyze", photos, "-o", report)
    assert "1 of 2 pictures are done already" in ran.stderr
    assert read == [str(second)], "a picture is read once, and only when it is new"
    assert (report / "pictures" / picture_name(first)).stat().st_mtime_ns == kept
    page = (report / "index.html").read_text()
    assert "astronaut.jpg" in page
    assert "1 were done by an earlier run" in page
    first.unlink()
    assert "1 pictures, 1 faces" in mien("analyze", photos, "-o", report).stderr
    assert "astronaut.jpg" not in (report / "index.html").read_text()
    assert [file.name for file in (report / "pictures").iterdir()] == [picture_name(second)]


def test_an_annotated_copy_that_was_deleted_is_made_again(photos: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    mien("analyze", photos, "-o", report)
    (report / "pictures" / picture_name(photos / "astronaut.jpg")).unlink()
    mien("analyze", photos, "-o", report)
    assert has_picture(report, photos / "astronaut.jpg")


def test_annotated_copies_are_made_beside_any_output(photos: Path, tmp_path: Path) -> None:
    for output in (["-o", tmp_path / "faces.jsonl"], []):
        folder = tmp_path / f"drawn{len(output)}"
        assert mien("analyze", photos, *output, "--annotate", folder).exit_code == 0
        for path in photos.iterdir():
            drawn = Image.open(folder / picture_name(path))
            assert drawn.size == Image.open(path).size
            assert drawn.tobytes() != Image.open(path).tobytes()


def test_json_sums_the_run_up_for_programs(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.png").touch()
    Image.new("RGB", (60, 60), "grey").save(photos / "grey.png")
    expected = {"pictures": 4, "analysed_now": 4, "faces": 2, "without_face": 1, "failed": 1}
    output = tmp_path / "faces.csv"
    ran = mien("analyze", photos, "-o", output, "--json")
    assert ran.exit_code == 1
    summary = json.loads(ran.stdout)
    assert summary.pop("seconds") > 0
    restricted = [card.maker for card in Pipeline(Options()).research_only()]
    assert summary.pop("not_for_commercial_use") == restricted
    assert summary == {"output": str(output), **expected}
    again = json.loads(mien("analyze", photos, "-o", output, "--json").stdout)
    assert again["analysed_now"] == 1, "only what could not be read is tried again"
    printed = json.loads(mien("analyze", photos, "--json").stdout)
    assert {name: printed[name] for name in expected} == expected
    assert printed["output"] is None


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(photos: Path, tmp_path: Path) -> None:
    image = Image.open(photos / "grace_hopper.jpg")
    for index in range(24):
        image.resize((320, 320)).save(photos / f"many {index:02d}.png")
    output = tmp_path / "faces.jsonl"
    journal = tmp_path / "faces.jsonl.journal"
    process = started(photos, "-o", output, "-t", 1)
    end = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > 2):
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    kept = journal.read_bytes().count(b"\n") - 1
    assert 2 <= kept < 26
    assert said.strip().endswith(
        f"stopped: {kept} of 26 pictures are done and kept; the same command goes on from there"
    )
    assert "Traceback" not in said
    assert not output.exists()
    ran = mien("analyze", photos, "-o", output, "--json")
    assert json.loads(ran.stdout)["analysed_now"] == 26 - kept
    assert len(list(read_rows(output))) == 26


@pytest.mark.parametrize("name", ["report", "faces.jsonl"])
def test_a_full_disk_gives_one_clear_error_and_no_half_file(photos: Path, tmp_path: Path, name: str) -> None:
    process = started(photos, "-o", tmp_path / name, "--quiet", largest_file=9000)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert said.startswith(f"mien: cannot write {tmp_path / name}")
    assert "too large" in said
    assert not (tmp_path / "report" / "index.html").exists()
    assert not (tmp_path / "faces.jsonl").exists()
    assert not list(tmp_path.rglob(".mien-*"))


def test_outputs_that_cannot_be_meant_are_refused_before_the_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Picture:
        raise AssertionError("a picture was read")

    monkeypatch.setattr(Picture, "read", never)
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    for output, words, code in (
        (tmp_path / "notes", "is a file", 1),
        (tmp_path / "folder.csv", "is a folder", 1),
        (tmp_path / "faces.xlsx", "use an ending of .jsonl, .csv, .parquet", 2),
        (tmp_path / "notes" / "report", "cannot write", 1),
        (Path("/proc/no/report"), "cannot write /proc/no/report", 1),
    ):
        ran = mien("analyze", photos, "-o", output, "--quiet")
        assert ran.exit_code == code, output
        assert words in ran.stderr
        assert ran.stderr.count("\n") == 1
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_video_is_sent_to_its_own_command(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    ran = mien("analyze", photos, tmp_path / "clip.mp4", "-o", tmp_path / "faces.csv")
    assert ran.exit_code == 2
    assert f"use `mien video {tmp_path / 'clip.mp4'}`" in ran.stderr


def test_rows_of_a_parquet_file_are_pictures_like_others(photos: Path, tmp_path: Path) -> None:
    names = ["astronaut.jpg", "broken.jpg", "grace_hopper.jpg"]
    (photos / "broken.jpg").write_bytes(b"no picture")
    table = pyarrow.table(
        {"image": [{"bytes": (photos / name).read_bytes(), "path": name} for name in names]}
    )
    parquet.write_table(table, tmp_path / "set.parquet")
    report = tmp_path / "report"
    ran = mien("analyze", tmp_path / "set.parquet", "-o", report)
    assert ran.exit_code == 1
    assert "3 pictures, 2 faces, 1 could not be read" in ran.stderr
    rows = list(read_rows(report / "faces.csv"))
    assert [row["source"] for row in rows] == [f"{tmp_path / 'set.parquet'}#{name}" for name in names]
    assert len(list((report / "pictures").iterdir())) == 2
    ran = mien("analyze", tmp_path / "set.parquet", "-o", report)
    assert "2 of 3 pictures are done already" in ran.stderr
    assert "set.parquet#grace_hopper.jpg" in (report / "index.html").read_text()
