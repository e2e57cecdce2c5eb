"""What a recogniser sees in people's faces is computed once, and is of the people of the part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.data.people import people
from mien.train import distil, embedded
from mien.train.distil import Teacher


def test_faces_are_embedded_once_and_people_are_nearer_to_themselves(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    monkeypatch.setattr(distil, "cache_folder", lambda: tmp_path)
    faces = embedded.embedded("valid", most=3)
    known = people("valid", 112)
    first = np.unique(known.columns["person"])[:3]
    assert set(faces.person.tolist()) == set(first.tolist())
    assert len(faces) == np.isin(known.columns["person"], first).sum()
    assert np.linalg.norm(faces.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosines, same = faces.vectors @ faces.vectors.T, faces.person[:, None] == faces.person
    assert cosines[same].mean() > cosines[~same].mean() + 0.3
    monkeypatch.setattr(Teacher, "embed", None)
    assert np.array_equal(embedded.embedded("valid", most=3).vectors, faces.vectors)
