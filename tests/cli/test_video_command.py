"""`mien video` as people call it: tables, summaries, best shots, cameras, runs stopped at any moment."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import films
from films import film, pasted
from mien.cli.app import app
from mien.report.journal import Journal
from mien.report.tables import read_rows
from mien.runtime import video as opening
from mien.runtime.footage import analyze_video
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.video import frames as read

Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT, COUNT = 320, 176, 10
WANT = ("--want", "embeddings", "--threads", "1")


def mien(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["video", *(str(argument) for argument in arguments)])


def program(*arguments: object) -> list[str]:
    begin = [sys.executable, "-c", "from mien.cli.app import main; main()", "video"]
    return begin + [str(argument) for argument in arguments]


@pytest.fixture(scope="module")
def frames(demo_photos: Path) -> list[Pixels]:
    """Return a film's frames: one person walks to the right; another comes in after the fourth frame."""
    first = np.asarray(Image.open(demo_photos / "obama.jpg").convert("RGB").crop((280, 0, 720, 550)))
    second = np.asarray(Image.open(demo_photos / "biden.jpg").convert("RGB").crop((300, 0, 860, 700)))
    made = []
    for index in range(COUNT):
        pixels = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        if index >= 4:
            pixels = pasted(pixels, second, 215, 30, 90)
        made.append(pasted(pixels, first, 5 + 9 * index, 10, 100))
    return made


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory, frames: list[Pixels]) -> Path:
    return film(tmp_path_factory.mktemp("films") / "two.mp4", frames)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, two_people: Path) -> Path:
    """Return the table of a run that nobody stopped, its journal beside it."""
    output = tmp_path_factory.mktemp("whole") / "faces.jsonl"
    ran = mien(two_people, "-o", output, *WANT)
    assert ran.exit_code == 0, ran.stderr
    return output


def shape(rows: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(int(row["frame"]), int(row["track"])) for row in rows if row["track"] is not None]


EXPECTED = [(i, 1) for i in range(4)] + [(i, track) for i in range(4, COUNT) for track in (1, 2)]


def test_rows_are_one_a_face_a_frame_with_time_and_track(whole: Path, two_people: Path) -> None:
    rows = list(read_rows(whole))
    assert sorted(shape(rows)) == EXPECTED
    for row in rows:
        assert row["source"] == str(two_people)
        assert row["seconds"] == pytest.approx(row["frame"] / 10)
        assert row["error"] is None
        assert len(row["embeddings"]) == 128
        assert 0 <= row["x1"] < row["x2"] <= WIDTH
    by_track = {track: [row["x1"] for row in rows if row["track"] == track] for track in (1, 2)}
    assert by_track[1] == sorted(by_track[1])
    assert np.ptp(by_track[2]) < 12


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_of_all_kinds_hold_the_same(
    tmp_path: Path, whole: Path, two_people: Path, ending: str
) -> None:
    output = tmp_path / f"faces.{ending}"
    # what is known of the frames is known for every kind of table
    (tmp_path / f"faces.{ending}.journal").write_bytes(whole.with_name("faces.jsonl.journal").read_bytes())
    assert mien(two_people, "-o", output, *WANT).exit_code == 0
    for row, same in zip(read_rows(output), read_rows(whole), strict=True):
        assert row.keys() == same.keys()
        assert row["x1"] == pytest.approx(same["x1"], rel=1e-6)
        assert [row[key] for key in ("frame", "track", "face", "source")] == [
            same[key] for key in ("frame", "track", "face", "source")
        ]


def test_every_nth_frame_and_rows_on_standard_output(two_people: Path) -> None:
    ran = mien(two_people, "--every", 3, "--want", "boxes", "--threads", 1)
    assert ran.exit_code == 0
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["frame"] for row in rows] == [0, 3, 6, 6, 9, 9]
    assert {row["seconds"] for row in rows} == {0.0, 0.3, 0.6, 0.9}
    assert {row["track"] for row in rows} == {1, 2}


