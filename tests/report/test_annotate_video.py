"""Annotated videos: drawn where the faces are, and everything else as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from films import film
from mien.core.drawing import draw
from mien.core.errors import UnreadablePicture, UnwritableOutput
from mien.core.faces import Faces
from mien.report.annotate_video import annotate_video, between, captions
from mien.runtime.stream import Result
from mien.runtime.video import Frame, frames, turned, turned_back

Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT, SIDE, COUNT = 288, 192, 90, 8
UNEVEN = [0.0, 0.1, 0.13, 0.2, 0.3, 0.4, 0.41, 0.9]
# The codec's noise of a second encoding, and the least by which a drawn line differs, in mean levels of 255.
NOISE, DRAWN = 3.0, 25.0


def picture() -> Pixels:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows % 256, columns % 256, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def place(index: float) -> tuple[float, float]:
    return 20 + 12 * index, 60 + 4 * index


def box(index: float) -> npt.NDArray[np.float32]:
    left, top = place(index)
    return np.array([[left, top, left + SIDE, top + SIDE]], np.float32)


def result(index: int, boxes: npt.NDArray[np.float32], track: Sequence[int] = (3,), **fields: Any) -> Result:
    faces = Faces(boxes=boxes, scores=np.ones(len(boxes), np.float32), picture_size=(WIDTH, HEIGHT), **fields)
    return Result("a", faces, frame=index, seconds=index / 10, track=tuple(track))


def seen(count: int = COUNT, every: int = 1, **fields: Any) -> list[Result]:
    return [result(index, box(index), **fields) for index in range(0, count, every)]


def nothing(count: int = COUNT) -> list[Result]:
    return [result(index, np.zeros((0, 4), np.float32), ()) for index in range(count)]


def packets(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        stream: Any = container.streams.audio[0]
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(stream) if p.dts is not None]


def difference(first: Pixels, second: Pixels) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(first.astype(np.float64) - second).mean(axis=2))


def edges(index: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which pixels lie on the straight parts of a box's lines, and which lie far from all drawing."""
    left, top = (round(value) for value in place(index))
    line = np.zeros((HEIGHT, WIDTH), np.bool_)
    for y in (top, top + SIDE):
        line[y, left + 10 : left + SIDE - 10] = True
    for x in (left, left + SIDE):
        line[top + 10 : top + SIDE - 10, x] = True
    far = np.ones((HEIGHT, WIDTH), np.bool_)
    # the caption lies above the box, and is wider than it
    far[max(0, top - 40) : top + SIDE + 12, max(0, left - 12) : left + SIDE + 60] = False
    far[top + 14 : top + SIDE - 14, left + 14 : left + SIDE - 14] = True
    return line, far


def assert_drawn(before: Pixels, after: Pixels, index: float) -> None:
    line, far = edges(index)
    changed = difference(before, after)
    assert changed[line].mean() > DRAWN
    assert changed[far].mean() < NOISE
    assert changed[far].max() < 8 * NOISE


def test_each_frame_shows_the_box_where_its_face_is_and_nothing_else_changes(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4", [picture()] * COUNT), tmp_path / "b.mp4"
    made = annotate_video(source, target, seen())
    assert (made.tracks, made.frames, made.copied, made.damage) == (1, COUNT, False, "")
    old, new = list(frames(source)), list(frames(target))
    assert len(new) == COUNT
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        assert_drawn(before.pixels, after.pixels, index)
        left, top = (round(value) for value in place(index))
        # the plate of the caption, with its text
        above = after.pixels[top - 14 : top - 6, left + 2 : left + 14].astype(int)
        assert (
            difference(before.pixels, after.pixels)[top - 14 : top - 6, left + 2 : left + 14].mean() > DRAWN
        )
        assert above.max() > 150 > 90 > above.min()


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "avi", "ts"])
def test_sound_and_time_stamps_are_those_of_the_source(tmp_path: Path, container: str) -> None:
    source, target = tmp_path / f"a.{container}", tmp_path / f"b.{container}"
    film(source, [picture()] * COUNT, sound=True)
    assert annotate_video(source, target, seen()).frames == COUNT
    before, after = packets(source), packets(target)
    assert [data for data, _ in after] == [data for data, _ in before]
    old, new = list(frames(source)), list(frames(target))
    assert [frame.seconds for frame in new] == pytest.approx([frame.seconds for frame in old], abs=1e-3)
    assert container == "avi" or float(after[0][1]) - new[0].clock == pytest.approx(
        float(before[0][1]) - old[0].clock, abs=2e-3
    )


