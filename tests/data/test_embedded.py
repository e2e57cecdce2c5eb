"""Made people are spread as those they were fitted to, and are the same for a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien.core.grouping import nearest
from mien.data import embedded
from mien.data.embedded import Embedded, Population, neighbours


def real(seed: int = 0, people: int = 600) -> Embedded:
    """Return embeddings of 24 numbers whose faces stray by very different amounts, one to nine a person."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people) * 3, random.integers(1, 10, people))
    scale = np.linspace(1.6, 0.2, 24)
    centres = 0.1 + random.standard_normal((people, 24)) * scale
    _, place = np.unique(person, return_inverse=True)
    far = np.exp(0.7 * random.standard_normal(len(person)))[:, None]
    vectors = centres[place] + 0.5 * far * random.standard_normal((len(person), 24)) * scale[::-1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embedded("drawn", "train", vectors.astype(np.float32), person)


def cosines(faces: Embedded) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return cosines of pairs of one person, one pair a person, and of two people."""
    order = np.argsort(faces.person, kind="stable")
    same = np.flatnonzero(np.diff(faces.person[order]) == 0)
    same = same[np.unique(faces.person[order][same], return_index=True)[1]]
    within = np.einsum("nd,nd->n", faces.vectors[order[same]], faces.vectors[order[same + 1]])
    random = np.random.default_rng(1)
    one, other = random.integers(0, len(faces), (2, 40_000))
    kept = faces.person[one] != faces.person[other]
    return within, np.einsum("nd,nd->n", faces.vectors[one[kept]], faces.vectors[other[kept]])


def test_cosines_within_and_between_people_are_spread_as_real_ones() -> None:
    given = real()
    made = Population.fit(given).draw(6000, 1, "made")
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for ours, theirs in zip(cosines(made), cosines(given), strict=True):
        assert np.quantile(ours, levels) == pytest.approx(np.quantile(theirs, levels), abs=0.06)
    assert np.linalg.norm(made.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_people_have_as_many_faces_as_real_ones() -> None:
    given = real()
    made = Population.fit(given).draw(6000, 1, "made")
    _, sizes = np.unique(made.person, return_counts=True)
    _, wanted = np.unique(given.person, return_counts=True)
    assert len(made) == 6000
    for size in range(1, 10):
        assert (sizes == size).mean() == pytest.approx((wanted == size).mean(), abs=0.05)
    # People are not side by side.
    assert (np.diff(made.person) == 0).mean() < 0.01


def test_a_seed_makes_the_same_people_and_another_one_others() -> None:
    population = Population.fit(real(people=60))
    one, again, other = (population.draw(300, seed, "made") for seed in (1, 1, 2))
    assert one.sha256 == again.sha256 != other.sha256
    assert (one.vectors @ other.vectors.T).max() < 0.999


def test_people_of_one_face_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="two people with two faces"):
        Population.fit(Embedded("drawn", "train", np.eye(4, dtype=np.float32), np.array([0, 0, 1, 2])))


def test_the_digest_knows_people_and_embeddings_but_not_their_last_digits() -> None:
    faces = real(people=20)
    shaken = Embedded("drawn", "train", faces.vectors, faces.person + 1)
    moved = Embedded("drawn", "train", -faces.vectors, faces.person)
    assert len({faces.sha256, shaken.sha256, moved.sha256}) == 3
    assert faces.used.rows == len(faces)
    assert faces.used.sha256 == faces.sha256


def test_neighbours_are_stored_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STORED", 10)
    monkeypatch.setattr(embedded, "cache_folder", lambda: tmp_path)
    faces = real(people=20)
    expected = nearest(faces.vectors, 4)
    assert neighbours(faces, 4).indices.tolist() == expected.indices.tolist()
    monkeypatch.setattr(embedded, "nearest", None)
    again = neighbours(faces, 4)
    assert again.indices.tolist() == expected.indices.tolist()
    assert again.cosines.tolist() == expected.cosines.tolist()


def test_the_spread_of_people_is_told_apart_from_that_of_their_faces() -> None:
    random = np.random.default_rng(4)
    person = np.repeat(np.arange(4000), random.integers(1, 4, 4000))
    wanted = np.array([1.0, 0.5, 0.2, 0.1])
    vectors = (random.standard_normal((4000, 4)) * np.sqrt(wanted))[person]
    vectors += random.standard_normal(vectors.shape)
    fitted = Population.fit(Embedded("drawn", "train", vectors.astype(np.float32), person))
    np.testing.assert_allclose(fitted.between @ fitted.between.T, np.diag(wanted), atol=0.08)
    np.testing.assert_allclose(fitted.within @ fitted.within.T, np.eye(4), atol=0.08)