def test_summary_tells_for_how_long_each_track_is_visible(tmp_path: Path, two_people: Path) -> None:
    shots = tmp_path / "shots"
    ran = mien(two_people, "--json", "--best-shots", shots, *WANT)
    assert ran.exit_code == 0
    (told,) = json.loads(ran.stdout)["videos"]
    assert (told["source"], told["frames"], told["faces"]) == (str(two_people), COUNT, 16)
    assert told["error"] is None
    first, second = told["tracks"]
    assert (first["track"], first["frames"], first["first"]) == (1, COUNT, 0)
    assert first["seconds"] == pytest.approx(1.0)
    assert (second["track"], second["frames"]) == (2, 6)
    assert (second["first"], second["last"]) == (pytest.approx(0.4), pytest.approx(0.9))
    assert second["seconds"] == pytest.approx(0.6)
    assert sorted(path.name for path in shots.iterdir()) == ["two.mp4-0001.jpg", "two.mp4-0002.jpg"]
    found = Pipeline(Options(want=("boxes",), threads=1)).analyze(shots / "two.mp4-0001.jpg")
    assert len(found) == 1
    x1, y1, x2, y2 = first["best_shot"]["box"]
    assert found.boxes[0, 2] - found.boxes[0, 0] == pytest.approx(x2 - x1, abs=5)
    assert found.boxes[0, 3] - found.boxes[0, 1] == pytest.approx(y2 - y1, abs=5)
    assert found.picture_size[0] < WIDTH / 2


def test_best_shots_of_videos_with_one_name_do_not_meet(tmp_path: Path, two_people: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "film.mp4").write_bytes(two_people.read_bytes())
    ran = mien(
        tmp_path / "a", tmp_path / "b", "-n", 3, "-w", "boxes", "--json", "--best-shots", tmp_path / "s"
    )
    assert ran.exit_code == 0
    assert [video["frames"] for video in json.loads(ran.stdout)["videos"]] == [4, 4]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "film.mp4-0001.jpg",
        "film.mp4-0002.jpg",
        "film.mp4-2-0001.jpg",
        "film.mp4-2-0002.jpg",
    ]


