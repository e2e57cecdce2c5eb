"""RAF-DB's basic expressions: EmoLabel/list_patition_label.txt and Image/aligned, with Annotation/manual."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien.core.labels import RAFDB_AGES, RAFDB_EXPRESSIONS, RAFDB_GENDERS, RAFDB_RACES
from mien.data.convert.layout import (
    BadRow,
    Layout,
    Row,
    WrongLayout,
    first_of,
    lines_of,
    one_of,
    picture_row,
    whole,
)

_ATTRIBUTES = (("gender", RAFDB_GENDERS), ("race", RAFDB_RACES), ("age_group", RAFDB_AGES))


def read(path: Path) -> Layout:
    """Recognise the layout: the folder `basic`, or the one that it is in.

    Raises:
        WrongLayout: the list or the pictures are missing.
    """
    basic = path / "basic" if (path / "basic").is_dir() else path
    # The release spells it so.
    names = ("list_patition_label.txt", "list_partition_label.txt")
    table = one_of(basic, *(f"EmoLabel/{name}" for name in names), *names)
    pictures = one_of(basic, "Image/aligned", "aligned")
    lines = lines_of(table)
    if not lines or not lines[0].startswith(("train_", "test_")):
        raise WrongLayout(table, "is not lines of a picture's name and its label")
    manual = first_of(basic, "Annotation/manual")
    lacks = frozenset(name for name, _ in _ATTRIBUTES) if manual is None else frozenset[str]()
    return Layout(_rows(lines, pictures, manual), len(lines), lacks)


def _rows(lines: list[str], pictures: Path, manual: Path | None) -> Iterator[Row | BadRow]:
    for line in lines:
        try:
            name, label = line.split()
            labels = {"expression": whole(label, range(1, len(RAFDB_EXPRESSIONS) + 1)) - 1}
            stem, _, _ = name.partition(".")
            split, _, _ = stem.partition("_")
            if split not in ("train", "test"):
                raise ValueError("the name says neither train nor test")
            if manual is not None:
                labels |= _attributes(manual / f"{stem}_manu_attri.txt")
        except ValueError as error:
            yield BadRow(line.strip(), str(error))
            continue
        yield picture_row(pictures / f"{stem}_aligned.jpg", split, labels)


def _attributes(file: Path) -> dict[str, int]:
    """Read gender, race and age group, which follow five lines of landmarks; -1 where there is no file."""
    if not file.is_file():
        return {name: -1 for name, _ in _ATTRIBUTES}
    try:
        values = lines_of(file)[5:8]
        return {
            name: whole(value, range(len(classes)))
            for (name, classes), value in zip(_ATTRIBUTES, values, strict=True)
        }
    except (WrongLayout, ValueError) as error:
        raise ValueError(f"{file.name}: {error}") from error
