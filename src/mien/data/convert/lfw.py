"""Labeled Faces in the Wild: a folder for each person, pairs.txt, and the people of view 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mien.core.errors import printable
from mien.data.convert.layout import BadRow, Layout, Row, WrongLayout, first_of, lines_of, one_of, picture_row


def read(path: Path) -> Layout:
    """Recognise the layout: folders of people, in one of the release's folders or in `path` itself.

    Raises:
        WrongLayout: there are no pictures, or pairs.txt is missing, wrong, or names a picture that is not
            there.
    """
    pictures = first_of(path, "lfw", "lfw-deepfunneled", "lfw_funneled", "lfw-a", "lfwa") or path
    files = sorted(
        Path(folder) / name
        for folder, _, names in os.walk(pictures)
        for name in names
        # Nothing else is named after its folder: not the lists, nor what other programs leave.
        if name.startswith(f"{Path(folder).name}_") and name.lower().endswith((".jpg", ".png"))
    )
    if not files:
        raise WrongLayout(path, "has no PERSON/PERSON_0001.jpg")
    pairs = _pairs(one_of(path, "pairs.txt", "view2/pairs.txt"), {file.stem for file in files})
    people: dict[str, str] = {}
    for split, name in (("train", "peopleDevTrain.txt"), ("test", "peopleDevTest.txt")):
        table = first_of(path, name, f"view1/{name}")
        # The first line says how many follow.
        people |= {line.split()[0]: split for line in (lines_of(table)[1:] if table else ())}
    lacks = frozenset[str]() if people else frozenset({"development"})
    return Layout(_rows(files, people), len(files), lacks, {"pairs.csv": pairs})


def _rows(files: list[Path], people: dict[str, str]) -> Iterator[Row | BadRow]:
    for file in files:
        person = file.parent.name
        labels = {"name": file.stem, "person": person}
        if people:
            labels["development"] = people.get(person, "")
        yield picture_row(file, "images", labels)


def _pairs(file: Path, names: set[str]) -> str:
    """Return pairs.txt as a table of fold, name_a, name_b, same.

    Its first line says how many parts there are and how many pairs of each kind in a part: "10 300". A part
    is lines of one person and two numbers, then lines of two people with a number each.
    """
    lines = lines_of(file)
    try:
        folds, count = (int(part) for part in lines[0].split())
    except (ValueError, IndexError) as error:
        raise WrongLayout(file, "its first line is not the numbers of parts and of pairs") from error
    if len(lines) - 1 != 2 * folds * count:
        raise WrongLayout(file, f"has {len(lines) - 1} pairs, and its first line says {2 * folds * count}")
    table = ["fold,name_a,name_b,same"]
    for number, line in enumerate(lines[1:]):
        fold, place = divmod(number, 2 * count)
        words = line.split()
        same = place < count
        if len(words) != (3 if same else 4):
            raise WrongLayout(
                file, f"line {number + 2} is no pair of {'one person' if same else 'two people'}"
            )
        first, second = (words[0], words[1]), (words[0], words[2]) if same else (words[2], words[3])
        try:
            a, b = (f"{person}_{int(picture):04d}" for person, picture in (first, second))
        except ValueError as error:
            raise WrongLayout(file, f"line {number + 2}: {error}") from error
        missing = sorted({a, b} - names)
        if missing:
            raise WrongLayout(
                file, f"line {number + 2} names {printable(missing[0])}, of which there is no picture"
            )
        table.append(f"{fold},{a},{b},{int(same)}")
    return "\n".join(table) + "\n"
