"""Finding faces of every size and turn, each once, in pictures made of real faces and in strange ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from mien.core import geometry
from mien.core.card import Card, Confirm
from mien.core.fields import Floats
from mien.core.picture import Pixels
from mien.runtime import assets
from mien.runtime.confirm import Confirmation
from mien.runtime.describe import Known
from mien.runtime.detect import Found, Search, detect, windows
from mien.runtime.model import Model
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.plan import Arithmetic, Step, plan

# From forehead to chin in CelebA's crops of 89 x 109 px.
CELEBA_BOX = np.array([24.7, 34.4, 63.8, 85.1], np.float32)
ASTRONAUT_BOX = np.array([178, 52, 272, 178], np.float32)


@pytest.fixture(scope="module")
def crops(shared_data: Path) -> list[Image.Image]:
    table = parquet.read_table(shared_data / "celeba10k" / "train.parquet", columns=["image"]).slice(100, 60)
    return [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in table["image"].to_pylist()]


@pytest.fixture(scope="module")
def finder() -> Pipeline:
    return Pipeline(Options(want=("boxes",), threads=1))


def group(crops: list[Image.Image], height: float, columns: int, rows: int) -> tuple[Pixels, Floats]:
    """Return a picture of faces in rows, `height` px from forehead to chin, and their boxes."""
    scale = height / float(CELEBA_BOX[3] - CELEBA_BOX[1])
    size = (round(89 * scale), round(109 * scale))
    picture = Image.new("RGB", (columns * (size[0] + 8), rows * (size[1] + 8)), (120, 130, 120))
    truth = []
    for number in range(columns * rows):
        left, top = (number % columns) * (size[0] + 8), (number // columns) * (size[1] + 8)
        picture.paste(crops[number % len(crops)].resize(size, Image.Resampling.LANCZOS), (left, top))
        truth.append(CELEBA_BOX * scale + (left, top, left, top))
    return np.asarray(picture), np.array(truth, np.float32)


def hits(boxes: Floats, truth: Floats) -> npt.NDArray[np.int_]:
    """Return for each true face how many boxes are centred in it."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    middle, sides = (truth[:, :2] + truth[:, 2:]) / 2, truth[:, 2:] - truth[:, :2]
    near = (np.abs(centres - middle) < sides / 2).all(axis=2)
    return np.asarray(near.sum(axis=0))


def test_small_faces_of_a_group_are_found_each_once(finder: Pipeline, crops: list[Image.Image]) -> None:
    """28 px faces in 1,300 px: the smallest that is looked for without being asked."""
    pixels, truth = group(crops, 28, 24, 2)
    found = finder.analyze(pixels)
    assert (hits(found.boxes, truth) == 1).sum() >= 0.9 * len(truth)
    assert len(found) <= len(truth)


def test_smaller_faces_are_found_when_asked_for(crops: list[Image.Image]) -> None:
    pixels, truth = group(crops, 16, 12, 3)
    usual = Pipeline(Options(want=("boxes",), threads=1)).analyze(pixels)
    asked = Pipeline(Options(want=("boxes",), search=Search(smallest=14), threads=1)).analyze(pixels)
    assert (hits(asked.boxes, truth) == 1).sum() >= 0.75 * len(truth)
    assert (hits(asked.boxes, truth) > 1).sum() == 0
    assert len(asked) > len(usual)


def test_a_second_opinion_finds_more_and_invents_nothing(crops: list[Image.Image]) -> None:
    pixels, truth = group(crops, 22, 16, 3)
    alone = Pipeline(Options(want=("boxes",), search=Search(confirm=False), threads=1)).analyze(pixels)
    asked = Pipeline(Options(want=("boxes",), threads=1)).analyze(pixels)
    assert (hits(asked.boxes, truth) > 0).sum() > (hits(alone.boxes, truth) > 0).sum()
    assert len(asked) == (hits(asked.boxes, truth) > 0).sum()


def test_faces_cheek_to_cheek_stay_two(finder: Pipeline, crops: list[Image.Image]) -> None:
    part = [np.asarray(crop)[20:100, 18:72] for crop in crops[:12]]
    rows = [np.concatenate(part[start : start + 2], axis=1) for start in range(0, 12, 2)]
    for row in rows:
        pair = np.asarray(Image.fromarray(row).resize((324, 240), Image.Resampling.BICUBIC))
        assert len(finder.analyze(np.pad(pair, ((40, 40), (40, 40), (0, 0)), mode="edge"))) == 2


