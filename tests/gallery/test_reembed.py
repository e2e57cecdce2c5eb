"""A gallery moves to another recogniser with all its names, at once or not at all, also after a stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import made
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import mien
from mien import Gallery
from mien.cli.app import app
from mien.core.errors import OtherRecogniser
from mien.gallery import reembed
from mien.gallery.records import NewPicture


@pytest.fixture
def photos(tmp_path: Path, demo_photos: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pair = Image.new("RGB", (800, 500))
    for place, name in enumerate(("obama", "grace_hopper", "biden")):
        picture = Image.open(demo_photos / f"{name}.jpg").convert("RGB")
        picture.thumbnail((400, 400))
        picture.save(folder / f"{name}.jpg")
        if place < 2:
            pair.paste(picture, (400 * place, 0))
    pair.save(folder / "pair.png")
    return folder


@pytest.fixture
def gallery(photos: Path) -> Iterator[Gallery]:
    """Return a gallery of plain embeddings in which two people have names."""
    with Gallery(photos.parent / "people.mien", threads=1) as opened:
        added = opened.add(photos)
        assert len(added.faces) == 5
        for person in ("obama", "grace_hopper"):
            (answer,) = opened.search(photos / f"{person}.jpg", 2)
            opened.name([match.face for match in answer.matches], person)
        yield opened


def _assert_moved(gallery: Gallery, names: dict[int, str]) -> None:
    bound = gallery.store.recogniser()
    assert bound is not None
    assert bound.mirrored
    stored = gallery.faces(gallery.store.ids())
    assert {one.id: one.name for one in stored} == names
    for one in stored:
        fresh = mien.analyze(one.paths[0], want=["embeddings"], mirror=True, threads=1)
        assert fresh.embeddings is not None
        assert one.faces.embeddings is not None
        nearest = int(np.abs(fresh.boxes - one.faces.boxes).sum(axis=1).argmin())
        np.testing.assert_allclose(one.faces.embeddings[0], fresh.embeddings[nearest], atol=1e-5)
    np.testing.assert_array_equal(gallery._searcher.index().ids, gallery.store.ids())


def _names(gallery: Gallery) -> dict[int, str]:
    return {one.id: one.name for one in gallery.faces(gallery.store.ids())}


def test_faces_keep_numbers_and_names(gallery: Gallery, photos: Path) -> None:
    names = _names(gallery)
    told: list[tuple[int, int]] = []
    moved = gallery.reembed(mirror=True, progress=lambda done, total: told.append((done, total)))
    assert (moved.done, moved.faces, moved.lost) == (True, 5, ())
    assert "with the mirrored face" in moved.recogniser
    assert told[-1] == (5, 5)
    _assert_moved(gallery, names)
    (answer,) = gallery.search(photos / "obama.jpg")
    assert answer.name == "obama"
    with Gallery(gallery.path) as later:
        assert later.search(photos / "obama.jpg")[0].name == "obama"
    with Gallery(gallery.path, mirror=False) as plain, pytest.raises(OtherRecogniser):
        plain.search(photos / "obama.jpg")


def test_a_stopped_run_goes_on_and_the_gallery_works_meanwhile(
    gallery: Gallery, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembed, "_TOGETHER", 2)
    names = _names(gallery)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.reembed(mirror=True, progress=stop)
    assert gallery.search(photos / "obama.jpg")[0].name == "obama"
    told: list[tuple[int, int]] = []
    with Gallery(gallery.path) as later:
        assert later.reembed(mirror=True, progress=lambda done, total: told.append((done, total))).done
        assert told == [(4, 5), (5, 5)]
        _assert_moved(later, names)
    # this one was open all the time, with an index of the old embeddings
    np.testing.assert_array_equal(gallery._searcher.index().vectors, gallery.store.vectors()[2])


def test_faces_without_their_picture_stop_the_move_unless_they_may_be_dropped(
    gallery: Gallery, photos: Path
) -> None:
    names = _names(gallery)
    (photos / "biden.jpg").unlink()
    (photos / "pair.png").write_bytes((photos / "obama.jpg").read_bytes())
    gone = ("biden.jpg", "pair.png")
    lost = tuple(one.id for one in gallery.faces(names) if Path(one.paths[0]).name in gone)
    before = gallery.store.recogniser()
    moved = gallery.reembed(mirror=True)
    assert (moved.done, moved.faces, moved.lost) == (False, 2, lost)
    assert (_names(gallery), gallery.store.recogniser()) == (names, before)
    assert gallery.search(photos / "obama.jpg")[0].name == "obama"

    arguments = ["gallery", "reembed", str(gallery.path), "--mirror", "--json"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    done = CliRunner().invoke(app, [*arguments, "--drop"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["lost"] == list(lost)
    _assert_moved(gallery, {face: name for face, name in names.items() if face not in lost})
    assert gallery.stats()["audit"][-1]["action"] == "reembed"


def test_a_face_added_meanwhile_is_moved_too(gallery: Gallery, photos: Path, demo_photos: Path) -> None:
    added: list[int] = []

    def add(done: int, total: int) -> None:
        if not added:
            with Gallery(gallery.path, threads=1) as other:
                added.extend(other.add(demo_photos / "obama2.jpg").faces)

    moved = gallery.reembed(mirror=True, progress=add)
    assert (moved.done, moved.faces, moved.lost) == (True, 6, ())
    assert added[0] in _names(gallery)


def test_who_is_forgotten_during_a_move_is_forgotten_there_too(tmp_path: Path) -> None:
    vectors = made.vectors(2, 4)
    with Gallery(tmp_path / "people.mien") as gallery:
        for one in range(2):
            gallery.store.add([NewPicture(made.faces(vectors[one]), f"/{one}")], made.RECOGNISER)
        gallery.name([1, 2, 3, 4], "Ada")
        secrets = made.vectors(1, 4, seed=9)[0]
        gallery.store.move({face: secrets[face - 1] for face in range(1, 5)}, "another contract")
        gallery.store.move({5: vectors[0, 0]}, "another contract")
        gallery.forget("Ada")
        for file in tmp_path.iterdir():
            data = file.read_bytes()
            assert not any(vector.tobytes() in data for vector in secrets), file
        assert gallery.store.left_to_move("another contract") == [6, 7, 8]
