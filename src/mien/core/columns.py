"""The flat columns of `Faces`: one row a face, one name for each number, the same in every table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core.faces import Faces
from mien.core.fields import FIELDS, Floats, Kind

if TYPE_CHECKING:
    import pyarrow

BOX = ("x1", "y1", "x2", "y2")
# Fields that are spread over columns of their own, one for each label; the others stay lists.
_SPREAD = (Kind.PROBABILITIES, Kind.VALUES)


def names_of(faces: Faces, field: str) -> tuple[str, ...]:
    """Return the columns of a field: one for a number or a list, several where its numbers have names.

    `boxes` becomes x1 y1 x2 y2, `landmarks` left_eye_x left_eye_y ..., `pose` yaw pitch roll, `expression`
    expression.happiness ...; dense points, embeddings and what has no names stay one column with a list.
    """
    kind = FIELDS[field].kind
    if kind is Kind.BOX:
        return BOX
    if field == "scores":
        return ("score",)
    if field == "pose":
        return FIELDS["pose"].labels
    if field == "landmarks":
        return tuple(f"{label}_{axis}" for label in FIELDS[field].labels for axis in "xy")
    if kind in _SPREAD:
        try:
            return tuple(f"{field}.{label}" for label in faces.labels(field))
        except KeyError:
            return (field,)
    return (field,)


def records(faces: Faces) -> list[dict[str, Any]]:
    """Return a row for each face: source, face (its index), the picture's size, the columns of its fields."""
    rows: list[dict[str, Any]] = [
        {
            "source": faces.source,
            "face": index,
            "picture_width": faces.picture_size[0],
            "picture_height": faces.picture_size[1],
        }
        for index in range(len(faces))
    ]
    for field in faces.known() if rows else ():
        columns = names_of(faces, field)
        values = getattr(faces, field).reshape(len(faces), -1).tolist()
        spread = columns != (field,) or FIELDS[field].kind is Kind.SCALAR
        for row, numbers in zip(rows, values, strict=True):
            if spread and len(columns) == len(numbers):
                row.update(zip(columns, numbers, strict=True))
            else:
                row[field] = numbers
    return rows


def from_records(rows: Sequence[Mapping[str, Any]]) -> Faces:
    """Return the faces of one picture from its rows: the inverse of `records`, but for `makers`.

    Args:
        rows: as `records` made them, perhaps from a table of many pictures: columns that it does not know are
            left aside, and a field is known when any of its columns holds a number in any of the rows. None
            among numbers becomes NaN. One row with `face` None says that there is no face.

    Raises:
        ValueError: a row of a face without its box or score, or what should be a number is none.
    """
    first: Mapping[str, Any] = rows[0] if rows else {}
    size = (int(first.get("picture_width") or 0), int(first.get("picture_height") or 0))
    source = str(first.get("source") or "")
    rows = [row for row in rows if row.get("face") is not None]
    if not rows:
        return Faces.empty(size, source)
    for column in (*BOX, "score"):
        if not all(column in row for row in rows):
            raise ValueError(f"a row of a face in {source or 'a picture'} has no column {column!r}")
    present = list(dict.fromkeys(column for row in rows for column in row))
    fields: dict[str, Any] = {}
    label_names: dict[str, tuple[str, ...]] = {}
    for field in FIELDS:
        columns = _columns_of(field, present)
        if field not in ("boxes", "scores") and all(
            row.get(name) is None for row in rows for name in columns
        ):
            continue
        fields[field] = _array(field, columns, rows)
        labels = tuple(name.removeprefix(f"{field}.") for name in columns)
        if FIELDS[field].kind in _SPREAD and labels not in ((field,), FIELDS[field].labels):
            label_names[field] = labels
    return Faces(**fields, picture_size=size, source=source, label_names=label_names)


def _columns_of(field: str, present: Sequence[str]) -> list[str]:
    """Return which of the columns that are present hold a field, in order."""
    if field in present:
        return [field]
    named = [name for name in present if name.startswith(f"{field}.")]
    if named:
        return named
    fixed = names_of(Faces.empty(), field)
    return list(fixed) if all(name in present for name in fixed) else []


def _array(field: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Floats:
    if list(columns) == [field] and FIELDS[field].kind is not Kind.SCALAR:
        lists = [row.get(field) or [] for row in rows]
        width = max(map(len, lists))
        numbers = [[*map(_number, values), *[math.nan] * (width - len(values))] for values in lists]
    else:
        numbers = [[_number(row.get(name)) for name in columns] for row in rows]
    array = np.array(numbers, np.float32)
    if FIELDS[field].kind is Kind.SCALAR:
        return array.reshape(len(rows))
    if FIELDS[field].kind is Kind.POINTS:
        return array.reshape(len(rows), -1, 3 if field == "mesh" else 2)
    return array


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def to_arrow(parts: Sequence[Faces]) -> pyarrow.Table:
    """Return one table over several results, a row a face; its columns are the union of theirs.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    from mien.core.errors import MissingExtra

    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables") from error
    rows = [row for faces in parts for row in records(faces)]
    present = dict.fromkeys(name for row in rows for name in row)
    return pyarrow.table({name: [row.get(name) for row in rows] for name in present})
