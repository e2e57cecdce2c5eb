"""Every error that mien raises: each names the input, what is wrong, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable


class MienError(Exception):
    """The base of all errors that mien raises on purpose; its text is meant for the user."""


def printable(path: str | os.PathLike[str] | bytes) -> str:
    """Return a path as text that is safe to print: newlines and bytes that are no UTF-8 are escaped."""
    text = os.fsdecode(path)
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


class UnreadablePicture(MienError):
    """A picture (or a frame, or a video) that cannot be read.

    Attributes:
        path: where the picture came from, as printable text ("<bytes>" for bytes in memory).
        source: the same as it was given; it may hold line breaks, and surrogates for bytes that are no UTF-8.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = printable(path)
        self.source = os.fsdecode(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadablePicture], tuple[str, str]]:
        return UnreadablePicture, (self.source, self.reason)


class UnwritableOutput(MienError):
    """An output that cannot be written: full disk, read-only folder, or a name that is taken."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"cannot write {printable(path)}: {reason}")
        self.path = printable(path)
        self.reason = reason


class MissingExtra(MienError):
    """A part of mien needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package {package!r}: pip install 'mien[{extra}]'")
        self.package = package
        self.extra = extra


class CardError(MienError):
    """A model card that is wrong, or that does not fit the model it is given with."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class ModelMissing(MienError):
    """A model that is not on this machine yet."""

    def __init__(self, name: str, command: str) -> None:
        super().__init__(f"the model {name!r} is not here: run `{command}`")
        self.name = name
        self.command = command


class DamagedModel(MienError):
    """A model file whose bytes are not the ones that were installed."""

    def __init__(self, name: str, reason: str, command: str) -> None:
        super().__init__(f"the model {name!r} is damaged ({reason}): run `{command}`")
        self.name = name
        self.reason = reason


class PartOfMien(MienError):
    """A model that ships with mien and cannot be removed from it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the model {name!r} is a part of mien and stays: "
            "--want leaves out what it makes, --model puts another in its place"
        )
        self.name = name


class ChecksumMismatch(MienError):
    """Fetched bytes whose SHA-256 is not the one in the asset table; they are refused."""

    def __init__(self, name: str, expected: str, found: str, source: str) -> None:
        super().__init__(f"{name} from {source}: SHA-256 should be {expected} but is {found}; refused")
        self.name = name
        self.expected = expected
        self.found = found


class FetchError(MienError):
    """A model that could not be fetched from any of its sources."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot fetch {name}: {reason}")
        self.name = name
        self.reason = reason


class ConversionError(MienError):
    """A model file that a converter cannot read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot convert {name}: {reason}")
        self.name = name
        self.reason = reason


class UnknownField(MienError):
    """A field was asked for that no model (among the allowed ones) makes."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"cannot make {field!r}: {reason}")
        self.field = field
        self.reason = reason


class NoFace(MienError):
    """A face was needed and none was found."""

    def __init__(self, path: str | os.PathLike[str], reason: str = "no face was found") -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = printable(path)
        self.reason = reason


class WorkerFault(MienError):
    """Another machine, or another process, that works for this one cannot do its part.

    Attributes:
        worker: its name.
        reason: what is wrong there, and what to do.
    """

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(f"on {worker}: {reason}")
        self.worker = worker
        self.reason = reason


class UnknownFormat(MienError):
    """A file format that mien does not write."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no format {name!r}; there are: {', '.join(known)}")
        self.name = name


class UnreadableMetadata(MienError):
    """Metadata of a picture that cannot be read, or not changed without harm; they stay as they are."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = printable(path)
        self.reason = reason


class UnreadableNames(MienError):
    """A table of names that cannot be read."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = printable(path)
        self.reason = reason


class GalleryError(MienError):
    """A gallery that cannot do what was asked of it.

    Attributes:
        path: the gallery's file, as printable text.
        reason: what is wrong, and what to do.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = printable(path)
        self.reason = reason


class DamagedGallery(GalleryError):
    """A gallery's file whose bytes are not what was written, or that is no gallery at all."""


class OtherRecogniser(GalleryError):
    """Embeddings of another recogniser than the gallery's: the two cannot be compared."""


class UnknownPerson(GalleryError):
    """Nobody of this name or number is in the gallery."""


class RefusedEnrolment(GalleryError):
    """A picture that is unfit to stand for a person.

    Attributes:
        faults: why: `no_face`, `second_face`, `too_small`, `too_blurred`, `extreme_pose`.
    """

    def __init__(self, path: str | os.PathLike[str], faults: Iterable[str], reason: str) -> None:
        super().__init__(path, reason)
        self.faults = tuple(faults)
