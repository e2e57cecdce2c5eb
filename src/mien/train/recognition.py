"""`RecognitionLab`: the base of systems that learn to tell people apart, judged on people they never saw."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from mien.core.system import DataUsed
from mien.data.augment import Jitter
from mien.data.cache import Decoding
from mien.data.order import Balanced
from mien.data.overlap import disjoint
from mien.data.people import drawn_pairs, people
from mien.data.reader import Images, Pairs
from mien.data.sort import Shards
from mien.data.stream import Stream, Turns
from mien.train.lab import Lab, TestPart
from mien.train.settings import Settings

TEST_PAIRS = 6000
"""How many pairs of held-out people figures are made from."""

_VALID_PAIRS = 2000


@dataclass(frozen=True)
class RecognitionSettings(Settings):
    """Settings of a system that learns to tell people apart.

    Attributes:
        size: side of the faces, px; cut to ArcFace's template.
        embedding: numbers of an embedding.
        many: learn from `celeba10k`'s people of few pictures, too.
        noise: part of the train labels that are changed to another person, drawn by the seed.
        pictures: of each person in a batch (K of P x K, `batch` being P K); 0 shuffles all pictures.
        shards: folder of a set that does not fit in memory, as `mien data sort` writes it: what is learned
            instead, in batches of P x K; which people it shares with the held-out ones is not checked.
    """

    size: int = 112
    embedding: int = 512
    many: bool = False
    noise: float = 0.0
    pictures: int = 0
    shards: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise must be in 0..1, 1 excluded, not {self.noise}")
        if self.pictures and self.batch % self.pictures:
            raise ValueError(f"a batch of {self.batch} cannot hold {self.pictures} pictures of each person")
        if self.shards and (not self.pictures or self.noise or self.rows or self.many):
            raise ValueError(
                "shards are learned in batches of P x K, whole and as they are: set pictures alone"
            )


R = TypeVar("R", bound=RecognitionSettings)


class PairRows(Dataset[tuple[Tensor, ...]]):
    """Pairs of faces: (C, H, W) uint8 of the one, of the other, and 1 where they show one person.

    Args:
        images: the faces.
        pairs: of their rows.
    """

    def __init__(self, images: Images, pairs: Pairs) -> None:
        self.pixels, self.pairs = pixels_of(images), pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        first, second = int(self.pairs.first[index]), int(self.pairs.second[index])
        return self.pixels[first], self.pixels[second], torch.tensor(int(self.pairs.same[index]))


class InGroups(Sampler[int]):
    """Rows by a P x K order of the round, which Lightning tells.

    Args:
        order: the order.
        rank: of this process.
        ranks: number of processes.
    """

    def __init__(self, order: Balanced, rank: int = 0, ranks: int = 1) -> None:
        self.order, self.rank, self.ranks, self.round = order, rank, ranks, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the number of the round."""
        self.round = epoch

    def __len__(self) -> int:
        return len(self.order) // self.ranks

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.share(self.round, self.rank, self.ranks).tolist())


class RecognitionLab(Lab[R]):
    """A `Lab` that learns embeddings of faces from `identities` and perhaps `celeba10k`.

    A system makes its network in `__init__`, gives `embed` and its `training_step`, where `augmented` jitters
    a batch (pixels (n, 3, H, W) uint8, persons (n,) 0..people - 1). It is validated by the ROC AUC of pairs
    of people that are not trained on, and tested on pairs of the 40 held-out people of `identities`: targets
    are 1 for pairs of one person, predictions their cosines. Verdicts draw people anew, not pairs.

    Attributes:
        jitter: how training pictures are changed.
    """

    jitter = Jitter(mirror=True, move=0.03, contrast=0.2, brightness=0.1)

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) float, of any lengths, of (n, 3, H, W) faces of 0..255."""

    def augmented(self, pixels: Tensor) -> Tensor:
        """Return jittered (n, 3, H, W) float faces, 0..255."""
        return self.jitter(pixels)

    def chosen(self) -> Images:
        """Return the train faces; `config.rows` of them, drawn by the seed, where it says so."""
        train = people("train", self.config.size, many=self.config.many)
        disjoint(train, people("valid", self.config.size), people("test", self.config.size))
        if self.config.rows:
            drawn = np.random.default_rng(self.seed).permutation(len(train))[: self.config.rows]
            train = train.take(np.sort(drawn))
        return train

    @property
    def people(self) -> int:
        """How many people are trained on."""
        if self.config.shards:
            return Shards.open(Path(self.config.shards)).people
        return len(np.unique(self.chosen().columns["person"]))

    def persons(self, images: Images) -> npt.NDArray[np.int64]:
        """Return the (n,) person of each train face, 0..people - 1; a part of `noise` of them is wrong."""
        _, person = np.unique(images.columns["person"], return_inverse=True)
        random = np.random.default_rng((self.seed, 97))
        wrong = random.random(len(person)) < self.config.noise
        shift = random.integers(1, max(2, int(person.max()) + 1), len(person))
        return np.where(wrong, (person + shift) % (int(person.max()) + 1), person).astype(np.int64)

    def train_rows(self) -> Dataset[Any]:
        """Return the train faces with their persons."""
        images = self.chosen()
        return TensorDataset(pixels_of(images), torch.as_tensor(self.persons(images)))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the train faces; of P people with K pictures each where the settings say so."""
        if not self.config.pictures:
            return super().train_dataloader()
        groups = self.config.batch // self.config.pictures
        if self.config.shards:
            shards = Shards.open(Path(self.config.shards))
            stream = Stream(shards, Decoding(self.config.size), groups, self.config.pictures, self.seed)
            turns = Turns(stream, self.global_rank, self.trainer.world_size)
            return DataLoader(stream, batch_size=None, sampler=turns)
        rows = self.train_rows()
        assert isinstance(rows, TensorDataset)
        assert isinstance(rows, Sized)
        order = Balanced(rows.tensors[1].numpy(), groups, self.config.pictures, self.seed)
        sampler = InGroups(order, self.global_rank, self.trainer.world_size)
        return DataLoader(rows, self.config.batch, sampler=sampler, drop_last=True)

    def valid_rows(self) -> Dataset[Any]:
        """Return pairs of people that are kept for choosing."""
        images = people("valid", self.config.size)
        return PairRows(images, drawn_pairs(images.columns["person"], _VALID_PAIRS))

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return pairs of held-out people."""
        images = people("test", self.config.size)
        pairs = drawn_pairs(images.columns["person"], TEST_PAIRS)
        person = images.columns["person"]
        used = DataUsed(images.name, f"pairs of {images.split}", len(pairs), images.sha256)
        drawn = np.stack([person[pairs.first], person[pairs.second]], axis=1)
        return (TestPart(PairRows(images, pairs), used, units=drawn),)

    def predict(self, batch: Any) -> Tensor:
        """Return the (n,) cosines of a batch of pairs."""
        first, second, _ = batch
        made = self.embed(torch.cat([first, second]).float()).float()
        one, other = made.chunk(2)
        return functional.cosine_similarity(one, other)

    def targets(self, batch: Any) -> Tensor:
        """Return (n,) 1 for pairs of one person, 0 for others."""
        same: Tensor = batch[2]
        return same

    def score(self, targets: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> float:
        """Return the ROC AUC of cosines."""
        return float(roc_auc_score(targets, predictions))


def pixels_of(images: Images) -> Tensor:
    """Return (n, C, H, W) uint8 of images."""
    return torch.as_tensor(np.ascontiguousarray(np.asarray(images.pixels).transpose(0, 3, 1, 2)))
