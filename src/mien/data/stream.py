"""Batches of P people with K pictures each from a set that does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mien.core.errors import UnreadablePicture, printable
from mien.core.picture import Picture
from mien.data.cache import Decoding
from mien.data.order import shuffled
from mien.data.registry import DamagedSet
from mien.data.sort import Ints, Shards

Turn = tuple[int, int]
"""A batch: the number of its round and its number in the round, both from 0."""

# What an order is drawn for: none of them may follow from the numbers of another.
_BLOCKS, _PICTURES, _TEAMS = 1, 2, 3


@dataclass(frozen=True)
class _Person:
    """A person's pictures for a round, as files' bytes, in the order in which they are shown."""

    number: int
    pictures: tuple[bytes, ...]


class Stream(Dataset[tuple[Tensor, Tensor]]):
    """Batches by number: (P K, C, H, W) uint8 pixels and (P K,) int64 persons, 0..people - 1.

    What `mien.data.order.Balanced` is for sets in memory. A round shuffles the row groups, and with them the
    people; a window takes the next people in that order and holds their encoded pictures, K for each pass.
    Each pass deals everybody of the window once, in an order of its own, P to a batch, and gives each person
    the next K of their pictures, decoded as `mien.data.cache` does it; who has fewer shows some again. So in
    a round everybody is dealt `passes` times and shows as many different pictures as they have, up to
    `passes` K; fewer than P people of the round's last row group sit out.

    A batch follows from the seed and its `Turn` alone: it is the same for any number of processes and
    workers, and asking for it reads its own window only, so a stopped round goes on at any batch.

    Memory of each process or worker: the encoded pictures of one window, at most `held` (but one batch of
    people at least), one row group while it is read, one decoded batch, and 36 bytes for each row group of
    the set: 18 MB for 260 million pictures. Every worker of a `DataLoader` reads the windows of all, most
    often from the system's cache, since batches are dealt to them in turn.

    `datasets`' IterableDataset, webdataset and mosaicml-streaming shuffle rows through a buffer, in an order
    that depends on workers or is lost at a stop; none of them makes P x K batches. Their part is here done by
    pyarrow, which reads single row groups.

    Args:
        shards: the set, sorted by person.
        decoding: to a size that it must name.
        people: P.
        pictures: K.
        seed: 0 or more.
        passes: how often a round deals everybody; 0 takes about as many pictures as there are.
        held: pictures of a window.

    Raises:
        ValueError: pictures of no one size, or fewer people than a batch needs.
    """

    def __init__(
        self,
        shards: Shards,
        decoding: Decoding,
        people: int,
        pictures: int,
        seed: int,
        *,
        passes: int = 0,
        held: int = 20_000,
    ) -> None:
        if decoding.size is None:
            raise ValueError("a batch is of pictures of one size: say which")
        if shards.people < people:
            raise ValueError(f"{people} people a batch of only {shards.people}")
        self.shards, self.decoding, self.seed = shards, decoding, seed
        self.people, self.pictures = people, pictures
        self.passes = passes or max(1, round(shards.rows / (shards.people * pictures)))
        self._held = held
        self._order: tuple[int, Ints, Ints] | None = None
        self._window: tuple[int, int, list[_Person]] | None = None

    def __len__(self) -> int:
        """Return the number of batches of a round."""
        return self.passes * self._teams

    @property
    def _teams(self) -> int:
        return self.shards.people // self.people

    @cached_property
    def _bounds(self) -> Ints:
        """The first team of each window, and the end: windows are alike, lest the last be a small one."""
        most = max(1, self._held // (self.people * self.pictures * self.passes))
        windows = -(-self._teams // most)
        return np.arange(windows + 1) * self._teams // windows

    def __getitem__(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """Return a batch.

        Raises:
            IndexError: a round has not so many.
            DamagedSet: the shards are not as they were sorted.
        """
        number, batch = turn
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {batch} of {len(self)} in a round")
        window = int(np.searchsorted(self._bounds * self.passes, batch, "right")) - 1
        start, stop = self._bounds[window : window + 2].tolist()
        passed, team = divmod(batch - start * self.passes, stop - start)
        everybody = self._people(number, window)
        order = shuffled(len(everybody), self.seed, number, _TEAMS, window, passed + 1)
        chosen = [everybody[row] for row in order[team * self.people : (team + 1) * self.people].tolist()]
        places = passed * self.pictures + np.arange(self.pictures)
        pixels = [face for person in chosen for face in self._decoded(person, places)]
        persons = np.repeat([person.number for person in chosen], self.pictures)
        return torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy()), torch.from_numpy(persons)

    def _decoded(self, person: _Person, places: Ints) -> list[npt.NDArray[np.uint8]]:
        """Return a person's pictures at some places; who has fewer begins again."""
        wanted = (places % len(person.pictures)).tolist()
        try:
            made = {
                place: self.decoding.apply(Picture.read(person.pictures[place]).pixels)
                for place in set(wanted)
            }
        except UnreadablePicture as error:
            raise DamagedSet(
                f"{printable(self.shards.folder)}: a picture of person {person.number} has become unreadable"
                f" ({error.reason}); sort the set again"
            ) from error
        return [made[place] for place in wanted]

    def _people(self, number: int, window: int) -> list[_Person]:
        """Return everybody of a window, which is kept until another one is asked for."""
        if self._window is None or self._window[:2] != (number, window):
            self._window = None  # lest two of them are held
            start, stop = (self._bounds[window : window + 2] * self.people).tolist()
            self._window = (number, window, list(self._read(number, start, stop)))
        return self._window[2]

    def _read(self, number: int, start: int, stop: int) -> Iterator[_Person]:
        """Read the people at some places, `stop` excluded, of a round's order."""
        if self._order is None or self._order[0] != number:
            order = shuffled(len(self.shards), self.seed, number, _BLOCKS)
            self._order = number, order, np.cumsum(self.shards.count[order], dtype=np.int64)
        _, order, ends = self._order
        most = self.passes * self.pictures
        first, last = np.searchsorted(ends, [start, stop - 1], "right").tolist()
        for place in range(first, last + 1):
            block = int(order[place])
            begins = int(ends[place] - self.shards.count[block])
            people, images = self.shards.read(block)
            files = images.field("bytes")
            for inside in range(max(0, start - begins), min(len(people), stop - begins)):
                who = int(self.shards.first[block]) + inside
                rows = people[inside][shuffled(len(people[inside]), self.seed, number, _PICTURES, who)[:most]]
                yield _Person(who, tuple(files[row].as_py() for row in rows.tolist()))


class Turns(Sampler[Turn]):
    """The batches of a round that one of several processes takes: as many neighbours as every other takes.

    For `DataLoader(stream, batch_size=None, sampler=turns)`; Lightning tells the round.

    Args:
        stream: the batches.
        rank: of this process.
        ranks: number of processes.
        begin: the round to begin with, and how many of its batches this process has had before a stop.
    """

    def __init__(self, stream: Stream, rank: int = 0, ranks: int = 1, begin: Turn = (0, 0)) -> None:
        if not 0 <= rank < ranks:
            raise ValueError(f"process {rank} of {ranks}: ranks go from 0 to {ranks - 1}")
        self.round, self._start = begin
        self._share = len(stream) // ranks
        self._first = rank * self._share

    def set_epoch(self, epoch: int) -> None:
        """Take the number of the round; another one than it began with begins at its first batch."""
        if epoch != self.round:
            self.round, self._start = epoch, 0

    def __len__(self) -> int:
        """Return how many batches are left of the round."""
        return max(0, self._share - self._start)

    def __iter__(self) -> Iterator[Turn]:
        """Yield each batch's `Turn`."""
        for batch in range(self._start, self._share):
            yield self.round, self._first + batch
