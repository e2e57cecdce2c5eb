"""Demographic differentials: FMR and FNMR by group with intervals, as ISO/IEC 19795-10 and NIST do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errorrates import Comparisons, OperatingPoint
from mien.evaluate.verification import Numbers


@dataclass(frozen=True)
class Summary:
    """How far a rate is apart between groups, in the numbers that NISTIR 8429 (Grother 2022) compares.

    Attributes:
        over_least: the highest rate over the lowest; None when the lowest is 0.
        over_mean: the highest rate over the geometric mean of all, which is 1 for no difference; None when
            one is 0.
        gini: Gini's coefficient with the factor g / (g - 1) for g groups, 0 for no difference, 1 when one
            group makes all errors (GARBE: Howard et al. 2022, "Evaluating proposed fairness models", Eq. 8).
    """

    over_least: float | None
    over_mean: float | None
    gini: float


def summary(rates: Numbers) -> Summary:
    """Return how far (g,) rates of groups are apart.

    Raises:
        ValueError: fewer than two groups.
    """
    rates = np.asarray(rates, np.float64)
    if len(rates) < 2:
        raise ValueError("a difference needs two groups")
    least, most = float(rates.min()), float(rates.max())
    apart = float(np.abs(rates[:, None] - rates[None]).sum())
    count = len(rates)
    gini = apart / (2 * count**2 * float(rates.mean())) * count / (count - 1) if most > 0 else 0.0
    mean = float(np.exp(np.log(rates).mean())) if least > 0 else 0.0
    return Summary(most / least if least > 0 else None, most / mean if mean > 0 else None, gini)


@dataclass(frozen=True, eq=False)
class Differentials:
    """Error rates of groups at one threshold for all.

    Attributes:
        threshold: two faces match at this similarity and above.
        groups: of each group how many people it has, and FMR among them and FNMR with 95 % intervals over
            people; the FNMR is of no trials, and its interval 0 to 1, where nobody has two pictures.
        mated: of each group, how many comparisons of one person.
        across: (g, g) FMR between the people of any two groups, in the groups' order; NaN where there are no
            comparisons.
        fmr: how far the groups' FMR are apart.
        fnmr: how far their FNMR are apart; None where a group has no comparisons of one person.
    """

    threshold: float
    groups: Mapping[str, tuple[int, OperatingPoint]]
    mated: Mapping[str, int]
    across: npt.NDArray[np.float64]
    fmr: Summary
    fnmr: Summary | None

    @property
    def garbe(self) -> float | None:
        """The mean of both Gini coefficients (Howard et al. 2022, Eq. 9, alpha = 0.5)."""
        return None if self.fnmr is None else (self.fmr.gini + self.fnmr.gini) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "threshold": self.threshold,
            "groups": {
                name: {"people": people, "mated_comparisons": self.mated[name], **asdict(point)}
                for name, (people, point) in self.groups.items()
            },
            "fmr_across_groups": [
                [None if np.isnan(rate) else float(rate) for rate in row] for row in self.across
            ],
            "fmr": asdict(self.fmr),
            "fnmr": None if self.fnmr is None else asdict(self.fnmr),
            "garbe": self.garbe,
        }


def by_group(compared: Comparisons, group: Numbers, threshold: float) -> Differentials:
    """Return the error rates of each group of people.

    FMR is of comparisons of two people of the same group, which is what a group's own members meet (NISTIR
    8280, Section 2.2); comparisons across groups, that match more rarely, are told apart.

    Args:
        compared: the comparisons; people are numbered from 0.
        group: (p,) name of the group of each person.
        threshold: match at this similarity and above.

    Raises:
        ValueError: fewer than two groups.
    """
    names, place = np.unique(group, return_inverse=True)
    one, other = place[compared.first], place[compared.second]
    groups: dict[str, tuple[int, OperatingPoint]] = {}
    mated: dict[str, int] = {}
    for number, name in enumerate(names.tolist()):
        inside = (one == number) & (other == number)
        # Numbered anew, so that the interval draws people of this group only.
        new = np.cumsum(place == number) - 1
        part = Comparisons(
            compared.similar[inside], new[compared.first[inside]], new[compared.second[inside]]
        )
        groups[str(name)] = int((place == number).sum()), part.at([threshold])[0]
        mated[str(name)] = len(part.mated)
    apart = compared.first != compared.second
    low, high = np.minimum(one[apart], other[apart]), np.maximum(one[apart], other[apart])
    tried, matched = np.zeros((2, len(names), len(names)))
    np.add.at(tried, (low, high), 1)
    np.add.at(matched, (low, high), compared.similar[apart] >= threshold)
    with np.errstate(invalid="ignore"):
        across = matched / tried
    across = np.where(np.tri(len(names), k=-1, dtype=bool), across.T, across)
    points = [point for _, point in groups.values()]
    return Differentials(
        threshold=float(threshold),
        groups=MappingProxyType(groups),
        mated=MappingProxyType(mated),
        across=across,
        fmr=summary(np.array([point.fmr for point in points])),
        fnmr=summary(np.array([point.fnmr for point in points])) if all(mated.values()) else None,
    )
