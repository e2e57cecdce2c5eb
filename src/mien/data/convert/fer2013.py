"""FER2013 (fer2013.csv or icml_face_data.csv), joined by row with the votes of FER+ (fer2013new.csv)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mien.core.labels import FER2013_EXPRESSIONS, FERPLUS_VOTES
from mien.data.convert.layout import BadRow, Layout, Row, WrongLayout, first_of, lines_of, one_of, whole

_SPLITS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
_SIDE = 48


def read(path: Path) -> Layout:
    """Recognise the layout: a folder, or the .csv of the pictures itself.

    The columns are `emotion`, `pixels` and `Usage` in fer2013.csv; in icml_face_data.csv two names begin with
    a space and the order is another. fer2013new.csv has the same rows in the same order, which is checked by
    their usage.

    Raises:
        WrongLayout: a file or a column is missing, or the two tables are not of the same rows.
    """
    table = (
        path if path.is_file() else one_of(path, "fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv")
    )
    usages = _usages(table)
    plus = first_of(table.parent, "fer2013new.csv") or first_of(path, "fer2013new.csv")
    if plus is None:
        return Layout(_rows(table, None), len(usages), lacks=frozenset(FERPLUS_VOTES))
    votes = _votes(plus)
    if len(votes) != len(usages):
        raise WrongLayout(
            plus, f"has {len(votes)} rows and {table.name} {len(usages)}: not of the same release"
        )
    for number, (usage, vote) in enumerate(zip(usages, votes, strict=True)):
        if usage != vote["Usage"]:
            raise WrongLayout(plus, f"row {number} is of {vote['Usage']!r} and in {table.name} of {usage!r}")
    return Layout(_rows(table, votes), len(usages))


def _table(file: Path, needed: set[str]) -> Iterator[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            missing = sorted(needed - set(reader.fieldnames))
            if missing:
                raise WrongLayout(file, f"has no column {' nor '.join(missing)}")
            for row in reader:
                yield {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    except (OSError, ValueError, csv.Error) as error:
        raise WrongLayout(file, f"cannot read it as a table: {error}") from error


def _usages(table: Path) -> list[str]:
    return [row["Usage"] for row in _table(table, {"emotion", "pixels", "Usage"})]


def _votes(file: Path) -> list[dict[str, str]]:
    # Read as lines first: a file that is no text is named better.
    lines_of(file)
    return list(_table(file, {"Usage", *FERPLUS_VOTES}))


def _rows(table: Path, votes: list[dict[str, str]] | None) -> Iterator[Row | BadRow]:
    for number, row in enumerate(_table(table, {"emotion", "pixels", "Usage"})):
        try:
            labels = {"emotion": whole(row["emotion"], range(len(FER2013_EXPRESSIONS)))}
            if votes is not None:
                labels |= {name: whole(votes[number][name], range(101)) for name in FERPLUS_VOTES}
            split = _SPLITS[row["Usage"]]
            yield Row(split, f"fer{number:07d}.png", _png(row["pixels"]), labels)
        except KeyError as error:
            yield BadRow(f"{table.name} row {number}", f"the usage {error} is unknown")
        except ValueError as error:
            yield BadRow(f"{table.name} row {number}", str(error))


def _png(text: str) -> bytes:
    values = np.array(text.split(), np.int64)
    if values.size != _SIDE * _SIDE:
        raise ValueError(f"{values.size} pixels instead of {_SIDE} x {_SIDE}")
    if values.min() < 0 or values.max() > 255:
        raise ValueError("a pixel is not in 0..255")
    out = io.BytesIO()
    Image.fromarray(values.astype(np.uint8).reshape(_SIDE, _SIDE)).save(out, "png")
    return out.getvalue()
