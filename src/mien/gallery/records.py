"""What goes into a gallery and comes out of it, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mien.core.faces import Faces
from mien.core.fingerprint import Fingerprint


@dataclass(frozen=True)
class NewPicture:
    """A picture with its faces, to be added.

    Attributes:
        faces: its faces with embeddings; none is a picture that need not be looked at again.
        path: its file, or another unique name of it; "" is a picture without one.
        mark: of the file when it was read; (0, 0) where there is none.
        sha256: of the file's bytes; None where they are not known.
        faults: for each face why it must not name others, such as ("too_small",); empty means: none has any.
        thumbnails: for each face a JPEG; empty means: there are none.
        person: whom they show: a name, or "#" and a number; "" is not known.
    """

    faces: Faces
    path: str = ""
    mark: Fingerprint = (0, 0)
    sha256: bytes | None = None
    faults: Sequence[tuple[str, ...]] = ()
    thumbnails: Sequence[bytes] = ()
    person: str = ""


@dataclass(frozen=True)
class Person:
    """Somebody in a gallery.

    Attributes:
        id: the number, never given twice.
        name: "" while it is not known.
        faces: numbers of the faces.
        pictures: on how many pictures.
    """

    id: int
    name: str
    faces: tuple[int, ...]
    pictures: int

    def __str__(self) -> str:
        return self.name or f"#{self.id}"


@dataclass(frozen=True)
class StoredFace:
    """A face in a gallery.

    Attributes:
        id: its number, never given twice.
        picture: the number of its picture.
        paths: where the picture was found; the same bytes may lie in several places.
        sha256: of the picture's bytes, in hexadecimal; "" when they were not known.
        person: the number of the person; None: nobody has said.
        name: the person's; "" when there is none.
        faults: why it names nobody else.
        faces: its fields, as `Faces` of length one.
    """

    id: int
    picture: int
    paths: tuple[str, ...]
    sha256: str
    person: int | None
    name: str
    faults: tuple[str, ...]
    faces: Faces


@dataclass(frozen=True)
class State:
    """Where a gallery stands: what caches and indexes ask before they trust themselves.

    Attributes:
        gallery: 32 hexadecimal digits that are this gallery's own.
        changes: grows with every write.
        removals: grows when embeddings go or change.
        last: the highest number of a face; 0 when there is none.
        faces: how many embeddings there are.
    """

    gallery: str
    changes: int
    removals: int
    last: int
    faces: int


@dataclass(frozen=True)
class Removed:
    """What a removal took away.

    Attributes:
        faces: numbers of the faces.
        pictures: how many pictures went with them.
    """

    faces: tuple[int, ...] = field(default=())
    pictures: int = 0
