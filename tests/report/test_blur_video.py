from __future__ import annotations

import os
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from films import film, pasted
from mien.core.errors import UnreadablePicture, UnwritableOutput
from mien.core.faces import Faces
from mien.report import blur as effects
from mien.report.blur import Cover
from mien.report.blur_run import finder
from mien.report.blur_tracks import Covered, Sighting, cover_frames
from mien.report.blur_video import blur_video, stored_boxes
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.video import frames, turned
from programs import exiftool

Pixels = npt.NDArray[np.uint8]
# A face of this side moves over this background; its middle is where eyes, nose and mouth are.
WIDTH, HEIGHT, SIDE = 288, 192, 96
COUNT = 12
UNEVEN = [0.0, 0.1, 0.13, 0.2, 0.3, 0.4, 0.41, 0.5, 0.6, 0.7, 0.8, 1.1]


@pytest.fixture(scope="session")
def search() -> Pipeline:
    return finder(Options(threads=1))


@pytest.fixture(scope="session")
def face(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[30:230, 120:320])


def background() -> Pixels:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows % 256, columns % 256, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def places(count: int = COUNT) -> list[tuple[int, int]]:
    return [(20 + 12 * i, 40 + 3 * (i % 5)) for i in range(count)]


def moving(face: Pixels, count: int = COUNT) -> list[Pixels]:
    return [pasted(background(), face, left, top, SIDE) for left, top in places(count)]


