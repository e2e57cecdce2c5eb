"""Who is forgotten is in no byte of any file any more, whenever the program was killed meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import made
import numpy as np
import numpy.typing as npt
import pytest

from mien import Gallery
from mien.core.atomic import leftover
from mien.core.errors import GalleryError, UnknownPerson
from mien.gallery import index, searcher
from mien.gallery.records import NewPicture
from mien.gallery.store import Store

MAKER = "dlib-resnet 3"
NAME = "Ada Löwenherz"
THUMBNAIL = b"\xff\xd8 the very face of her \xff\xd9" * 3


def _secrets(vectors: npt.NDArray[np.float32]) -> list[bytes]:
    """Return what must not be found: each embedding, in parts, the name in any writing, the thumbnail."""
    names = [unicodedata.normalize(form, NAME) for form in ("NFC", "NFD")]
    written = [name.encode() for text in names for name in (text, text.casefold(), text.upper())]
    blobs = [vector.tobytes() for vector in vectors]
    parts = [blob[start : start + 16] for blob in blobs for start in range(0, len(blob), 16)]
    return [*written, *parts, THUMBNAIL[:20]]


def _found(folder: Path, secrets: list[bytes]) -> list[tuple[str, bytes]]:
    files = [path for path in folder.iterdir() if path.is_file()]
    return [(path.name, secret) for path in files for secret in secrets if secret in path.read_bytes()]


@pytest.fixture
def peopled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Gallery, npt.NDArray[np.float32]]]:
    """Return a gallery of twenty people with an index on the disk, and the embeddings of one, "Ada"."""
    monkeypatch.setattr(searcher, "_LACKING", 1)
    vectors = made.vectors(20, 6)
    with Gallery(tmp_path / "people.mien") as gallery:
        new = []
        for one, two in np.ndindex(20, 6):
            where = f"/photos/ADA lo\u0308wenherz/{two}.jpg" if one == 7 else f"/photos/{one}-{two}.jpg"
            faces = made.faces(vectors[one, two][None], where, MAKER)
            small = [THUMBNAIL] if one == 7 else []
            new.append(NewPicture(faces, where, (9, 9), bytes([one, two]) * 16, thumbnails=small))
        gallery.store.add(new, gallery._analyst.recogniser(faces))
        gallery.name(range(43, 49), NAME)
        gallery.name(range(1, 7), "Bob")
        gallery.search(vectors[0, 0])
        assert index.index_path(gallery.path).exists()
        yield gallery, vectors[7]


def test_bytes_are_nowhere(peopled: tuple[Gallery, npt.NDArray[np.float32]], tmp_path: Path) -> None:
    gallery, vectors = peopled
    secrets = _secrets(vectors)
    # she is also on a picture with Bob, in a folder of her name; and her name is in a path of somebody else
    both = made.faces(np.stack([vectors[0], made.vectors(20, 6)[0, 0]]), "/ada_löwenherz.jpg", MAKER)
    gallery.store.add([NewPicture(both, "/ada_löwenherz.jpg", (1, 1), b"b" * 32)], gallery.store.recogniser())
    gallery.name([121], NAME)
    gallery.name([122], "Bob")
    gallery.search(vectors[0])
    leftover(index.index_path(gallery.path)).write_bytes(b"left by a killed writer" + vectors.tobytes())
    before = {secret for _, secret in _found(tmp_path, secrets)}
    assert len(before) > 6 * 8, "the test must see what is there"

    told = gallery.forget(NAME.upper())
    assert (told.faces, told.pictures) == (7, 6)
    assert _found(tmp_path, secrets) == []
    (answer,) = gallery.search(vectors[0])
    assert _found(tmp_path, secrets) == [], "the index that is made anew has nothing of her"
    assert not {match.face for match in answer.matches} & {*range(43, 49), 121}
    with pytest.raises(UnknownPerson):
        gallery.person(NAME)
    assert gallery.person("Bob").faces == (*range(1, 7), 122)
    gallery.close()
    assert _found(tmp_path, secrets) == []


def test_the_file_keeps_no_free_space_that_was_hers(tmp_path: Path) -> None:
    path = tmp_path / "people.mien"
    with Gallery(path) as gallery:
        gallery.add([made.faces(vector[None], f"{n}") for n, vector in enumerate(made.vectors(1, 400)[0])])
        gallery.name(range(1, 399), NAME)
    whole = path.stat().st_size
    with Gallery(path) as gallery:
        gallery.forget(NAME)
        assert path.stat().st_size < whole / 2
        assert path.with_name("people.mien-wal").stat().st_size < 16384


def test_the_audit_says_when_and_how_much_not_whom(peopled: tuple[Gallery, npt.NDArray[np.float32]]) -> None:
    gallery, _ = peopled
    gallery.forget(NAME)
    (line,) = gallery.stats()["audit"]
    assert {name: line[name] for name in ("action", "faces", "pictures")} == {
        "action": "forget",
        "faces": 6,
        "pictures": 6,
    }


def test_her_pictures_do_not_bring_her_back_nor_their_paths(
    peopled: tuple[Gallery, npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    gallery, vectors = peopled
    gallery.forget(NAME)
    where = f"/photos/{NAME}/0.jpg"
    again = NewPicture(made.faces(vectors[:1], where, MAKER), where, (9, 9), bytes([7, 0]) * 16)
    assert gallery.store.add([again], gallery.store.recogniser()) == [None]
    assert _found(tmp_path, _secrets(vectors)) == []


@pytest.mark.parametrize(
    ("path", "name", "holds"),
    [
        ("/photos/Ada/1.jpg", "ada", True),
        ("/photos/ada-lovelace_2.JPG", "Ada Lovelace", True),
        ("/photos/AdaLovelace/1.jpg", "Ada Lovelace", True),
        ("/photos/Adana/1.jpg", "Ada", False),
        ("/photos/canada.jpg", "Ada", False),
        ("/photos/Ada/1.jpg", "Ada Lovelace", False),
    ],
)
def test_paths_with_the_name_go_and_others_stay(tmp_path: Path, path: str, name: str, holds: bool) -> None:
    store = Store(tmp_path / "people.mien")
    store.add([NewPicture(made.faces(made.vectors(1, 2)[0]), path, (1, 1), b"s" * 32)], made.RECOGNISER)
    store.name([1], name)
    store.forget(name)
    assert [one.paths for one in store.faces([2])] == [() if holds else (path,)]
    store.close()


def test_faces_of_nobody_that_resemble_are_told(peopled: tuple[Gallery, npt.NDArray[np.float32]]) -> None:
    gallery, vectors = peopled
    near = vectors[0] + 0.02 * np.ones(made.SIZE, np.float32)
    gallery.add(made.faces((near / np.linalg.norm(near))[None], "unnamed", MAKER))
    assert gallery.forget(NAME).resembling == (121,)


def test_who_was_being_forgotten_when_the_program_was_killed_goes_when_the_gallery_is_opened(
    peopled: tuple[Gallery, npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    gallery, vectors = peopled
    gallery.close()
    code = """
