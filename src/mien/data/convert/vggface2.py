"""VGGFace2: folders of people, who they are, boxes, landmarks, and the templates of pose and age."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.core.labels import VGGFACE2_GENDERS
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

_SPLITS = ("train", "test")
_GENDERS = tuple(gender[0] for gender in VGGFACE2_GENDERS)
_TEMPLATE = 5
"""Pictures of a template."""

_LISTS = {
    "pose_template": ("test_posetemp_imglist.txt", 30),
    "age_template": ("test_agetemp_imglist.txt", 20),
}
"""The lists of templates, and how many pictures each person has in them."""


def read(path: Path) -> Layout:
    """Recognise the layout: train and test with n000001/0001_01.jpg, identity_meta.csv (in `meta` or not).

    Boxes and landmarks (`bb_landmark`) and the lists of templates are taken where they are.

    Raises:
        WrongLayout: the pictures or identity_meta.csv are missing, or a list is not what it should be.
    """
    folders = {name: first_of(path, name, f"data/{name}") for name in _SPLITS}
    files = [
        (split, Path(folder) / name)
        for split, top in folders.items()
        if top is not None
        for folder, _, names in sorted(os.walk(top))
        for name in sorted(names)
        if name.lower().endswith(".jpg")
    ]
    if not files:
        raise WrongLayout(path, "has no train/n000001/0001_01.jpg or test/n000001/0001_01.jpg")
    people = _people(one_of(path, "meta/identity_meta.csv", "identity_meta.csv"))
    known: dict[str, dict[str, Any]] = {}
    for column, kind, count in (("box", "bb", 4), ("landmarks", "landmark", 10)):
        values: dict[str, list[float]] = {}
        for split in _SPLITS:
            name = f"bb_landmark/loose_{kind}_{split}.csv"
            table = first_of(path, name, f"meta/{name}")
            values |= {} if table is None else _numbers(table, count)
        known[column] = values
    for column, (name, count) in _LISTS.items():
        table = first_of(path, f"meta/{name}", name)
        known[column] = {} if table is None else _templates(table, count)
    lacks = frozenset(column for column, values in known.items() if not values)
    return Layout(_rows(files, people, known), len(files), lacks)


def _rows(
    files: list[tuple[str, Path]], people: dict[str, tuple[str, int]], known: dict[str, dict[str, Any]]
) -> Iterator[Row | BadRow]:
    for split, file in files:
        folder = file.parent.name
        name = f"{folder}/{file.stem}"
        try:
            person, gender = people[folder]
            labels: dict[str, Any] = {"identity": int(folder[1:]), "name": person, "gender": gender}
            for column, values in known.items():
                if values:
                    labels[column] = values.get(name, -1) if column in _LISTS else values[name]
        except KeyError as error:
            yield BadRow(name, f"nothing is known of {error}")
            continue
        yield picture_row(file, split, labels, f"{name}.jpg")


def _people(file: Path) -> dict[str, tuple[str, int]]:
    """Return the name and the gender of each folder: lines of Class_ID, Name, Sample_Num, Flag, Gender."""
    people = {}
    for line in csv.reader(lines_of(file)[1:], skipinitialspace=True):
        try:
            folder, name, gender = line[0], line[1], _GENDERS.index(line[4].strip())
            whole(folder[1:], range(1, 1_000_000))
        except (ValueError, IndexError) as error:
            raise WrongLayout(file, f"a line is no person: {','.join(line)}") from error
        people[folder] = (name, gender)
    return people


def _numbers(file: Path, count: int) -> dict[str, list[float]]:
    """Return the numbers of each picture: lines of "n000001/0001_01" and so many numbers."""
    values = {}
    for line in csv.reader(lines_of(file)[1:]):
        try:
            values[line[0]] = [float(part) for part in line[1:]]
        except (ValueError, IndexError) as error:
            raise WrongLayout(file, f"a line is no row of numbers: {','.join(line)}") from error
        if len(line) != count + 1:
            raise WrongLayout(file, f"{line[0]} has {len(line) - 1} numbers, not {count}")
    return values


def _templates(file: Path, count: int) -> dict[str, int]:
    """Return the number of the template that each picture is in: of each person's pictures, five by five."""
    numbers, seen = {}, Counter[str]()
    for line in lines_of(file):
        name = line.strip().removesuffix(".jpg")
        person = name.partition("/")[0]
        numbers[name] = seen[person] // _TEMPLATE
        seen[person] += 1
    wrong = [f"{person} has {found}" for person, found in seen.items() if found != count]
    if wrong:
        raise WrongLayout(file, f"everybody has {count} pictures in it, but {wrong[0]}")
    return numbers
