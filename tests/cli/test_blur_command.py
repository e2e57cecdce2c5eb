"""`mien blur` as people call it: folders of photos and videos, what may be overwritten, stops, full disks."""

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

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from films import film
from mien.cli.app import app
from mien.report import blur as effects
from mien.runtime.video import frames

Pixels = npt.NDArray[np.uint8]


def mien(*arguments: object) -> Result:
    given = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    return CliRunner().invoke(app, ["blur", *given, "--threads", "1"])


def rows_of(ran: Result) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows


def started(*arguments: object, largest_file: int | None = None) -> subprocess.Popen[str]:
    """Start the command as a process of its own, optionally on a "disk" that takes no file above a size."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.Popen(
        [sys.executable, "-c", "from mien.cli.app import main; main()", "blur", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def there(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def portrait(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[10:210, 120:320])


@pytest.fixture
def photos(tmp_path: Path, portrait: Pixels, astronaut: Pixels) -> Path:
    """Make a folder of a photo with a face, one without, and one with a face in a folder below."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    Image.fromarray(portrait).save(folder / "a.jpg", quality=92)
    Image.fromarray(np.ascontiguousarray(astronaut[300:500, 20:220])).save(folder / "b.png")
    Image.fromarray(np.ascontiguousarray(portrait[:, ::-1])).save(folder / "below" / "a.jpg", quality=92)
    return folder


def test_a_folder_of_photos_and_videos_is_mirrored(photos: Path, portrait: Pixels, tmp_path: Path) -> None:
    film(photos / "film.mp4", [np.roll(portrait, i, axis=1) for i in range(4)], sound=True)
    (photos / os.fsdecode(b"br\xf6ken\n.jpg")).write_bytes((photos / "a.jpg").read_bytes()[:900])
    os.mkfifo(photos / "pipe.mp4")
    before = {name: (photos / name).read_bytes() for name in ("a.jpg", "b.png", "below/a.jpg", "film.mp4")}
    ran = mien(photos, "-o", tmp_path / "out", "--json")
    assert ran.exit_code == 1
    rows = {Path(row["source"]).relative_to(photos).as_posix(): row for row in rows_of(ran)}
    assert {name: (row["kind"], row["state"], row["faces"]) for name, row in rows.items()} == {
        "a.jpg": ("photo", "blurred", 1),
        "b.png": ("photo", "copied", 0),
        "below/a.jpg": ("photo", "blurred", 1),
        "br\\udcf6ken\\n.jpg": ("photo", "failed", 0),
        "film.mp4": ("video", "blurred", 1),
        "pipe.mp4": ("video", "failed", 0),
    }
    assert "truncated" in rows["br\\udcf6ken\\n.jpg"]["error"]
    assert rows["pipe.mp4"]["error"] == "not a regular file"
    assert there(tmp_path / "out") == [".mien-blur.journal", "a.jpg", "b.png", "below/a.jpg", "film.mp4"]
    assert {name: (photos / name).read_bytes() for name in before} == before
    assert (tmp_path / "out" / "b.png").read_bytes() == before["b.png"]
    assert len(list(frames(tmp_path / "out" / "film.mp4"))) == 4
    assert "6 files: 3 blurred, 1 without a face, 2 FAILED" in ran.stderr


