"""Models that users bring, added with their cards, run through the same pipeline on real photos."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core import geometry
from mien.core.card import Card
from mien.core.errors import CardError, ConversionError, MienError
from mien.core.faces import Faces
from mien.runtime import assets
from mien.runtime.convert import mediapipe
from mien.runtime.detect import Search
from mien.runtime.pipeline import Options, Pipeline

FILES = {
    "yunet": "face_detection_yunet_2023mar",
    "scrfd-500m": "det_500m",
    "ultraface": "version-RFB-320",
    "minifasnet": "2.7_80x80_MiniFASNetV2",
    "genderage": "genderage_v1",
    "mobilefacenet": "mobilefacenet_foamliu",
    "landmarks68-peppa": "peppa_slim_160",
    "fer-mini-xception": "fer_mini_xception",
}
NOT_RUN_HERE = ["arcface-w600k-r50", "arcface-w600k-mbf", "sface", "ferplus-vgg13"]
PHOTOS = ["astronaut.png", "biden.jpg", "grace_hopper.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"]
LOOSE = ["centerface", "yunet", "scrfd-500m", "ultraface"]
# MediaPipe's boxes reach from the brows to the chin only.
TIGHT = ["blazeface-back", "blazeface-full-range", "blazeface-short-range"]


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Path]:
    """Point MIEN_MODELS at a folder that has the models of this machine and the eight that a user adds."""
    folder = tmp_path_factory.mktemp("models")
    for entry in assets.installed():
        if assets.table()[entry.card.name].shipped:
            continue
        for path in (entry.path, entry.path.with_suffix(".json")):
            shutil.copy(path, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(assets.MODELS, str(folder))
        for name, file in FILES.items():
            assets.add(shared_data / "weights" / f"{file}.onnx", assets.table()[name].card)
        yield folder


@pytest.fixture(scope="module")
def by_detector(brought: Path, demo_photos: Path) -> dict[str, list[Faces]]:
    found = {}
    for name in (*LOOSE, *TIGHT):
        pipeline = Pipeline(Options(want=("keypoints", "presence"), models=(name,), threads=1))
        assert pipeline.makers["boxes"].startswith(name)
        found[name] = [pipeline.analyze(demo_photos / photo) for photo in PHOTOS]
    return found


@pytest.fixture(scope="module")
def described(brought: Path, demo_photos: Path) -> dict[str, Faces]:
    """Return the best face of each photo with all that the brought describers make."""
    want = ("liveness", "gender", "age", "landmarks68", "expression", "mesh", "embeddings")
    pipeline = Pipeline(Options(want=want, models=("mobilefacenet",), threads=1))
    return {photo: pipeline.analyze(demo_photos / photo)[:1] for photo in PHOTOS}


def test_detectors_agree_on_every_photo(by_detector: dict[str, list[Faces]]) -> None:
    names = list(by_detector)
    table = np.array(
        [
            [
                min(
                    float(geometry.iou(a.boxes[:1], b.boxes[:1])[0, 0])
                    for a, b in zip(by_detector[one], by_detector[other], strict=True)
                )
                for other in names
            ]
            for one in names
        ]
    )
    print(f"\nleast IoU of the best boxes over {len(PHOTOS)} photos")
    print(" " * 22, *(f"{name[:10]:>10}" for name in names))
    for name, row in zip(names, table, strict=True):
        print(f"{name:22}", *(f"{value:10.2f}" for value in row))
    loose, tight = len(LOOSE), len(TIGHT)
    assert table[:loose, :loose].min() > 0.7
    assert table[-tight:, -tight:].min() > 0.6
    # A brow-to-chin box inside a hair-to-chin box cannot overlap it more than their areas' ratio.
    assert table[:loose, -tight:].min() > 0.5


def test_five_points_agree_between_detectors(by_detector: dict[str, list[Faces]]) -> None:
    for index in range(len(PHOTOS)):
        points = {
            name: np.asarray(faces[index].keypoints)[0]
            for name, faces in by_detector.items()
            if name != "ultraface"  # it has none: the pipeline guesses them from its box
        }
        eyes = float(np.hypot(*(points["centerface"][1] - points["centerface"][0])))
        for name, five in points.items():
            gaps = np.hypot(*(five - points["centerface"]).T) / eyes
            assert gaps.max() < 0.3, (name, PHOTOS[index])


def test_each_photo_has_one_face_for_every_detector_that_can_be_trusted(
    by_detector: dict[str, list[Faces]],
) -> None:
    for name in ("centerface", "yunet", "scrfd-500m", "ultraface", "blazeface-back", "blazeface-full-range"):
        assert [len(faces) for faces in by_detector[name]] == [1] * len(PHOTOS), name


def test_photos_of_people_are_live(described: dict[str, Faces]) -> None:
    chances = {photo: float(np.asarray(faces.liveness)[0]) for photo, faces in described.items()}
    print(f"\nliveness {chances}")
    assert min(chances.values()) > 0.9


@pytest.mark.parametrize(
    ("photo", "gender", "low", "high"),
    [
        ("astronaut.png", "female", 25, 50),  # Eileen Collins, about 36
        ("grace_hopper.jpg", None, 60, 95),  # in her seventies; the model takes her for a man
        ("obama.jpg", "male", 40, 65),  # 51
        ("obama2.jpg", "male", 38, 62),  # 48
        ("biden.jpg", "male", 55, 80),  # 67
    ],
)
def test_age_and_gender_are_plausible(
    photo: str, gender: str | None, low: float, high: float, described: dict[str, Faces]
) -> None:
    faces = described[photo]
    assert low <= float(np.asarray(faces.age)[0]) <= high
    if gender:
        chances = dict(zip(faces.labels("gender"), np.asarray(faces.gender)[0], strict=True))
        assert chances[gender] > 0.7


def test_expressions_are_those_one_sees(described: dict[str, Faces]) -> None:
    for photo, seen in (("astronaut.png", "happiness"), ("obama.jpg", "happiness"), ("biden.jpg", "neutral")):
        faces = described[photo]
        chances = np.asarray(faces.expression)[0]
        assert faces.labels("expression")[int(chances.argmax())] == seen


# Places that both orders name: iBUG's index, the mesh's.
SAME_PLACES = {
    "left eye's outer corner": (36, 33),
    "left eye's inner corner": (39, 133),
    "right eye's inner corner": (42, 362),
    "right eye's outer corner": (45, 263),
    "nose tip": (30, 4),
    "left mouth corner": (48, mediapipe.LEFT_MOUTH),
    "right mouth corner": (54, mediapipe.RIGHT_MOUTH),
    "chin": (8, 152),
}


@pytest.mark.parametrize("photo", PHOTOS)
def test_68_landmarks_lie_where_the_mesh_has_them(photo: str, described: dict[str, Faces]) -> None:
    few, many = np.asarray(described[photo].landmarks68)[0], np.asarray(described[photo].mesh)[0]
    assert few.shape == (68, 2)
    eyes = float(np.hypot(*(many[263, :2] - many[33, :2])))
    gaps = {place: float(np.hypot(*(few[a] - many[b, :2]))) / eyes for place, (a, b) in SAME_PLACES.items()}
    assert max(gaps.values()) < 0.25, gaps
    assert np.mean(list(gaps.values())) < 0.12, gaps


def test_mobilefacenet_knows_the_same_person(described: dict[str, Faces]) -> None:
    vectors = np.concatenate([np.asarray(described[photo].embeddings) for photo in PHOTOS])
    similar = vectors @ vectors.T
    same = [photo.startswith("obama") for photo in PHOTOS]
    mated = np.outer(same, same) | np.eye(len(PHOTOS), dtype=bool)
    assert similar[mated].min() > 0.5
    assert similar[~mated].max() < 0.3


# The least change that makes each card wrong for its file, and what the refusal has to name.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "yunet": ({"input": {"width": 320, "height": 320}, "adapter": "ultraface"}, "expected"),
    "scrfd-500m": ({"adapter": "yunet"}, "expected the outputs"),
    "ultraface": ({"input": {"width": 640, "height": 480}}, "the card says 480 .* the graph has 240"),
    "minifasnet": (
        {"crop": {"kind": "box", "width": 112, "height": 112}},
        "the card says 112 .* the graph has 80",
    ),
    "genderage": ({"makes": [{"field": "embeddings"}]}, "no output named 'embeddings'"),
    "mobilefacenet": ({"adapter": "arcface"}, "embedding .*512"),
    "landmarks68-peppa": ({"makes": [{"field": "mesh"}]}, "no output named 'mesh'"),
    "fer-mini-xception": (
        {"makes": [{"field": "expression", "labels": ["happy", "sad"]}]},
        "7 columns for 2 labels",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_card_is_refused_with_what_is_wrong(name: str, brought: Path, shared_data: Path) -> None:
    change, reason = WRONG[name]
    right = assets.table()[name].card
    wrong = Card.from_json(json.dumps({**json.loads(right.to_json()), **change, "name": f"wrong-{name}"}))
    with pytest.raises((CardError, ConversionError), match=reason):
        assets.add(shared_data / "weights" / f"{FILES[name]}.onnx", wrong)
    assert assets.state(f"wrong-{name}") == "absent"


@pytest.mark.parametrize("name", FILES)
def test_a_grey_card_for_a_colour_model_is_refused_and_the_other_way_round(
    name: str, brought: Path, shared_data: Path
) -> None:
    card = assets.table()[name].card
    wrong = replace(card, name=f"grey-{name}", input=replace(card.input, grey=not card.input.grey))
    with pytest.raises(CardError, match=r"the card says [13] for axis 1 of the input, the graph has [13]"):
        assets.add(shared_data / "weights" / f"{FILES[name]}.onnx", wrong)


@pytest.mark.parametrize("name", FILES)
def test_the_table_knows_the_files_checksums(name: str, shared_data: Path) -> None:
    data = (shared_data / "weights" / f"{FILES[name]}.onnx").read_bytes()
    assert hashlib.sha256(data).hexdigest() == assets.table()[name].sha256
    assert assets.table()[name].card.run_here


@pytest.mark.parametrize("name", NOT_RUN_HERE)
def test_cards_of_files_not_at_hand_say_so_and_are_complete(name: str) -> None:
    card = assets.table()[name].card
    assert not card.run_here
    assert not assets.table()[name].sha256
    assert card.crop is not None
    if "embeddings" in card.fields:
        assert (card.crop.template, card.crop.width, card.crop.height) == ("arcface", 112, 112)
    else:
        assert (card.crop.width, card.crop.height, card.input.grey) == (64, 64, True)
        # The order of FER+ in the ONNX model zoo.
        assert card.makes[0].labels == (
            "neutral",
            "happiness",
            "surprise",
            "sadness",
            "anger",
            "disgust",
            "fear",
            "contempt",
        )
    assert "insightface" not in card.source or not card.licence.commercial


def test_permissive_terms_keep_others_out_of_the_pipeline(brought: Path) -> None:
    assert {entry.card.name for entry in assets.installed()} > {"scrfd-500m", "genderage"}
    pipeline = Pipeline(Options(terms="permissive", threads=1))
    assert all(model.card.licence.commercial for model in pipeline.models())
    with pytest.raises(MienError, match="age"):
        Pipeline(Options(want=("age",), terms="permissive", threads=1))
    assert Pipeline(Options(want=("age",), threads=1)).makers["age"].startswith("genderage")


@pytest.mark.parametrize("way", ["name", "file"])
def test_a_named_model_that_is_not_permissive_is_refused_with_its_terms(way: str, brought: Path) -> None:
    named = "scrfd-500m" if way == "name" else str(brought / "scrfd-500m.onnx")
    with pytest.raises(CardError, match=r"insightface non-commercial research.*permissive"):
        Pipeline(Options(models=(named,), terms="permissive", threads=1))
    assert (
        Pipeline(Options(want=("boxes",), models=(named,), threads=1))
        .makers["boxes"]
        .startswith("scrfd-500m")
    )


def test_permissive_terms_reach_through_the_doors(brought: Path, demo_photos: Path) -> None:
    import mien

    photo = demo_photos / "astronaut.png"
    with pytest.raises(CardError, match="permissive"):
        mien.analyze(photo, models=["genderage"], terms="permissive", threads=1)
    with pytest.raises(CardError, match="permissive"):
        mien.verify(photo, photo, models=["scrfd-500m"], terms="permissive", threads=1)
    with pytest.raises(ValueError, match="terms"):
        mien.analyze(photo, terms="permisive", threads=1)


def test_a_second_opinion_is_asked_only_when_wanted(brought: Path) -> None:
    plain = Pipeline(Options(want=("boxes",), search=Search(confirm=False), threads=1))
    assert [model.card.name for model in plain.models()] == ["centerface"]
    asked = Pipeline(Options(want=("boxes",), threads=1))
    assert [model.card.name for model in asked.models()] == ["centerface", "face-mesh"]
    assert plain.contract != asked.contract
