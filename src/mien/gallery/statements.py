"""Statements in SQLite that several of the store's methods share, each inside the caller's transaction."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

import mien
from mien.core import geometry
from mien.core.card import Card
from mien.core.faces import Faces
from mien.gallery.recogniser import Recogniser
from mien.gallery.records import Person, State

# SQLite takes at least 999 values in one statement; older ones no more.
_MOST_VALUES = 900
# A face of a picture that was changed is the same one as before at this IoU.
_SAME = 0.5


FACES = """SELECT f.id, f.picture, f.person, f.faults, f.x1, f.y1, f.x2, f.y2, f.score, v.makers, p.sha256,
    p.width, p.height, n.name, e.vector, e.crc, r.model, r.version
    FROM faces f JOIN pictures p ON p.id = f.picture JOIN provenance v ON v.id = f.provenance
    LEFT JOIN people n ON n.id = f.person LEFT JOIN embeddings e ON e.face = f.id
    LEFT JOIN recognisers r ON r.contract = e.contract"""


def path_bytes(path: str) -> bytes:
    """Return a path as it is kept: names of files need not be UTF-8."""
    return os.fsencode(path)


def numbers(values: npt.NDArray[Any]) -> bytes:
    """Return numbers as they are kept: float32, little-endian."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def marks(values: Sequence[Any]) -> str:
    """Return a question mark for each value."""
    return ",".join("?" * len(values))


def parts(ids: list[int]) -> Iterator[list[int]]:
    """Yield the numbers in lists that one statement can take."""
    for start in range(0, len(ids), _MOST_VALUES):
        yield ids[start : start + _MOST_VALUES]


def written(name: str) -> str:
    """Return a name as it is kept: composed letters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def sameness(name: str) -> str:
    """Return a name as it is compared: in any case."""
    return unicodedata.normalize("NFC", written(name).casefold())


def read_state(run: sqlite3.Connection) -> State:
    """Return where the gallery stands."""
    gallery, changes, removals = run.execute("SELECT gallery, changes, removals FROM state").fetchone()
    last, count = run.execute("SELECT (SELECT max(id) FROM faces), (SELECT count(*) FROM faces)").fetchone()
    return State(gallery.hex(), changes, removals, last or 0, count)


def count_change(run: sqlite3.Connection) -> None:
    """Note that something was written."""
    run.execute("UPDATE state SET changes = changes + 1")


def read_recogniser(run: sqlite3.Connection) -> Recogniser | None:
    """Return what made the embeddings; None while nothing has."""
    row = run.execute("SELECT model, version, size, mirrored, card FROM recognisers").fetchone()
    if row is None:
        return None
    model, version, size, mirrored, card = row
    return Recogniser(
        model, version, size, bool(mirrored), Card.from_json(card, f"card of {model}") if card else None
    )


def find_picture(run: sqlite3.Connection, sha256: bytes | None, path: str = "") -> int | None:
    """Return the number of the picture of these bytes, or, where they are not known, of this path."""
    if sha256 is not None:
        row = run.execute("SELECT id FROM pictures WHERE sha256 = ?", (sha256,)).fetchone()
    else:
        row = run.execute("SELECT picture FROM paths WHERE path = ?", (path_bytes(path),)).fetchone()
    return int(row[0]) if row else None


def note_provenance(run: sqlite3.Connection, faces: Faces) -> int:
    """Return the number under which the makers of the fields of these faces are kept."""
    facts = {
        "makers": dict(faces.makers),
        "labels": {name: list(names) for name, names in faces.label_names.items()},
        "mien": mien.__version__,
    }
    text = json.dumps(facts, sort_keys=True)
    run.execute("INSERT OR IGNORE INTO provenance (makers) VALUES (?)", (text,))
    row = run.execute("SELECT id FROM provenance WHERE makers = ?", (text,)).fetchone()
    return int(row[0])


def read_person(run: sqlite3.Connection, person: int) -> Person:
    """Return a person who is there."""
    name = run.execute("SELECT name FROM people WHERE id = ?", (person,)).fetchone()[0]
    rows = run.execute("SELECT id, picture FROM faces WHERE person = ? ORDER BY id", (person,)).fetchall()
    return Person(person, name or "", tuple(row[0] for row in rows), len({row[1] for row in rows}))


def faces_of(run: sqlite3.Connection, picture: int) -> list[int]:
    """Return the numbers of the faces of a picture."""
    return [row[0] for row in run.execute("SELECT id FROM faces WHERE picture = ?", (picture,))]


def assign(run: sqlite3.Connection, faces: Sequence[int], person: int) -> set[int]:
    """Give faces to a person; return who had them."""
    had: set[int] = set()
    for part in parts(list(faces)):
        chosen = f"WHERE id IN ({marks(part)})"
        rows = run.execute(f"SELECT DISTINCT person FROM faces {chosen} AND person IS NOT NULL", part)  # noqa: S608 - question marks
        had |= {row[0] for row in rows}
        run.execute(f"UPDATE faces SET person = ? {chosen}", (person, *part))  # noqa: S608
    return had


def drop_empty(run: sqlite3.Connection, people: Iterable[int]) -> None:
    """Remove those without a name who have lost their last face; a name was somebody's work and stays."""
    for person in people:
        run.execute(
            "DELETE FROM people WHERE id = ? AND name IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM faces WHERE person = people.id)",
            (person,),
        )


