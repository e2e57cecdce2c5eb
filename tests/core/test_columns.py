"""Rows of a table hold all of `Faces`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien.core.columns import from_records, names_of, records, to_arrow
from mien.core.faces import Faces
from mien.core.fields import FIELDS, Kind

_POINTS = {"mesh": (468, 3), "landmarks68": (68, 2), "irises": (10, 2)}
_NUMBERS = st.floats(width=32, allow_infinity=True, allow_nan=True)


@st.composite
def some_faces(draw: st.DrawFn) -> Faces:
    count = draw(st.integers(1, 4))
    values: dict[str, npt.NDArray[np.float32]] = {}
    label_names: dict[str, tuple[str, ...]] = {}
    optional = [name for name in FIELDS if name not in ("boxes", "scores")]
    for name in ("boxes", "scores", *draw(st.sets(st.sampled_from(optional)))):
        field = FIELDS[name]
        tail: tuple[int, ...] = ()
        if field.kind is Kind.BOX:
            tail = (4,)
        elif field.kind is Kind.POINTS:
            tail = _POINTS.get(name, (5, 2))
        elif field.kind is Kind.EMBEDDING:
            tail = (draw(st.integers(1, 8)),)
        elif field.kind is not Kind.SCALAR:
            labels = draw(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True).map(tuple))
            own = name != "pose" and draw(st.booleans())
            if own and labels not in ((name,), field.labels):
                label_names[name] = labels
            elif field.labels:
                labels = field.labels
            tail = (len(labels),)
        values[name] = draw(arrays.arrays(np.float32, (count, *tail), elements=_NUMBERS))
    return Faces(
        **values,  # type: ignore[arg-type]
        picture_size=draw(st.tuples(st.integers(0, 9999), st.integers(0, 9999))),
        source=draw(st.text()),
        label_names=label_names,
    )


@settings(max_examples=150, deadline=None)
@given(some_faces())
def test_rows_round_trip_every_field_and_its_labels(faces: Faces) -> None:
    assert from_records(records(faces)) == faces


def rows() -> list[dict[str, Any]]:
    faces = Faces(
        boxes=np.array([[1, 2, 3, 4], [5, 6, 7, 8]]),
        scores=np.array([0.5, 0.25]),
        pose=np.array([[1, 2, 3], [4, 5, 6]]),
        expression=np.array([[0.25, 0.75], [1, 0]]),
        embeddings=np.eye(2, dtype=np.float32),
        source="a.jpg",
        picture_size=(9, 9),
        label_names={"expression": ("sad", "happy")},
    )
    return records(faces)


def test_named_numbers_have_columns_of_their_own() -> None:
    row = rows()[0]
    assert row["x2"] == 3
    assert (row["yaw"], row["pitch"], row["roll"]) == (1, 2, 3)
    assert row["expression.happy"] == 0.75
    assert row["embeddings"] == [1, 0]
    assert row["face"] == 0


def test_columns_of_a_wider_table_that_hold_nothing_are_unknown_fields() -> None:
    wide = [{**row, "age": None, "mesh": None, "quality.Sharpness": None, "error": None} for row in rows()]
    assert from_records(wide) == from_records(rows())


def test_a_missing_number_is_nan() -> None:
    holed = rows()
    holed[0]["expression.sad"] = None
    holed[1]["embeddings"] = None
    faces = from_records(holed)
    assert faces.expression is not None
    assert faces.embeddings is not None
    assert np.isnan(faces.expression).tolist() == [[True, False], [False, False]]
    assert np.isnan(faces.embeddings).tolist() == [[False, False], [True, True]]


def test_a_row_without_a_face_is_a_picture_without_faces() -> None:
    row = {"source": "a.jpg", "face": None, "picture_width": 4, "picture_height": 3}
    assert from_records([row]) == Faces.empty((4, 3), "a.jpg")
    assert from_records([]) == Faces.empty()


def test_a_face_without_a_box_is_refused_by_name() -> None:
    broken = rows()
    del broken[1]["y2"]
    with pytest.raises(ValueError, match=r"a\.jpg has no column 'y2'"):
        from_records(broken)


def test_a_field_that_does_not_fit_its_labels_stays_a_list_of_its_own() -> None:
    odd = Faces(
        boxes=np.zeros((1, 4), np.float32),
        scores=np.zeros(1, np.float32),
        landmarks=np.zeros((1, 4, 2), np.float32),
    )
    assert records(odd)[0]["landmarks"] == [0.0] * 8
    assert from_records(records(odd)) == odd


def test_arrow_keeps_the_columns_of_every_part() -> None:
    plain = Faces(boxes=np.zeros((1, 4), np.float32), scores=np.zeros(1, np.float32))
    table = to_arrow([plain, plain.with_fields(age=np.array([30.0], np.float32))])
    assert table.column("age").to_pylist() == [None, 30.0]
    assert names_of(plain, "age") == ("age",)
