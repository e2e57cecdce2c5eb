"""1:N identification, who of a gallery is it, or nobody: rank-1, and FPIR and FNIR as NIST counts them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mien.core import errorrates
from mien.core.errorrates import NO_FACE, OperatingPoint
from mien.evaluate.verification import Numbers

# Similarities that are looked at together: 64 MB.
_BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Searches:
    """What searching a gallery gave, for s searches.

    A search is mated when its person is enrolled. The terms are those of NIST's FRVT Part 2 (NISTIR 8271,
    Section 3.2): FPIR is the share of non-mated searches that return anybody at a threshold, FNIR the share
    of mated ones whose mate is not returned.

    Attributes:
        person: (s,) who is searched for.
        mate: (s,) the highest similarity of the person's own templates; NaN in non-mated searches.
        rank: (s,) the mate's place among all candidates, from 1: other people as similar come before it. 0 in
            non-mated searches.
        best: (s,) the highest similarity of other people's templates.
        comparisons: how many similarities were computed.
    """

    person: npt.NDArray[np.int64]
    mate: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]
    best: npt.NDArray[np.float64]
    comparisons: int

    def __len__(self) -> int:
        return len(self.person)

    @property
    def mated(self) -> npt.NDArray[np.bool_]:
        """(s,) whether the person is enrolled."""
        return self.rank > 0

    def hit_rate(self, rank: int = 1) -> tuple[float, float, float]:
        """Return the share of mated searches whose mate is among the first candidates, and its 95 % interval.

        Its complement is FNIR(N, rank, 0), the miss rate of an investigation in which people look at that
        many candidates.

        Args:
            rank: how many candidates; 1 gives the rank-1 rate.
        """
        hits = self.rank[self.mated] <= rank
        low, high = errorrates.clustered(hits, self.person[self.mated])
        return float(hits.mean()) if len(hits) else 0.0, low, high

    def scores(self, most: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return what thresholds are put to: of mated searches the mate's, of non-mated the best similarity.

        Args:
            most: candidates that a search returns; a mate beyond them is missed at any threshold. 0 returns
                all.
        """
        mate = np.where((self.rank <= most) | (most == 0), self.mate, -np.inf)
        return mate[self.mated], self.best[~self.mated]

    def at_threshold(self, threshold: float, most: int = 0) -> OperatingPoint:
        """Return FPIR (as `fmr`) and FNIR (as `fnmr`) at a threshold, with 95 % intervals over people.

        Args:
            threshold: candidates of this similarity and more are returned.
            most: candidates that a search returns; 0 for all.
        """
        mate, best = self.scores(most)
        point = errorrates.at_threshold(mate, best, threshold)
        found = errorrates.clustered(best >= threshold, self.person[~self.mated])
        missed = errorrates.clustered(mate < threshold, self.person[self.mated])
        return replace(point, fmr_low=found[0], fmr_high=found[1], fnmr_low=missed[0], fnmr_high=missed[1])

    def at_fpir(self, fpir: float, most: int = 0) -> OperatingPoint:
        """Return the errors at the lowest threshold whose measured FPIR is at most `fpir`; as `at_threshold`.

        Raises:
            ValueError: there are no non-mated searches.
        """
        mate, best = self.scores(most)
        return self.at_threshold(errorrates.at_fmr(mate, best, fpir).threshold, most)


def search(probes: Numbers, person: Numbers, gallery: Numbers, enrolled: Numbers) -> Searches:
    """Search a gallery for each probe, by matrix products of blocks.

    Args:
        probes: (s, d) of unit length; a row of zeros is a picture without a found face, which is like nobody.
        person: (s,) who each probe shows.
        gallery: (g, d) of unit length; a row of zeros could not be enrolled, and is like nobody.
        enrolled: (g,) who each template is of; the same person may have several.
    """
    mate = np.full(len(probes), np.nan)
    rank = np.zeros(len(probes), np.int64)
    best = np.full(len(probes), -np.inf)
    empty = ~gallery.any(axis=1)
    step = max(1, _BLOCK // max(1, len(gallery)))
    for start in range(0, len(probes), step):
        part = slice(start, min(start + step, len(probes)))
        similar = probes[part] @ gallery.T
        similar[:, empty] = NO_FACE
        similar[~probes[part].any(axis=1)] = NO_FACE
        own = np.asarray(person)[part, None] == np.asarray(enrolled)[None]
        some = own.any(axis=1)
        highest = np.where(own, similar, -np.inf).max(axis=1, initial=-np.inf)
        others = np.where(own, -np.inf, similar)
        mate[part] = np.where(some, highest, np.nan)
        rank[part] = np.where(some, 1 + (others >= highest[:, None]).sum(axis=1), 0)
        best[part] = others.max(axis=1, initial=-np.inf)
    return Searches(np.asarray(person, np.int64), mate, rank, best, len(probes) * len(gallery))


def joined(searches: list[Searches]) -> Searches:
    """Return the searches of several rounds as one."""
    return Searches(
        np.concatenate([one.person for one in searches]),
        np.concatenate([one.mate for one in searches]),
        np.concatenate([one.rank for one in searches]),
        np.concatenate([one.best for one in searches]),
        sum(one.comparisons for one in searches),
    )