def delete_faces(run: sqlite3.Connection, faces: Sequence[int]) -> None:
    """Delete faces with all that belongs to them."""
    run.executemany("DELETE FROM faces WHERE id = ?", [(face,) for face in faces])
    run.execute("UPDATE state SET removals = removals + 1")


def delete_picture(run: sqlite3.Connection, picture: int) -> int:
    """Delete a picture with its faces and paths; return 1, the number of pictures deleted."""
    run.execute("DELETE FROM pictures WHERE id = ?", (picture,))
    run.execute("UPDATE state SET removals = removals + 1")
    return 1


def log(run: sqlite3.Connection, action: str, faces: int, pictures: int) -> None:
    """Write a line of the audit: what was done, and to how much."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    run.execute(
        "INSERT INTO audit (moment, action, faces, pictures) VALUES (?, ?, ?, ?)",
        (moment, action, faces, pictures),
    )
    count_change(run)


def take_over(run: sqlite3.Connection, before: int, now: int) -> None:
    """Let a picture take the place of what its file was before, when that has no other file."""
    if run.execute("SELECT 1 FROM paths WHERE picture = ?", (before,)).fetchone():
        return
    boxes = "SELECT id, person, x1, y1, x2, y2 FROM faces WHERE picture = ?"
    old, new = (
        np.array(run.execute(boxes, (one,)).fetchall(), object).reshape(-1, 6) for one in (before, now)
    )
    if len(old) and len(new):
        overlap = geometry.iou(old[:, 2:].astype(np.float32), new[:, 2:].astype(np.float32))
        for row, place in enumerate(overlap.argmax(axis=1)):
            if overlap[row, place] >= _SAME and old[row, 1] is not None and new[place, 1] is None:
                run.execute("UPDATE faces SET person = ? WHERE id = ?", (old[row, 1], new[place, 0]))
    delete_picture(run, before)


def pictures_with(run: sqlite3.Connection, name: str) -> set[int]:
    """Return the pictures with a path that holds a name: its words in a row, whatever separates them."""
    words = map(re.escape, re.findall(r"\w+", sameness(name)))
    pattern = re.compile(r"(?<![^\W_])" + r"[\W_]*".join(words) + r"(?![^\W_])")
    rows = run.execute("SELECT path, picture FROM paths")
    return {picture for path, picture in rows if pattern.search(sameness(os.fsdecode(path)))}
