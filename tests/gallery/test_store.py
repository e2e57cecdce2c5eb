"""The store keeps what it acknowledged, tells a damaged file, and refuses what must not be in it."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import made
import numpy as np
import pytest

from mien.core.errors import (
    DamagedGallery,
    GalleryError,
    OtherRecogniser,
    UnknownPerson,
    UnwritableOutput,
)
from mien.core.faces import Faces
from mien.gallery import connection, schema
from mien.gallery.recogniser import Recogniser
from mien.gallery.records import NewPicture
from mien.gallery.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "people.mien")
    yield opened
    opened.close()


def filled(store: Store, people: int = 4, each: int = 3) -> list[int]:
    """Add a picture for each face; return the faces' numbers, person by person."""
    vectors = made.vectors(people, each)
    new = [
        NewPicture(
            made.faces(vectors[one, two][None], f"/photos/{one}-{two}.jpg"),
            f"/photos/{one}-{two}.jpg",
            (10, 20),
            bytes([one, two]) * 16,
        )
        for one in range(people)
        for two in range(each)
    ]
    return [face for added in store.add(new, made.RECOGNISER) for face in added or ()]


def test_a_face_comes_back_as_it_went_in(store: Store) -> None:
    given = made.faces(made.vectors(1, 2)[0], "/photos/a.jpg")
    added = store.add([NewPicture(given, "/photos/a.jpg", (7, 8), b"s" * 32)], made.RECOGNISER)
    assert added == [(1, 2)]
    found = list(store.faces([2, 1, 99]))
    assert [one.id for one in found] == [2, 1]
    assert Faces.concatenate([found[1].faces, found[0].faces]) == given
    assert found[0].paths == ("/photos/a.jpg",)
    assert found[0].sha256 == (b"s" * 32).hex()
    assert (found[0].person, found[0].name) == (None, "")


