"""Landmarks beside a set: stored by content, read back for any rows, found where the face is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

import madesets
from mien.cli.app import app
from mien.data.landmarks import Landmarks, LandmarksMissing, folder_of, landmarks, missing, store
from mien.data.reader import Images, load
from mien.runtime.pipeline import Pipeline


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of sets, with the models at hand and no landmarks stored."""
    monkeypatch.setenv("MIEN_DATA", str(tmp_path / "sets"))
    # The models stay where they are, so the whole cache cannot be another.
    for module in ("landmarks", "cache"):
        monkeypatch.setattr(f"mien.data.{module}.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "sets"


def _noise(sets: Path, *seeds: int) -> Images:
    files = [madesets.encoded(madesets.picture(seed)) for seed in seeds]
    madesets.split(sets / "made" / "train.parquet", files)
    return load("made", "train")


def _random(count: int, seed: int = 0) -> Landmarks:
    random = np.random.default_rng(seed)
    return Landmarks(random.random((count, 468, 2), np.float32), random.random(count, np.float32))


def test_rows_find_their_own_landmarks_in_any_order_and_however_often_they_occur(sets: Path) -> None:
    images = _noise(sets, 5, 1, 4, 1, 3)
    found = _random(4)
    store(images.take([0, 1]), Landmarks(found.mesh[:2], found.presence[:2]))
    store(images.take([2, 4]), Landmarks(found.mesh[2:], found.presence[2:]))
    of = [3, 0, 1, 2]  # rows 4, 0, 3 (which repeats row 1), 2
    read = landmarks(images.take([4, 0, 3, 2]))
    np.testing.assert_allclose(read.mesh, found.mesh[of], atol=5e-4)
    np.testing.assert_array_equal(read.presence, found.presence[of])


def test_what_is_lacking_is_told(sets: Path) -> None:
    images = _noise(sets, 1, 2, 3)
    assert missing(images).all()
    store(images.take([1]), _random(1))
    assert missing(images).tolist() == [True, False, True]
    with pytest.raises(LandmarksMissing, match=r"2 of 3 pictures of made/train.*mien data landmarks made"):
        landmarks(images)


def test_landmarks_of_other_rows_are_refused(sets: Path) -> None:
    with pytest.raises(ValueError, match="2 landmarks for 3 rows"):
        store(_noise(sets, 1, 2, 3), _random(2))


def test_points_are_means_of_vertices() -> None:
    found = _random(2)
    points = found.points([(7,), (1, 2)])
    np.testing.assert_allclose(points[:, 0], found.mesh[:, 7])
    np.testing.assert_allclose(points[:, 1], (found.mesh[:, 1] + found.mesh[:, 2]) / 2)


def test_the_command_finds_what_analyze_finds(
    sets: Path, astronaut: npt.NDArray[np.uint8], pipeline: Pipeline
) -> None:
    left, top, side = 165, 62, 130  # the face as FER2013 cuts it
    face = Image.fromarray(astronaut).crop((left, top, left + side, top + side))
    other = Image.fromarray(np.asarray(face)[:, ::-1])
    files = [madesets.encoded(np.asarray(picture)) for picture in (face, other)]
    madesets.split(sets / "made" / "train.parquet", files)
    for looked_at in (2, 0):
        done = CliRunner().invoke(app, ["data", "landmarks", "made", "--json"])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)["splits"]["train"]
        assert told == {"rows": 2, "found_now": looked_at, "sure": 1.0}
    found = landmarks(load("made", "train"))
    known = pipeline.analyze(astronaut).mesh
    assert known is not None
    between_eyes = np.hypot(*(known[0, 33, :2] - known[0, 263, :2]))
    error = found.mesh[0] * side + (left, top) - known[0, :, :2]
    assert np.hypot(*error.T).mean() < 0.06 * between_eyes
    # the mirrored face's points are the mirrored points: the eyes' corners change places
    np.testing.assert_allclose(found.mesh[1, 33, 0], 1 - found.mesh[0, 263, 0], atol=0.03)
    assert len(list(folder_of("made").glob("*.npz"))) == 1
