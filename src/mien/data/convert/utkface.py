"""UTKFace: everything is in the files' names, AGE_GENDER_RACE_DATE.jpg or .jpg.chip.jpg."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mien.data.convert.layout import BadRow, Layout, Row, WrongLayout, picture_row, split_by_name

# The release has names with a space before the ending, and one without its dot.
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d{17}) ?\.?jpg(?:\.chip\.jpg)?", re.IGNORECASE)


def read(path: Path) -> Layout:
    """Recognise the layout: a folder of pictures at any depth (the release comes in parts).

    Raises:
        WrongLayout: there is no picture in it.
    """
    files = sorted(
        (
            Path(folder) / name
            for folder, _, names in os.walk(path)
            for name in names
            if name.lower().endswith("jpg")
        ),
        key=lambda file: file.name,
    )
    if not any(_NAME.fullmatch(file.name) for file in files):
        raise WrongLayout(path, "has no files named AGE_GENDER_RACE_DATE.jpg")
    return Layout(_rows(files), len(files))


def _rows(files: list[Path]) -> Iterator[Row | BadRow]:
    before = ""
    for file in files:
        found = _NAME.fullmatch(file.name)
        if found is None:
            yield BadRow(file.name, "the name does not say age, gender, race and date")
        elif not 1 <= int(found[1]) <= 116:
            yield BadRow(file.name, f"an age of {int(found[1])} years")
        elif file.name == before:
            yield BadRow(file.name, "is there twice")
        else:
            labels = {"age": int(found[1]), "gender": int(found[2]), "race": int(found[3])}
            yield picture_row(file, split_by_name(file.name), labels)
        before = file.name