def test_file_is_private(store: Store) -> None:
    filled(store)
    for path in store.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_writes_wait_for_the_disk_and_pages_are_wiped(store: Store) -> None:
    raw = store._connection.raw
    asked = {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert asked == {"journal_mode": "wal", "synchronous": 2}
    assert raw.execute("PRAGMA secure_delete").fetchone()[0] == 1


def test_same_bytes_are_added_once_and_found_in_both_places(store: Store) -> None:
    given = made.faces(made.vectors(1, 1)[0])
    store.add([NewPicture(given, "/a.jpg", (1, 1), b"s" * 32)], made.RECOGNISER)
    assert store.add([NewPicture(given, "/b.jpg", (1, 1), b"s" * 32)], made.RECOGNISER) == [None]
    assert next(store.faces([1])).paths == ("/a.jpg", "/b.jpg")
    assert store.knows("/b.jpg", (1, 1))
    assert not store.knows("/b.jpg", (1, 2))
    assert store.has(b"s" * 32)
    assert store.counts()["faces"] == 1


def test_a_file_that_changed_keeps_its_peoples_names(store: Store) -> None:
    vectors = made.vectors(2, 1)[:, 0]
    store.add([NewPicture(made.faces(vectors), "/a.jpg", (1, 1), b"a" * 32)], made.RECOGNISER)
    ada = store.name([2], "Ada")
    removals = store.state().removals
    (added,) = store.add([NewPicture(made.faces(vectors), "/a.jpg", (1, 2), b"b" * 32)], made.RECOGNISER)
    assert added == (3, 4)
    assert store.person("Ada").faces == (4,)
    assert store.person("Ada").id == ada.id
    assert store.ids() == [3, 4]
    assert store.state().removals > removals


def test_a_name_that_is_no_utf8_comes_back(store: Store) -> None:
    path = b"/photos/\xff\n.jpg".decode(errors="surrogateescape")
    store.add([NewPicture(made.faces(made.vectors(1, 1)[0]), path, (1, 1), b"s" * 32)], made.RECOGNISER)
    assert next(store.faces([1])).paths == (path,)


def test_another_recogniser_is_refused_and_both_are_named(store: Store) -> None:
    filled(store)
    for other in (
        Recogniser("other", "1", made.SIZE),
        Recogniser("made", "2", made.SIZE),
        Recogniser("made", "1", made.SIZE, mirrored=True),
        Recogniser("made", "1", 64),
    ):
        new = NewPicture(made.faces(made.vectors(1, 1)[0]), "/new.jpg", (1, 1), b"n" * 32)
        with pytest.raises(OtherRecogniser) as caught:
            store.add([new], other)
        assert str(made.RECOGNISER) in str(caught.value)
        assert str(other) in str(caught.value)
        assert not store.has(b"n" * 32)


@pytest.mark.parametrize("fault", ["nan", "long", "zero"])
def test_an_embedding_without_a_direction_is_refused_and_nothing_of_its_batch_kept(
    store: Store, fault: str
) -> None:
    good, bad = made.vectors(2, 1)[:, 0]
    bad = {"nan": np.full_like(bad, np.nan), "long": 2 * bad, "zero": 0 * bad}[fault]
    new = [NewPicture(made.faces(vector[None])) for vector in (good, bad)]
    with pytest.raises(GalleryError, match="unit length"):
        store.add(new, made.RECOGNISER)
    assert store.ids() == []


def test_people(store: Store) -> None:
    faces = filled(store)
    ada = store.name(faces[:3], "  Ada   Lovelace ")
    assert (ada.name, ada.faces, ada.pictures) == ("Ada Lovelace", tuple(faces[:3]), 3)
    assert store.person("ada LOVELACE") == store.person(f"#{ada.id}") == store.person(ada.id) == ada
    unnamed = store.name(faces[3:5], "")
    assert unnamed.name == ""
    bob = store.name([faces[4], faces[5]], "Bob")
    assert store.person(unnamed.id).faces == (faces[3],)
    assert [str(one) for one in store.people()] == ["Ada Lovelace", "Bob", f"#{unnamed.id}"]

    both = store.merge([unnamed.id, "Bob"])
    assert (both.id, both.name, both.faces) == (unnamed.id, "Bob", tuple(faces[3:6]))
    with pytest.raises(UnknownPerson):
        store.person(bob.id)
    with pytest.raises(GalleryError, match="somebody else is called"):
        store.rename("Bob", "ADA lovelace")
    assert store.rename("Bob", "Robert").faces == both.faces

    other = store.split("Robert", [faces[5]], "Bob")
    assert other.faces == (faces[5],)
    assert store.person("Robert").faces == tuple(faces[3:5])
    for wrong in ([faces[0]], [], list(faces[3:5])):
        with pytest.raises(GalleryError):
            store.split("Robert", wrong)


def test_an_unnamed_person_goes_with_the_last_face_and_a_named_one_stays(store: Store) -> None:
    faces = filled(store)
    unnamed = store.name([faces[0]], "")
    store.name([faces[1]], "Ada")
    store.name(faces[:2], "Bob")
    with pytest.raises(UnknownPerson):
        store.person(unnamed.id)
    assert store.person("Ada").faces == ()


def test_removed_numbers_are_not_given_again(store: Store) -> None:
    faces = filled(store)
    before = store.state()
    store.remove_faces(faces[-2:])
    assert store.state().removals > before.removals
    new = NewPicture(made.faces(made.vectors(1, 1)[0]), "/new.jpg", (1, 1), b"n" * 32)
    assert store.add([new], made.RECOGNISER) == [(faces[-1] + 1,)]


def test_removing_a_folder_takes_its_pictures_and_leaves_others(store: Store) -> None:
    given = made.vectors(3, 1)
    for name, vector in zip(("/a/1.jpg", "/a/2.jpg", "/ab.jpg"), given, strict=True):
        store.add([NewPicture(made.faces(vector), name, (1, 1), name.encode() * 4)], made.RECOGNISER)
    store.add([NewPicture(made.faces(given[1]), "/copy.jpg", (1, 1), b"/a/2.jpg" * 4)], made.RECOGNISER)
    removed = store.remove_paths(["/a"])
    assert (removed.faces, removed.pictures) == ((1,), 1)
    assert [one.paths for one in store.faces(store.ids())] == [("/copy.jpg",), ("/ab.jpg",)]
    with pytest.raises(GalleryError, match="nothing was added from /a"):
        store.remove_paths(["/a"])


def test_references_are_the_faces_of_people_without_fault(store: Store) -> None:
    vectors = made.vectors(1, 3)[0]
    new = NewPicture(made.faces(vectors), faults=[(), ("too_small",), ()])
    store.add([new], made.RECOGNISER)
    ada = store.name([1, 2], "Ada")
    _, ids, people = store.references()
    assert (ids.tolist(), people.tolist()) == ([1], [ada.id])


def test_a_newer_gallery_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "people.mien").close()
    with sqlite3.connect(tmp_path / "people.mien") as raw:
        raw.execute("PRAGMA user_version = 7")
    raw.close()
    with pytest.raises(GalleryError, match="has version 7, this program knows 1: install a newer mien"):
        Store(tmp_path / "people.mien")


def test_an_older_gallery_is_brought_to_this_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Store(tmp_path / "people.mien")
    faces = filled(old)
    old.close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, ("ALTER TABLE people ADD COLUMN born TEXT",)))
    new = Store(tmp_path / "people.mien")
    assert new.ids() == faces
    assert new._connection.raw.execute("SELECT born FROM people").fetchall() == []
    assert new._connection.raw.execute("PRAGMA user_version").fetchone()[0] == 2
    new.close()


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as raw:
        raw.execute("CREATE TABLE things (a)")
    raw.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(GalleryError, match="another program"):
        Store(tmp_path / "other.db")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff" * 4000)
    with pytest.raises(DamagedGallery, match="no gallery"):
        Store(tmp_path / "photo.jpg")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_missing_gallery_is_only_made_when_asked(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="no such gallery"):
        Store(tmp_path / "people.mien", create=False)
    assert not (tmp_path / "people.mien").exists()


