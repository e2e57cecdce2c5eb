"""Pictures that come one by one become a video with their time stamps and colours, or none at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from PIL import Image

from films import CORNERS, number_of, numbered
from mien.core.errors import UnwritableOutput
from mien.report.record import ENDINGS, Recorder
from mien.runtime.video import frames

STAMPS = (0.0, 0.04, 0.2, 0.25, 0.9)


def picture(number: int) -> Image.Image:
    return Image.fromarray(numbered(number))


@pytest.mark.parametrize("ending", ENDINGS)
def test_uneven_times_order_and_colours_are_those_given(tmp_path: Path, ending: str) -> None:
    with Recorder(tmp_path / f"a{ending}") as recorder:
        for number, seconds in enumerate(STAMPS):
            recorder.put(picture(number), seconds)
    made = list(frames(tmp_path / f"a{ending}"))
    assert recorder.frames == len(made) == len(STAMPS)
    assert [frame.seconds for frame in made] == pytest.approx(STAMPS, abs=1e-3)
    assert [number_of(frame.pixels) for frame in made] == list(range(len(STAMPS)))
    assert made[0].pixels[24:44, 4:36].mean(axis=(0, 1)) == pytest.approx(CORNERS["top left"], abs=8)
    assert list(tmp_path.iterdir()) == [tmp_path / f"a{ending}"]


def test_odd_sizes_and_times_that_stand_still_are_possible(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4") as recorder:
        for number, seconds in enumerate((0.0, 0.0, 0.5)):
            recorder.put(picture(number).crop((0, 0, 111, 77)), seconds)
    made = list(frames(tmp_path / "a.mp4"))
    assert [frame.pixels.shape for frame in made] == [(77, 111, 3)] * 3
    assert [frame.seconds for frame in made] == pytest.approx([0, 0.001, 0.5], abs=1e-6)


def test_what_goes_wrong_leaves_no_file_and_what_was_there_before(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"an earlier one")
    with contextlib.suppress(RuntimeError), Recorder(target) as recorder:
        recorder.put(picture(1), 0.0)
        raise RuntimeError("the camera's driver is gone")
    assert recorder.frames == 1
    with Recorder(tmp_path / "b.mp4"):
        pass
    assert target.read_bytes() == b"an earlier one"
    assert list(tmp_path.iterdir()) == [target]
    (tmp_path / "c.mp4").mkdir()
    with pytest.raises(UnwritableOutput, match="a folder has this name"), Recorder(tmp_path / "c.mp4") as one:
        one.put(picture(1), 0.0)
