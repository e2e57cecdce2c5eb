"""Templates, several pictures of a person as one embedding, and the layout that IJB-B and C list them in."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core.errors import printable
from mien.data.registry import DamagedSet
from mien.evaluate.verification import Numbers

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Templates:
    """Embeddings of sets of pictures.

    Attributes:
        names: (t,) numbers of the templates, ascending.
        vectors: (t, d) of unit length; zeros where no picture of a template has an embedding.
    """

    names: Indices
    vectors: Numbers

    def rows(self, names: Numbers) -> Indices:
        """Return the rows of templates by their numbers.

        Raises:
            KeyError: one that there is not.
        """
        rows = np.searchsorted(self.names, names)
        there = rows < len(self.names)
        there[there] = self.names[rows[there]] == np.asarray(names)[there]
        if not there.all():
            raise KeyError(int(np.asarray(names)[~there][0]))
        return np.asarray(rows, np.int64)


def pool(vectors: Numbers, template: Numbers, media: Numbers | None = None) -> Templates:
    """Return the mean embedding of each template, at unit length.

    Frames of one video show the same minute of a person again and again: embeddings of one medium are
    averaged first, so that each medium counts alike, as IJB-C is usually evaluated (Crosswhite et al. 2017,
    "Template adaptation for face verification and identification").

    Args:
        vectors: (n, d) embeddings of pictures of unit length; rows of zeros, without a found face, do not
            count.
        template: (n,) number of the template that each picture belongs to.
        media: (n,) number of the photo or video that each picture comes from; each its own when None.
    """
    template = np.asarray(template)
    media = np.arange(len(template)) if media is None else np.asarray(media)
    found = vectors.any(axis=1)
    names, place = np.unique(template, return_inverse=True)
    pairs, medium = np.unique(np.stack([place[found], media[found]]), axis=1, return_inverse=True)
    means = _sums(vectors[found], medium.reshape(-1), pairs.shape[1])
    means /= np.maximum(np.bincount(medium.reshape(-1), minlength=pairs.shape[1]), 1)[:, None]
    summed = _sums(means, pairs[0], len(names))
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    # Opposite embeddings may cancel but for rounding: nothing is left to point anywhere.
    pooled = np.where(length > 1e-6, summed / np.maximum(length, 1e-6), 0)
    return Templates(names.astype(np.int64), pooled.astype(vectors.dtype))


def _sums(rows: Numbers, place: Numbers, count: int) -> npt.NDArray[np.float64]:
    """Return (count, d) sums of the rows that belong to each place."""
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, place, rows)
    return sums


@dataclass(frozen=True, eq=False)
class Listed:
    """A benchmark of the IARPA Janus layout.

    Attributes:
        pictures: n names of pictures, relative to its folder of pictures.
        template: (n,) the template that each belongs to.
        media: (n,) the photo or video that each comes from.
        first: (m,) templates that are compared.
        second: (m,) with these.
        same: (m,) bool, whether they show one person.
    """

    pictures: tuple[str, ...]
    template: Indices
    media: Indices
    first: Indices
    second: Indices
    same: npt.NDArray[np.bool_]


def read_listed(folder: Path) -> Listed:
    """Read the lists of IJB-B or IJB-C: `*_face_tid_mid.txt` and `*_template_pair_label.txt`.

    Lines of the one are picture, template and medium; of the other two templates and 1 for one person.

    Raises:
        DamagedSet: a list is missing, or has a line that is none, or compares a template that has no picture.
    """
    faces = _lines(folder, "_face_tid_mid.txt")
    pairs = _lines(folder, "_template_pair_label.txt")
    template = _numbers(folder, [line[1] for line in faces])
    first, second, same = (_numbers(folder, [line[i] for line in pairs]) for i in range(3))
    unknown = np.setdiff1d(np.concatenate([first, second]), template)
    if len(unknown):
        raise DamagedSet(f"{printable(folder)}: template {unknown[0]} is compared and has no picture")
    return Listed(
        tuple(line[0] for line in faces),
        template,
        _numbers(folder, [line[2] for line in faces]),
        first,
        second,
        same.astype(bool),
    )


def read_enrolled(file: Path) -> tuple[Indices, Indices]:
    """Read a gallery or the probes of 1:N search: `*_1N_gallery_G1.csv`, `*_1N_probe_mixed.csv`.

    Returns:
        (n,) templates and (n,) the people that they show, a line each: a template once, though the file has a
        line for each of its pictures.

    Raises:
        DamagedSet: it cannot be read, or has not the columns TEMPLATE_ID and SUBJECT_ID.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = [(int(line["TEMPLATE_ID"]), int(line["SUBJECT_ID"])) for line in csv.DictReader(opened)]
    except OSError as error:
        raise DamagedSet(f"{printable(file)}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedSet(f"{printable(file)}: {error}") from error
    table = np.unique(np.array(rows, np.int64).reshape(-1, 2), axis=0)
    return table[:, 0], table[:, 1]


def _lines(folder: Path, ending: str) -> list[list[str]]:
    found = sorted(folder.glob(f"*{ending}"))
    if len(found) != 1:
        raise DamagedSet(f"{printable(folder)}: has {len(found)} files *{ending}, not one")
    lines = [line.split() for line in found[0].read_text("utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        if len(line) != 3:
            raise DamagedSet(f"{printable(found[0])}: line {number} has {len(line)} parts, not 3")
    return lines


def _numbers(folder: Path, texts: list[str]) -> Indices:
    try:
        return np.array([int(text) for text in texts], np.int64)
    except ValueError as error:
        raise DamagedSet(f"{printable(folder)}: {error}") from error
