from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from films import CORNERS, HEIGHT, WIDTH, film, number_of, numbered, song
from mien.core.errors import MissingExtra, UnreadablePicture
from mien.core.picture import Limits
from mien.runtime import video
from mien.runtime.truncation import missing_bytes
from mien.runtime.video import Frame, frames, inspect, is_video

COUNT = 30
UNEVEN = [0.0, 0.1, 0.13, 0.5, 0.9, 0.905, 1.0, 1.1, 1.5, 3.0]
CONTAINERS = ["mp4", "mov", "mkv", "webm", "avi", "ts"]


def read(path: Path | str) -> tuple[list[Frame], UnreadablePicture | None]:
    found: list[Frame] = []
    try:
        found.extend(frames(path))
    except UnreadablePicture as error:
        return found, error
    return found, None


def numbered_film(path: Path, count: int = COUNT, sound: bool = False) -> Path:
    return film(path, [numbered(i) for i in range(count)], sound=sound)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    short = path.with_name(f"short-{path.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_frame_comes_once_in_order_and_with_its_time(tmp_path: Path, container: str) -> None:
    path = numbered_film(tmp_path / f"film.{container}")
    found, error = read(path)
    assert error is None
    assert [number_of(frame.pixels) for frame in found] == list(range(COUNT))
    assert [frame.index for frame in found] == list(range(COUNT))
    assert [frame.seconds for frame in found] == pytest.approx([i / 10 for i in range(COUNT)], abs=1e-6)


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm"])
def test_sound_changes_nothing(tmp_path: Path, container: str) -> None:
    found, error = read(numbered_film(tmp_path / f"film.{container}", sound=True))
    assert error is None
    assert [number_of(frame.pixels) for frame in found] == list(range(COUNT))
    assert inspect(tmp_path / f"film.{container}").sound


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm"])
def test_uneven_time_stamps_are_those_of_the_file(tmp_path: Path, container: str) -> None:
    path = film(tmp_path / f"film.{container}", [numbered(i) for i in range(10)], seconds=UNEVEN)
    found, error = read(path)
    assert error is None
    assert [frame.seconds for frame in found] == pytest.approx(UNEVEN, abs=1e-6)


def test_seconds_begin_at_zero_where_the_clock_does_not(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [numbered(i) for i in range(5)], seconds=[7, 7.1, 7.2, 7.3, 7.4])
    found, _ = read(path)
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-6)
    assert found[0].clock == pytest.approx(7.0)


