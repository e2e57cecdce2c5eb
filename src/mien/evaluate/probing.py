"""Face probing across pose or age: templates of a person, each of one group, compared with each other.

The protocol of VGGFace2 (Cao et al. 2018, arXiv 1710.08092, Section IV): of everybody in it there are two
templates of five pictures for each pose (frontal, three-quarter, profile) or age (young, mature). A template
is the mean of its pictures' embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.evaluate.templates import pool

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Probe:
    """Templates of several groups: each person has as many of every group as anybody else.

    Attributes:
        groups: names of the groups.
        rows: (t, k) rows of the pictures of each template.
        person: (t,) whom it shows.
        group: (t,) place in `groups`.
    """

    groups: tuple[str, ...]
    rows: Numbers
    person: Numbers
    group: Numbers

    def __len__(self) -> int:
        return len(self.person)

    def vectors(self, embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return the (t, d) mean embeddings, of unit length, of all pictures' (n, d) of unit length."""
        template = np.repeat(np.arange(len(self)), self.rows.shape[1])
        return pool(embeddings[self.rows.ravel()], template).vectors

    def compared(self, one: int, other: int) -> tuple[Numbers, Numbers]:
        """Return the templates of all pairs of one group and another, (m,) each; no template with itself."""
        first, second = np.flatnonzero(self.group == one), np.flatnonzero(self.group == other)
        left, right = (part.ravel() for part in np.meshgrid(first, second, indexing="ij"))
        if one == other:
            left, right = left[left < right], right[left < right]
        return left, right


def drawn(
    person: Numbers,
    group: Numbers,
    groups: Sequence[str],
    *,
    count: int = 2,
    pictures: int = 5,
    seed: int = 0,
) -> Probe:
    """Draw templates of everybody who has pictures enough in every group.

    Args:
        person: (n,) who each picture shows.
        group: (n,) place in `groups`; -1 is in none.
        groups: names.
        count: templates of a person in a group.
        pictures: of a template; no picture is in two of them.
        seed: of the draws.

    Raises:
        ValueError: fewer than two people have pictures enough.
    """
    random = np.random.default_rng((seed, 11))
    rows, persons = [], []
    for who in np.unique(person).tolist():
        found = [np.flatnonzero((person == who) & (group == number)) for number in range(len(groups))]
        if min(map(len, found)) >= count * pictures:
            persons.append(who)
            rows.append([random.choice(part, (count, pictures), replace=False) for part in found])
    return _probe(groups, persons, np.array(rows, np.int64), count, pictures)


def listed(person: Numbers, template: Numbers, groups: Sequence[str], *, count: int = 2) -> Probe:
    """Return the templates that a set's columns name, of everybody who has them all.

    Args:
        person: (n,) who each picture shows.
        template: (n,) number of the template that a picture is in, those of a group behind each other:
            `count` times the group's place and more; -1 is in none.
        groups: names.
        count: templates of a person in a group.

    Raises:
        ValueError: fewer than two people have them, or templates are of different sizes.
    """
    whole = len(groups) * count
    rows, persons = [], []
    for who in np.unique(person[template >= 0]).tolist():
        found = [np.flatnonzero((person == who) & (template == number)) for number in range(whole)]
        if all(map(len, found)):
            persons.append(who)
            rows.append(found)
    sizes = {len(part) for found in rows for part in found}
    if len(sizes) > 1:
        raise ValueError(f"templates of different sizes: {', '.join(map(str, sorted(sizes)))} pictures")
    return _probe(groups, persons, np.array(rows, np.int64), count, max(sizes, default=0))


def _probe(groups: Sequence[str], persons: list[int], rows: Numbers, count: int, pictures: int) -> Probe:
    if len(persons) < 2:
        raise ValueError(f"{len(persons)} people have pictures enough in every group: it takes two")
    group = np.tile(np.repeat(np.arange(len(groups)), count), len(persons))
    person = np.repeat(np.array(persons, np.int64), count * len(groups))
    return Probe(tuple(groups), rows.reshape(-1, pictures), person, group)


def similarity_matrix(
    probe: Probe, embeddings: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how similar templates of one person, and of two people, are in any two groups: (g, g) each.

    The mean cosines of all pairs of templates. VGGFace2's paper reports the first of the two (Section V).

    Args:
        probe: the templates.
        embeddings: (n, d) of all pictures, of unit length.
    """
    vectors = probe.vectors(embeddings)
    size = len(probe.groups)
    own, others = np.zeros((size, size)), np.zeros((size, size))
    for one in range(size):
        for other in range(size):
            first, second = probe.compared(one, other)
            cosines = (vectors[first] * vectors[second]).sum(axis=1)
            same = probe.person[first] == probe.person[second]
            own[one, other], others[one, other] = cosines[same].mean(), cosines[~same].mean()
    return own, others
