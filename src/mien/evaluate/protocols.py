"""Protocols by name, for any recogniser: what a set is compared by, and the figures that the field quotes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import errorrates
from mien.core.errorrates import Comparisons, OperatingPoint, compare_all
from mien.core.errors import MienError
from mien.core.labels import UTKFACE_RACES
from mien.core.picture import Pixels
from mien.core.system import DataUsed
from mien.data.people import people
from mien.data.poses import poses
from mien.data.reader import Images, Pairs, load, load_pairs
from mien.evaluate.differentials import Differentials, by_group
from mien.evaluate.identification import Searches, joined, search
from mien.evaluate.metrics import roc_auc
from mien.evaluate.templates import pool
from mien.evaluate.verification import Numbers, equal_error_rate, similarities, ten_folds

Embed = Callable[[Pixels], Numbers]
"""A recogniser with its detector: (n, H, W, 3) uint8 in; (n, d) of unit length out, zeros without a face."""

DRAWS = 10
"""How often the people of the identification protocol are drawn apart into enrolled and unknown ones."""

ENROLLED = (1, 5)
"""From how many pictures people are enrolled; five are one template, their mean."""

APART = 25.0
"""By how many degrees of yaw two pictures of the cross-pose protocol differ at least."""

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""False match rates that are told, as far as the comparisons can show them."""

# As `identities` are stored, px.
_SIDE = 112


class UnknownProtocol(MienError):
    """A protocol that does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no protocol {name!r}; protocols: {', '.join(PROTOCOLS)}")


@dataclass(frozen=True, eq=False)
class Verified:
    """How well a recogniser tells whether two pictures show one person.

    Attributes:
        protocol: its name.
        used: the pictures.
        missed: pictures in which no face was found; their comparisons count as the least similar ones.
        mated: (m,) similarities of pairs of one person.
        other: (n,) similarities of pairs of two people.
        accuracy: of the folds, each judged by the best threshold of the others; None without folds.
        standard_error: of the accuracy, over the folds; None without folds.
        auc: area under the ROC curve.
        eer: equal error rate.
        points: for each false match rate that the pairs can show, the threshold and both error rates with
            95 % intervals over people.
        comparisons_a_second: how fast they were compared.
    """

    protocol: str
    used: DataUsed
    missed: int
    mated: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64]
    accuracy: float | None
    standard_error: float | None
    auc: float
    eer: float
    points: tuple[tuple[float, OperatingPoint], ...]
    comparisons_a_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `mien evaluate --json` prints them."""
        return {
            "protocol": self.protocol,
            "used": asdict(self.used),
            "pictures_without_a_found_face": self.missed,
            "mated_comparisons": len(self.mated),
            "other_comparisons": len(self.other),
            "accuracy": self.accuracy,
            "standard_error": self.standard_error,
            "auc": self.auc,
            "eer": self.eer,
            "points": [{"wanted_fmr": rate, **asdict(point)} for rate, point in self.points],
            "comparisons_a_second": round(self.comparisons_a_second),
        }

    def draw(self, name: str) -> bytes:
        """Return the DET curve as SVG, under this name."""
        from mien.evaluate import plots

        return plots.det({name: (self.mated, self.other)})

    def lines(self) -> Sequence[str]:
        """Return the figures in words, a line each."""
        folds = ""
        if self.accuracy is not None and self.standard_error is not None:
            folds = f"accuracy {100 * self.accuracy:.2f} % ± {100 * self.standard_error:.2f}, "
        return (
            f"{self.protocol}: {len(self.mated):,} pairs of one person and {len(self.other):,} of two, "
            f"{self.used.rows:,} pictures, {self.missed} without a found face",
            f"{folds}area under the ROC curve {self.auc:.4f}, equal error rate {100 * self.eer:.2f} %",
            *(_in_words("FMR", "FNMR", rate, point) for rate, point in self.points),
            f"{self.comparisons_a_second:,.0f} comparisons a second",
        )