def test_every_nth_frame_keeps_number_and_time(tmp_path: Path) -> None:
    found = list(frames(numbered_film(tmp_path / "film.mp4"), every=7))
    assert [frame.index for frame in found] == [0, 7, 14, 21, 28]
    assert [number_of(frame.pixels) for frame in found] == [0, 7, 14, 21, 28]
    assert found[2].seconds == pytest.approx(1.4)
    with pytest.raises(ValueError, match="every"):
        next(frames(tmp_path / "film.mp4", every=0))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotation_and_mirroring_are_undone(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    path = film(tmp_path / "film.mp4", [numbered(5)] * 3, rotation=rotation, mirrored=mirrored)
    shown = np.rot90(numbered(5), rotation // 90)
    if mirrored:
        shown = np.fliplr(shown)
    found, error = read(path)
    assert error is None
    assert found[0].pixels.shape == shown.shape
    assert found[0].pixels.flags.c_contiguous
    assert np.abs(found[0].pixels.astype(int) - shown).mean() < 2


def test_colours_come_as_red_green_blue(tmp_path: Path) -> None:
    pixels = read(film(tmp_path / "film.mp4", [numbered(0)] * 2))[0][0].pixels
    assert pixels[30, 10] == pytest.approx(CORNERS["top left"], abs=6)
    assert pixels[30, -10] == pytest.approx(CORNERS["top right"], abs=6)
    assert pixels[-10, 10] == pytest.approx(CORNERS["bottom left"], abs=6)


def test_pixels_that_are_not_square_become_so(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [numbered(5)] * 2, wide_pixels=Fraction(4, 3))
    assert read(path)[0][0].pixels.shape == (HEIGHT, round(WIDTH * 4 / 3), 3)


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
def test_cut_file_gives_its_first_frames_and_then_one_error(
    tmp_path: Path, container: str, share: float
) -> None:
    path = film(
        tmp_path / f"film.{container}",
        [numbered(i) for i in range(COUNT)],
        options={"movflags": "faststart"} if container == "mp4" else {},
    )
    found, error = read(cut(path, share))
    numbers = [number_of(frame.pixels) for frame in found]
    assert error is not None
    assert "truncated" in error.reason
    # of the last few frames some may need what is missing
    assert numbers == sorted(set(numbers))
    assert numbers[:-5] == list(range(len(numbers)))[:-5]
    if share >= 0.9:
        assert len(numbers) >= 15


def test_damage_in_the_middle_costs_frames_and_is_told(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "film.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 256, 200, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    found, error = read(path)
    assert 10 < len(found) < COUNT
    assert error is not None
    assert "could not be decoded" in error.reason
    assert f"{len(found)} frames" in error.reason


def test_stream_that_begins_in_the_middle_ends_the_film_as_usual() -> None:
    class Container:
        """Does what PyAV does at the end of a recording whose sound came later than its pictures."""

        def demux(self, stream: object) -> Iterator[str]:
            yield "packet"
            raise IndexError("list index out of range")

    damage = video.Damage()
    assert list(video._packets(Container(), None, damage)) == ["packet"]
    assert not damage.reason


@pytest.mark.parametrize("container", CONTAINERS)
def test_spoilt_bytes_never_raise_anything_but_one_clear_error(tmp_path: Path, container: str) -> None:
    whole = film(tmp_path / f"film.{container}", [numbered(i) for i in range(8)]).read_bytes()
    chosen = random.Random(container)
    path = tmp_path / f"spoilt.{container}"
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(chosen.choice([1, 5, 50])):
            data[chosen.randrange(chosen.choice([300, len(data)]))] = chosen.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(UnreadablePicture):
            inspect(path)
        found, error = read(path)
        assert found or error is not None
        assert len(found) < 100


def _bad_files(folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder / "missing.mp4", "no such file"
    yield folder, "a folder"
    (folder / "empty.mp4").touch()
    yield folder / "empty.mp4", "empty file"
    (folder / "text.mp4").write_text("hello\n" * 100)
    yield folder / "text.mp4", "not a video"
    (folder / "text.txt").write_text("hello\n" * 100)
    yield folder / "text.txt", "not a video"
    (folder / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfilm.ts\n#EXT-X-ENDLIST\n"
    )
    numbered_film(folder / "film.ts")
    yield folder / "list.m3u8", "not a video"
    os.mkfifo(folder / "fifo.mp4")
    yield folder / "fifo.mp4", "not a regular file"
    yield song(folder / "song.m4a"), "only sound"
    yield song(folder / "song.mp3", cover=numbered(3)), "only sound"
    yield film(folder / "none.mp4", []), "no pictures"


def test_what_is_no_video_gives_one_clear_error_and_no_frame(tmp_path: Path) -> None:
    for path, reason in _bad_files(tmp_path):
        found, error = read(path)
        assert not found
        assert error is not None, path
        assert reason in error.reason
        assert error.path == str(path)


def test_video_of_one_frame_is_read(tmp_path: Path) -> None:
    found, error = read(film(tmp_path / "one.mp4", [numbered(9)]))
    assert error is None
    assert [number_of(frame.pixels) for frame in found] == [9]


def test_odd_names_are_read(tmp_path: Path) -> None:
    data = numbered_film(tmp_path / "film.mp4", 2).read_bytes()
    for name in (b"http:x.mp4", b"new\nline.mp4", b"\xff\xfe.mp4", b"%03d.mp4"):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        Path(path).write_bytes(data)
        found, error = read(path)
        assert error is None
        assert len(found) == 2


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "film.mp4", 2)
    with pytest.raises(UnreadablePicture, match="limit of 1000"):
        next(frames(path, limits=Limits(pixels=1000)))


def test_only_one_frame_is_held(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0
    for frame in frames(numbered_film(tmp_path / "film.mp4")):
        alive.add(frame)
        most = max(most, len(alive))
    assert most <= 2


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_number_of_frames_is_estimated_without_decoding(tmp_path: Path, container: str) -> None:
    told = inspect(numbered_film(tmp_path / f"film.{container}"))
    assert told.frames == COUNT
    assert told.seconds == pytest.approx(3.0, abs=0.1)
    assert told.rate == 10
    assert not told.sound


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered_film(tmp_path / "film.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"mien\[video\]"):
        next(frames(path))


def test_camera_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(UnreadablePicture, match="camera 97"):
        next(frames(97))
    with pytest.raises(UnreadablePicture, match="from 0"):
        next(frames(-1))


def test_videos_are_told_from_pictures(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    assert is_video("a/Clip.MP4")
    assert is_video(Path("clip.webm"))
    assert is_video(0)
    assert not is_video("photo.jpg")
    assert not is_video(tmp_path / "folder.mp4")
    assert not is_video(True)
    assert not is_video([Path("clip.webm")])


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "avi"])
def test_missing_bytes_are_counted(tmp_path: Path, container: str) -> None:
    data = numbered_film(tmp_path / f"film.{container}", sound=container == "mkv").read_bytes()
    assert missing_bytes(io.BytesIO(data)) == 0
    for gone in (20, 300, 1000):
        assert missing_bytes(io.BytesIO(data[:-gone])) == gone


def test_files_that_state_no_size_miss_nothing() -> None:
    for data in (b"", b"RIFF", b"\x00" * 40, b"\x1a\x45\xdf\xa3", b"\x00\x00\x00\x00mdat" + b"x" * 50):
        assert missing_bytes(io.BytesIO(data)) == 0


def test_display_matrix_with_nonsense_is_left_aside() -> None:
    pixels = numbered(1)
    assert video.turned(pixels, np.full((2, 2), np.nan)) is pixels
    assert video.turned(pixels, None) is pixels