def inner(pixels: Pixels, place: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return the part of a frame that shows eyes, nose and mouth."""
    left, top = place
    return pixels[top + 28 : top + 66, left + 28 : left + 66].astype(np.int64)


def packets(path: Path, kind: str) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        stream: Any = getattr(container.streams, kind)[0]
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(stream) if p.dts is not None]


class Forgetful(Pipeline):
    """Misses every face in some frames, by their number."""

    def __init__(self, options: Options, missing: set[int]) -> None:
        super().__init__(options)
        self._missing = missing
        self._count = 0

    def analyze_many(self, sources: Any, *, seen: Any = None) -> list[Faces | UnreadablePicture]:
        found: list[Faces | UnreadablePicture] = []
        for faces in super().analyze_many(sources, seen=seen):
            gone = self._count in self._missing and isinstance(faces, Faces)
            found.append(faces[:0] if gone and isinstance(faces, Faces) else faces)
            self._count += 1
        return found


ONE = Options(threads=1)


@pytest.mark.parametrize("missing", [set(), {0, 1, 5, 6, 7, 11}], ids=["seen", "missed"])
def test_a_moving_face_is_covered_in_every_frame_also_where_it_is_missed(
    tmp_path: Path, search: Pipeline, face: Pixels, missing: set[int]
) -> None:
    source, target = film(tmp_path / "a.mp4", moving(face)), tmp_path / "b.mp4"
    forgetful = Forgetful(search.options, missing)
    made = blur_video(source, target, forgetful, Cover("solid"), options=ONE)
    assert (made.faces, made.frames, made.remaining, made.damage) == (1, COUNT, (), "")
    found = list(frames(target))
    assert len(found) == COUNT
    for frame, before, place in zip(found, frames(source), places(), strict=True):
        assert inner(frame.pixels, place).max() < 60
        far = np.abs(frame.pixels.astype(int) - before.pixels)[:, : max(1, place[0] - 60)]
        assert far.mean() < 4


@pytest.mark.parametrize("style", ["gaussian", "pixelate"])
def test_no_frame_shows_a_face(tmp_path: Path, search: Pipeline, face: Pixels, style: str) -> None:
    source, target = film(tmp_path / "a.mp4", moving(face)), tmp_path / "b.mp4"
    made = blur_video(source, target, search, Cover(style), options=ONE)
    assert made.remaining == ()
    for frame, before, place in zip(frames(target), frames(source), places(), strict=True):
        least = search.models()[0].card.detector
        assert least is not None
        assert (search.analyze(frame.pixels).scores < least.score).all()
        assert np.abs(inner(frame.pixels, place) - inner(before.pixels, place)).mean() > 20


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "avi", "ts"])
def test_sound_and_time_stamps_are_those_of_the_source(
    tmp_path: Path, search: Pipeline, face: Pixels, container: str
) -> None:
    source, target = tmp_path / f"a.{container}", tmp_path / f"b.{container}"
    film(source, moving(face, 6), sound=True)
    made = blur_video(source, target, search, options=ONE)
    assert (made.faces, made.frames) == (1, 6)
    before, after = packets(source, "audio"), packets(target, "audio")
    assert [data for data, _ in after] == [data for data, _ in before]
    old, new = list(frames(source)), list(frames(target))
    assert [frame.seconds for frame in new] == pytest.approx([frame.seconds for frame in old], abs=1e-3)
    # how far sound and pictures lie apart; AVI's clock does not tell
    assert container == "avi" or float(after[0][1]) - new[0].clock == pytest.approx(
        float(before[0][1]) - old[0].clock, abs=2e-3
    )


def test_uneven_time_stamps_and_the_length_stay(tmp_path: Path, search: Pipeline, face: Pixels) -> None:
    source, target = film(tmp_path / "a.mp4", moving(face), seconds=UNEVEN), tmp_path / "b.mp4"
    blur_video(source, target, search, options=ONE)
    assert [frame.seconds for frame in frames(target)] == pytest.approx(UNEVEN, abs=1e-6)
    assert length(target) == pytest.approx(length(source), abs=0.05)


def length(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        return float(stream.duration * stream.time_base)


@pytest.mark.parametrize(("rotation", "mirrored"), [(90, False), (180, False), (270, False), (0, True)])
def test_turned_videos_stay_turned_and_are_covered_at_the_right_place(
    tmp_path: Path, search: Pipeline, face: Pixels, rotation: int, mirrored: bool
) -> None:
    undo = [np.rot90(picture, -rotation // 90) for picture in moving(face, 4)]
    stored = [np.ascontiguousarray(picture[:, ::-1] if mirrored else picture) for picture in undo]
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    film(source, stored, rotation=rotation, mirrored=mirrored)
    upright = list(frames(source))
    seen = search.analyze(upright[0].pixels)
    blur_video(source, target, search, Cover("solid"), options=ONE)
    found = list(frames(target))
    assert found[0].pixels.shape == upright[0].pixels.shape
    x1, y1, x2, y2 = (int(v) for v in seen.boxes[0])
    assert found[0].pixels[y1:y2, x1:x2].max() < 70
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert new.streams.video[0].width == old.streams.video[0].width


def test_wide_pixels_stay_wide_and_are_covered_at_the_right_place(
    tmp_path: Path, search: Pipeline, face: Pixels
) -> None:
    narrow = [np.ascontiguousarray(picture[:, ::2]) for picture in moving(face, 4)]
    source = film(tmp_path / "a.mp4", narrow, wide_pixels=Fraction(2))
    target = tmp_path / "b.mp4"
    blur_video(source, target, search, Cover("solid"), options=ONE)
    found = list(frames(target))
    assert found[0].pixels.shape == (HEIGHT, WIDTH, 3)
    for frame, place in zip(found, places(4), strict=True):
        assert inner(frame.pixels, place).max() < 60


@pytest.mark.parametrize("form", ["yuv420p10le", "yuv444p", "yuvj420p", "yuv422p"])
def test_depth_and_kind_of_colours_stay(tmp_path: Path, search: Pipeline, face: Pixels, form: str) -> None:
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, form
        for picture in moving(face, 3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    made = blur_video(source, target, search, Cover("solid"), options=ONE)
    assert (made.faces, made.remaining) == (1, ())
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert new.streams.video[0].pix_fmt == old.streams.video[0].pix_fmt
    for frame, before, place in zip(frames(target), frames(source), places(3), strict=True):
        assert inner(frame.pixels, place).max() < 60
        difference = np.abs(frame.pixels.astype(int) - before.pixels)[:, -60:]
        assert difference.mean() < 3


def test_what_later_frames_are_built_on_is_not_painted(
    tmp_path: Path, search: Pipeline, face: Pixels
) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    with av.open(str(source), "w") as container:
        # each frame is shown as soon as it is decoded, and the next one is built on it
        stream: Any = container.add_stream("libx264", rate=10, options={"tune": "zerolatency", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in moving(face):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    # a wide margin covers much of the background, which the next frame takes over from this one
    blur_video(source, target, search, Cover("solid", margin=1.0), options=ONE)
    last, before = list(frames(target))[-1], list(frames(source))[-1]
    assert np.abs(last.pixels.astype(int) - before.pixels)[:, :90].mean() < 3


def test_odd_sizes_are_possible(tmp_path: Path, search: Pipeline, face: Pixels) -> None:
    odd = [np.ascontiguousarray(picture[:-1, :-1]) for picture in moving(face, 3)]
    source = film(tmp_path / "a.webm", odd)
    for name in ("b.webm", "b.mkv"):
        assert blur_video(source, tmp_path / name, search, options=ONE).faces == 1
        assert next(frames(tmp_path / name)).pixels.shape == odd[0].shape


@pytest.mark.parametrize("with_face", [True, False])
@pytest.mark.parametrize("strip", [True, False])
def test_place_and_time_go_on_request_only(
    tmp_path: Path, search: Pipeline, face: Pixels, with_face: bool, strip: bool
) -> None:
    plain = film(tmp_path / "plain.mp4", moving(face, 3) if with_face else [background()] * 3, sound=True)
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        new.metadata.update({"location": "+48.1+011.5/", "title": "Party", "comment": "at home"})
        into = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = into[packet.stream.index]
                new.mux(packet)
    made = blur_video(source, target, search, options=ONE, strip=strip)
    assert made.copied is not with_face
    assert packets(target, "audio") == packets(source, "audio")
    told = subprocess.run([exiftool(), target], capture_output=True, text=True, check=True).stdout
    for secret in ("GPS Position", "Party", "at home"):
        assert (secret in told) is not strip, told
    if not with_face and not strip:
        assert target.read_bytes() == source.read_bytes()


def test_cover_art_is_left_out(tmp_path: Path, search: Pipeline, face: Pixels) -> None:
    plain, source, target = film(tmp_path / "p.mp4", moving(face, 3)), tmp_path / "a.mp4", tmp_path / "b.mp4"
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        into = new.add_stream_from_template(old.streams.video[0])
        art: Any = new.add_stream("mjpeg", rate=1)
        art.height, art.width, art.pix_fmt = face.shape[0], face.shape[1], "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = into
                new.mux(packet)
        new.mux(art.encode(av.VideoFrame.from_ndarray(face, format="rgb24")))
        new.mux(art.encode())
    with av.open(str(source)) as container:
        assert len(container.streams.video) == 2
    blur_video(source, target, search, options=ONE)
    with av.open(str(target)) as container:
        assert len(container.streams.video) == 1


def test_a_face_that_shines_through_is_painted_over_along_its_track(
    tmp_path: Path, search: Pipeline, face: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "_gaussian", lambda plane, side, strength: plane)
    source, target = film(tmp_path / "a.mp4", moving(face, 6)), tmp_path / "b.mp4"
    made = blur_video(source, target, search, options=ONE)
    assert (made.style, made.remaining) == ("solid", ())
    for frame, place in zip(frames(target), places(6), strict=True):
        assert inner(frame.pixels, place).max() < 60


def test_a_face_that_was_missed_altogether_is_found_by_the_check(
    tmp_path: Path, search: Pipeline, face: Pixels
) -> None:
    source, target = film(tmp_path / "a.mp4", moving(face, 4)), tmp_path / "b.mp4"
    # one face is seen in one frame far too late, so that something is written and checked
    other = [np.concatenate([picture, picture[:, ::-1]], axis=1) for picture in moving(face, 4)]
    film(source, other)
    forgetful = OneSided(search.options, 4)
    made = blur_video(source, target, forgetful, options=ONE)
    assert made.remaining == ()
    for frame, (left, top) in zip(frames(target), places(4), strict=True):
        assert inner(frame.pixels[:, ::-1], (left, top)).max() < 60


class OneSided(Pipeline):
    """Sees only the first face in its first frames."""

    def __init__(self, options: Options, frames: int) -> None:
        super().__init__(options)
        self._left = frames

    def analyze_many(self, sources: Any, *, seen: Any = None) -> list[Faces | UnreadablePicture]:
        found: list[Faces | UnreadablePicture] = []
        for faces in super().analyze_many(sources, seen=seen):
            if self._left > 0 and isinstance(faces, Faces):
                found.append(faces[faces.boxes[:, 0] < WIDTH])
            else:
                found.append(faces)
            self._left -= 1
        return found


def test_a_face_that_cannot_be_hidden_is_told(
    tmp_path: Path, search: Pipeline, face: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "_filling", lambda part, cover, side, black: part)
    source = film(tmp_path / "a.mp4", moving(face, 3))
    made = blur_video(source, tmp_path / "b.mp4", search, options=ONE)
    assert len(made.remaining) == 3
    assert made.remaining[0].startswith("frame 0, ")


def test_a_damaged_video_is_covered_as_far_as_it_can_be_read(
    tmp_path: Path, search: Pipeline, face: Pixels
) -> None:
    whole = film(tmp_path / "whole.mkv", moving(face, 12), sound=True)
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    source.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    made = blur_video(source, target, search, Cover("solid"), options=ONE)
    assert "truncated" in made.damage
    assert 0 < made.frames < 12
    found = list(frames(target))
    assert len(found) == made.frames
    for frame, place in zip(found, places(), strict=False):
        assert inner(frame.pixels, place).max() < 60


def test_what_is_no_video_and_full_folders_leave_nothing(
    tmp_path: Path, search: Pipeline, face: Pixels
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    out = tmp_path / "out"
    with pytest.raises(UnreadablePicture, match="not a video"):
        blur_video(tmp_path / "a.mp4", out / "b.mp4", search)
    assert not out.exists()
    source = film(tmp_path / "c.mp4", moving(face, 2))
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(UnwritableOutput):
        blur_video(source, tmp_path / "taken" / "b.mp4", search, options=ONE)
    with pytest.raises(UnreadablePicture, match="cannot be written back"):
        blur_video(source, tmp_path / "b.unknown", search, options=ONE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "c.mp4", "taken"]


def test_a_read_only_folder_is_told_before_the_work(
    tmp_path: Path, search: Pipeline, face: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = film(tmp_path / "a.mp4", moving(face, 2))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr(Pipeline, "analyze_many", lambda *_, **__: pytest.fail("work was begun"))
    with pytest.raises(UnwritableOutput, match="read-only"):
        blur_video(source, tmp_path / "new" / "b.mp4", search, options=ONE)


def test_the_original_may_be_the_target(tmp_path: Path, search: Pipeline, face: Pixels) -> None:
    source = film(tmp_path / "a.mp4", moving(face, 4))
    assert blur_video(source, source, search, Cover("solid"), options=ONE).faces == 1
    for frame, place in zip(frames(source), places(4), strict=True):
        assert inner(frame.pixels, place).max() < 60


# --- where to cover


def sightings(seen: dict[int, tuple[float, float]], track: int = 1, side: float = 40) -> list[Sighting]:
    return [
        Sighting(frame, track, np.array([x, y, x + side, y + side], np.float32))
        for frame, (x, y) in seen.items()
    ]


def clock(count: int, step: float = 0.04) -> list[float]:
    return [i * step for i in range(count)]


def assert_covers(covered: Covered, x: float, y: float, side: float = 40, slack: float = 2.5) -> None:
    x1, y1, x2, y2 = covered.boxes[0]
    assert x1 <= x + slack
    assert y1 <= y + slack
    assert x2 >= x + side - slack
    assert y2 >= y + side - slack


def test_gaps_are_filled_on_the_line_and_ends_are_extended() -> None:
    covered = cover_frames(clock(40), sightings({i: (5.0 * i, 50) for i in range(10, 31) if not 14 < i < 22}))
    assert [len(frame.boxes) for frame in covered] == [0] * 4 + [1] * 33 + [0] * 3
    for frame in range(4, 37):
        assert_covers(covered[frame], 5 * frame, 50)
    assert all((frame.boxes[:, 2] - frame.boxes[:, 0] < 60).all() for frame in covered[10:31])


def test_time_counts_not_frames_where_they_are_uneven() -> None:
    seconds = [0.0, 0.04, 0.08, 0.5, 0.54]
    covered = cover_frames(seconds, sightings({0: (0, 0), 4: (54, 0)}))
    assert_covers(covered[3], 50, 0, slack=12)
    assert covered[1].boxes[0, 0] < 20


@pytest.mark.parametrize(
    ("later", "joined"),
    [
        ((30, 10.0), True),
        ((30, 300.0), False),
        ((70, 300.0), False),
        ((70, 10.0), True),
        ((140, 10.0), False),
    ],
)
def test_a_face_that_was_lost_and_comes_back_is_the_same(later: tuple[int, float], joined: bool) -> None:
    start, x = later
    first = sightings(dict.fromkeys(range(10), (10, 10)))
    second = sightings(dict.fromkeys(range(start, start + 10), (x, 10)), track=2)
    covered = cover_frames(clock(160), first + second)
    tracks = {track for frame in covered for track in frame.tracks.tolist()}
    assert tracks == ({1} if joined else {1, 2})
    assert (len(covered[20].boxes) == 1) is joined


def test_masks_do_not_tremble() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1.5, (60, 2))
    seen = {i: (50 + float(noise[i, 0]), 50 + float(noise[i, 1])) for i in range(60)}
    covered = cover_frames(clock(60), sightings(seen))
    for i, (x, y) in seen.items():
        assert_covers(covered[i], x, y)
    raw = [np.hypot(*(noise[i + 1] - noise[i])) for i in range(59)]
    centres = [(frame.boxes[0, :2] + frame.boxes[0, 2:]) / 2 for frame in covered]
    smooth = [np.hypot(*(b - a)) for a, b in pairwise(centres)]
    assert np.mean(smooth) < 0.5 * np.mean(raw)


def test_two_faces_that_cross_stay_two() -> None:
    left = sightings({i: (4.0 * i, 20) for i in range(30)}, track=1)
    right = sightings({i: (120 - 4.0 * i, 24) for i in range(30)}, track=2)
    covered = cover_frames(clock(30), left + right)
    assert all(len(frame.boxes) == 2 for frame in covered)
    assert cover_frames(clock(5), []) != []
    assert all(len(frame.boxes) == 0 for frame in cover_frames(clock(5), []))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_stored_boxes_undo_the_turn(rotation: int, mirrored: bool) -> None:
    angle = np.deg2rad(rotation)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0])
    stored = np.zeros((60, 100, 3), np.uint8)
    stored[10:20, 30:70] = 255
    upright = turned(stored, matrix)
    ys, xs = np.nonzero(upright[..., 0])
    box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], float)
    assert stored_boxes(box, (100, 60), 1.0, matrix).tolist() == [[30, 10, 70, 20]]
    assert stored_boxes(np.array([[60.0, 10, 140, 20]]), (100, 60), 2.0, None).tolist() == [[30, 10, 70, 20]]