@dataclass(frozen=True, eq=False)
class Identified:
    """How well a recogniser finds people in a gallery, by the pictures that each is enrolled from.

    Attributes:
        protocol: its name.
        used: the pictures of those who are searched for.
        distractors: people in the gallery whom nobody searches for.
        missed: pictures in which no face was found.
        searches: for each number of pictures that people are enrolled from, all searches.
        points: for each of these numbers and each FPIR that the searches can show, threshold, FPIR and FNIR
            with 95 % intervals over people.
        comparisons_a_second: how fast they were compared.
    """

    protocol: str
    used: DataUsed
    distractors: int
    missed: int
    searches: Mapping[int, Searches]
    points: Mapping[int, tuple[tuple[float, OperatingPoint], ...]]
    comparisons_a_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `mien evaluate --json` prints them; a point's rates are FPIR and FNIR."""
        return {
            "protocol": self.protocol,
            "used": asdict(self.used),
            "distractors": self.distractors,
            "pictures_without_a_found_face": self.missed,
            "enrolled_from": [
                {
                    "pictures": count,
                    "mated_searches": int(made.mated.sum()),
                    "non_mated_searches": int((~made.mated).sum()),
                    "rank_rates": {
                        str(rank): dict(zip(("rate", "low", "high"), made.hit_rate(rank), strict=True))
                        for rank in (1, 5, 20)
                    },
                    "points": [
                        {
                            "wanted_fpir": rate,
                            **{
                                key.replace("fmr", "fpir").replace("fnmr", "fnir"): value
                                for key, value in asdict(point).items()
                            },
                        }
                        for rate, point in self.points[count]
                    ],
                }
                for count, made in self.searches.items()
            ],
            "comparisons": sum(made.comparisons for made in self.searches.values()),
            "comparisons_a_second": round(self.comparisons_a_second),
        }

    def draw(self, name: str) -> bytes:
        """Return FNIR over FPIR as SVG, a curve for each number of pictures, under this name."""
        from mien.evaluate import plots

        curves = {f"{name}, enrolled from {count}": made.scores() for count, made in self.searches.items()}
        return plots.det(curves, "FPIR", "FNIR")

    def lines(self) -> Sequence[str]:
        """Return the figures in words, a line each."""
        found = [
            f"{self.protocol}: {self.used.rows:,} pictures, {self.missed} without a found face, "
            f"{self.distractors} distractors in the gallery"
        ]
        for count, made in self.searches.items():
            rate, low, high = made.hit_rate()
            found += [
                f"enrolled from {count} picture{'s' * (count > 1)}: {int(made.mated.sum()):,} mated and "
                f"{int((~made.mated).sum()):,} non-mated searches, "
                f"rank 1 {100 * rate:.2f} % ({100 * low:.2f} to {100 * high:.2f})",
                *("  " + _in_words("FPIR", "FNIR", rate, point) for rate, point in self.points[count]),
            ]
        comparisons = sum(made.comparisons for made in self.searches.values())
        return (*found, f"{comparisons:,} comparisons, {self.comparisons_a_second:,.0f} a second")


def _in_words(false: str, missed: str, wanted: float, point: OperatingPoint) -> str:
    return (
        f"at {false} {100 * wanted:g} %: threshold {point.threshold:.4f}, {missed} {_rate(point, 'fnmr')}, "
        f"{false} {_rate(point, 'fmr')}"
    )


def _rate(point: OperatingPoint, name: str) -> str:
    """Return a rate with its interval, in per cent."""
    rate, low, high = (100 * getattr(point, name + end) for end in ("", "_low", "_high"))
    return f"{rate:.3g} % ({low:.3g} to {high:.3g})"


def lfw(embed: Embed) -> Verified:
    """Judge by the 6,000 pairs of LFW's view 2 (Huang et al. 2007) in the set `lfw_pairs`.

    Raises:
        UnknownSet, SetMissing, DamagedSet: the set is not here, or not whole.
    """
    images = load("lfw_pairs", "images")
    return _verified("lfw", embed, images, load_pairs(images), images.columns["person"])


def masked_lfw(embed: Embed) -> Verified:
    """Judge by the same pairs, with a mask drawn over the second face of each; raises as `lfw`.

    Masks are drawn where ArcFace's template puts a face, as the pictures of `lfw_pairs` are cut.
    """
    from mien.data.masks import masked_probes  # loads torch, which the other protocols do without

    images = load("lfw_pairs", "images")
    both, pairs = masked_probes(images, load_pairs(images))
    return _verified("masked-lfw", embed, both, pairs, both.columns["person"])


def cross_pose(embed: Embed) -> Verified:
    """Judge by all pairs of the 40 held-out people of `identities` whose yaw differs by `APART` and more.

    Raises:
        UnknownSet, SetMissing, DamagedSet: the set is not here, or not whole.
        LandmarksMissing: landmarks, which tell poses, have not been found yet; says how to find them.
    """
    images = people("test", _SIDE)
    yaw = poses(images)[:, 0]
    first, second = np.nonzero(np.triu(np.abs(yaw[:, None] - yaw[None]) >= APART, 1))
    person = images.columns["person"]
    pairs = Pairs(first, second, person[first] == person[second], np.zeros(len(first), np.int64))
    return _verified("cross-pose", embed, images, pairs, person)


