"""`Gallery`: people by their faces: add pictures, say who is who, ask who somebody is, forget somebody."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mien.core.errors import GalleryError, UnwritableOutput
from mien.core.faces import Faces
from mien.gallery import decide, index
from mien.gallery.analyst import Analyst
from mien.gallery.answer import Answer
from mien.gallery.export import Exported, export
from mien.gallery.intake import Added, Intake
from mien.gallery.records import Person, Removed, StoredFace
from mien.gallery.reembed import Moved, reembed
from mien.gallery.searcher import Searcher
from mien.gallery.store import Store
from mien.runtime.pipeline import Options

FIELDS = ("landmarks", "pose", "quality", "embeddings")
"""What is asked of each face: what finds it again, and what tells whether it is fit to name others."""


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a person took away.

    Attributes:
        faces: how many faces.
        pictures: how many pictures on which nobody else is.
        resembling: numbers of faces that nobody has been named for and that may be the same person's.
    """

    faces: int
    pictures: int
    resembling: tuple[int, ...] = field(default=())


class Gallery:
    """People by their faces, in one file with an index beside it. Safe from many threads and processes.

    A gallery belongs to the recogniser that its first faces came from; embeddings of another one are refused.
    What a method has written when it returns survives a crash of the program and of the machine.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        models: Sequence[str] = (),
        terms: str = "any",
        threads: int = 0,
        mirror: bool | None = None,
        create: bool = True,
    ) -> None:
        """Open a gallery, or make one. Models are loaded when the first picture needs them.

        Args:
            path: the file; by custom it ends in .mien.
            models: names or .onnx paths of models that take the place of the default ones.
            terms: "permissive" keeps to models whose card allows commercial use.
            threads: threads to use; 0 takes all cores.
            mirror: add the mirrored face's embedding; None: as the gallery's first faces, else no.
            create: make the file where it is missing.

        Raises:
            GalleryError: it is missing and must not be made, of a newer version, or another program's.
            DamagedGallery: it is damaged, or no gallery.
            UnwritableOutput: it cannot be made or opened.
        """
        if "://" in os.fspath(path):
            raise GalleryError(path, "a gallery is a file; databases on a server are not supported yet")
        self.path = Path(path)
        self.store = Store(self.path, create=create)
        bound = self.store.recogniser()
        added = mirror if mirror is not None else bool(bound and bound.mirrored)
        self._analyst = Analyst(self.store, Options(FIELDS, tuple(models), terms, 1, mirror=added))
        self._searcher = Searcher(self.store)
        self._threads = threads
        if self.store.unswept():
            # Somebody was forgotten by a process that could not finish.
            with contextlib.suppress(GalleryError, UnwritableOutput):
                self._sweep()

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- adding ----------------------------------------------------------------------------------------

    def add(
        self,
        given: Any,
        *,
        person: str = "",
        progress: Callable[[int], None] = lambda done: None,
    ) -> Added:
        """Add the faces of pictures. What is there already is left out, so that a second run goes on.

        Without `person` every face is kept; those too small, blurred or turned are found again by `search`
        but name nobody. With it each picture must show one face, of that person, fit to name others.

        Args:
            given: a picture as `mien.analyze` takes it, `Faces` of one picture (with embeddings made with
                this gallery's `mirror`, which they do not tell), a folder, or an iterable of these.
            person: whom the pictures show: a name, or "#" and a number.
            progress: called with the number of pictures that are done and on the disk.

        Raises:
            MienError: a single picture cannot be added; of several, `Added.failed` tells.
            OtherRecogniser: these are embeddings of another recogniser than the gallery's.
            UnwritableOutput: full disk; what `progress` has told of is kept.
        """
        return Intake(self._analyst, threads=self._threads, person=person).add(given, progress)

    # -- searching -------------------------------------------------------------------------------------

    def search(
        self, given: Any, k: int = 5, *, fpir: float = decide.WANTED, threshold: float | None = None
    ) -> tuple[Answer, ...]:
        """Tell who faces are, and which faces are nearest.

        Somebody is only named when strangers come as near at a rate of at most `fpir`: the more faces the
        gallery has, the nearer a face must be. "Nobody" is an answer.

        Args:
            given: a picture as `mien.analyze` takes it, `Faces` with embeddings, or an embedding (d,) or
                several (n, d).
            k: how many of the nearest faces to tell of.
            fpir: the rate at which strangers may be taken for somebody of the gallery, 0..1.
            threshold: decide at this similarity instead.

        Returns:
            One answer a face; none for a picture without faces.

        Raises:
            UnreadablePicture: the picture cannot be read.
            OtherRecogniser: these are embeddings of another recogniser than the gallery's.
            GalleryError: an embedding of another size, or without a direction.
        """
        if not 0 < fpir < 1:
            raise ValueError(f"fpir must lie between 0 and 1, not {fpir}")
        if isinstance(given, np.ndarray) and given.ndim <= 2:
            queries, faces = np.atleast_2d(np.asarray(given, np.float32)), None
        else:
            faces = self._own(given) if isinstance(given, Faces) else self._analyst.pipeline().analyze(given)
            if not len(faces):
                return ()
            assert faces.embeddings is not None
            queries = faces.embeddings
        return self._searcher.answers(queries, k, faces, fpir=fpir, threshold=threshold)

    def _own(self, faces: Faces) -> Faces:
        """Return faces whose embeddings are of this gallery's recogniser."""
        made = self._analyst.recogniser(faces)
        bound = self.store.recogniser()
        if bound is not None and made is not None:
            self.store.require(bound, made)
        return faces

    # -- people ----------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Return everybody: by name, then those whose name is not known."""
        return self.store.people()

    def person(self, who: int | str) -> Person:
        """Return a person by name, "#" and number, or number.

        Raises:
            UnknownPerson: nobody is called so.
        """
        return self.store.person(who)

    def faces(self, ids: Iterable[int]) -> list[StoredFace]:
        """Return faces by their numbers; those that are not there are left out."""
        return list(self.store.faces(ids))

    def name(self, faces: Sequence[int], name: str) -> Person:
        """Say that faces are a person's: a name that may be new, or "#" and a number; "" makes one without.

        Raises:
            GalleryError: a face that is not there.
        """
        return self.store.name(faces, name)

    def rename(self, who: int | str, name: str) -> Person:
        """Give a person another name.

        Raises:
            UnknownPerson: nobody is called so.
            GalleryError: somebody else has the name.
        """
        return self.store.rename(who, name)

    def merge(self, *who: int | str) -> Person:
        """Make one person of several: the first one, with the first name that any of them has.

        Raises:
            UnknownPerson: nobody is called so.
        """
        return self.store.merge(who)

    def split(self, who: int | str, faces: Sequence[int], name: str = "") -> Person:
        """Take faces away from a person and give them to another one, as in `name`.

        Raises:
            UnknownPerson: nobody is called so.
            GalleryError: a face that is not the person's, or all of them.
        """
        return self.store.split(who, faces, name)

    # -- taking away -----------------------------------------------------------------------------------

    def remove(
        self, *, pictures: Sequence[str | os.PathLike[str]] = (), faces: Sequence[int] = ()
    ) -> Removed:
        """Remove pictures (files, or all below a folder) with their faces, or single faces.

        Removed pictures may be added again; of removed faces the picture stays known, and they do not come
        back with it.

        Raises:
            GalleryError: nothing was added from a path, or a face is not there.
        """
        paths = [os.path.abspath(os.fsdecode(path)) for path in pictures]  # noqa: PTH100
        gone = self.store.remove_paths(paths) if paths else Removed()
        rest = self.store.remove_faces(faces) if faces else Removed()
        self._searcher.forget()
        return Removed(gone.faces + rest.faces, gone.pictures)

    def forget(self, who: int | str) -> Forgotten:
        """Remove a person for good: faces, embeddings, thumbnails, name, and the bytes that they left.

        The gallery's file is written anew without its free space, its log is emptied and the index erased. A
        process that is killed meanwhile leaves the rest to the next one that opens the gallery. The audit
        tells when somebody was forgotten, not whom. Of the person's pictures the SHA-256 is kept, so that
        adding their folder again does not bring the faces back. Copies of the gallery, a file system's
        snapshots, and what a disk keeps in blocks that it has freed are out of reach.

        Raises:
            UnknownPerson: nobody is called so.
            GalleryError: another process is reading; the bytes go when the gallery is opened next.
            UnwritableOutput: there is no space for a second copy of the gallery; as before.
        """
        person = self.store.person(who)
        resembling = self._resembling(person)
        removed = self.store.forget(person.id)
        self._sweep()
        return Forgotten(len(removed.faces), removed.pictures, resembling)

    def _resembling(self, person: Person) -> tuple[int, ...]:
        """Return faces of nobody that match one of a person's at the card's own threshold."""
        bound = self.store.recogniser()
        known = bound.card.threshold("embeddings", mirrored=bound.mirrored) if bound and bound.card else None
        _, nobody = self.store.faces_of_nobody()
        if known is None or not len(nobody):
            return ()
        near: set[int] = set()
        for face in self.store.faces(person.faces):
            assert face.faces.embeddings is not None
            found, close = self._searcher.index().search(face.faces.embeddings, len(nobody), nobody)
            near |= set(found[0][close[0] >= known.value].tolist())
        return tuple(sorted(near))

    def _sweep(self) -> None:
        self._searcher.forget()
        self.store.sweep()

    # -- moving ----------------------------------------------------------------------------------------

    def reembed(
        self,
        *,
        models: Sequence[str] = (),
        terms: str = "any",
        mirror: bool = False,
        drop: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Moved:
        """Move the gallery to another recogniser: every face is embedded anew from its picture.

        Faces keep their numbers, people and names. Until all is done the gallery works as before; then the
        new embeddings take the place of the old ones at once. A run that is stopped goes on where it was.

        Args:
            models: names or .onnx paths of models that take the place of the default ones.
            terms: "permissive" keeps to models whose card allows commercial use.
            mirror: add the mirrored face's embedding.
            drop: remove faces whose picture is gone or has changed, or that are not found in it again;
                without it the gallery does not move while there are any.
            progress: called with the number of faces that are done and their total.

        Raises:
            ModelMissing: a model is not on this machine.
            UnwritableOutput: full disk; the gallery is as it was.
        """
        options = Options(FIELDS, tuple(models), terms, 1, mirror=mirror)
        moved = reembed(Analyst(self.store, options), threads=self._threads, drop=drop, progress=progress)
        if moved.done:
            self._analyst = Analyst(self.store, options)
            self._searcher.forget()
        return moved

    # -- telling ---------------------------------------------------------------------------------------

    def export(self, target: str | os.PathLike[str], *, embeddings: bool = True) -> Exported:
        """Write every face as a line of JSON: its person, pictures and fields; what is damaged is left out.

        Args:
            target: the .jsonl file. Each line is also what `Faces.from_dict` takes.
            embeddings: write the embeddings, too.

        Raises:
            UnwritableOutput: full disk, read-only folder.
        """
        return export(self.store, target, embeddings=embeddings)

    def stats(self, *, check: bool = False) -> dict[str, Any]:
        """Return what the gallery holds, plain values ready for JSON.

        Args:
            check: also look at every page and every embedding for damage.
        """
        bound = self.store.recogniser()
        state = self.store.state()
        file = index.index_path(self.path)
        mapped = index.read(file, gallery=state.gallery, removals=state.removals)
        return {
            "path": os.fspath(self.path),
            **self.store.counts(),
            "recogniser": str(bound) if bound else None,
            "bytes": _size(self.path) + _size(self.path.with_name(self.path.name + "-wal")),
            "index_bytes": _size(file),
            "index_faces": len(mapped) if mapped else 0,
            "audit": self.store.audit(),
            **({"faults": self.store.faults()} if check else {}),
        }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