def test_a_second_run_does_what_is_missing_or_changed(photos: Path, portrait: Pixels, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert mien(photos, "-o", out).exit_code == 0
    first = {name: (out / name).stat().st_mtime_ns for name in there(out)}
    ran = mien(photos, "-o", out, "--json")
    assert ran.exit_code == 0
    assert [(row["state"], row["faces"]) for row in rows_of(ran)] == [("kept", 1), ("kept", 0), ("kept", 1)]
    (out / "b.png").unlink()
    Image.fromarray(portrait[5:]).save(photos / "a.jpg")
    ran = mien(photos, "-o", out, "--json")
    assert [row["state"] for row in rows_of(ran)] == ["blurred", "copied", "kept"]
    assert (out / "below" / "a.jpg").stat().st_mtime_ns == first["below/a.jpg"]
    assert Image.open(out / "a.jpg").size == (200, 195)


def test_files_that_mien_did_not_make_are_overwritten_on_request_only(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"somebody's own")
    ran = mien(photos, "-o", out, "--json")
    assert ran.exit_code == 1
    assert [row["state"] for row in rows_of(ran)] == ["failed", "copied", "blurred"]
    assert "--overwrite" in rows_of(ran)[0]["error"]
    assert (out / "a.jpg").read_bytes() == b"somebody's own"
    assert mien(photos, "-o", out, "--overwrite").exit_code == 0
    assert Image.open(out / "a.jpg").size == (200, 200)
    # another style into the same folder: what is there was not made by such a run
    ran = mien(photos, "-o", out, "--style", "solid", "--json")
    assert [row["state"] for row in rows_of(ran)] == ["failed"] * 3


def test_copies_lie_beside_the_originals_and_are_no_inputs(photos: Path) -> None:
    before = (photos / "a.jpg").read_bytes()
    assert mien(photos).exit_code == 0
    names = ["a-blurred.jpg", "a.jpg", "b-blurred.png", "b.png", "below/a-blurred.jpg", "below/a.jpg"]
    assert there(photos) == names
    assert (photos / "a.jpg").read_bytes() == before
    ran = mien(photos, "--json")
    assert [row["state"] for row in rows_of(ran)] == ["kept"] * 3
    assert there(photos) == names
    made = (photos / "a-blurred.jpg").read_bytes()
    assert mien(photos / "a.jpg", "--overwrite", "--style", "solid").exit_code == 0
    assert (photos / "a-blurred.jpg").read_bytes() != made


def test_the_original_is_overwritten_only_when_told(photos: Path, tmp_path: Path) -> None:
    source = photos / "a.jpg"
    before = source.read_bytes()
    link = tmp_path / "link.jpg"
    link.symlink_to(source)
    for target in (source, link):
        for more in ([], ["--overwrite"]):
            ran = mien(source, "-o", target, *more)
            assert ran.exit_code == 1
            assert "is the original; --in-place overwrites it" in ran.stderr
            assert source.read_bytes() == before
    assert mien(link, "--in-place").exit_code == 0
    assert link.is_symlink()
    assert source.read_bytes() != before
    assert there(photos) == ["a.jpg", "b.png", "below/a.jpg"]
    again = source.read_bytes(), source.stat().st_mtime_ns
    ran = mien(source, "--in-place")
    assert "no face, copied" in ran.stdout
    assert (source.read_bytes(), source.stat().st_mtime_ns) == again


def test_one_photo_into_a_named_file(photos: Path, tmp_path: Path) -> None:
    ran = mien(photos / "a.jpg", "-o", tmp_path / "new" / "x.jpg", "--shape", "box", "--style", "pixelate")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"{tmp_path / 'new' / 'x.jpg'}: 1 face covered (pixelate)\n"
    assert there(tmp_path / "new") == ["x.jpg"]


def test_two_inputs_of_one_name_do_not_share_a_copy(photos: Path, tmp_path: Path) -> None:
    ran = mien(photos / "a.jpg", photos / "below" / "a.jpg", "-o", tmp_path / "out", "--json")
    assert ran.exit_code == 1
    assert [row["state"] for row in rows_of(ran)] == ["blurred", "failed"]
    assert "is where the copy of" in rows_of(ran)[1]["error"]
    assert mien(photos, photos / "below", "-o", tmp_path / "both").exit_code == 0
    assert "photos/below/a.jpg" in there(tmp_path / "both")


def test_an_output_folder_among_the_inputs_is_no_input(photos: Path) -> None:
    for _ in range(2):
        assert mien(photos, "-o", photos / "out").exit_code == 0
    assert [name for name in there(photos / "out") if "journal" not in name] == [
        "a.jpg",
        "b.png",
        "below/a.jpg",
    ]


def test_a_face_that_is_still_found_is_told_by_name_and_exit_code(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "_filling", lambda part, cover, side, black: part)
    ran = mien(photos, "-o", tmp_path / "out")
    assert ran.exit_code == 1
    told = [line for line in ran.stderr.splitlines() if "STILL FOUND" in line]
    assert [line.partition(": ")[0] for line in told] == [
        str(tmp_path / "out" / "a.jpg"),
        str(tmp_path / "out" / "below" / "a.jpg"),
    ]
    assert "a face is still found in 2" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--style", "blurry"], "gaussian, pixelate, solid"),
        (["--shape", "star"], "ellipse, box"),
        (["--terms", "free"], "'any' or 'permissive'"),
        (["--in-place", "-o", "x"], "leave out -o"),
    ],
)
def test_wrong_calls_say_what_is_right(photos: Path, arguments: list[str], message: str) -> None:
    ran = mien(photos, *arguments)
    assert ran.exit_code == 2
    assert message in ran.stderr
    assert there(photos) == ["a.jpg", "b.png", "below/a.jpg"]


def test_inputs_and_outputs_that_are_not_there(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = mien(tmp_path / "empty")
    assert ran.exit_code == 2
    assert "no photos or videos" in ran.stderr
    ran = mien(tmp_path / "none.jpg", tmp_path / "none.mp4", "--json")
    assert ran.exit_code == 1
    assert [row["error"] for row in rows_of(ran)] == ["no such file"] * 2
    (tmp_path / "file").write_bytes(b"x")
    ran = mien(photos, "-o", tmp_path / "file")
    assert ran.exit_code == 2
    assert "it is a file" in ran.stderr
    ran = mien(photos, "-o", "/proc/nothing/here")
    assert ran.exit_code == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "cannot write" in ran.stderr


def test_a_full_disk_leaves_no_half_copy(photos: Path, portrait: Pixels, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    film(photos / "film.mp4", [np.concatenate([portrait, noise], axis=1)] * 4)
    out = tmp_path / "out"
    child = started(photos, "-o", out, "--json", "-t", 1, largest_file=12_000)
    said, complaint = child.communicate(timeout=120)
    assert child.returncode == 1, complaint
    assert "Traceback" not in complaint
    rows = json.loads(said)
    failed = [Path(row["source"]).name for row in rows if row["state"] == "failed"]
    assert {"b.png", "film.mp4"} <= set(failed)
    assert all("cannot write" in row["error"] and "too large" in row["error"] for row in rows if row["error"])
    good = {Path(row["output"]).relative_to(out).as_posix() for row in rows if not row["error"]}
    assert set(there(out)) == {".mien-blur.journal"} | good


def test_a_killed_run_is_gone_on_with(photos: Path, portrait: Pixels, tmp_path: Path) -> None:
    for index in range(12):
        Image.fromarray(portrait).save(photos / f"more{index:02}.jpg")
    out = tmp_path / "out"
    child = started(photos, "-o", out, "-t", 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out / "more02.jpg").exists():
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = [name for name in there(out) if not Path(name).name.startswith(".mien-")]
    assert 2 < len(done) < 15
    for name in done:
        Image.open(out / name).load()
    ran = mien(photos, "-o", out, "--json")
    assert ran.exit_code == 0, ran.stderr
    states = [row["state"] for row in rows_of(ran)]
    # one copy may have been written without its row
    assert len(done) - 1 <= states.count("kept") <= len(done)
    assert len(there(out)) == 16