def test_uneven_time_stamps_stay(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4", [picture()] * COUNT, seconds=UNEVEN), tmp_path / "b.mp4"
    annotate_video(source, target, seen())
    assert [frame.seconds for frame in frames(target)] == pytest.approx(UNEVEN, abs=1e-6)


@pytest.mark.parametrize(("rotation", "mirrored"), [(90, False), (180, False), (270, False), (0, True)])
def test_turned_videos_stay_turned_and_are_drawn_on_upright(
    tmp_path: Path, rotation: int, mirrored: bool
) -> None:
    undone = np.rot90(picture(), -rotation // 90)
    stored = np.ascontiguousarray(undone[:, ::-1] if mirrored else undone)
    source = film(tmp_path / "a.mp4", [stored] * 3, rotation=rotation, mirrored=mirrored)
    straight = film(tmp_path / "straight.mp4", [picture()] * 3)
    target, like = tmp_path / "b.mp4", tmp_path / "c.mp4"
    annotate_video(source, target, seen(3))
    annotate_video(straight, like, seen(3))
    with av.open(str(source)) as old, av.open(str(target)) as new:
        size = [(file.streams.video[0].width, file.streams.video[0].height) for file in (old, new)]
        assert size[0] == size[1]
    for index, trio in enumerate(zip(frames(source), frames(target), frames(like), strict=True)):
        before, after, model = (frame.pixels for frame in trio)
        assert_drawn(before, after, index)
        # letters too read as they do in a film that was never turned
        assert difference(after, model).mean() < NOISE


def test_wide_pixels_stay_wide_and_are_drawn_on_at_the_right_place(tmp_path: Path) -> None:
    narrow = np.ascontiguousarray(picture()[:, ::2])
    source, target = film(tmp_path / "a.mp4", [narrow] * 3, wide_pixels=Fraction(2)), tmp_path / "b.mp4"
    annotate_video(source, target, seen(3))
    for index, (before, after) in enumerate(zip(frames(source), frames(target), strict=True)):
        assert after.pixels.shape == (HEIGHT, WIDTH, 3)
        assert_drawn(before.pixels, after.pixels, index)


@pytest.mark.parametrize(
    ("form", "space", "span"),
    [
        ("yuv420p", "ITU709", "MPEG"),
        ("yuv420p", "ITU601", "MPEG"),
        ("yuvj420p", "ITU709", "JPEG"),
        ("yuv444p", "ITU709", "MPEG"),
        ("yuv422p", "ITU601", "MPEG"),
        ("yuv420p10le", "ITU709", "MPEG"),
        ("yuv420p", "ITU709", "JPEG"),
    ],
)
def test_colours_of_the_drawing_are_right_in_every_kind_of_video(
    tmp_path: Path, form: str, space: str, span: str
) -> None:
    # of full range, only VP9 says so beside a format's name
    ending, codec = (".webm", "libvpx-vp9") if form == "yuv420p" and span == "JPEG" else (".mkv", "libx264")
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    # a colour whose brightness the two spaces see differently
    red = np.full((HEIGHT, WIDTH, 3), (200, 50, 50), np.uint8)
    wide: Any = {"dst_colorspace": Colorspace[space], "dst_color_range": ColorRange[span]}
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, form
        stream.codec_context.colorspace = int(Colorspace[space])
        stream.codec_context.color_range = int(ColorRange[span])
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(red, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=form, **wide)))
        container.mux(stream.encode())
    annotate_video(source, target, [result(index, box(2)) for index in range(3)])
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert new.streams.video[0].pix_fmt == old.streams.video[0].pix_fmt
    weights = {"ITU709": (0.2126, 0.7152, 0.0722), "ITU601": (0.299, 0.587, 0.114)}[space]
    for before, after in zip(frames(source), frames(target), strict=True):
        drawn = np.asarray(draw(Image.fromarray(before.pixels), result(0, box(2)).faces, captions=["#3"]))
        changed = difference(drawn, before.pixels) > 0
        # brightness is stored for every pixel, colour may be for four at once
        bright = [(pixels @ np.array(weights))[changed] for pixels in (drawn, after.pixels)]
        assert np.abs(bright[0] - bright[1]).mean() < NOISE


def test_odd_sizes_are_possible(tmp_path: Path) -> None:
    source = film(tmp_path / "a.webm", [np.ascontiguousarray(picture()[:-1, :-1])] * 3)
    for name in ("b.webm", "b.mkv"):
        assert annotate_video(source, tmp_path / name, seen(3)).frames == 3
        assert next(frames(tmp_path / name)).pixels.shape == (HEIGHT - 1, WIDTH - 1, 3)


