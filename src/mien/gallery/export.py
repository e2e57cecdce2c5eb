"""Writes a gallery as JSON Lines, a damaged one as far as it can be read."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from mien.core.atomic import writing
from mien.gallery.records import StoredFace
from mien.gallery.store import Store


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        faces: how many faces.
        lost: numbers of the faces that could not be read, or may have been: where the list of faces itself is
            damaged, numbers that no face ever had count, too.
    """

    faces: int
    lost: tuple[int, ...]


def export(store: Store, target: str | os.PathLike[str], *, embeddings: bool) -> Exported:
    """Write every face as one line.

    Args:
        store: the gallery's.
        target: the file.
        embeddings: write the embeddings, too.

    Raises:
        UnwritableOutput: full disk, read-only folder.
        DamagedGallery: nothing can be read at all.
    """
    faces, lost = 0, []
    with writing(target, text=True) as file:
        for one in store.salvage():
            if isinstance(one, int):
                lost.append(one)
            else:
                file.write(json.dumps(row_of(one, embeddings=embeddings)) + "\n")
                faces += 1
    return Exported(faces, tuple(lost))


def row_of(one: StoredFace, *, embeddings: bool) -> dict[str, Any]:
    """Return a face as plain values, ready for JSON; `Faces.from_dict` takes it."""
    fields = one.faces.to_dict()
    if not embeddings:
        del fields["embeddings"]
    return {
        "face": one.id,
        "person": one.person,
        "name": one.name,
        "paths": list(one.paths),
        "sha256": one.sha256,
        "faults": list(one.faults),
        **fields,
    }
