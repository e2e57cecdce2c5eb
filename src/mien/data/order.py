"""The order in which rows are seen: the same for a seed on every machine, with any number of workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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
        numbers = np.random.Philox(np.random.SeedSequence([self.seed, epoch])).random_raw(self.n)
        return np.argsort(numbers, kind="stable").astype(np.int64)

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