def test_what_later_frames_are_built_on_is_not_drawn_on(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options={"tune": "zerolatency", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode())
    annotate_video(source, target, seen(3) + nothing()[3:])
    last, before = list(frames(target))[-1], list(frames(source))[-1]
    assert difference(last.pixels, before.pixels).max() < 8 * NOISE


def test_a_video_without_faces_is_copied_byte_by_byte(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4", [picture()] * 3, sound=True), tmp_path / "b.mp4"
    made = annotate_video(source, target, nothing(3))
    assert (made.tracks, made.frames, made.copied) == (0, 3, True)
    assert target.read_bytes() == source.read_bytes()


def test_a_video_without_faces_for_another_container_is_written_anew(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mkv", [picture()] * 3), tmp_path / "b.mp4"
    assert not annotate_video(source, target, nothing(3)).copied
    with av.open(str(target)) as container:
        assert "mp4" in container.format.name
    assert len(list(frames(target))) == 3


def test_frames_between_those_taken_show_the_face_on_its_way(tmp_path: Path) -> None:
    source, target = film(tmp_path / "a.mp4", [picture()] * 7), tmp_path / "b.mp4"
    annotate_video(source, target, seen(7, every=3))
    for index, (before, after) in enumerate(zip(frames(source), frames(target), strict=True)):
        assert_drawn(before.pixels, after.pixels, index)


def test_only_faces_of_one_track_move_towards_each_other() -> None:
    landmarks = np.arange(20, dtype=np.float32).reshape(2, 5, 2)
    before = result(0, np.concatenate([box(0), box(4)]), (1, 2), landmarks=landmarks)
    after = result(4, np.concatenate([box(6), box(2)]), (9, 1), landmarks=landmarks[::-1] + 8)
    moved = between(before, after, 0.25)
    assert moved.faces.boxes.tolist() == np.concatenate([box(0.5), box(4)]).tolist()
    assert moved.faces.landmarks is not None
    assert moved.faces.landmarks.tolist() == [(landmarks[0] + 2).tolist(), landmarks[1].tolist()]
    assert before.faces.boxes.tolist() == np.concatenate([box(0), box(4)]).tolist()


def test_captions_tell_track_expression_and_age_as_far_as_they_are_known() -> None:
    names = {"expression": ("neutral", "happiness")}
    expression = np.array([[0.07, 0.93]], np.float32)
    age = np.array([34.4], np.float32)
    assert captions(result(0, box(0))) == ["#3"]
    assert captions(result(0, box(0), age=age)) == ["#3 age 34"]
    happy = result(0, box(0), expression=expression, label_names=names)
    assert captions(happy) == ["#3 happiness 93%"]
    both = result(0, box(0), expression=expression, label_names=names, age=age)
    assert captions(both) == ["#3 happiness 93%, age 34"]


def test_a_damaged_video_is_drawn_on_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mkv", [picture()] * 12, sound=True)
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    source.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    error = UnreadablePicture(source, "damaged: truncated")
    made = annotate_video(source, target, [*seen(12), Result("a", Faces.empty(), error=error)])
    assert 0 < made.frames < 12
    assert made.damage == error.reason
    for index, (before, after) in enumerate(zip(readable(source), frames(target), strict=True)):
        assert_drawn(before.pixels, after.pixels, index)


def readable(path: Path) -> Iterator[Frame]:
    with contextlib.suppress(UnreadablePicture):
        yield from frames(path)


def test_what_cannot_be_done_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    source = film(tmp_path / "c.mp4", [picture()] * 4)
    data = source.read_bytes()
    with pytest.raises(UnreadablePicture, match="not a video"):
        annotate_video(tmp_path / "a.mp4", tmp_path / "b.mp4", seen(4))
    with pytest.raises(UnreadablePicture, match="cannot be written back"):
        annotate_video(source, tmp_path / "b.unknown", seen(4))
    error = UnreadablePicture(source, "too many pixels")
    with pytest.raises(UnreadablePicture, match="too many pixels"):
        annotate_video(source, tmp_path / "b.mp4", [Result("a", Faces.empty(), error=error)])
    with pytest.raises(RuntimeError, match="stopped"):
        annotate_video(source, tmp_path / "b.mp4", stopping(2))
    (tmp_path / "link.mp4").symlink_to(source)
    for itself in (source, tmp_path / "link.mp4"):
        with pytest.raises(UnwritableOutput, match="never overwritten"):
            annotate_video(source, itself, seen(4))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(UnwritableOutput, match="read-only"):
        annotate_video(source, tmp_path / "new" / "b.mp4", stopping(0))
    assert source.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "c.mp4", "link.mp4"]


def stopping(count: int) -> Iterator[Result]:
    yield from seen(count)
    raise RuntimeError("stopped")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turning_back_undoes_the_turn(rotation: int, mirrored: bool) -> None:
    angle = np.deg2rad(rotation)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0])
    stored = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)
    assert turned_back(turned(stored, matrix), matrix).tolist() == stored.tolist()
