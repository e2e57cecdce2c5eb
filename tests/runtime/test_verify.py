"""Two faces are compared, and the answer says how often it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.core.errors import NoFace, UnreadablePicture
from mien.runtime.pipeline import Pipeline
from mien.runtime.verify import largest


def test_same_and_different_persons_are_told_apart(demo_photos: Path) -> None:
    same = mien.verify(demo_photos / "obama.jpg", demo_photos / "obama2.jpg")
    other = mien.verify(demo_photos / "obama.jpg", demo_photos / "biden.jpg")
    assert same.same
    assert not other.same
    assert same.similarity > other.similarity


def test_the_answer_carries_the_rates_of_the_recognisers_card(demo_photos: Path, pipeline: Pipeline) -> None:
    model = pipeline.model_for("embeddings")
    assert model is not None
    for mirror in (False, True):
        known = model.card.threshold("embeddings", mirrored=mirror)
        assert known is not None
        result = mien.verify(demo_photos / "obama.jpg", demo_photos / "obama2.jpg", mirror=mirror)
        assert (result.threshold, result.fmr, result.fnmr) == (known.value, known.fmr, known.fnmr)
        assert known.fmr_low < known.fmr < known.fmr_high
        assert result.data == known.data


def test_plain_and_mirrored_embeddings_have_thresholds_of_their_own(pipeline: Pipeline) -> None:
    model = pipeline.model_for("embeddings")
    assert model is not None
    plain, mirrored = (model.card.threshold("embeddings", mirrored=mirror) for mirror in (False, True))
    assert plain is not None
    assert mirrored is not None
    assert plain.value != mirrored.value


def test_a_threshold_of_ones_own_decides_but_has_no_known_rates(demo_photos: Path) -> None:
    result = mien.verify(demo_photos / "obama.jpg", demo_photos / "obama2.jpg", threshold=0.9999)
    assert result.same is False
    assert (result.fmr, result.fnmr, result.data) == (None, None, "")


def test_order_does_not_matter_and_a_picture_equals_itself(demo_photos: Path) -> None:
    first, second = demo_photos / "obama.jpg", demo_photos / "obama3.jpg"
    assert mien.verify(first, second).similarity == pytest.approx(
        mien.verify(second, first).similarity, abs=1e-6
    )
    assert mien.verify(first, first).similarity == pytest.approx(1.0, abs=1e-6)


def test_the_largest_face_is_compared(demo_photos: Path) -> None:
    faces = mien.analyze(demo_photos / "obama.jpg", ["boxes"])
    smaller = faces.scaled(0.5, faces.picture_size)
    assert largest(type(faces).concatenate([smaller, faces])) == faces


def test_nothing_to_compare_is_a_clear_error(demo_photos: Path, tmp_path: Path) -> None:
    blank = np.full((200, 200, 3), 127, np.uint8)
    with pytest.raises(NoFace, match="no face was found"):
        mien.verify(demo_photos / "obama.jpg", blank)
    with pytest.raises(UnreadablePicture, match="no such file"):
        mien.verify(tmp_path / "nothing.jpg", demo_photos / "obama.jpg")


def test_the_result_as_plain_values_holds_what_json_can(demo_photos: Path) -> None:
    result = mien.verify(demo_photos / "obama.jpg", demo_photos / "obama2.jpg")
    plain = result.to_dict()
    assert plain["similarity"] == result.similarity
    assert plain["first_box"] == result.first.boxes[0].tolist()
    assert "first" not in plain
    assert replace(result, same=None).to_dict()["same"] is None
