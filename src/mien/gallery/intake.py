"""The way of pictures into a gallery: what is new is analysed by many threads and written by one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mien.core.errors import GalleryError, MienError, RefusedEnrolment, UnreadablePicture
from mien.core.faces import Faces
from mien.core.fingerprint import Fingerprint, fingerprint
from mien.core.picture import Picture
from mien.gallery import enrol
from mien.gallery.analyst import Analyst
from mien.gallery.recogniser import Recogniser
from mien.gallery.records import NewPicture
from mien.gallery.thumbnail import thumbnails
from mien.runtime import stream as streams
from mien.runtime.parquet import is_parquet
from mien.runtime.video import is_video

# Pictures that are written in one transaction: one wait for the disk for all of them.
_TOGETHER = 8


@dataclass(frozen=True)
class Added:
    """What became of pictures that were to be added.

    Attributes:
        faces: numbers of the new faces.
        pictures: how many pictures were new.
        known: how many were there already.
        failed: for each one that could not be added, what it is and why.
    """

    faces: tuple[int, ...] = ()
    pictures: int = 0
    known: int = 0
    failed: tuple[tuple[str, MienError], ...] = ()


@dataclass
class _Looked:
    """A source on its way into the gallery."""

    source: Any
    path: str = ""
    mark: Fingerprint = (0, 0)
    sha256: bytes | None = None
    known: bool = False
    new: NewPicture | None = None
    recogniser: Recogniser | None = None
    error: MienError | None = None


@dataclass
class _Tally:
    faces: list[int] = field(default_factory=list)
    pictures: int = 0
    known: int = 0
    total: int = 0
    failed: list[tuple[str, MienError]] = field(default_factory=list)


class Intake:
    """Adds pictures to a gallery."""

    def __init__(self, analyst: Analyst, *, threads: int, person: str) -> None:
        """Prepare.

        Args:
            analyst: the gallery's.
            threads: worker threads; 0 takes all cores.
            person: whom every picture shows; "" is not known.
        """
        self._analyst = analyst
        self._store = analyst.store
        self._threads = threads or streams.available_cores()
        self._person = person.strip()

    def add(self, given: Any, progress: Callable[[int], None]) -> Added:
        """Add what `Gallery.add` takes."""
        single = isinstance(given, Faces) or not _several(given)
        items = [given] if isinstance(given, Faces) else streams.sources(given)
        chunks = streams.chunked(items, lambda chunk: len(chunk) >= streams.CHUNK)
        done = _Tally()
        waiting: list[_Looked] = []
        for looked in streams.ordered(self._look, chunks, self._threads):
            waiting += looked
            if len(waiting) >= _TOGETHER:
                self._write(waiting, done)
                waiting = []
                progress(done.total)
        self._write(waiting, done)
        progress(done.total)
        if single and done.failed:
            raise done.failed[0][1]
        return Added(tuple(done.faces), done.pictures, done.known, tuple(done.failed))

    def _look(self, sources: list[Any]) -> list[_Looked]:
        """Find out what is new among sources and analyse it; called by many threads."""
        looked = [self._identify(source) for source in sources]
        new = [one for one in looked if one.new is None and one.error is None and not one.known]
        found: dict[int, tuple[Faces, list[bytes]]] = {}

        def seen(place: int, picture: Picture, faces: Faces) -> None:
            found[place] = (faces, thumbnails(picture, faces.boxes))

        if not new:
            return looked
        outcomes = self._analyst.pipeline().analyze_many([one.source for one in new], seen=seen)
        for place, (one, outcome) in enumerate(zip(new, outcomes, strict=True)):
            if isinstance(outcome, UnreadablePicture):
                one.error = outcome
            else:
                faces, small = found[place]
                one.new = NewPicture(
                    faces, one.path, one.mark, one.sha256, enrol.faults(faces), small, self._person
                )
                one.recogniser = self._analyst.recogniser(faces)
        return looked

    def _identify(self, source: Any) -> _Looked:
        """Tell which picture a source is, and whether it is here."""
        one = _Looked(source)
        if isinstance(source, Faces):
            self._identify_faces(one, source)
            return one
        try:
            if isinstance(source, (str, os.PathLike)):
                self._identify_file(one)
            elif hasattr(source, "read_bytes"):  # a row of a Parquet file
                one.path = str(source)
                one.sha256 = hashlib.sha256(source.read_bytes()).digest()
            elif isinstance(source, (bytes, bytearray, memoryview)):
                one.sha256 = hashlib.sha256(source).digest()
        except UnreadablePicture as error:
            one.error = error
        except OSError as error:
            one.error = UnreadablePicture(source, error.strerror or str(error))
        if not one.known and one.error is None and one.sha256 and self._store.has(one.sha256):
            one.new = NewPicture(Faces.empty(), one.path, one.mark, one.sha256)
        return one

    def _identify_faces(self, one: _Looked, faces: Faces) -> None:
        try:
            one.recogniser = self._analyst.recogniser(faces)
        except ValueError as error:
            one.error = GalleryError(self._store.path, f"{faces.source or 'the faces given'}: {error}")
            return
        if os.path.isfile(faces.source):  # noqa: PTH113
            self._identify_file(file := _Looked(faces.source))
            one.path, one.mark, one.sha256 = file.path, file.mark, file.sha256
            if file.known:
                one.known = True
                return
        elif not faces.source.startswith("<"):  # which is no name but a kind, such as "<array>"
            one.path = faces.source
        faults = enrol.faults(faces)
        one.new = NewPicture(faces, one.path, one.mark, one.sha256, faults, person=self._person)

    def _identify_file(self, one: _Looked) -> None:
        if is_video(one.source):
            one.error = UnreadablePicture(one.source, "is a video; a gallery takes pictures")
            return
        one.path = os.path.abspath(os.fsdecode(one.source))  # noqa: PTH100 - must not follow links
        one.mark = fingerprint(one.path)
        if not self._person and self._store.knows(one.path, one.mark):
            one.known = True
            return
        with open(one.path, "rb") as file:  # noqa: PTH123 - works for names that are no UTF-8
            one.sha256 = hashlib.file_digest(file, "sha256").digest()

    def _write(self, looked: list[_Looked], done: _Tally) -> None:
        for one in looked:
            if self._person and one.error is None:
                one.error = self._refusal(one)
        ready_ones = [one for one in looked if one.error is None and one.new is not None]
        by: dict[str, list[_Looked]] = {}
        for one in ready_ones:
            by.setdefault(one.recogniser.contract if one.recogniser else "", []).append(one)
        for together in by.values():
            new = [one.new for one in together if one.new is not None]
            added = self._store.add(new, together[0].recogniser)
            for one, faces in zip(together, added, strict=True):
                if faces is None:
                    one.known = True
                    there = self._store.faces_in(one.new) if self._person and one.new else None
                    if there:
                        self._store.name(there, self._person)
                else:
                    done.faces += faces
                    done.pictures += 1
        done.total += len(looked)
        done.known += sum(one.known for one in looked)
        done.failed += [(_said(one.source), one.error) for one in looked if one.error is not None]

    def _refusal(self, one: _Looked) -> RefusedEnrolment | None:
        """Return why a picture cannot stand for one person."""
        assert one.new is not None
        there = self._store.faces_in(one.new)
        faults = list(one.new.faults) if there is None else [face.faults for face in self._store.faces(there)]
        if len(faults) == 1 and not faults[0]:
            return None
        found = faults[0] if len(faults) == 1 else ("second_face" if faults else "no_face",)
        reason = "; ".join(enrol.WORDS[fault] for fault in found)
        return RefusedEnrolment(_said(one.source), found, reason)


def _several(given: Any) -> bool:
    """Tell whether a folder or an iterable is meant, not one picture."""
    if isinstance(given, (str, os.PathLike)):
        # Path.is_dir raises for what cannot be asked
        return os.path.isdir(given) or is_parquet(given)  # noqa: PTH112
    if isinstance(given, (bytes, bytearray, memoryview, Picture)) or hasattr(given, "__array__"):
        return False
    return isinstance(given, Iterable)


def _said(source: Any) -> str:
    if isinstance(source, Faces):
        return source.source or "<faces>"
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    return str(source) if hasattr(source, "read_bytes") else f"<{type(source).__name__}>"
