"""A process that works on a gallery without end, telling what it is about to do and what was acknowledged."""

from __future__ import annotations

import json
import os
from typing import Any

import made
import numpy as np

from mien.gallery import searcher
from mien.gallery.gallery import Gallery
from mien.gallery.records import NewPicture

PEOPLE = 50


def vector(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the embedding that is added under a number: the same in every process."""
    random = np.random.default_rng(number)
    drawn = random.normal(size=made.SIZE).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


def work(path: str, pipe: int, first: int, seed: int) -> None:
    """Add, name, remove, forget and search, until killed.

    Args:
        path: the gallery's.
        pipe: where to tell, a line of JSON each.
        first: the number of the first picture to add.
        seed: of what is done.
    """

    def tell(**facts: Any) -> None:
        os.write(pipe, json.dumps(facts).encode() + b"\n")

    searcher._LACKING = 8
    random = np.random.default_rng(seed)
    number = first
    with Gallery(path) as gallery:
        tell(ready=True)
        while True:
            what = random.choice(["add", "add", "add", "name", "remove", "search", "forget"])
            ids = gallery.store.ids()
            if what == "add" or len(ids) < 40:
                count = int(random.integers(1, 9))
                new = [
                    NewPicture(made.faces(vector(n)[None], f"/{n}", "made 1"), f"/{n}")
                    for n in range(number, number + count)
                ]
                added = gallery.store.add(new, made.RECOGNISER)
                tell(added={n: faces[0] for n, faces in enumerate(added, start=number) if faces})
                number += count
            elif what == "name":
                chosen = [int(face) for face in random.choice(ids, 3, replace=False)]
                tell(naming=chosen)
                gallery.name(chosen, f"person {random.integers(PEOPLE)}")
            elif what == "remove":
                face = int(random.choice(ids))
                tell(removing=[face])
                gallery.remove(faces=[face])
                tell(removed=[face])
            elif what == "search":
                gallery.search(vector(int(random.integers(number))))
            elif gallery.people():
                person = gallery.people()[int(random.integers(len(gallery.people())))]
                tell(removing=list(person.faces))
                gallery.forget(person.id)
                tell(removed=list(person.faces), forgotten=True)