def test_a_face_that_fills_the_picture_is_found(finder: Pipeline, astronaut: Pixels) -> None:
    left, top, right, bottom = (int(value) for value in ASTRONAUT_BOX)
    tight = astronaut[top:bottom, left:right]
    for enlarged in (1, 4, 12):
        size = (tight.shape[1] * enlarged, tight.shape[0] * enlarged)
        found = finder.analyze(np.asarray(Image.fromarray(tight).resize(size, Image.Resampling.BICUBIC)))
        assert len(found) == 1
        whole = np.array([[0, 0, *size]], np.float32)
        assert geometry.iou(found.boxes, whole)[0, 0] > 0.6


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_an_untagged_scan_on_its_side_is_found_at_its_place(
    turns: int, finder: Pipeline, astronaut: Pixels
) -> None:
    photo = astronaut[:380]  # not square, so that width and height cannot be mixed up unnoticed
    size = (photo.shape[1], photo.shape[0])
    found = finder.analyze(np.ascontiguousarray(np.rot90(photo, turns)))
    corners = geometry.rotate_quarter(ASTRONAUT_BOX.reshape(2, 2), turns, size)
    assert len(found) == 1
    assert geometry.iou(found.boxes, geometry.box_of(corners)[None])[0, 0] > 0.6


def test_landmarks_and_mesh_of_a_turned_scan_are_the_upright_ones_turned(astronaut: Pixels) -> None:
    photo = astronaut[:380]
    size = (photo.shape[1], photo.shape[0])
    dense = Pipeline(Options(want=("landmarks", "mesh"), threads=1))
    upright, turned = dense.analyze(photo), dense.analyze(np.ascontiguousarray(np.rot90(photo)))
    for name in ("landmarks", "mesh"):
        straight, leaning = (np.asarray(getattr(faces, name))[0] for faces in (upright, turned))
        back = geometry.rotate_quarter(leaning[:, :2], -1, (size[1], size[0]))
        np.testing.assert_allclose(back, straight[:, :2], atol=5)
    np.testing.assert_allclose(np.asarray(turned.mesh)[0, :, 2], np.asarray(upright.mesh)[0, :, 2], atol=6)


