"""The flat columns of `Faces`: one row a face, one name for each number, the same in every table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mien.core.faces import Faces
from mien.core.fields import FIELDS, Kind

if TYPE_CHECKING:
    import pyarrow

BOX = ("x1", "y1", "x2", "y2")
# Fields that are spread over columns of their own, one for each label; the others stay lists.
_SPREAD = (Kind.PROBABILITIES, Kind.VALUES)


def names_of(faces: Faces, field: str) -> tuple[str, ...]:
    """Return the columns of a field: one for a number or a list, several where its numbers have names.

    `boxes` becomes x1 y1 x2 y2, `landmarks` left_eye_x left_eye_y ..., `pose` yaw pitch roll, `expression`
    expression.happiness ...; dense points and embeddings stay one column with a list of numbers.
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
    """Return a row for each face: source, face (its index), the picture's size, and the columns of its fields."""
    rows: list[dict[str, Any]] = [
        {
            "source": faces.source,
            "face": index,
            "picture_width": faces.picture_size[0],
            "picture_height": faces.picture_size[1],
        }
        for index in range(len(faces))
    ]
    for field in faces.known():
        columns = names_of(faces, field)
        values = getattr(faces, field).reshape(len(faces), -1).tolist()
        for row, numbers in zip(rows, values, strict=True):
            if len(columns) == len(numbers):
                row.update(zip(columns, numbers, strict=True))
            else:
                row[columns[0]] = numbers
    return rows


def to_arrow(parts: Sequence[Faces]) -> pyarrow.Table:
    """Return one table over several results, a row a face.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    from mien.core.errors import MissingExtra

    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("pyarrow", "tables") from error
    return pyarrow.Table.from_pylist([row for faces in parts for row in records(faces)])