import os, sys
from mien import Gallery
from mien.gallery.gallery import Gallery as Class
Class._sweep = lambda self: os.kill(os.getpid(), 9)
Gallery(sys.argv[1]).forget(sys.argv[2])
"""
    done = subprocess.run([sys.executable, "-c", code, str(gallery.path), NAME], check=False)
    assert done.returncode == -9
    assert _found(tmp_path, _secrets(vectors)) != []
    with Gallery(gallery.path):
        assert _found(tmp_path, _secrets(vectors)) == []


def test_another_reader_is_waited_for_and_the_rest_goes_later(
    peopled: tuple[Gallery, npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    gallery, vectors = peopled
    gallery.store._connection.raw.execute("PRAGMA busy_timeout = 100")
    reader = sqlite3.connect(gallery.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM faces").fetchone()
    with pytest.raises(GalleryError, match="another process is still reading"):
        gallery.forget(NAME)
    with pytest.raises(UnknownPerson):
        gallery.person(NAME)
    reader.close()
    with Gallery(gallery.path):
        assert _found(tmp_path, _secrets(vectors)) == []


def test_an_index_of_somebody_being_forgotten_is_not_written_behind(
    peopled: tuple[Gallery, npt.NDArray[np.float32]], tmp_path: Path
) -> None:
    gallery, vectors = peopled
    with Gallery(gallery.path) as slow:
        state, ids, matrix = slow.store.vectors()
        gallery.forget(NAME)
        slow._searcher._unsaved = 1000
        slow._searcher._save(state, index.ExactIndex(ids, matrix))
        assert not index.index_path(gallery.path).exists()
        assert _found(tmp_path, _secrets(vectors)) == []