def test_two_processes_write_and_make_at_once(tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[3])
import made
from mien.gallery.records import NewPicture
from mien.gallery.store import Store
store = Store(sys.argv[1])
for index, vector in enumerate(made.vectors(1, 40)[0]):
    name = f"/{sys.argv[2]}-{index}.jpg"
    store.add([NewPicture(made.faces(vector[None]), name, (1, 1), name.encode())], made.RECOGNISER)
"""
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(tmp_path / "people.mien")]
    running = [subprocess.Popen([*command, name, here]) for name in ("one", "two", "three")]
    assert [child.wait(60) for child in running] == [0, 0, 0]
    store = Store(tmp_path / "people.mien")
    assert store.counts()["pictures"] == store.counts()["faces"] == 120
    assert store.faults() == []
    store.close()


def test_who_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    one, two = Store(tmp_path / "people.mien"), Store(tmp_path / "people.mien")
    with one._connection.transaction(write=True):
        with pytest.raises(GalleryError, match="another process has been busy"):
            two.make_person("Ada")
        assert two.people() == []
    assert two.make_person("Ada").name == "Ada"
    one.close()
    two.close()


def test_threads_share_a_store(store: Store) -> None:
    vectors = made.vectors(4, 20)

    def work(one: int) -> None:
        for two in range(20):
            store.add([NewPicture(made.faces(vectors[one, two][None]))], made.RECOGNISER)
            assert len(store.vectors()[1]) > 0

    threads = [threading.Thread(target=work, args=(one,)) for one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts()["faces"] == 80


def test_a_full_disk_is_one_clear_error_and_what_was_kept_stays(store: Store) -> None:
    faces = filled(store)
    raw = store._connection.raw
    pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.execute(f"PRAGMA max_page_count = {pages}")
    big = NewPicture(made.faces(made.vectors(1, 400)[0]), "/big.jpg", (1, 1), b"b" * 32)
    with pytest.raises(UnwritableOutput, match="the disk is full"):
        store.add([big], made.RECOGNISER)
    assert store.ids() == faces
    raw.execute("PRAGMA max_page_count = 1000000")
    store.add([big], made.RECOGNISER)
    assert len(store.ids()) == len(faces) + 400


def _pages(path: Path, table: str) -> list[int]:
    with sqlite3.connect(path) as raw:
        found = raw.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,))
        pages = [row[0] for row in found]
    raw.close()
    return pages


def _overwrite(path: Path, page: int, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * (page - 1) + at)
        file.write(data)


@pytest.mark.parametrize("table", ["embeddings", "faces", "fields"])
def test_a_damaged_page_is_detected_and_the_rest_is_saved(tmp_path: Path, table: str) -> None:
    path = tmp_path / "people.mien"
    store = Store(path)
    faces = filled(store, 60, 8)
    assert store.faults() == []
    store.close()
    pages = _pages(path, table)
    assert len(pages) >= 3
    _overwrite(path, pages[len(pages) // 2], np.random.default_rng(0).bytes(4096))

    store = Store(path)
    assert store.faults() != []
    with pytest.raises(DamagedGallery):
        list(store.faces(store.ids()))
    saved = list(store.salvage())
    good = [one for one in saved if not isinstance(one, int)]
    lost = {one for one in saved if isinstance(one, int)}
    assert {one.id for one in good} | lost >= set(faces)
    assert len(good) >= len(faces) - 2 * len(faces) // len(pages) - 2
    vectors = made.vectors(60, 8).reshape(-1, made.SIZE)
    for one in good:
        assert one.faces.embeddings is not None
        np.testing.assert_array_equal(one.faces.embeddings[0], vectors[one.id - 1])
    store.close()


def test_one_changed_bit_of_an_embedding_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "people.mien"
    store = Store(path)
    filled(store)
    (stored,) = store.faces([5])
    store.close()
    assert stored.faces.embeddings is not None
    blob = stored.faces.embeddings.tobytes()
    data = bytearray(path.read_bytes())
    at = data.find(blob)
    assert at > 0
    data[at + 9] ^= 1
    path.write_bytes(data)

    store = Store(path)
    assert store.faults() == ["the embedding of face 5"]
    with pytest.raises(DamagedGallery, match="face 5"):
        store.vectors()
    assert [one for one in store.salvage() if isinstance(one, int)] == [5]
    store.remove_faces([5])
    assert len(store.vectors()[1]) == 11
    store.close()
