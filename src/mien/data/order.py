"""The order in which rows are seen: the same for a seed on every machine, with any number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def shuffled(n: int, *seed: int) -> npt.NDArray[np.int64]:
    """Return (n,) 0..n - 1 in an order that follows from some numbers, 0 or more, and never changes.

    Zeros at their end do not count.
    """
    numbers = np.random.Philox(np.random.SeedSequence(seed)).random_raw(n)
    return np.argsort(numbers, kind="stable").astype(np.int64)


@dataclass(frozen=True)
class Shuffled:
    """Another order of the same rows in every epoch.

    An order follows from the seed and the number of the epoch alone, so that a run that goes on after a stop
    asks for its epoch and takes the order up where it was. It is made of the raw numbers of Philox, which
    never change, and not of NumPy's `permutation`, which may change between its versions.

    Attributes:
        n: how many rows there are.
        seed: 0 or more.
    """

    n: int
    seed: int

    def __post_init__(self) -> None:
        if self.n < 0 or self.seed < 0:
            raise ValueError(f"{self.n} rows with the seed {self.seed}: both must be 0 or more")

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the order of an epoch.

        Args:
            epoch: counted from 0.

        Returns:
            (n,) every row's number once.
        """
        return shuffled(self.n, self.seed, epoch)

    def share(self, epoch: int, rank: int, processes: int) -> npt.NDArray[np.int64]:
        """Return the part of an epoch's order that one of several processes takes: every `processes`-th row.

        Every process gets as many rows as the others. When they do not come out even, the first rows of the
        order are taken again, as torch's DistributedSampler does it.

        Args:
            epoch: counted from 0.
            rank: of the process, 0..processes - 1.
            processes: how many there are.

        Returns:
            (ceil(n / processes),) numbers of rows.
        """
        if not 0 <= rank < processes:
            raise ValueError(f"process {rank} of {processes}: ranks go from 0 to {processes - 1}")
        order = self.order(epoch)
        return np.resize(order, -(-self.n // processes) * processes)[rank::processes]


@dataclass(frozen=True, eq=False)
class Balanced:
    """Batches of P people with K pictures each (Hermans et al. 2017, arXiv 1703.07737, Section 2).

    A pass deals every person once, in an order of its own, P of them to a batch; those left over at its end
    sit out. Each gives K pictures in an order of their own; of people with fewer, some are taken again.

    Attributes:
        person: (n,) who each row shows.
        people: P.
        pictures: K.
        seed: 0 or more.
        passes: how often an epoch deals everybody; 0 takes about as many rows as there are.
    """

    person: npt.NDArray[np.int64]
    people: int
    pictures: int
    seed: int
    passes: int = 0

    def __post_init__(self) -> None:
        if len(np.unique(self.person)) < self.people:
            raise ValueError(f"{self.people} people a batch of only {len(np.unique(self.person))}")

    def __len__(self) -> int:
        """Return the number of rows of an epoch."""
        count = len(np.unique(self.person))
        return self._passes(count) * (count // self.people) * self.people * self.pictures

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the rows of an epoch, batch after batch.

        Args:
            epoch: counted from 0.
        """
        everybody = np.unique(self.person)
        rows = {who: np.flatnonzero(self.person == who) for who in everybody.tolist()}
        passes = self._passes(len(everybody))
        made = [row for turn in range(passes) for row in self._pass(everybody, rows, epoch * passes + turn)]
        return np.array(made, np.int64)

    def share(self, epoch: int, rank: int, processes: int) -> npt.NDArray[np.int64]:
        """Return the batches of an epoch that one of several processes takes; every one gets as many."""
        batch = self.people * self.pictures
        batches = self.order(epoch).reshape(-1, batch)
        even = len(batches) // processes * processes
        return np.asarray(batches[rank:even:processes].reshape(-1))

    def _passes(self, count: int) -> int:
        return self.passes or max(1, round(len(self.person) / (count * self.pictures)))

    def _pass(
        self, everybody: npt.NDArray[np.int64], rows: dict[int, npt.NDArray[np.int64]], number: int
    ) -> Iterator[int]:
        order = Shuffled(len(everybody), self.seed).order(number)
        for who in everybody[order[: len(order) // self.people * self.people]].tolist():
            own = rows[who]
            yield from own[np.resize(Shuffled(len(own), self.seed + 1 + who).order(number), self.pictures)]
