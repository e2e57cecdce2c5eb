"""Faces of known people to learn recognition from, and pairs of other people's faces to judge it by."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.data.reader import Images, Pairs, load

Part = Literal["train", "valid", "test"]

CELEBA_SQUARE = (13.3 / 89, 26.9 / 109, 75.3 / 89, 88.9 / 109)
"""The square of CelebA's aligned pictures (89 x 109 px) that ArcFace's template shows of a face whose eyes
are at (34.5, 55.5) and (54, 55.5), as they are in most of them: x1, y1, x2, y2 in parts of the sides."""
# Every tenth or so of the people that may be learned from is kept for choosing among runs.
_KEPT = 10


def people(part: Part, size: int, *, many: bool = False) -> Images:
    """Return faces of a part: no person is in two of them.

    Args:
        part: "test" is the 40 people of `identities`' official valid split; "valid" a tenth of the others, by
            the hash of their number.
        size: side of the faces, px.
        many: train on `celeba10k`'s 4,200 people of a few pictures each, too; those who occur in `identities`
            are left out.

    Returns:
        Images whose column `person` (n,) is CelebA's number of each face's person.
    """
    if part == "test":
        return _numbered(load("identities", "valid", size=size), "held-out people")
    learned = load("identities", "train", size=size)
    numbers = _numbers(learned)
    kept = np.array([hashed(number) % _KEPT == 0 for number in numbers.tolist()])
    chosen = _numbered(learned.take(kept if part == "valid" else ~kept), part)
    if part == "valid" or not many:
        return chosen
    more = load("celeba10k", "train", size=size, crop=CELEBA_SQUARE)
    known = {*numbers.tolist(), *_numbers(load("identities", "valid", size=size)).tolist()}
    # Two of CelebA's numbers were joined to others in `identities`: the same people under a second number.
    known |= {7312, 7314, 7392, 7393}
    others = more.take(~np.isin(more.columns["identity"], sorted(known)))
    return Images(
        "identities and celeba10k",
        part,
        np.concatenate([np.asarray(chosen.pixels), np.asarray(others.pixels)]),
        MappingProxyType({"person": np.concatenate([chosen.columns["person"], others.columns["identity"]])}),
        np.concatenate([chosen.hashes, others.hashes]),
    )


def drawn_pairs(person: npt.NDArray[np.int64], count: int, seed: int = 0) -> Pairs:
    """Draw pairs of rows, half of them of one person: every person, and every two, as likely as the others.

    Args:
        person: (n,) who each row shows; people of a single row are in pairs of two people only.
        count: how many pairs.
        seed: of the draws.

    Returns:
        Pairs, those of one person first; their folds are 0.

    Raises:
        ValueError: fewer than two people, or nobody with two rows.
    """
    random = np.random.default_rng((seed, 5))
    rows = {who: np.flatnonzero(person == who) for who in np.unique(person).tolist()}
    several = [who for who, found in rows.items() if len(found) > 1]
    if len(rows) < 2 or not several:
        raise ValueError(f"pairs need two people, and one with two pictures: {len(rows)}, {len(several)}")
    drawn = [
        random.choice(rows[several[index % len(several)]], 2, replace=False) for index in range(count // 2)
    ]
    everybody = list(rows)
    for _ in range(count - count // 2):
        one, other = random.choice(len(everybody), 2, replace=False)
        drawn.append(np.array([random.choice(rows[everybody[one]]), random.choice(rows[everybody[other]])]))
    table = np.stack(drawn)
    same = np.arange(count) < count // 2
    return Pairs(table[:, 0], table[:, 1], same, np.zeros(count, np.int64))


def _numbered(images: Images, split: str) -> Images:
    columns = MappingProxyType({"person": _numbers(images)})
    return Images(images.name, split, images.pixels, columns, images.hashes, images.mapped)


def _numbers(images: Images) -> npt.NDArray[np.int64]:
    """Return CelebA's numbers of the people of `identities`."""
    names = images.columns["name"].tolist()
    return np.array([int(name.removeprefix("celeba_")) for name in names], np.int64)


def hashed(number: int) -> int:
    """Return a number that people are put into parts by: even, and always the same for one person."""
    return int.from_bytes(hashlib.md5(str(number).encode(), usedforsecurity=False).digest()[:4], "big")