@pytest.mark.parametrize("orientation", [None, 1])
def test_only_a_picture_that_does_not_say_how_it_is_oriented_is_turned(
    orientation: int | None, finder: Pipeline, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = Image.Exif()
    if orientation:
        tags[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(astronaut).save(data, "JPEG", exif=tags)
    told = []

    def spy(*given: Any, may_turn: bool, **others: Any) -> Found:
        told.append(may_turn)
        return detect(*given, may_turn=may_turn, **others)

    monkeypatch.setattr("mien.runtime.pipeline.detect", spy)
    finder.analyze(data.getvalue())
    assert told == [orientation is None]


def test_turns_are_tried_only_where_they_are_wanted_and_may_help() -> None:
    nothing, unsure, sure = (
        Pretender(spread(count), np.full(count, score, np.float32))
        for count, score in ((0, 0.0), (1, 0.4), (1, 0.9))
    )
    # Each turn in which nothing is found costs a second look, from further away.
    assert runs(nothing) == 8
    assert runs(nothing, may_turn=False) == 2
    assert runs(nothing, turns=False) == 2
    assert runs(unsure, score=0.3) == 4
    assert runs(sure) == 1


@pytest.mark.parametrize("offset", range(0, 100, 20))
def test_borders_of_tiles_neither_cut_nor_double_a_face(offset: int, crops: list[Image.Image]) -> None:
    """A detector of one fixed size looks through tiles; the face moves across their borders."""
    detector = Model.load("blazeface-full-range", threads=1)
    face = crops[0].resize((89, 109))
    picture = Image.new("RGB", (420, 260), (110, 120, 130))
    picture.paste(face, (120 + offset, 70))
    pixels = np.asarray(picture)
    views = list(windows(detector, 420, 260, 20.0))
    assert sum(not view.whole for view in views) > 3
    found = detect(detector, pixels, Search(smallest=20))
    truth = (CELEBA_BOX + np.array([120 + offset, 70] * 2, np.float32))[None]
    assert hits(found.boxes, truth).tolist() == [1]
    best = found.boxes[0]
    assert 0.6 < (best[3] - best[1]) / (truth[0, 3] - truth[0, 1]) < 1.3


@pytest.mark.parametrize("name", ["blazeface-full-range", "centerface"])
def test_windows_cover_every_face_whole_at_a_size_the_detector_can_see(name: str) -> None:
    detector = Model.load(name, threads=1)
    generator = np.random.default_rng(3)
    settings = detector.card.detector
    assert settings is not None
    for number in range(300):
        width, height = (int(value) for value in generator.integers(60, 3000, 2))
        smallest = float(generator.uniform(12, 60))
        # Half of them hardly larger than the smallest, which only the finest level shows.
        largest = min(width, height) if number % 2 else 1.1 * smallest
        side = float(np.exp(generator.uniform(np.log(smallest), np.log(largest))))
        left, top = generator.uniform(0, width - side), generator.uniform(0, height - side)
        seen = [
            side * view.zoom
            for view in windows(detector, width, height, smallest)
            if left >= view.left
            and top >= view.top
            and left + side <= view.left + view.width / view.zoom
            and top + side <= view.top + view.height / view.zoom
        ]
        assert max(seen) >= settings.smallest * 0.86, (width, height, side, smallest)
        assert not settings.largest or min(seen) <= settings.largest * 1.2


def test_a_view_too_large_for_memory_is_cut_into_tiles(crops: list[Image.Image]) -> None:
    detector = Model.load("centerface", threads=1)
    views = list(windows(detector, 4000, 3000, 10.0))
    assert max(max(view.width, view.height) for view in views) <= 1536
    assert sum(view.whole for view in views) == 2  # the levels further away
    # Tiles begin at 0, 344 and 688: two faces lie across borders, and one is too large for any tile.
    pixels = np.full((700, 1200, 3), 120, np.uint8)
    faces = [(0, 20.0), (324, 24.0), (486, 30.0), (560, 420.0)]
    truth = []
    for number, (left, height) in enumerate(faces):
        part, box = group(crops[number:], height, 1, 1)
        pixels[: part.shape[0], left : left + part.shape[1]] = part[:700, : 1200 - left]
        truth.append(box[0] + np.array([left, 0] * 2, np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.runtime.detect._LARGEST_VIEW", 512)
        assert len([view for view in windows(detector, 1200, 700, 16.0) if not view.whole]) == 6
        finder = Pipeline(Options(want=("boxes",), search=Search(smallest=16), threads=1))
        found = finder.analyze(pixels)
    assert hits(found.boxes, np.array(truth)).tolist() == [1, 1, 1, 1]
    assert len(found) == 4


class Pretender:
    """Stands in for a detector's model: gives the same candidates to every window."""

    def __init__(self, boxes: Floats, scores: Floats, confirm: Confirm | None = None) -> None:
        from dataclasses import replace

        card = assets.table()["centerface"].card
        assert card.detector is not None
        self.card: Card = replace(card, detector=replace(card.detector, confirm=confirm))
        self.boxes, self.scores = boxes, scores
        self.runs = 0
        self.covered: list[float] = []

    def run(self, crops: Floats) -> dict[str, Floats]:
        self.runs += 1
        self.covered.append(float((crops > 0).mean()))
        points = np.repeat(self.boxes[:, None, :2], 5, axis=1)
        return {"boxes": self.boxes, "scores": self.scores, "keypoints": points}


class Spotter(Pretender):
    """Finds a bright spot while it is in the upper left quarter of what it is shown."""

    def __init__(self) -> None:
        super().__init__(spread(1), np.array([0.9], np.float32))

    def run(self, crops: Floats) -> dict[str, Floats]:
        y, x = np.argwhere(crops[0, 0] == crops.max())[0]
        found = slice(0, int(y < 100 and x < 100))
        return {
            "boxes": np.array([[x - 9, y - 4, x + 10, y + 5]], np.float32)[found],
            "scores": self.scores[found],
            "keypoints": np.array([[[x + 0.5, y + 0.5], [x + 3.5, y + 0.5]] + [[x, y]] * 3], np.float32)[
                found
            ],
        }


@pytest.mark.parametrize(("x", "y", "turned"), [(20, 30, 0), (300, 30, 1), (300, 210, 2), (20, 210, 3)])
def test_boxes_and_points_found_in_a_turn_are_those_of_the_picture_as_given(
    x: int, y: int, turned: int
) -> None:
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[y, x] = 255
    spotter: Any = Spotter()
    found = detect(spotter, pixels, Search(smallest=16))
    assert found.turned == turned
    box = found.boxes[0]
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, (x + 0.5, y + 0.5), atol=1)
    assert (box[2] - box[0] > box[3] - box[1]) == (turned % 2 == 0)
    eyes = found.values["keypoints"][0, :2]
    np.testing.assert_allclose(eyes[0], (x + 0.5, y + 0.5), atol=1e-3)
    # What lay to the right of a spot in the turned picture lies where the turn came from.
    to_the_right = [(3, 0), (0, 3), (-3, 0), (0, -3)][turned]
    np.testing.assert_allclose(eyes[1] - eyes[0], to_the_right, atol=1e-3)


def test_where_nothing_is_found_the_picture_is_seen_again_at_half_its_side_with_a_border() -> None:
    pretender: Any = Pretender(spread(0), np.zeros(0, np.float32))
    detect(pretender, np.full((240, 320, 3), 200, np.uint8), Search(smallest=16), may_turn=False)
    first, second = pretender.covered
    assert first > 0.9
    assert 0.15 < second < 0.3


def looked(pretender: Any, search: Search = Search(smallest=16), **given: Any) -> Found:
    """Look at a picture that the detector sees at its own size, so that boxes stay what they are."""
    return detect(pretender, np.zeros((240, 320, 3), np.uint8), search, **given)


def runs(pretender: Pretender, may_turn: bool = True, **search: Any) -> int:
    """Return how often the detector is run on a picture."""
    before = pretender.runs
    looked(pretender, Search(smallest=16, **search), may_turn=may_turn)
    return pretender.runs - before


def test_thousands_of_candidates_take_no_time_and_memory_to_speak_of() -> None:
    import tracemalloc

    rows, columns = np.mgrid[:40, :60]
    corners = np.stack([columns, rows], axis=-1).reshape(-1, 2) * np.float32(4)
    boxes = np.concatenate([corners, corners + 3], axis=1).astype(np.float32)
    tracemalloc.start()
    found = looked(Pretender(boxes, np.linspace(0.9, 0.6, len(boxes)).astype(np.float32)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == len(boxes) == 2400
    assert peak < 100e6


def test_candidates_that_are_no_boxes_are_left_out() -> None:
    boxes = np.array([[1, 1, 9, 9], [5, 5, 5, 9], [9, 9, 1, 1], [np.nan, 1, 2, 3], [1, 1, np.inf, 3]])
    found = looked(Pretender(boxes.astype(np.float32), np.full(5, 0.9, np.float32)))
    assert len(found) == 1


def test_a_box_inside_a_better_one_is_a_part_of_the_same_face() -> None:
    boxes = np.array([[10, 10, 110, 110], [20, 20, 50, 50], [200, 10, 230, 40]], np.float32)
    found = looked(Pretender(boxes, np.array([0.9, 0.8, 0.7], np.float32)))
    assert len(found) == 2


@pytest.mark.parametrize(("width", "height"), [(1, 1), (30000, 1), (1, 30000), (3, 700), (64, 64)])
def test_pictures_without_room_for_a_face_give_none(width: int, height: int, finder: Pipeline) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    assert len(finder.analyze(pixels)) == 0


def test_no_faces_have_every_field_in_its_shape(pipeline: Pipeline) -> None:
    found = pipeline.analyze(np.full((300, 400, 3), 90, np.uint8))
    assert len(found) == 0
    for name in pipeline.fields:
        assert len(getattr(found, name)) == 0, name
    assert np.asarray(found.mesh).shape == (0, 468, 3)
    assert np.asarray(found.landmarks).shape == (0, 5, 2)


def judge(values: dict[float, float], rule: Confirm) -> Confirmation:
    """Return a second opinion that knows each candidate's chance by its left border."""

    def compute(pixels: Pixels, known: Known) -> Known:
        chances = [values[float(box[0])] for box in known["boxes"]]
        return {"presence": np.array(chances, np.float32)}

    step = Step(Arithmetic("judge 1", ("presence",), ("boxes",), compute), ("presence",))
    return Confirmation(rule, [step], {})


def spread(count: int) -> Floats:
    """Return boxes side by side, 100 px apart."""
    left = np.arange(count, dtype=np.float32) * 100
    return np.stack([left, left * 0, left + 50, left * 0 + 50], axis=1)


def test_unsure_candidates_live_by_the_second_opinion_and_sure_ones_without() -> None:
    rule = Confirm("presence", least=0.5, score=0.2, sure=0.6)
    pretender = Pretender(spread(5), np.array([0.9, 0.7, 0.5, 0.3, 0.1], np.float32), rule)
    opinion = judge({0.0: 1.0, 100.0: 0.0, 200.0: 0.0, 300.0: 0.9, 400.0: 1.0}, rule)
    found = looked(pretender, confirm=opinion)
    assert found.boxes[:, 0].tolist() == [0.0, 100.0, 300.0]
    assert found.values["presence"].tolist() == pytest.approx([1.0, 0.0, 0.9])
    # Without a second opinion the detector's own, higher score decides.
    assert looked(pretender).boxes[:, 0].tolist() == [0.0, 100.0, 200.0]


def test_boxes_that_lead_to_the_same_eyes_and_mouth_are_one_face() -> None:
    boxes = np.array([[0, 0, 100, 100], [0, -60, 60, 0], [140, 0, 240, 100]], np.float32)
    eyes_to_mouth = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)
    # The second box lies on the forehead above the first one, and its points are pulled towards the eyes.
    forehead = eyes_to_mouth * 0.8 - np.array([0, 4])
    points = np.stack([eyes_to_mouth, forehead, eyes_to_mouth + np.array([140, 0])])
    rule = Confirm("presence", least=0.5, score=0.2)
    opinion = judge({0.0: 1.0, 140.0: 1.0}, rule)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    known = opinion(
        np.zeros((9, 9, 3), np.uint8),
        {"boxes": boxes, "scores": scores, "landmarks": points.astype(np.float32)},
    )
    assert known["boxes"].tolist() == boxes[[0, 2]].tolist()


def test_a_candidate_that_is_refused_does_not_stop_the_search_in_other_turns() -> None:
    rule = Confirm("presence", least=0.5, score=0.2)
    pretender = Pretender(spread(1), np.array([0.9], np.float32), rule)
    asked = []

    def refuse(pixels: Pixels, known: Known) -> Known:
        asked.append(pixels.shape[:2])
        return {name: value[:0] for name, value in known.items()}

    assert len(looked(pretender, confirm=refuse)) == 0
    # Each turn is tried as it is, and once more from further away.
    assert asked == [(240, 320)] * 2 + [(320, 240)] * 4 + [(240, 320)] * 2


def test_a_detector_whose_second_opinion_is_not_installed_works_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Pixels
) -> None:
    import shutil

    for ending in ("onnx", "json"):
        shutil.copy(assets.model_path("centerface").with_suffix(f".{ending}"), tmp_path)
    monkeypatch.setenv(assets.MODELS, str(tmp_path))
    alone = Pipeline(Options(threads=1))
    shipped = {name for name, asset in assets.table().items() if asset.shipped}
    assert {model.card.name for model in alone.models()} - shipped == {"centerface"}
    assert len(alone.analyze(astronaut)) == 1


def test_a_chosen_model_keeps_its_fields_though_the_second_opinion_makes_them_too() -> None:
    detector = assets.table()["centerface"].card
    mesh = assets.table()["face-mesh"].card
    mine = Arithmetic("mine 1", ("landmarks",), ("boxes",), lambda pixels, known: {})
    steps = plan(("presence", "mesh", "landmarks"), [mine, detector, mesh])
    assert {field: step.by.maker for step in steps for field in step.fields} == {
        "boxes": detector.maker,
        "keypoints": detector.maker,
        "presence": mesh.maker,
        "mesh": mesh.maker,
        "landmarks": "mine 1",
    }
