"""`Store`: a gallery's one source of truth, an SQLite file; what it takes and gives is plain data.

Nothing of SQLite is seen outside, so that another database can stand behind the same methods.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import DamagedGallery, GalleryError, MienError, OtherRecogniser, UnknownPerson
from mien.core.faces import Faces
from mien.core.fields import FIELDS, Floats
from mien.core.fingerprint import Fingerprint
from mien.gallery import statements as sql
from mien.gallery.connection import Connection
from mien.gallery.recogniser import Recogniser
from mien.gallery.records import NewPicture, Person, Removed, State, StoredFace

Ids = npt.NDArray[np.int64]

# What reading a damaged page or value comes to.
_DAMAGE = (MienError, ValueError, KeyError, TypeError, sqlite3.Error)
_OWN_COLUMNS = ("boxes", "scores", "embeddings")


class Store:
    """Pictures, faces, people and names. Safe from many threads and processes.

    Every method that writes has its work on the disk when it returns (see `Connection`), or has done
    nothing.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        """Open a gallery's file.

        Args:
            path: the file.
            create: make it where it is missing.

        Raises:
            GalleryError, DamagedGallery, UnwritableOutput: as `Connection`.
        """
        self.path = Path(path)
        self._connection = Connection(self.path, create=create)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- what it is ------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return where it stands."""
        with self._connection.transaction(write=False) as run:
            return sql.read_state(run)

    def recogniser(self) -> Recogniser | None:
        """Return what made its embeddings; None while it has none."""
        with self._connection.transaction(write=False) as run:
            return sql.read_recogniser(run)

    def counts(self) -> dict[str, int]:
        """Return how many pictures, paths, faces and people it has, and faces of some kinds."""
        questions = {
            "pictures": "SELECT count(*) FROM pictures",
            "paths": "SELECT count(*) FROM paths",
            "faces": "SELECT count(*) FROM faces",
            "faces_of_nobody": "SELECT count(*) FROM faces WHERE person IS NULL",
            "faces_at_fault": "SELECT count(*) FROM faces WHERE faults <> ''",
            "people": "SELECT count(*) FROM people",
            "people_without_name": "SELECT count(*) FROM people WHERE name IS NULL",
        }
        with self._connection.transaction(write=False) as run:
            return {name: int(run.execute(question).fetchone()[0]) for name, question in questions.items()}

    def audit(self) -> list[dict[str, Any]]:
        """Return what was removed and forgotten, when, and how much of it; never whom or what."""
        with self._connection.transaction(write=False) as run:
            rows = run.execute("SELECT moment, action, faces, pictures FROM audit ORDER BY id")
            return [dict(zip(("moment", "action", "faces", "pictures"), row, strict=True)) for row in rows]

    def faults(self) -> list[str]:
        """Return what is wrong with the file: damaged pages and embeddings; nothing is good."""
        found = self._connection.faults()
        if found:
            return found
        with self._connection.transaction(write=False) as run:
            rows = run.execute("SELECT face, vector, crc FROM embeddings ORDER BY face")
            return [
                f"the embedding of face {face}" for face, vector, crc in rows if zlib.crc32(vector) != crc
            ]

    # -- pictures and faces ----------------------------------------------------------------------------

    def knows(self, path: str, mark: Fingerprint) -> bool:
        """Tell whether a file of this name was added and has not changed since."""
        with self._connection.transaction(write=False) as run:
            row = run.execute(
                "SELECT size, modified FROM paths WHERE path = ?", (sql.path_bytes(path),)
            ).fetchone()
            return row is not None and (int(row[0]), int(row[1])) == mark

    def has(self, sha256: bytes) -> bool:
        """Tell whether a picture of these bytes is there, wherever it was found."""
        with self._connection.transaction(write=False) as run:
            return sql.find_picture(run, sha256) is not None

    def faces_in(self, picture: NewPicture) -> list[int] | None:
        """Return the numbers of the faces of a picture that is there already; None when it is not."""
        with self._connection.transaction(write=False) as run:
            there = sql.find_picture(run, picture.sha256, picture.path)
            return None if there is None else sql.faces_of(run, there)

    def add(
        self, pictures: Sequence[NewPicture], recogniser: Recogniser | None
    ) -> list[tuple[int, ...] | None]:
        """Add pictures with their faces, all or none of them.

        A picture whose bytes are there already only gets one more path. A file that has changed takes the
        place of what it was: faces in the same place keep their person.

        Args:
            pictures: the pictures.
            recogniser: what made the embeddings; the first one binds the gallery. None: there are no faces.

        Returns:
            For each picture the numbers of its faces; None where it was there already.

        Raises:
            OtherRecogniser: the gallery holds embeddings of another one.
            GalleryError: an embedding that is not finite or not of unit length.
        """
        if not pictures:
            return []
        with self._connection.transaction(write=True) as run:
            if any(len(picture.faces) for picture in pictures):
                if recogniser is None:
                    raise ValueError("faces need to say which recogniser made their embeddings")
                self._bind(run, recogniser)
            added = [self._add(run, picture, recogniser) for picture in pictures]
            sql.count_change(run)
            return added

    def _bind(self, run: sqlite3.Connection, recogniser: Recogniser) -> None:
        bound = sql.read_recogniser(run)
        if bound is None:
            card = recogniser.card.to_json() if recogniser.card else None
            row = (recogniser.contract, recogniser.model, recogniser.version, recogniser.size)
            run.execute(
                "INSERT INTO recognisers VALUES (?, ?, ?, ?, ?, ?)", (*row, int(recogniser.mirrored), card)
            )
        else:
            self.require(bound, recogniser)

    def require(self, bound: Recogniser, other: Recogniser) -> None:
        """Make sure that two recognisers' embeddings can be compared.

        Raises:
            OtherRecogniser: names both.
        """
        if bound.contract != other.contract:
            raise OtherRecogniser(
                self.path,
                f"holds embeddings of {bound}; those of {other} cannot be compared with them: "
                "use the same model and options, or another gallery",
            )

    def _add(
        self, run: sqlite3.Connection, new: NewPicture, recogniser: Recogniser | None
    ) -> tuple[int, ...] | None:
        before = run.execute(
            "SELECT picture FROM paths WHERE path = ?", (sql.path_bytes(new.path),)
        ).fetchone()
        there = sql.find_picture(run, new.sha256, new.path)
        if there is not None:
            picture, faces = there, None
        else:
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            row = (new.sha256, new.mark[0], *new.faces.picture_size, moment)
            made = run.execute(
                "INSERT INTO pictures (sha256, size, width, height, added) VALUES (?, ?, ?, ?, ?)", row
            ).lastrowid
            assert made is not None
            picture = made
            faces = self._add_faces(run, picture, new, recogniser)
        if new.path:
            run.execute(
                "INSERT OR REPLACE INTO paths SELECT ?, id, ?, ? FROM pictures WHERE id = ? AND NOT pathless",
                (sql.path_bytes(new.path), *new.mark, picture),
            )
        if before is not None and before[0] != picture:
            sql.take_over(run, before[0], picture)
        return faces

    def _add_faces(
        self, run: sqlite3.Connection, picture: int, new: NewPicture, recogniser: Recogniser | None
    ) -> tuple[int, ...]:
        faces = new.faces
        if not len(faces):
            return ()
        assert recogniser is not None
        vectors = faces.embeddings
        if vectors is None or vectors.shape[1] != recogniser.size:
            raise GalleryError(self.path, f"faces need embeddings of {recogniser.size} numbers")
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not (np.abs(lengths - 1) < 1e-3).all():  # which also refuses what is not finite
            raise GalleryError(self.path, "embeddings must be finite and of unit length")
        provenance = sql.note_provenance(run, faces)
        names = [name for name in faces.known() if name not in _OWN_COLUMNS]
        person = self._meant(run, new.person) if new.person else None
        numbers: list[int] = []
        for index in range(len(faces)):
            box = (float(value) for value in faces.boxes[index])
            faults = ",".join(new.faults[index]) if new.faults else ""
            row = (picture, person, provenance, faults, *box, float(faces.scores[index]))
            face = run.execute(
                "INSERT INTO faces (picture, person, provenance, faults, x1, y1, x2, y2, score) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            assert face is not None
            vector = sql.numbers(vectors[index])
            run.execute(
                "INSERT INTO embeddings VALUES (?, ?, ?, ?)",
                (face, recogniser.contract, vector, zlib.crc32(vector)),
            )
            values = [np.asarray(getattr(faces, name)[index]) for name in names]
            run.executemany(
                "INSERT INTO fields VALUES (?, ?, ?, ?)",
                [
                    (face, name, ",".join(map(str, value.shape)), sql.numbers(value))
                    for name, value in zip(names, values, strict=True)
                ],
            )
            if new.thumbnails:
                run.execute("INSERT INTO thumbnails VALUES (?, ?)", (face, new.thumbnails[index]))
            numbers.append(face)
        return tuple(numbers)

    def ids(self) -> list[int]:
        """Return the numbers of all faces, rising."""
        with self._connection.transaction(write=False) as run:
            return [int(row[0]) for row in run.execute("SELECT id FROM faces ORDER BY id")]

    def faces(self, ids: Iterable[int]) -> Iterator[StoredFace]:
        """Yield faces by their numbers, in the order given; numbers that are not there are left out.

        Raises:
            DamagedGallery: a page, or an embedding, that holds them is damaged.
        """
        for part in sql.parts(list(ids)):
            with self._connection.transaction(write=False) as run:
                rows = {
                    row[0]: row for row in run.execute(f"{sql.FACES} WHERE f.id IN ({sql.marks(part)})", part)
                }
                found = [self._face(run, rows[face]) for face in part if face in rows]
            yield from found

    def _face(self, run: sqlite3.Connection, row: tuple[Any, ...]) -> StoredFace:
        face, picture, person, faults, x1, y1, x2, y2, score, makers, sha256, width, height, *rest = row
        name, vector, crc, model, version = rest
        if vector is None or zlib.crc32(vector) != crc:
            raise DamagedGallery(
                self.path, f"the embedding of face {face} is damaged; `mien gallery export` saves the rest"
            )
        made = json.loads(makers)
        paths = run.execute("SELECT path FROM paths WHERE picture = ? ORDER BY path", (picture,))
        where = tuple(os.fsdecode(path) for (path,) in paths)
        values = {
            field: np.frombuffer(numbers, "<f4").reshape(1, *(int(size) for size in shape.split(",") if size))
            for field, shape, numbers in run.execute(
                "SELECT name, shape, numbers FROM fields WHERE face = ?", (face,)
            )
            if field in FIELDS
        }
        faces = Faces(
            boxes=np.array([[x1, y1, x2, y2]], np.float32),
            scores=np.array([score], np.float32),
            embeddings=np.frombuffer(vector, "<f4")[None],
            **values,
            picture_size=(width, height),
            source=where[0] if where else "",
            makers={**made["makers"], "embeddings": f"{model} {version}"},
            label_names={field: tuple(labels) for field, labels in made["labels"].items()},
        )
        return StoredFace(
            face,
            picture,
            where,
            sha256.hex() if sha256 else "",
            person,
            name or "",
            tuple(filter(None, faults.split(","))),
            faces,
        )

    def thumbnail(self, face: int) -> bytes | None:
        """Return the JPEG of a face; None where there is none."""
        with self._connection.transaction(write=False) as run:
            row = run.execute("SELECT jpeg FROM thumbnails WHERE face = ?", (face,)).fetchone()
            return bytes(row[0]) if row else None

    def vectors(self, after: int = 0) -> tuple[State, Ids, Floats]:
        """Return the embeddings of the faces with higher numbers, and the state that they belong to.

        Args:
            after: a face's number; 0 gives all.

        Returns:
            The state, (n,) numbers of faces, rising, and (n, d) embeddings; (0, 0) when there are none.

        Raises:
            DamagedGallery: names faces whose embeddings are not what was written.
        """
        with self._connection.transaction(write=False) as run:
            state = sql.read_state(run)
            rows = run.execute(
                "SELECT face, vector, crc FROM embeddings WHERE face > ? ORDER BY face", (after,)
            ).fetchall()
        bad = [face for face, vector, crc in rows if zlib.crc32(vector) != crc]
        if bad:
            raise DamagedGallery(
                self.path,
                f"the embeddings of {len(bad)} faces are damaged (face {', '.join(map(str, bad[:5]))}): "
                "`mien gallery remove --face` takes them out, `mien gallery export` saves the rest",
            )
        ids = np.array([row[0] for row in rows], np.int64)
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f4").astype(np.float32)
        return state, ids, matrix.reshape(len(rows), -1) if rows else np.zeros((0, 0), np.float32)

    def references(self) -> tuple[State, Ids, Ids]:
        """Return the faces that may say who somebody is: those of people, without a fault.

        Returns:
            The state, (n,) numbers of faces, rising, and (n,) the people's.
        """
        with self._connection.transaction(write=False) as run:
            state = sql.read_state(run)
            rows = run.execute(
                "SELECT id, person FROM faces WHERE person IS NOT NULL AND faults = '' ORDER BY id"
            ).fetchall()
        table = np.array(rows, np.int64).reshape(-1, 2)
        return state, table[:, 0], table[:, 1]

    def names(self) -> dict[int, str]:
        """Return everybody's name by number; "" where it is not known."""
        with self._connection.transaction(write=False) as run:
            return {row[0]: row[1] or "" for row in run.execute("SELECT id, name FROM people")}

    def faces_of_nobody(self) -> tuple[State, Ids]:
        """Return the state, and the (n,) numbers of the faces that nobody has said a person of, rising."""
        with self._connection.transaction(write=False) as run:
            state = sql.read_state(run)
            rows = run.execute("SELECT id FROM faces WHERE person IS NULL ORDER BY id").fetchall()
        return state, np.array(rows, np.int64).reshape(-1)

    # -- people ----------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Return everybody: by name, then those whose name is not known."""
        with self._connection.transaction(write=False) as run:
            rows = run.execute("SELECT id FROM people ORDER BY name IS NULL, sameness, id").fetchall()
            return [sql.read_person(run, row[0]) for row in rows]

    def person(self, who: int | str) -> Person:
        """Return a person.

        Args:
            who: the number, "#" and the number, or the name in any case.

        Raises:
            UnknownPerson: nobody is called so.
        """
        with self._connection.transaction(write=False) as run:
            return sql.read_person(run, self._find(run, who))

    def _find(self, run: sqlite3.Connection, who: int | str) -> int:
        numbered = re.fullmatch(r"#(\d+)", who) if isinstance(who, str) else None
        number = int(numbered[1]) if numbered else who
        if isinstance(number, str):
            row = run.execute("SELECT id FROM people WHERE sameness = ?", (sql.sameness(number),)).fetchone()
        else:
            row = run.execute("SELECT id FROM people WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise UnknownPerson(self.path, f"nobody here is {who!r}; `mien gallery people` lists everybody")
        return int(row[0])

    def make_person(self, name: str = "") -> Person:
        """Return the person of a name, made where there is none; "" makes one without a name."""
        with self._connection.transaction(write=True) as run:
            person = sql.read_person(run, self._made(run, name))
            sql.count_change(run)
            return person

    def _meant(self, run: sqlite3.Connection, who: str) -> int:
        """Return the number of who is meant by "#" and a number, or by a name that may be new."""
        return self._find(run, who) if re.fullmatch(r"#\d+", who) else self._made(run, who)

    def _made(self, run: sqlite3.Connection, name: str) -> int:
        written = sql.written(name)
        if re.fullmatch(r"#\d+", written):
            raise GalleryError(self.path, f"{name!r} is a number, no name")
        if written:
            row = run.execute("SELECT id FROM people WHERE sameness = ?", (sql.sameness(name),)).fetchone()
            if row is not None:
                return int(row[0])
        values = (written or None, sql.sameness(name) or None)
        made = run.execute("INSERT INTO people (name, sameness) VALUES (?, ?)", values).lastrowid
        assert made is not None
        return made

    def name(self, faces: Sequence[int], name: str) -> Person:
        """Say that faces are a person's: "#" and a number, or a name that may be new; "" makes one without.

        Raises:
            GalleryError: a face that is not there.
        """
        with self._connection.transaction(write=True) as run:
            self._require_faces(run, faces)
            person = self._meant(run, name)
            left = sql.assign(run, faces, person)
            sql.drop_empty(run, left - {person})
            sql.count_change(run)
            return sql.read_person(run, person)

    def rename(self, who: int | str, name: str) -> Person:
        """Give a person another name.

        Raises:
            UnknownPerson: as `person`.
            GalleryError: somebody else has the name, or it is empty.
        """
        with self._connection.transaction(write=True) as run:
            person = self._find(run, who)
            if not sql.sameness(name) or re.fullmatch(r"#\d+", sql.written(name)):
                raise GalleryError(self.path, f"{name!r} is no name")
            taken = run.execute(
                "SELECT id FROM people WHERE sameness = ? AND id <> ?", (sql.sameness(name), person)
            ).fetchone()
            if taken:
                raise GalleryError(
                    self.path, f"somebody else is called {name!r}: merge the two, or add to one's name"
                )
            values = (sql.written(name), sql.sameness(name), person)
            run.execute("UPDATE people SET name = ?, sameness = ? WHERE id = ?", values)
            sql.count_change(run)
            return sql.read_person(run, person)

    def merge(self, who: Sequence[int | str]) -> Person:
        """Make one person of several: the first one, with the first name that any of them has.

        Raises:
            UnknownPerson: as `person`.
        """
        with self._connection.transaction(write=True) as run:
            people = list(dict.fromkeys(self._find(run, one) for one in who))
            if len(people) < 2:
                raise GalleryError(self.path, "merging needs two different people")
            kept, *others = people
            names = [
                run.execute("SELECT name, sameness FROM people WHERE id = ?", (one,)).fetchone()
                for one in people
            ]
            for other in others:
                run.execute("UPDATE faces SET person = ? WHERE person = ?", (kept, other))
                run.execute("DELETE FROM people WHERE id = ?", (other,))
            name = next((pair for pair in names if pair[0]), (None, None))
            run.execute("UPDATE people SET name = ?, sameness = ? WHERE id = ?", (*name, kept))
            sql.count_change(run)
            return sql.read_person(run, kept)

    def split(self, who: int | str, faces: Sequence[int], name: str = "") -> Person:
        """Take faces away from a person and give them to another one.

        Args:
            who: whose faces they are.
            faces: their numbers; not all that the person has.
            name: of the other one, as in `name`.

        Raises:
            UnknownPerson: as `person`.
            GalleryError: a face that is not the person's, or all of them.
        """
        with self._connection.transaction(write=True) as run:
            person = sql.read_person(run, self._find(run, who))
            strange = set(faces) - set(person.faces)
            if strange or not faces:
                said = f"face {min(strange)} is not {person}'s" if strange else "name the faces to take away"
                raise GalleryError(self.path, said)
            if len(set(faces)) == len(person.faces):
                raise GalleryError(self.path, f"these are all faces of {person}: rename instead")
            other = self._meant(run, name)
            if other == person.id:
                raise GalleryError(self.path, f"{person} has these faces already")
            sql.assign(run, faces, other)
            sql.count_change(run)
            return sql.read_person(run, other)

    def _require_faces(self, run: sqlite3.Connection, faces: Sequence[int]) -> None:
        for face in faces:
            if run.execute("SELECT 1 FROM faces WHERE id = ?", (face,)).fetchone() is None:
                raise GalleryError(self.path, f"there is no face {face}")
        if not faces:
            raise GalleryError(self.path, "name at least one face")

    # -- moving to another recogniser ------------------------------------------------------------------

    def left_to_move(self, contract: str) -> list[int]:
        """Return the numbers of the faces that have no embedding of the recogniser to move to yet, rising."""
        with self._connection.transaction(write=False) as run:
            return _left_to_move(run, contract)

    def move(self, embeddings: Mapping[int, Floats], contract: str) -> None:
        """Keep embeddings of the recogniser to move to, beside those of the present one.

        Args:
            embeddings: by face (d,) of unit length; faces that are gone are left out.
            contract: the recogniser's.
        """
        with self._connection.transaction(write=True) as run:
            # Those of another recogniser are of a move that was given up.
            run.execute("DELETE FROM moving WHERE contract <> ?", (contract,))
            for face, vector in embeddings.items():
                blob = sql.numbers(vector)
                run.execute(
                    "INSERT OR REPLACE INTO moving SELECT id, ?, ?, ? FROM faces WHERE id = ?",
                    (contract, blob, zlib.crc32(blob), face),
                )
            sql.count_change(run)

    def arrive(self, recogniser: Recogniser, *, without: Sequence[int]) -> bool:
        """Let the embeddings that were moved take the place of the present ones, all at once.

        Args:
            recogniser: the one to move to.
            without: numbers of faces that have none and are removed.

        Returns:
            Whether that was done; False when other faces have none, which were added meanwhile.
        """
        with self._connection.transaction(write=True) as run:
            if set(_left_to_move(run, recogniser.contract)) - set(without):
                return False
            if without:
                sql.delete_faces(run, without)
                sql.log(run, "reembed", len(without), 0)
            run.execute("DELETE FROM embeddings")
            run.execute("DELETE FROM recognisers")
            self._bind(run, recogniser)
            run.execute("INSERT INTO embeddings SELECT face, contract, vector, crc FROM moving")
            run.execute("DELETE FROM moving")
            run.execute("UPDATE state SET removals = removals + 1")
            sql.count_change(run)
            return True

    # -- taking away -----------------------------------------------------------------------------------

    def remove_faces(self, faces: Sequence[int]) -> Removed:
        """Remove faces; their pictures stay known, so that the faces do not come back by themselves.

        Raises:
            GalleryError: a face that is not there.
        """
        with self._connection.transaction(write=True) as run:
            self._require_faces(run, faces)
            sql.delete_faces(run, faces)
            sql.log(run, "remove", len(faces), 0)
            return Removed(tuple(faces), 0)

    def remove_paths(self, paths: Sequence[str]) -> Removed:
        """Remove files, and with the last path of a picture the picture and its faces.

        Args:
            paths: of files or folders, absolute.

        Raises:
            GalleryError: nothing was added from one of them.
        """
        with self._connection.transaction(write=True) as run:
            faces: list[int] = []
            pictures = 0
            for path in paths:
                for picture in self._drop_path(run, path):
                    faces += sql.faces_of(run, picture)
                    pictures += sql.delete_picture(run, picture)
            sql.log(run, "remove", len(faces), pictures)
            return Removed(tuple(faces), pictures)

    def _drop_path(self, run: sqlite3.Connection, path: str) -> list[int]:
        """Remove a path, or those below it; return the pictures that are left with none."""
        here = sql.path_bytes(path)
        below = here.rstrip(b"/\\") + os.fsencode(os.sep)
        rows = run.execute(
            "SELECT path, picture FROM paths WHERE path = ? OR substr(path, 1, ?) = ?",
            (here, len(below), below),
        ).fetchall()
        if not rows:
            raise GalleryError(self.path, f"nothing was added from {path}")
        run.executemany("DELETE FROM paths WHERE path = ?", [(row[0],) for row in rows])
        left = "SELECT 1 FROM paths WHERE picture = ?"
        pictures = dict.fromkeys(row[1] for row in rows)
        return [one for one in pictures if run.execute(left, (one,)).fetchone() is None]

    def forget(self, who: int | str) -> Removed:
        """Remove a person with all that the gallery has of them; `sweep` then cleans the file's free space.

        Faces, embeddings, fields, thumbnails, the name, the pictures on which nobody else is, and all paths
        that hold the name are gone. Of pictures the SHA-256 stays, or the next `add` would bring the faces
        back.

        Raises:
            UnknownPerson: as `person`.
        """
        with self._connection.transaction(write=True) as run:
            person = sql.read_person(run, self._find(run, who))
            pictures = {
                row[0] for row in run.execute("SELECT picture FROM faces WHERE person = ?", (person.id,))
            }
            sql.delete_faces(run, person.faces)
            run.execute("DELETE FROM people WHERE id = ?", (person.id,))
            alone = {picture for picture in pictures if not sql.faces_of(run, picture)}
            for picture in alone:
                run.execute(
                    "UPDATE pictures SET size = 0, width = 0, height = 0, added = '' WHERE id = ?", (picture,)
                )
            told = sql.pictures_with(run, person.name) if person.name else set()
            for picture in alone | told:
                run.execute("DELETE FROM paths WHERE picture = ?", (picture,))
                run.execute("UPDATE pictures SET pathless = 1 WHERE id = ?", (picture,))
            run.execute("UPDATE state SET unswept = 1")
            sql.log(run, "forget", len(person.faces), len(alone))
            return Removed(person.faces, len(alone))

    def unswept(self) -> bool:
        """Tell whether somebody was forgotten whose bytes may still lie in the file's free space or log."""
        with self._connection.transaction(write=False) as run:
            return bool(run.execute("SELECT unswept FROM state").fetchone()[0])

    def sweep(self) -> None:
        """Write the file anew without its free space and empty its log, after somebody was forgotten.

        Raises:
            GalleryError: another process uses the gallery and keeps the log from being emptied.
            UnwritableOutput: there is no space for a second copy of the gallery.
        """
        if not self._connection.sweep():
            raise GalleryError(
                self.path,
                "the faces are removed, but another process is still reading; their last bytes go with the "
                "next command that opens the gallery",
            )
        with self._connection.transaction(write=True) as run:
            run.execute("UPDATE state SET unswept = 0")

    def while_unchanged(self, removals: int, do: Callable[[], None]) -> bool:
        """Call a function while nobody can remove anything, if nothing was removed since a state.

        Args:
            removals: the state's.
            do: called without arguments.

        Returns:
            Whether it was called.
        """
        with self._connection.transaction(write=True) as run:
            if sql.read_state(run).removals != removals:
                return False
            do()
            return True

    # -- when the file is damaged ----------------------------------------------------------------------

    def salvage(self) -> Iterator[StoredFace | int]:
        """Yield every face that can still be read, and the number of each that cannot.

        Where several cannot be read together they are asked for one by one: SQLite finds those of whole pages
        though others are damaged.
        """
        for part in sql.parts(list(self._numbers())):
            try:
                yield from list(self.faces(part))
            except _DAMAGE:
                for face in part:
                    try:
                        yield from list(self.faces([face]))
                    except _DAMAGE:
                        yield face

    def _numbers(self) -> Iterable[int]:
        """Return the numbers that faces have, or, where the list of them is damaged, may have."""
        try:
            return self.ids()
        except MienError:
            pass
        for question in (
            "SELECT seq FROM sqlite_sequence WHERE name = 'faces'",
            "SELECT max(face) FROM embeddings",
            "SELECT max(face) FROM fields",
        ):
            try:
                with self._connection.transaction(write=False) as run:
                    row = run.execute(question).fetchone()
            except MienError:
                continue
            if row and row[0]:
                return range(1, int(row[0]) + 1)
        raise DamagedGallery(self.path, "is damaged beyond what can be read: restore it from a copy")


def _left_to_move(run: sqlite3.Connection, contract: str) -> list[int]:
    rows = run.execute(
        "SELECT id FROM faces WHERE NOT EXISTS "
        "(SELECT 1 FROM moving WHERE face = faces.id AND contract = ?) ORDER BY id",
        (contract,),
    )
    return [row[0] for row in rows]
