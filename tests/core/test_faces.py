"""`Faces` keeps its arrays together."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mien.core.faces import Faces


def made(count: int, source: str = "a.jpg", **more: object) -> Faces:
    random = np.random.default_rng(count)
    corners = random.uniform(0, 50, (count, 2))
    return Faces(
        boxes=np.concatenate([corners, corners + 20], axis=1),
        scores=random.uniform(0, 1, count).astype(np.float32),
        landmarks=random.uniform(0, 50, (count, 5, 2)).astype(np.float32),
        picture_size=(100, 80),
        source=source,
        **more,  # type: ignore[arg-type]
    )


def test_length_and_known_fields() -> None:
    faces = made(3)
    assert len(faces) == 3
    assert faces.known() == ("boxes", "scores", "landmarks")
    assert faces.embeddings is None


def test_arrays_are_read_only_and_the_caller_s_stay_writeable() -> None:
    boxes = np.zeros((2, 4), np.float32)
    faces = Faces(boxes=boxes, scores=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        faces.boxes[0, 0] = 1
    boxes[0, 0] = 1


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="scores has 3 rows for 2 faces"):
        Faces(boxes=np.zeros((2, 4), np.float32), scores=np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (0, [0]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([2, 0], [2, 0]),
        (np.array([True, False, False, True]), [0, 3]),
    ],
)
def test_indexing_picks_the_same_rows_of_every_field(key: object, expected: list[int]) -> None:
    faces = made(4)
    part = faces[key]  # type: ignore[index]
    assert np.array_equal(part.boxes, faces.boxes[expected])
    assert part.landmarks is not None
    assert faces.landmarks is not None
    assert np.array_equal(part.landmarks, faces.landmarks[expected])


def test_index_out_of_range() -> None:
    with pytest.raises(IndexError, match="face 4 of 4"):
        made(4)[4]


def test_concatenation_of_slices_gives_the_whole_back() -> None:
    faces = made(5)
    assert Faces.concatenate([faces[:2], Faces.empty(), faces[2:]]) == faces


def test_concatenation_of_different_pictures_forgets_the_source() -> None:
    joined = Faces.concatenate([made(2), made(3, "b.jpg")])
    assert len(joined) == 5
    assert joined.source == ""


def test_concatenation_refuses_fields_known_in_some_parts_only() -> None:
    with pytest.raises(ValueError, match="age is known in some"):
        Faces.concatenate([made(2), made(2, age=np.zeros(2))])


def test_concatenation_refuses_different_models() -> None:
    with pytest.raises(ValueError, match="different models"):
        Faces.concatenate([made(1, makers={"boxes": "a 1"}), made(1, makers={"boxes": "b 1"})])


def test_dictionary_round_trip() -> None:
    faces = made(2, expression=np.full((2, 2), 0.5), label_names={"expression": ("sad", "happy")})
    again = Faces.from_dict(faces.to_dict())
    assert again == faces
    assert again.best("expression") == ["sad", "sad"]


def test_empty_round_trip() -> None:
    faces = Faces.empty((10, 20), "x.png")
    assert Faces.from_dict(faces.to_dict()) == faces


def test_labels_name_those_that_exist() -> None:
    with pytest.raises(KeyError, match="landmarks"):
        made(1).labels("age")


def test_scaling_touches_places_only() -> None:
    faces = made(2)
    twice = faces.scaled(2, (200, 160))
    assert np.allclose(twice.boxes, 2 * faces.boxes)
    assert np.array_equal(twice.scores, faces.scores)
    assert twice.picture_size == (200, 160)


def test_faces_travel_to_another_process_unchanged() -> None:
    faces = made(2, label_names={"expression": ("happiness", "anger")}, makers={"boxes": "a 1"})
    there = pickle.loads(pickle.dumps(faces))
    assert there == faces
    with pytest.raises(ValueError, match="read-only"):
        there.boxes[0, 0] = 1
    with pytest.raises(TypeError):
        there.makers["boxes"] = "b"
