"""Faces with attributes: people apart, labels as CelebA names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.core.labels import CELEBA_ATTRIBUTES
from mien.data.attributes import attributed, attributes


@pytest.fixture(autouse=True)
def data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))


def test_no_person_is_in_two_parts_and_all_faces_are_in_one() -> None:
    parts = [attributed(part, 32) for part in ("train", "valid", "test")]
    people = [set(part.columns["identity"].tolist()) for part in parts]
    assert len(set.union(*people)) == sum(map(len, people))
    assert sum(map(len, parts)) == 8014
    shares = [len(part) / 8014 for part in parts]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_labels_stand_in_celebas_order() -> None:
    images = attributed("test", 32)
    labels = attributes(images)
    assert labels.shape == (len(images), 40)
    assert set(np.unique(labels)) == {0, 1}
    for name in ("Male", "Wearing_Hat", "Young"):
        np.testing.assert_array_equal(labels[:, CELEBA_ATTRIBUTES.index(name)], images.columns[name])