def test_report_shows_the_best_shot_of_each_track(tmp_path: Path, whole: Path, two_people: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "faces.csv.journal").write_bytes(whole.with_name("faces.jsonl.journal").read_bytes())
    assert mien(two_people, "-o", report, *WANT).exit_code == 0
    page = (report / "index.html").read_text("utf-8")
    assert "two.mp4, track 1" in page
    assert "two.mp4, track 2" in page
    assert len(list((report / "pictures").iterdir())) == 2
    with (report / "faces.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 16


# ---- damage


def test_damaged_video_keeps_its_frames_and_adds_one_row(tmp_path: Path, frames: list[Pixels]) -> None:
    path = film(tmp_path / "cut.mkv", frames)
    path.write_bytes(path.read_bytes()[:-400])
    good = film(tmp_path / "good.mp4", frames[:2])
    output = tmp_path / "faces.jsonl"
    ran = mien(path, tmp_path / "missing.mp4", good, "-o", output, *WANT)
    assert ran.exit_code == 1
    rows = list(read_rows(output))
    assert {row["frame"] for row in rows if row["source"] == str(path) and not row["error"]} >= set(range(5))
    errors = [row for row in rows if row["error"]]
    assert [row["source"] for row in errors] == [str(path), str(tmp_path / "missing.mp4")]
    assert "truncated" in errors[0]["error"]
    assert errors[1]["error"] == "no such file"
    assert [row["frame"] for row in rows if row["source"] == str(good)] == [0, 1]
    again = mien(path, tmp_path / "missing.mp4", good, "-o", output, *WANT)
    assert again.exit_code == 1
    assert list(read_rows(output)) == rows


def test_wrong_calls_are_told_what_to_do(tmp_path: Path, two_people: Path) -> None:
    (tmp_path / "empty").mkdir()
    wrong: list[tuple[list[object], str]] = [
        (["photo.jpg"], "use `mien analyze photo.jpg`"),
        ([tmp_path / "empty"], "no videos in"),
        ([two_people, "-o", tmp_path / "faces.xlsx"], "use an ending of"),
        ([two_people, "--every", 0], "--every"),
        ([two_people, "--want", "colour"], "colour"),
        ([], "PATHS"),
    ]
    for arguments, words in wrong:
        ran = mien(*arguments)
        assert ran.exit_code == 2, arguments
        assert words in re.sub(r"\x1b\[[0-9;]*m", "", ran.stderr)
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


# ---- stopped and resumed


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of pictures of each call of a pipeline."""
    asked: list[int] = []
    analyze_many = Pipeline.analyze_many

    def count(pipeline: Pipeline, pictures: Sequence[Any]) -> Any:
        asked.append(len(pictures))
        return analyze_many(pipeline, pictures)

    monkeypatch.setattr(Pipeline, "analyze_many", count)
    return asked


def test_second_run_does_nothing_again(
    tmp_path: Path, whole: Path, two_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "faces.jsonl"
    journal = tmp_path / "faces.jsonl.journal"
    journal.write_bytes(whole.with_name(journal.name).read_bytes())
    asked = counted(monkeypatch)
    ran = mien(two_people, "-o", output, *WANT)
    assert ran.exit_code == 0
    assert "done already" in ran.stderr
    assert sum(asked) == 0
    assert output.read_bytes() == whole.read_bytes()
    # every second frame is known too, and its tracks are made from these frames alone
    assert mien(two_people, "-o", output, "--every", 2, *WANT).exit_code == 0
    assert sum(asked) == 0
    assert sorted(shape(list(read_rows(output)))) == [pair for pair in EXPECTED if pair[0] % 2 == 0]
    assert mien(two_people, "-o", output, "--again", *WANT).exit_code == 0
    assert sum(asked) == COUNT
    assert output.read_bytes() == whole.read_bytes()


def test_changed_video_is_analyzed_anew(
    tmp_path: Path, frames: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output = film(tmp_path / "film.mp4", frames[:2]), tmp_path / "faces.jsonl"
    assert mien(path, "-o", output, *WANT).exit_code == 0
    film(path, frames[5:8])
    asked = counted(monkeypatch)
    assert mien(path, "-o", output, *WANT).exit_code == 0
    assert sum(asked) == 3
    assert len(shape(list(read_rows(output)))) == 6


def test_journal_that_ends_anywhere_gives_the_rows_of_the_whole_run(
    tmp_path: Path, whole: Path, two_people: Path
) -> None:
    data = whole.with_name("faces.jsonl.journal").read_bytes()
    chosen = random.Random(8)
    ends = [chosen.randrange(len(data)) for _ in range(6)] + [data.rindex(b"\n", 0, -1), len(data) - 1]
    for end in ends:
        output = tmp_path / f"{end}.jsonl"
        (tmp_path / f"{end}.jsonl.journal").write_bytes(data[:end])
        ran = mien(two_people, "-o", output, *WANT)
        assert ran.exit_code == 0, ran.stderr
        assert output.read_bytes() == whole.read_bytes()


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory, frames: list[Pixels]) -> Path:
    """Return a film with work enough left when a run is stopped half way."""
    return film(tmp_path_factory.mktemp("films") / "longer.mp4", [*frames, *frames[::-1]] * 2)


def test_run_killed_at_random_moments_ends_with_the_rows_of_the_whole_run(
    tmp_path: Path, longer: Path
) -> None:
    whole = tmp_path / "whole" / "faces.jsonl"
    assert mien(longer, "-o", whole, *WANT).exit_code == 0
    output = tmp_path / "killed" / "faces.jsonl"
    journal = output.with_name("faces.jsonl.journal")
    call = program(longer, "-o", output, "--want", "embeddings", "--threads", 2)
    size = whole.with_name(journal.name).stat().st_size
    for share in sorted(random.Random(5).uniform(0, 0.6) for _ in range(2)):
        running = subprocess.Popen(call, stderr=subprocess.DEVNULL)
        while running.poll() is None and (not journal.exists() or journal.stat().st_size < share * size):
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert not output.exists()
    assert subprocess.run(call, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in output.parent.iterdir()) == [output.name, journal.name]


def test_stop_by_the_user_keeps_what_is_done_and_the_bar_tells_the_time_left(
    tmp_path: Path, longer: Path
) -> None:
    output, journal = tmp_path / "faces.jsonl", tmp_path / "faces.jsonl.journal"
    screen, end = pty.openpty()
    running = subprocess.Popen(program(longer, "-o", output, *WANT), stderr=end)
    os.close(end)
    while running.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 4):
        time.sleep(0.002)
    running.send_signal(signal.SIGINT)
    text = b""
    with contextlib.suppress(OSError), os.fdopen(screen, "rb", buffering=0) as file:
        while part := file.read(4096):
            text += part
    assert running.wait() == 130
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode())
    assert re.search(r"longer\.mp4 .*\d+/40 .*(\d:\d\d:\d\d|-:--:--) (\d:\d\d:\d\d|-:--:--)", shown)
    assert "goes on from there" in shown
    assert not output.exists()
    kept = journal.read_bytes()
    assert 4 <= kept.count(b"\n") < 41
    assert mien(longer, "-o", output, *WANT).exit_code == 0
    assert journal.read_bytes().startswith(kept)
    assert sorted({row["frame"] for row in read_rows(output)}) == list(range(40))


def test_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, whole: Path, two_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "faces.jsonl"
    append = Journal._append
    lines = 0

    def filled(journal: Journal, data: bytes) -> None:
        nonlocal lines
        lines += 1
        if lines > 5:
            raise OSError(28, "No space left on device")
        append(journal, data)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_append", filled)
        ran = mien(two_people, "-o", output, *WANT)
    assert ran.exit_code == 1
    assert "No space left on device" in ran.stderr
    assert not output.exists()
    asked = counted(monkeypatch)
    assert mien(two_people, "-o", output, *WANT).exit_code == 0
    assert sum(asked) == COUNT - 4
    assert output.read_bytes() == whole.read_bytes()


# ---- an annotated video


def test_annotated_video_shows_the_faces_and_no_rows_are_printed(tmp_path: Path, two_people: Path) -> None:
    drawn = tmp_path / "drawn.mp4"
    ran = mien(two_people, "--annotate", drawn, "--want", "boxes", "--threads", 1)
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert f"annotated: {drawn}, tracks: 2, frames: {COUNT}" in ran.stderr
    boxes = [result.faces.boxes for result in analyze_video(two_people, Options(want=("boxes",), threads=1))]
    for before, after, found in zip(read(two_people), read(drawn), boxes, strict=True):
        changed = np.abs(before.pixels.astype(int) - after.pixels).mean(axis=2)
        for x1, y1, x2, y2 in found.round().astype(int).tolist():
            assert changed[(y1 + 12) : (y2 - 12), [x1, x2]].mean() > 25
        assert changed[-20:].mean() < 3


def test_annotated_video_of_a_table_is_that_of_no_table_and_nothing_is_analyzed_again(
    tmp_path: Path, whole: Path, two_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, output = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "faces.jsonl"
    assert mien(two_people, "--annotate", first, *WANT).exit_code == 0
    output.with_name("faces.jsonl.journal").write_bytes(whole.with_name("faces.jsonl.journal").read_bytes())
    asked = counted(monkeypatch)
    assert mien(two_people, "-o", output, "--annotate", second, *WANT).exit_code == 0
    assert asked == []
    assert output.read_bytes() == whole.read_bytes()
    for one, other in zip(read(first), read(second), strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).mean() < 0.5


def test_video_without_faces_is_copied_with_a_note(tmp_path: Path) -> None:
    empty = film(tmp_path / "empty.mp4", [np.full((HEIGHT, WIDTH, 3), 120, np.uint8)] * 3, sound=True)
    ran = mien(empty, "--annotate", tmp_path / "drawn.mp4", *WANT)
    assert ran.exit_code == 0
    assert f"no face was found: {tmp_path / 'drawn.mp4'} is a copy" in ran.stderr
    assert (tmp_path / "drawn.mp4").read_bytes() == empty.read_bytes()


def test_annotating_says_what_it_cannot_do_and_leaves_the_original(tmp_path: Path, two_people: Path) -> None:
    data = two_people.read_bytes()
    for arguments, code, words in (
        ([two_people, "--annotate", two_people], 2, "it is the video itself"),
        ([two_people, two_people.with_name("b.mp4"), "--annotate", tmp_path / "c.mp4"], 2, "it is one video"),
        ([two_people, "--annotate", tmp_path / "c.csv"], 2, "use an ending of videos"),
        ([tmp_path / "none.mp4", "--annotate", tmp_path / "c.mp4"], 1, "no such file"),
    ):
        ran = mien(*arguments, *WANT)
        assert ran.exit_code == code, arguments
        assert words in ran.stderr
    assert two_people.read_bytes() == data
    assert list(tmp_path.iterdir()) == []


# ---- a camera


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory, frames: list[Pixels]) -> Path:
    """Return a film of a minute, for a camera to give: one person, and later another one beside."""
    shown = [frames[0]] * 300 + [frames[5]] * 300
    return film(tmp_path_factory.mktemp("films") / "visitor.mp4", shown)


@contextlib.contextmanager
def watching(visitor: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run `mien video camera:0` where the camera gives a film in real time."""
    tests = Path(__file__).parents[1]
    begin = (
        f"import sys; sys.path.insert(0, {str(tests)!r}); from films import Camera; "
        f"from mien.runtime import video; video._open_camera = lambda number: Camera({str(visitor)!r}); "
        "from mien.cli.app import main; main()"
    )
    call = [sys.executable, "-c", begin, "video", "camera:0", *map(str, arguments)]
    call += ["--want", "boxes", "--threads", "1"]
    running = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_camera_is_drawn_upon_and_kept_until_it_is_stopped(
    tmp_path: Path, visitor: Path, number: signal.Signals
) -> None:
    target = tmp_path / "out.mp4"
    with watching(visitor, "--annotate", target) as running:
        # it is made when the first frame is written
        while not list(tmp_path.glob(".mien-*.mp4")):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(number)
        out, said = running.communicate()
    assert (running.returncode, out) == (0, ""), said
    found = re.search(r"annotated: .*out\.mp4, tracks: (\d+), frames: (\d+)", said)
    assert found is not None, said
    made = list(read(target))
    assert 1 <= len(made) == int(found[2]) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    shown = next(read(visitor)).pixels
    ((x1, y1, x2, y2),) = Pipeline(Options(want=("boxes",), threads=1)).analyze(shown).boxes.astype(int)
    changed = np.abs(made[0].pixels.astype(int) - shown).mean(axis=2)
    assert changed[(y1 + 12) : (y2 - 12), [x1, x2]].mean() > 25
    assert changed[-20:].mean() < 5


def test_camera_gives_rows_as_they_come_and_ends_well(visitor: Path) -> None:
    with watching(visitor) as running:
        assert running.stdout is not None
        rows = [json.loads(running.stdout.readline()) for _ in range(2)]
        running.send_signal(signal.SIGINT)
        rest, said = running.communicate()
    assert running.returncode == 0
    rows += [json.loads(line) for line in rest.splitlines()]
    assert {row["source"] for row in rows} == {"camera 0"}
    numbers = [row["frame"] for row in rows if row["track"] is not None]
    assert numbers == sorted(numbers)
    for row in rows:
        assert row["seconds"] == pytest.approx(row["frame"] / 10, abs=1e-3)
    assert re.search(r"camera 0: frames: \d+, tracks: \d+$", said.strip())


def test_camera_is_shown_on_a_page(visitor: Path) -> None:
    with watching(visitor, "--show", 0, "--json", "--quiet") as running:
        assert running.stderr is not None
        address = running.stderr.readline().removeprefix("live: ").strip()
        with urllib.request.urlopen(address + "stream") as stream:
            head = stream.read(3000)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate()
    assert b"Content-Type: image/jpeg\r\n" in head
    assert running.returncode == 0
    (told,) = json.loads(out)["videos"]
    assert (told["source"], told["error"]) == ("camera 0", None)
    assert 0 < told["frames"] < 600


def test_camera_that_goes_away_keeps_what_it_gave(
    tmp_path: Path, two_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(number: int) -> Any:
        camera = films.Camera(two_people)
        packets = camera.demux

        def demux(stream: Any) -> Any:
            for index, packet in enumerate(packets(stream)):
                if index == 6:
                    raise av.error.OSError(19, "No such device")
                yield packet

        camera.demux = demux  # type: ignore[method-assign]
        return camera

    monkeypatch.setattr(opening, "_open_camera", torn)
    ran = mien("camera:0", "--annotate", tmp_path / "out.mp4", "--want", "boxes", "--threads", 1)
    assert ran.exit_code == 1
    assert "No such device" in ran.stderr
    assert 1 <= len(list(read(tmp_path / "out.mp4"))) <= 6


def test_what_a_camera_cannot_do_is_said(tmp_path: Path, two_people: Path) -> None:
    for arguments, code, words in (
        (["camera:0", two_people], 2, "a camera goes alone"),
        (["camera:0", "-o", tmp_path / "faces.csv"], 2, "print the rows"),
        (["camera:0", "--best-shots", tmp_path / "shots"], 2, "reads the video again"),
        (["camera:0", "--annotate", tmp_path / "out.avi"], 2, "come unevenly"),
        (["camera:97", "--annotate", tmp_path / "out.mp4"], 1, "camera 97: frames: 0, tracks: 0; "),
        ([two_people, "--show", 0], 2, "--show is for a camera"),
    ):
        ran = mien(*arguments, *WANT)
        assert ran.exit_code == code, (arguments, ran.stderr)
        assert words in ran.stderr
    assert list(tmp_path.iterdir()) == []