def _verified(protocol: str, embed: Embed, images: Images, pairs: Pairs, person: Numbers) -> Verified:
    """Judge by pairs; accuracy only where they are parted into folds.

    Args:
        protocol: its name.
        embed: the recogniser.
        images: the pictures.
        pairs: of their rows.
        person: (n,) who each picture shows.
    """
    vectors = embed(images.pixels)
    began = time.perf_counter()
    similar = similarities(vectors, pairs.first, pairs.second)
    seconds = time.perf_counter() - began
    folded = len(np.unique(pairs.fold)) > 1
    accuracy, error = ten_folds(similar, pairs.same, pairs.fold) if folded else (None, None)
    _, number = np.unique(person, return_inverse=True)
    compared = Comparisons(similar, number[pairs.first], number[pairs.second])
    return Verified(
        protocol=protocol,
        used=images.used,
        missed=int((~vectors.any(axis=1)).sum()),
        mated=similar[pairs.same],
        other=similar[~pairs.same],
        accuracy=accuracy,
        standard_error=error,
        auc=roc_auc(pairs.same.astype(int), similar),
        eer=equal_error_rate(pairs.same, similar),
        points=points_of(compared),
        comparisons_a_second=len(similar) / seconds,
    )


def points_of(
    compared: Comparisons, rates: Sequence[float] = RATES
) -> tuple[tuple[float, OperatingPoint], ...]:
    """Return threshold and error rates at each false match rate that is at least one comparison."""
    other = compared.other
    shown = [rate for rate in rates if rate * len(other) >= 1]
    limits = [errorrates.at_fmr(compared.mated, other, rate).threshold for rate in shown]
    return tuple(zip(shown, compared.at(limits), strict=True))


def identification(embed: Embed) -> Identified:
    """Judge by open-set search for the 40 held-out people of `identities`.

    Half of them are enrolled, with one template for every other person of the set as a distractor; all their
    other pictures and all of the other half are searched for. Then the halves change places. Which are the
    halves, and which pictures people are enrolled from, is drawn `DRAWS` times.

    Raises:
        UnknownSet, SetMissing, DamagedSet: the set is not here, or not whole.
    """
    test = people("test", _SIDE)
    others = [people(part, _SIDE) for part in ("train", "valid")]
    extra = np.concatenate([one.columns["person"] for one in others])
    pixels = np.concatenate([np.asarray(one.pixels) for one in others])
    random = np.random.default_rng(0)
    most = max(ENROLLED)
    drawn = np.concatenate(
        [random.permutation(np.flatnonzero(extra == who))[:most] for who in np.unique(extra).tolist()]
    )
    vectors = embed(np.concatenate([np.asarray(test.pixels), pixels[drawn]]))
    probes, extras = np.split(vectors, [len(test)])
    began = time.perf_counter()
    searches = {
        count: _searched(probes, test.columns["person"], extras, extra[drawn], count) for count in ENROLLED
    }
    seconds = time.perf_counter() - began
    points = {
        count: tuple((rate, made.at_fpir(rate)) for rate in RATES if rate * int((~made.mated).sum()) >= 1)
        for count, made in searches.items()
    }
    return Identified(
        protocol="identification",
        used=test.used,
        distractors=len(np.unique(extra)),
        missed=int((~probes.any(axis=1)).sum()),
        searches=searches,
        points=points,
        comparisons_a_second=sum(made.comparisons for made in searches.values()) / seconds,
    )


def _searched(probes: Numbers, person: Numbers, extras: Numbers, extra: Numbers, count: int) -> Searches:
    """Return all searches of all draws, people enrolled from so many pictures.

    Args:
        probes: (n, d) of those who are searched for.
        person: (n,) who they are.
        extras: (m, d) of distractors.
        extra: (m,) who they are; each person's rows lie together.
        count: pictures of a template.
    """
    _, first = np.unique(extra, return_index=True)
    of_distractors = np.concatenate(
        [rows[:count] for rows in np.split(np.arange(len(extra)), np.sort(first)[1:])]
    )
    random = np.random.default_rng(1)
    everybody = np.unique(person)
    rounds = []
    for _ in range(DRAWS):
        halves = np.array_split(random.permutation(everybody), 2)
        order = random.permutation(len(person))
        place = np.zeros(len(person), np.int64)
        for who in everybody.tolist():
            rows = order[person[order] == who]
            place[rows] = np.arange(len(rows))
        for half in halves:
            enrolled = np.isin(person, half) & (place < count)
            template = np.concatenate([person[enrolled], extra[of_distractors]])
            gallery = pool(np.concatenate([probes[enrolled], extras[of_distractors]]), template)
            rounds.append(search(probes[~enrolled], person[~enrolled], gallery.vectors, gallery.names))
    return joined(rounds)


