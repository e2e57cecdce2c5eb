"""Searching a gallery: an index that agrees with the store, and who a face is by it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TypedDict

import numpy as np

from mien.core.errors import GalleryError, UnwritableOutput
from mien.core.faces import Faces
from mien.core.fields import Floats
from mien.gallery import decide, index
from mien.gallery.answer import Answer, Match
from mien.gallery.index import ExactIndex, Ids
from mien.gallery.recogniser import Recogniser
from mien.gallery.records import State, StoredFace
from mien.gallery.store import Store

# The index's file is written anew when it lacks this many faces, or one in eight: reading the rest from the
# store costs little.
_LACKING = 256


class _Decision(TypedDict):
    known: bool | None
    person: int | None
    name: str


class _Rates(TypedDict):
    fmr: float | None
    fmr_high: float | None
    fpir: float | None
    fpir_high: float | None
    beyond: bool


class Searcher:
    """Finds faces and people in a gallery. Safe from many threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = index.index_path(store.path)
        self._lock = threading.Lock()
        self._kept: tuple[State, ExactIndex] | None = None
        self._named: tuple[State, Ids, Ids] | None = None
        self._unsaved = 0

    def answers(
        self, queries: Floats, k: int, faces: Faces | None, *, fpir: float, threshold: float | None
    ) -> tuple[Answer, ...]:
        """Answer for each of (n, d) embeddings, as `Gallery.search`; `faces` are those they are of."""
        single = [None if faces is None else faces[row] for row in range(len(queries))]
        bound = self._store.recogniser()
        if bound is None:
            return tuple(map(_unknown, single))
        queries = self._checked(queries, bound)
        found = self.index()
        near, close = found.search(queries, k)
        _, references, people = self._references()
        best, best_close = found.search(queries, 1, references)
        stored = {one.id: one for one in self._store.faces(np.unique(near).tolist())}
        names = self._store.names()
        curve = decide.Curve.of(bound.card.thresholds if bound.card else (), mirrored=bound.mirrored)
        limit = threshold
        if limit is None:
            limit = curve.threshold(decide.needed_rate(fpir, len(references)))
        answers = []
        for row in range(len(queries)):
            pairs = zip(near[row].tolist(), close[row].tolist(), strict=True)
            matches = tuple(_match(stored[face], value) for face, value in pairs if face in stored)
            person, similarity = None, None
            if best.shape[1]:
                person = int(people[np.searchsorted(references, best[row, 0])])
                similarity = float(np.clip(best_close[row, 0], -1, 1))
            answers.append(
                Answer(
                    **_decision(curve, similarity, limit, person, names),
                    threshold=limit,
                    **_rates(curve, similarity, len(references)),
                    similarity=similarity,
                    compared=len(references),
                    data=curve.data,
                    model=f"{bound.model} {bound.version}",
                    matches=matches,
                    face=single[row],
                )
            )
        return tuple(answers)

    def _checked(self, queries: Floats, bound: Recogniser) -> Floats:
        if queries.shape[1] != bound.size:
            raise GalleryError(
                self._store.path,
                f"an embedding of {queries.shape[1]} numbers; those of {bound} have {bound.size}",
            )
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise GalleryError(
                self._store.path,
                "an embedding of length 0, or with a number that is not finite, is near to nothing",
            )
        return np.asarray(queries / lengths, np.float32)

    def forget(self) -> None:
        """Erase the index's file, and begin anew.

        Raises:
            UnwritableOutput: it cannot be written.
        """

        def erase() -> None:
            try:
                index.erase(self._path)
            except OSError as error:
                raise UnwritableOutput(self._path, error.strerror or str(error)) from error

        with self._lock:
            self._kept = self._named = None
            while not self._store.while_unchanged(self._store.state().removals, erase):
                pass

    def _references(self) -> tuple[State, Ids, Ids]:
        kept = self._named
        if kept is None or kept[0].changes != self._store.state().changes:
            kept = self._named = self._store.references()
        return kept

    def index(self) -> ExactIndex:
        """Return an index that agrees with the store: the one at hand, brought up to date, or a new one."""
        with self._lock:
            while True:
                found = self._brought_up()
                if found is not None:
                    return found

    def _brought_up(self) -> ExactIndex | None:
        """Return the index; None when something was removed meanwhile."""
        state = self._store.state()
        kept = self._kept
        if kept is None or kept[0].removals != state.removals:
            mapped = index.read(self._path, gallery=state.gallery, removals=state.removals)
            kept = (replace(state, last=_last(mapped)), mapped) if mapped else None
        if kept is not None and kept[0].last == state.last:
            self._kept = kept
            return kept[1]
        new, ids, vectors = self._store.vectors(kept[0].last if kept else 0)
        if kept is None:
            found = ExactIndex(ids, vectors)
        elif kept[0].removals == new.removals:
            found = kept[1]
            found.add(ids, vectors)
        else:
            self._kept = None
            return None
        self._unsaved = len(ids) + (self._unsaved if kept is self._kept else 0)
        self._kept = (new, found)
        self._save(new, found)
        return found

    def _save(self, state: State, found: ExactIndex) -> None:
        """Write the index's file where it lacks much. It is no loss when that cannot be."""
        if self._unsaved < max(_LACKING, len(found) // 8):
            return

        def write() -> None:
            index.write(
                self._path,
                found.ids,
                found.vectors,
                gallery=state.gallery,
                removals=state.removals,
            )

        # While nobody can remove anything: a file of somebody who is just forgotten must not come back.
        with contextlib.suppress(UnwritableOutput, GalleryError):
            if self._store.while_unchanged(state.removals, write):
                self._unsaved = 0


def _last(found: ExactIndex) -> int:
    ids = found.ids
    return int(ids[-1]) if len(ids) else 0


def _match(stored: StoredFace, similarity: float) -> Match:
    x1, y1, x2, y2 = (float(value) for value in stored.faces.boxes[0])
    path = stored.paths[0] if stored.paths else ""
    value = max(-1.0, min(1.0, similarity))
    return Match(stored.id, stored.person, stored.name, value, path, (x1, y1, x2, y2))


def _unknown(face: Faces | None) -> Answer:
    """Answer for a gallery without faces: nobody, and surely so."""
    return Answer(False, None, "", None, None, None, None, 0.0, 0.0, False, 0, "", "", (), face)


def _decision(
    curve: decide.Curve,
    similarity: float | None,
    limit: float | None,
    person: int | None,
    names: dict[int, str],
) -> _Decision:
    """Say who it is, nobody, or that it cannot be said."""
    if similarity is not None and limit is None and not curve.points:
        return {"known": None, "person": None, "name": ""}
    if similarity is None or limit is None or similarity < limit or person not in names:
        return {"known": False, "person": None, "name": ""}
    return {"known": True, "person": person, "name": names[person]}


def _rates(curve: decide.Curve, similarity: float | None, compared: int) -> _Rates:
    """Return how often a stranger comes as near: to one face, and to any of those compared with."""
    if similarity is None or not curve.points:
        nothing = None if similarity is not None else 0.0
        return {"fmr": None, "fmr_high": None, "fpir": nothing, "fpir_high": nothing, "beyond": False}
    fmr, high = curve.rate(similarity), curve.rate(similarity, high=True)
    return {
        "fmr": fmr,
        "fmr_high": high,
        "fpir": decide.positive_rate(fmr, compared),
        "fpir_high": decide.positive_rate(high, compared),
        "beyond": curve.beyond(similarity),
    }
