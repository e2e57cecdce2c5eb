"""`make demo`: it finds photos, tells the command it runs, and says where the report is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mien.cli import demo


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mien.cli.demo", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_photos_given_are_analysed_and_the_report_is_named(tmp_path: Path, demo_photos: Path) -> None:
    photos = tmp_path / "my photos"
    photos.mkdir()
    Image.open(demo_photos / "astronaut.png").resize((256, 256)).save(photos / "astronaut.jpg")
    ran = run(tmp_path, "report", "my photos")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert lines[0] == "mien analyze 'my photos' -o report"
    page = tmp_path / "report" / "index.html"
    assert lines[-1] == f"open {page.as_uri()}"
    assert "mien analyze &#x27;my photos&#x27; -o report" in page.read_text()


def test_a_bad_folder_is_the_commands_own_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = run(tmp_path, "report", "empty")
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == ["mien analyze empty -o report", "mien: no pictures in empty"]


def test_sample_photos_are_those_beside_the_checkout_and_the_astronaut_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    (alone,) = demo.photos()
    assert alone.endswith("astronaut.png")
    beside = tmp_path / "shared" / "data" / "demo_photos"
    beside.mkdir(parents=True)
    assert demo.photos() == ["../shared/data/demo_photos", alone]
    (beside / "astronaut.png").touch()
    assert demo.photos() == ["../shared/data/demo_photos"]