@dataclass(frozen=True, eq=False)
class Demographics:
    """How the errors of a recogniser differ between groups of people.

    Attributes:
        protocol: its name.
        parts: of each set its rows, how many of them showed no face, and the rates of its groups.
    """

    protocol: str
    parts: Sequence[tuple[DataUsed, int, Differentials]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `mien evaluate --json` prints them."""
        return {
            "protocol": self.protocol,
            "parts": [
                {"used": asdict(used), "pictures_without_a_found_face": missed, **found.to_dict()}
                for used, missed, found in self.parts
            ],
        }

    def draw(self, name: str) -> bytes:
        """Return the rates of the groups of the first set as SVG, under this name."""
        from mien.evaluate import plots

        used, _, found = self.parts[0]
        return plots.differentials(found, f"{name} on {used.name}, threshold {found.threshold:.4f}")

    def lines(self) -> Sequence[str]:
        """Return the figures in words, a line each."""
        said = []
        for used, missed, found in self.parts:
            said.append(
                f"{self.protocol} on {used.name}/{used.split}: {used.rows:,} pictures, {missed} without a "
                f"found face; threshold {found.threshold:.4f} for all"
            )
            for group, (count, point) in found.groups.items():
                fnmr = f", FNMR {_rate(point, 'fnmr')}" if found.mated[group] else ""
                said.append(f"  {group}, {count:,} people: FMR {_rate(point, 'fmr')}{fnmr}")
            over = "" if found.fmr.over_least is None else f", {found.fmr.over_least:.1f} times the least"
            said.append(f"  the groups' FMR: Gini {found.fmr.gini:.2f}, the highest{over}")
        return said


def demographics(embed: Embed) -> Demographics:
    """Judge by the error rates of women and men, young and old (`celeba10k`), and of races (`utkface`).

    People of `celeba10k` with two pictures and more are grouped by what most of their pictures say. UTKFace
    names nobody: every picture of its test split counts as a person of their own, so there is FMR only, a
    little too high where somebody occurs twice. Each set has one threshold, at which 0.1 % of its comparisons
    within groups match.

    Raises:
        UnknownSet, SetMissing, DamagedSet: the sets are not here, or not whole.
    """
    celeba = load("celeba10k", "train")
    _, person, count = np.unique(celeba.columns["identity"], return_inverse=True, return_counts=True)
    rows = _first_rows(person, count, 3)
    celeba, person = celeba.take(rows, "train, people of two pictures and more"), person[rows]
    _, person = np.unique(person, return_inverse=True)
    men, young = (_majority(celeba.columns[name], person) for name in ("Male", "Young"))
    names = np.array([["older women", "younger women"], ["older men", "younger men"]])
    first = names[men, young]

    utkface = load("utkface", "test")
    gender, race = utkface.columns["gender"], utkface.columns["race"]
    second = np.array(
        [
            f"{UTKFACE_RACES[r]} {'women' if g else 'men'}"
            for g, r in zip(gender.tolist(), race.tolist(), strict=True)
        ]
    )
    parts = []
    for images, who, groups in ((celeba, person, first), (utkface, np.arange(len(utkface)), second)):
        vectors = embed(images.pixels)
        compared = compare_all(vectors, who)
        one, other = groups[compared.first], groups[compared.second]
        inside = compared.similar[(one == other) & (compared.first != compared.second)]
        limit = errorrates.at_fmr(compared.mated, inside, 1e-3).threshold
        parts.append((images.used, int((~vectors.any(axis=1)).sum()), by_group(compared, groups, limit)))
    return Demographics("demographics", parts)


def _first_rows(person: Numbers, count: Numbers, most: int) -> Numbers:
    """Return the first rows of each person who has several, in order."""
    order = np.argsort(person, kind="stable")
    place = np.arange(len(person)) - (np.cumsum(count) - count)[person[order]]
    return np.sort(order[(place < most) & (count[person[order]] > 1)])


def _majority(attribute: Numbers, person: Numbers) -> npt.NDArray[np.int64]:
    """Return (p,) 1 where more than half of a person's rows have an attribute."""
    return (np.bincount(person, attribute) * 2 > np.bincount(person)).astype(np.int64)


PROTOCOLS: Mapping[str, Callable[[Embed], Verified | Identified | Demographics]] = MappingProxyType(
    {
        "lfw": lfw,
        "masked-lfw": masked_lfw,
        "cross-pose": cross_pose,
        "identification": identification,
        "demographics": demographics,
    }
)
"""The protocols by name."""


def check(protocol: str) -> None:
    """Make sure that there is a protocol of this name.

    Raises:
        UnknownProtocol: there is none.
    """
    if protocol not in PROTOCOLS:
        raise UnknownProtocol(protocol)


def judge(protocol: str, embed: Embed) -> Verified | Identified | Demographics:
    """Judge a recogniser.

    Args:
        protocol: its name in `PROTOCOLS`.
        embed: the recogniser.

    Raises:
        UnknownProtocol: there is none of this name.
        UnknownSet, SetMissing, DamagedSet: its set is not here, or not whole.
    """
    check(protocol)
    return PROTOCOLS[protocol](embed)
