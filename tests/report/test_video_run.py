"""A run over a video: for how long each track is seen, and rows that can be gone through again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core.errors import UnreadablePicture
from mien.core.faces import Faces
from mien.core.fingerprint import fingerprint
from mien.report.journal import Journal
from mien.report.tables import rows_of
from mien.report.video import Sightings, Table, VideoRun
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import Result, result_of
from mien.runtime.tracks import Tracker


def frame(number: int, seconds: float, *tracks: int) -> Result:
    return Result("film", Faces.empty(), None, number, seconds, tracks)


def seen(*results: Result) -> dict[int, Any]:
    sightings = Sightings(Path("film"), Tracker())
    for result in results:
        sightings.note(result)
    return {one.track: (one.first, one.last, one.frames, one.seconds) for one in sightings.tracks()}


def test_time_visible_is_that_for_which_its_frames_are_shown() -> None:
    found = seen(frame(0, 0.0, 1), frame(1, 0.5, 1, 2), frame(2, 0.6, 2), frame(3, 2.6), frame(4, 2.7, 1))
    assert found == {
        1: (0.0, 2.7, 3, pytest.approx(0.5 + 0.1 + 0.1)),
        2: (0.5, 0.6, 2, pytest.approx(0.1 + 2.0)),
    }


def test_asking_in_between_does_not_count_the_newest_frame_twice() -> None:
    sightings = Sightings(Path("film"), Tracker())
    for number in range(4):
        sightings.note(frame(number, number / 10, 1))
        sightings.tracks()
    assert sightings.tracks()[0].seconds == pytest.approx(0.4)


def test_video_of_one_frame_shows_its_face_for_no_known_time() -> None:
    assert seen(frame(0, 0.0, 1)) == {1: (0.0, 0.0, 1, 0.0)}


def test_error_at_the_end_is_kept_beside_what_was_seen() -> None:
    sightings = Sightings(Path("film"), Tracker())
    sightings.note(frame(0, 0.0))
    sightings.note(result_of(UnreadablePicture("film", "damaged")))
    assert (sightings.frames, sightings.faces, sightings.error) == (1, 0, "damaged")


def test_rows_can_be_gone_through_again(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"never opened: all of it is known")
    pipeline = Pipeline(Options(want=("boxes",), threads=1))
    with Journal(tmp_path / "faces.csv", pipeline.contract) as journal:
        run = VideoRun(path, journal, pipeline)
        assert not run.finished()
        for number in range(3):
            faces = Faces(np.array([[0, 0, 50, 50]], np.float32), np.ones(1, np.float32), source=str(path))
            # another run's track, such as that of every second frame: it is not believed
            rows = rows_of(Result(str(path), faces, None, number, number / 10, (7,)))
            journal.add(path, rows, fingerprint(path), str(number))
        journal.add(path, [{"last": 2}], fingerprint(path), "end of every 1")
        assert run.finished()
        table = Table([run, run])
        once, twice = list(table), list(table)
    assert once == twice
    assert [(row["frame"], row["track"]) for row in once] == [(0, 1), (1, 1), (2, 1)] * 2
    assert [sightings.frames for sightings in table.found] == [3, 3]
