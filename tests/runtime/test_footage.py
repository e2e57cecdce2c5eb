"""Real faces in films through the whole pipeline: a person is one track, in pixels of the shown frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from films import film, pasted
from mien.core.faces import Faces
from mien.core.fields import Floats
from mien.core.geometry import iou
from mien.runtime.footage import analyze_video, tracker_for, watch
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import Result

Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 320, 176


@pytest.fixture(scope="module")
def looking() -> Pipeline:
    return Pipeline(Options(want=("quality", "embeddings"), threads=1))


@pytest.fixture(scope="module")
def first(demo_photos: Path) -> Pixels:
    return np.asarray(Image.open(demo_photos / "obama.jpg").convert("RGB").crop((280, 0, 720, 550)))


@pytest.fixture(scope="module")
def second(demo_photos: Path) -> Pixels:
    return np.asarray(Image.open(demo_photos / "biden.jpg").convert("RGB").crop((300, 0, 860, 700)))


def scene(*shown: tuple[Pixels, int, int, int]) -> Pixels:
    """Return a frame with pictures on it: each with its left, top and width in px."""
    pixels = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for picture, left, top, side in shown:
        pixels = pasted(pixels, picture, left, top, side)
    return pixels


def look(path: Path, pipeline: Pipeline) -> list[Result]:
    found = list(analyze_video(path, Options(threads=1), pipeline=pipeline))
    assert all(result.error is None for result in found)
    return found


def embeddings(faces: Faces) -> Floats:
    assert faces.embeddings is not None
    return faces.embeddings


def tracks(found: Sequence[Result]) -> list[tuple[int, ...] | None]:
    return [result.track for result in found]


def test_person_keeps_the_track_over_the_film(tmp_path: Path, looking: Pipeline, first: Pixels) -> None:
    path = film(tmp_path / "a.mp4", [scene((first, 5 + 14 * i, 10 + i, 100 + 2 * i)) for i in range(14)])
    found = look(path, looking)
    assert tracks(found) == [(1,)] * 14
    centres = [float(result.faces.boxes[0, [0, 2]].mean()) for result in found]
    assert np.diff(centres) == pytest.approx([15] * 13, abs=6)
    assert found[3].faces.picture_size == (WIDTH, HEIGHT)


def test_two_persons_are_two_tracks_though_they_change_places(
    tmp_path: Path, looking: Pipeline, first: Pixels, second: Pixels
) -> None:
    frames = [scene((second, 200 - 14 * i, 40, 90), (first, 10 + 14 * i, 5, 100)) for i in range(14)]
    found = look(film(tmp_path / "a.mp4", frames), looking)
    assert {number for result in found for number in result.track or ()} == {1, 2}
    persons = [embeddings(looking.analyze(scene((who, 10, 5, 100))))[0] for who in (first, second)]
    names: dict[int, set[int]] = {}
    for result in found:
        nearest = (embeddings(result.faces) @ np.stack(persons).T).argmax(axis=1)
        for who, number in zip(nearest.tolist(), result.track or (), strict=True):
            names.setdefault(number, set()).add(who)
    assert sorted(names.values(), key=str) == [{0}, {1}]


def test_cut_to_another_person_in_the_same_place_is_a_new_track(
    tmp_path: Path, looking: Pipeline, first: Pixels, second: Pixels
) -> None:
    frames = [scene((first if i < 4 else second, 100, 10, 110)) for i in range(8)]
    found = look(film(tmp_path / "a.mp4", frames), looking)
    assert tracks(found) == [(1,)] * 4 + [(2,)] * 4


@pytest.mark.parametrize(("rotation", "mirrored"), [(90, False), (180, False), (-90, True)])
def test_turned_film_gives_boxes_in_the_frame_as_shown(
    tmp_path: Path, looking: Pipeline, first: Pixels, rotation: int, mirrored: bool
) -> None:
    shown = scene((first, 180, 10, 110))
    stored = np.rot90(np.fliplr(shown) if mirrored else shown, -rotation // 90)
    path = film(tmp_path / "a.mp4", [np.ascontiguousarray(stored)] * 2, rotation=rotation, mirrored=mirrored)
    found = look(path, looking)
    wanted = looking.analyze(shown)
    assert len(wanted) == 1
    for result in found:
        assert result.faces.picture_size == (WIDTH, HEIGHT)
        assert iou(result.faces.boxes, wanted.boxes)[0, 0] > 0.9


def test_best_shot_is_the_large_sharp_view(tmp_path: Path, looking: Pipeline, first: Pixels) -> None:
    blurred = np.asarray(Image.fromarray(first).filter(ImageFilter.GaussianBlur(8)))
    views = [(first, 90), (blurred, 115), (first, 115), (first, 100), (blurred, 110)]
    path = film(tmp_path / "a.mp4", [scene((view, 100, 5, side)) for view, side in views])
    tracker = tracker_for(looking)
    for _ in watch(path, pipeline=looking, tracker=tracker):
        pass
    assert [(shot.track, shot.frame) for shot in tracker.best_shots()] == [(1, 2)]


def test_known_frames_are_not_analyzed_again_and_keep_their_tracks(
    tmp_path: Path, looking: Pipeline, first: Pixels, second: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [scene((second, 5, 30, 90), (first, 80 + 14 * i, 5, 100)) for i in range(8)]
    path = film(tmp_path / "a.mp4", frames)
    whole = look(path, looking)
    known = {result.frame: result.faces for result in whole if result.frame not in (2, 3, 7)}
    asked: list[int] = []
    analyze_many = looking.analyze_many

    def counted(pictures: Sequence[object]) -> list[Faces]:
        asked.append(len(pictures))
        return analyze_many(pictures)  # type: ignore[return-value]

    monkeypatch.setattr(looking, "analyze_many", counted)
    again = [result for _, result in watch(path, pipeline=looking, recall=known.get)]
    assert sum(asked) == 3
    assert tracks(again) == tracks(whole)
    assert [result.faces for result in again] == [result.faces for result in whole]


def test_frames_come_with_their_pixels_and_the_error_with_none(tmp_path: Path, looking: Pipeline) -> None:
    path = film(tmp_path / "a.mp4", [scene()] * 12, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-40])
    seen = list(watch(path, Options(threads=2), pipeline=looking))
    *frames, (last, error) = seen
    assert len(frames) >= 5
    assert all(frame is not None and frame.index == result.frame for frame, result in frames)
    assert last is None
    assert error.error is not None
    assert "truncated" in error.error.reason
