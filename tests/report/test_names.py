"""Names from a table reach the faces that they are meant for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mien.core.errors import UnreadableNames
from mien.core.faces import Faces
from mien.report.names import Names

FACES = Faces(
    boxes=np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32),
    scores=np.ones(2, np.float32),
    picture_size=(40, 20),
)


def table(tmp_path: Path, text: str) -> Names:
    path = tmp_path / "names.csv"
    path.write_text(text, encoding="utf-8")
    return Names.read(path)


def test_faces_are_told_apart_by_number_or_box(tmp_path: Path) -> None:
    text = (
        "source,face,x1,y1,x2,y2,name\na.jpg,1,,,,,Ånna\nb.jpg,,21,1,29,10,Ben\nb.jpg,,100,1,129,10,Nobody\n"
    )
    names = table(tmp_path, "\ufeff" + text)
    assert names.of("/photos/a.jpg", FACES) == {1: "Ånna"}
    assert names.of("b.jpg", FACES) == {1: "Ben"}
    assert names.of("c.jpg", FACES) == {}
    assert names.unused == {4}


def test_the_only_face_needs_neither_and_of_two_none_is_guessed(tmp_path: Path) -> None:
    names = table(tmp_path, "source,name\na.jpg,Anna\n")
    assert names.of("a.jpg", FACES) == {}
    assert names.unused == {2}
    assert names.of("a.jpg", FACES[:1]) == {0: "Anna"}
    assert names.unused == set()


def test_a_path_means_that_picture_only(tmp_path: Path) -> None:
    names = table(tmp_path, "source,name\nx/a.jpg,Anna\n")
    assert names.of(os.path.abspath("x/a.jpg"), FACES[:1]) == {0: "Anna"}  # noqa: PTH100
    assert names.of("y/a.jpg", FACES[:1]) == {}


def test_rows_without_a_name_are_left_out(tmp_path: Path) -> None:
    names = table(tmp_path, "source,face,name,yaw\na.jpg,0,,3\na.jpg,1,Ben,4\nc.jpg,, ,\n")
    assert names.of("a.jpg", FACES) == {1: "Ben"}
    assert names.unused == set()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("source,face\na.jpg,0\n", "no column name"),
        ("", "no column name and source"),
        ("source,face,name\na.jpg,first,Anna\n", "line 2: face and box must be numbers"),
        ("source,name\n,Anna\n", "line 2: the source is empty"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UnreadableNames, match=reason):
        table(tmp_path, text)


def test_tables_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableNames, match="No such file"):
        Names.read(tmp_path / "none.csv")
    path = tmp_path / "latin.csv"
    path.write_bytes("source,name\na.jpg,Ånna\n".encode("latin-1"))
    with pytest.raises(UnreadableNames, match="no CSV in UTF-8"):
        Names.read(path)
