"""Other programs' files: read back by code of its own, against what those programs document."""

from __future__ import annotations

import csv
import json
import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from mien.core.errors import UnknownFormat, UnreadablePicture, UnwritableOutput
from mien.core.faces import Faces
from mien.report import formats
from mien.report.formats import compreface, convert, deepface, openface
from mien.runtime.stream import Result

FIVE = [[40, 50], [60, 51], [50, 60], [42, 70], [58, 71]]
"""Eyes, nose, mouth corners; the picture's left first."""
EXPRESSIONS = ("neutral", "happy", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def some_faces(source: str = "a.jpg", count: int = 2) -> Faces:
    """Return faces with every field that a format can hold; the second one is cut by the border."""
    random = np.random.default_rng(3)
    boxes = np.array([[30.5, 35.25, 70.5, 85.75], [160.5, 10, 210.25, 60]], np.float32)
    return Faces(
        boxes=boxes[:count],
        scores=np.array([0.987, 0.75], np.float32)[:count],
        landmarks=np.array([FIVE, np.add(FIVE, [145, -30])], np.float32)[:count],
        mesh=random.uniform(0, 200, (count, 468, 3)).astype(np.float32),
        pose=np.array([[30, 10, 0], [-20, 0, 15]], np.float32)[:count],
        embeddings=np.eye(count, 128, dtype=np.float32),
        expression=np.array([[0.1, 0.3, 0, 0.1, 0, 0, 0, 0.5]] * 2, np.float32)[:count],
        action_units=np.array([[2.5, 5], [0, 1]], np.float32)[:count],
        age=np.array([31.7, 8.2], np.float32)[:count],
        gender=np.array([[0.75, 0.25], [0.1, 0.9]], np.float32)[:count],
        liveness=np.array([0.9, 0.2], np.float32)[:count],
        label_names={"expression": EXPRESSIONS, "action_units": ("AU1", "AU12")},
        picture_size=(200, 100),
        source=source,
    )


def some_results() -> list[Result]:
    return [
        Result("a.jpg", some_faces()),
        Result("none.jpg", Faces.empty((50, 40), "none.jpg")),
        Result("broken.jpg", Faces.empty(source="broken.jpg"), UnreadablePicture("broken.jpg", "truncated")),
        Result("b, c.jpg", some_faces("b, c.jpg", 1)),
    ]


def frames() -> list[Result]:
    return [Result("v.mp4", some_faces("v.mp4"), None, 10, 0.5, (3, 8))]


def written(tmp_path: Path, name: str, results: list[Result] | None = None) -> Path:
    path = tmp_path / f"faces{formats.FORMATS[name].ending}"
    formats.write(name, path, some_results() if results is None else results)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# OpenFace ---------------------------------------------------------------------------------------------------


def test_openface_has_the_documented_columns_in_their_order(tmp_path: Path) -> None:
    header = written(tmp_path, "openface").read_text().splitlines()[0].split(",")
    points = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    units = (
        "AU01_r AU02_r AU04_r AU05_r AU06_r AU07_r AU09_r AU10_r AU12_r AU14_r AU15_r AU17_r AU20_r AU23_r"
    )
    assert header == [
        *["frame", "face_id", "timestamp", "confidence", "success"],
        *["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"],
        *points,
        *f"{units} AU25_r AU26_r AU45_r".split(),
        "source",
    ]


def test_openface_rows_are_faces_and_a_row_without_success_where_there_is_none(tmp_path: Path) -> None:
    rows = rows_of(written(tmp_path, "openface"))
    told = [(row["source"], row["frame"], row["face_id"], row["success"]) for row in rows]
    assert told == [
        ("a.jpg", "1", "0", "1"),
        ("a.jpg", "1", "1", "1"),
        ("none.jpg", "2", "0", "0"),
        ("b, c.jpg", "3", "0", "1"),
    ]
    assert rows[2]["confidence"] == "0"
    assert rows[2]["x_0"] == rows[2]["pose_Rx"] == ""
    assert rows[0]["confidence"] == "0.987"
    assert (rows[0]["AU01_r"], rows[0]["AU12_r"], rows[0]["AU02_r"]) == ("2.5", "5", "")
    assert {row["pose_Tz"] for row in rows} == {""}


def test_openface_frames_count_from_one_and_carry_time_and_track(tmp_path: Path) -> None:
    rows = rows_of(written(tmp_path, "openface", frames()))
    assert [(row["frame"], row["timestamp"], row["face_id"]) for row in rows] == [
        ("11", "0.5", "3"),
        ("11", "0.5", "8"),
    ]


def about(axis: int, angle: float) -> np.ndarray:
    """Return the right-handed rotation about x, y or z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(
        [
            [[1, 0, 0], [0, c, -s], [0, s, c]],
            [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        ][axis]
    )


@given(st.floats(-80, 80), st.floats(-60, 60), st.floats(-170, 170))
def test_openface_s_angles_turn_the_head_as_ours_do(yaw: float, pitch: float, roll: float) -> None:
    (rx, ry, rz) = openface.euler(np.array([[yaw, pitch, roll]]))[0]
    theirs = about(0, rx) @ about(1, ry) @ about(2, rz)  # the wiki's convention: R = Rx Ry Rz
    y, p, r = np.radians([yaw, pitch, roll])
    nose = [np.sin(y) * np.cos(p), -np.sin(p), -np.cos(y) * np.cos(p)]
    assert np.allclose(theirs @ [0, 0, -1], nose, atol=1e-6)
    ear = about(1, -y) @ about(0, -p) @ about(2, r) @ [1, 0, 0]
    assert np.allclose(theirs @ [1, 0, 0], ear, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "at", "sign"),
    [((10, 0, 0), 1, -1), ((0, 10, 0), 0, -1), ((0, 0, 10), 2, 1)],
    ids=["to the picture's right is Ry < 0", "up is Rx < 0", "clockwise is Rz > 0"],
)
def test_openface_s_signs(ours: tuple[int, int, int], at: int, sign: int) -> None:
    expected = np.zeros(3)
    expected[at] = sign * np.radians(10)
    assert np.allclose(openface.euler(np.array([ours]))[0], expected, atol=1e-7)


# py-feat ----------------------------------------------------------------------------------------------------


def test_pyfeat_has_every_column_that_its_reader_asks_for(tmp_path: Path) -> None:
    frame = pandas.read_csv(written(tmp_path, "pyfeat"))
    units = [
        "01",
        "02",
        "04",
        "05",
        "06",
        "07",
        "09",
        "10",
        "11",
        "12",
        "14",
        "15",
        "17",
        "20",
        "23",
        "24",
        "25",
        "26",
        "28",
        "43",
    ]
    assert list(frame.columns) == [
        *["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"],
        *(f"x_{i}" for i in range(68)),
        *(f"y_{i}" for i in range(68)),
        *["Pitch", "Roll", "Yaw", "X", "Y", "Z"],
        *(f"AU{unit}" for unit in units),
        *["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"],
        *(f"Identity_{i}" for i in range(1, 513)),
        *["gaze_pitch", "gaze_yaw", "gaze_angle", "FrameHeight", "FrameWidth", "input", "frame", "Identity"],
    ]
    # `read_feat` takes every column with "AU" in its name for an action unit
    assert [column for column in frame.columns if "AU" in column] == [f"AU{unit}" for unit in units]


def test_pyfeat_s_units_and_signs(tmp_path: Path) -> None:
    frame = pandas.read_csv(written(tmp_path, "pyfeat"))
    assert frame["input"].tolist() == ["a.jpg", "a.jpg", "none.jpg", "b, c.jpg"]
    assert frame["frame"].tolist() == [0, 0, 1, 2]
    first, second, empty = (frame.iloc[i] for i in range(3))
    rectangle = [first[f"FaceRect{name}"] for name in ("X", "Y", "Width", "Height")]
    assert np.allclose(rectangle, [30.5, 35.25, 40, 50.5])
    # ours: 30 degrees to the picture's right, 10 up; theirs: radians, yaw to the subject's own right
    assert np.allclose([first["Yaw"], first["Pitch"], first["Roll"]], np.radians([-30, 10, 0]), atol=1e-6)
    assert np.allclose([second["Yaw"], second["Roll"]], np.radians([20, -15]), atol=1e-6)
    assert np.allclose([first["AU01"], first["AU12"]], [0.5, 1])
    moods = first[["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]]
    assert np.allclose(moods.astype(float), [0, 0, 0, 0.6, 0.2, 0, 0.2], atol=1e-6)
    vectors = frame[[f"Identity_{i}" for i in range(1, 513)]].to_numpy()
    assert np.isclose(vectors[0] @ vectors[3], 1)
    assert np.isclose(vectors[0] @ vectors[1], 0)
    assert empty["FaceScore"] == 0
    assert np.isnan(empty["FaceRectX"])
    assert np.isnan(empty["Yaw"])
    assert (empty["FrameWidth"], empty["FrameHeight"]) == (50, 40)


# the 68 landmarks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openface", "pyfeat"])
def test_the_68_landmarks_are_a_model_s_own_or_else_the_mesh_s(tmp_path: Path, name: str) -> None:
    faces = some_faces(count=1)
    assert faces.mesh is not None
    row = rows_of(written(tmp_path, name, [Result("a.jpg", faces)]))[0]
    # the chin, the nose's tip and the mouth's picture-left corner of iBUG; their vertices in MediaPipe's mesh
    for point, vertex in ((8, 152), (30, 4), (48, 61)):
        assert np.isclose(float(row[f"x_{point}"]), faces.mesh[0, vertex, 0], atol=1e-3)
        assert np.isclose(float(row[f"y_{point}"]), faces.mesh[0, vertex, 1], atol=1e-3)
    own = faces.with_fields(landmarks68=np.full((1, 68, 2), 7.5, np.float32))
    row = rows_of(written(tmp_path, name, [Result("a.jpg", own)]))[0]
    assert {row[f"x_{i}"] for i in range(68)} == {"7.5"}


def test_the_table_from_the_mesh_keeps_the_face_s_symmetry() -> None:
    """Mirrored points of iBUG must be mirrored vertices: of those that `core.pose` uses this can be told."""
    from mien.core.pose import MESH_PAIRS

    mirrored = {0: 16, 1: 15, 2: 14, 3: 13, 4: 12, 36: 45, 39: 42, 48: 54}
    partner = dict(MESH_PAIRS)
    told = 0
    for left, right in mirrored.items():
        vertex = convert.IBUG68_FROM_MESH[left]
        if vertex in partner:
            assert convert.IBUG68_FROM_MESH[right] == partner[vertex]
            told += 1
    assert told >= 6
    assert len(set(convert.IBUG68_FROM_MESH)) == 68


# COCO -------------------------------------------------------------------------------------------------------


def test_coco_loads_in_its_own_library(tmp_path: Path) -> None:
    coco = COCO(written(tmp_path, "coco"))
    (category,) = coco.loadCats(coco.getCatIds(catNms=["face"]))
    assert len(category["keypoints"]) == 68
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert list(images) == ["a.jpg", "none.jpg", "b, c.jpg"]
    assert (images["a.jpg"]["width"], images["a.jpg"]["height"]) == (200, 100)
    found = coco.loadAnns(coco.getAnnIds(imgIds=images["a.jpg"]["id"]))
    assert np.allclose(found[0]["bbox"], [30.5, 35.25, 40, 50.5])
    assert np.isclose(found[0]["area"], 40 * 50.5)
    assert np.isclose(found[0]["score"], 0.987)
    assert len(found[0]["keypoints"]) == 3 * 68
    assert coco.getAnnIds(imgIds=images["none.jpg"]["id"]) == []
    assert len(set(coco.getAnnIds())) == 3


def test_coco_falls_back_to_five_points_named_by_the_person_s_sides(tmp_path: Path) -> None:
    faces = some_faces()
    plain = Faces(
        boxes=faces.boxes, scores=faces.scores, landmarks=faces.landmarks, picture_size=(200, 100), source="a"
    )
    whole = json.loads(written(tmp_path, "coco", [Result("a", plain)]).read_text())
    names = whole["categories"][0]["keypoints"]
    first, second = (annotation["keypoints"] for annotation in whole["annotations"])
    points = {name: first[3 * i : 3 * i + 3] for i, name in enumerate(names)}
    assert points["left_eye"] == [60, 51, 2]  # the person's left eye is on the picture's right
    assert points["right_eye"] == [40, 50, 2]
    # the second face's right half is outside of the picture: labelled, not visible
    assert second[2::3] == [2, 1, 2, 2, 1]
    assert [annotation["num_keypoints"] for annotation in whole["annotations"]] == [5, 5]


def test_coco_of_faces_without_points_says_that_none_is_labelled(tmp_path: Path) -> None:
    bare = Faces(boxes=some_faces().boxes, scores=some_faces().scores, picture_size=(200, 100), source="a")
    whole = json.loads(written(tmp_path, "coco", [Result("a", bare)]).read_text())
    assert whole["annotations"][0]["keypoints"] == [0] * 15
    assert whole["annotations"][0]["num_keypoints"] == 0


def test_coco_frames_carry_their_number_and_tracks(tmp_path: Path) -> None:
    whole = json.loads(written(tmp_path, "coco", frames()).read_text())
    assert [image["frame_id"] for image in whole["images"]] == [10]
    assert [annotation["track_id"] for annotation in whole["annotations"]] == [3, 8]


# CompreFace -------------------------------------------------------------------------------------------------

# A face in "Rest API description" of CompreFace 1.2, without what needs plugins that mien has no field for.
COMPREFACE: dict[str, Any] = {
    "age": {"probability": 0.93, "high": 32, "low": 25},
    "gender": {"probability": 0.98, "value": "female"},
    "embedding": [0.1, 0.2],
    "box": {"probability": 1.0, "x_max": 1420, "y_max": 1368, "x_min": 548, "y_min": 295},
    "landmarks": [[814, 713], [1104, 829], [832, 937], [704, 1030], [1017, 1133]],
}


def shape_of(value: Any) -> Any:
    """Return a JSON value's structure: its keys and types, of a list that of its first item."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in sorted(value.items())}
    return [shape_of(value[0])] if isinstance(value, list) else type(value).__name__


def test_compreface_answers_as_documented(tmp_path: Path) -> None:
    aged = some_faces().with_fields(age_interval=np.array([[25.4, 38.2], [5, 11]], np.float32))
    whole = json.loads(written(tmp_path, "compreface", [Result("a.jpg", aged)]).read_text())
    assert list(whole["a.jpg"]) == ["result"]
    first = whole["a.jpg"]["result"][0]
    assert shape_of(first) == shape_of(COMPREFACE)
    box = {name: first["box"][name] for name in ("x_min", "y_min", "x_max", "y_max")}
    assert box == {"x_min": 30, "y_min": 35, "x_max": 70, "y_max": 86}
    assert first["landmarks"] == FIVE
    assert first["age"] == {"probability": 0.9, "low": 25, "high": 39}
    assert first["gender"] == {"probability": 0.75, "value": "female"}
    assert len(first["embedding"]) == 128


def test_compreface_leaves_out_what_is_not_known() -> None:
    bare = Faces(boxes=some_faces().boxes, scores=some_faces().scores)
    assert set(compreface.answer(bare)["result"][0]) == {"box"}
    assert compreface.answer(Faces.empty()) == {"result": []}
    (only,) = compreface.answer(some_faces(count=1))["result"]
    assert only["age"] == {"low": 32, "high": 32}


# deepface ---------------------------------------------------------------------------------------------------


def test_deepface_dictionaries_have_its_keys_and_units(tmp_path: Path) -> None:
    whole = json.loads(written(tmp_path, "deepface").read_text())
    assert list(whole) == ["a.jpg", "none.jpg", "b, c.jpg"]
    assert whole["none.jpg"] == []
    first, second = whole["a.jpg"]
    assert set(first) >= {"facial_area", "confidence", "embedding", "region", "face_confidence"}
    area = first["facial_area"]
    assert [area[name] for name in "xywh"] == [30, 35, 40, 50]
    # "with respect to the person itself instead of observer"
    assert area["left_eye"] == [60, 51]
    assert area["right_eye"] == [40, 50]
    assert area["mouth_left"] == [58, 71]
    assert first["region"] == area
    assert first["confidence"] == first["face_confidence"] == 0.99
    assert set(first["emotion"]) == {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}
    assert np.isclose(sum(first["emotion"].values()), 100)
    assert first["dominant_emotion"] == "happy"
    assert first["gender"] == {"Woman": 75, "Man": 25}
    assert (first["dominant_gender"], first["age"]) == ("Woman", 31)
    assert (first["is_real"], round(first["antispoof_score"], 2)) == (True, 0.9)
    assert (second["is_real"], round(second["antispoof_score"], 2)) == (False, 0.8)
    # cut at the border as `extract_faces` does, points outside are null
    assert [second["facial_area"][name] for name in "xywh"] == [160, 10, 39, 50]
    assert second["facial_area"]["left_eye"] is None


def test_deepface_leaves_out_what_is_not_known() -> None:
    bare = Faces(boxes=some_faces().boxes, scores=some_faces().scores, picture_size=(200, 100))
    (face, _) = deepface.dictionaries(bare)
    assert set(face) == {"facial_area", "confidence", "region", "face_confidence"}
    assert face["facial_area"]["left_eye"] is None


@pytest.mark.parametrize("name", ["compreface", "deepface"])
def test_frames_have_names_of_their_own(tmp_path: Path, name: str) -> None:
    assert list(json.loads(written(tmp_path, name, frames()).read_text())) == ["v.mp4#10"]


# all --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_is_strict_where_numbers_are_missing(tmp_path: Path, name: str) -> None:
    nothing = np.full((1, 468, 3), np.nan, np.float32)
    holed = some_faces(count=1).with_fields(
        mesh=nothing,
        landmarks=nothing[:, :5, :2],
        pose=nothing[:, 0],
        embeddings=nothing[:, :128, 0],
        age=nothing[:, 0, 0],
    )
    text = written(tmp_path, name, [Result("a.jpg", holed)]).read_text()
    assert re.search(r"\b(nan|inf|infinity|-?922337\d+)\b", text, re.IGNORECASE) is None


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_holds_no_results_at_all(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, [])
    if path.suffix == ".json":
        json.loads(path.read_text())
    else:
        assert rows_of(path) == []


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_is_complete_or_absent(tmp_path: Path, name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UnwritableOutput, match="faces"):
            written(tmp_path, name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_and_a_wrong_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match="openface, pyfeat, coco, compreface, deepface"):
        formats.write("dlib", tmp_path / "a.csv", [])
    with pytest.raises(UnwritableOutput, match=r"ends in \.json"):
        formats.write("coco", tmp_path / "a.csv", [])
    assert list(tmp_path.iterdir()) == []
