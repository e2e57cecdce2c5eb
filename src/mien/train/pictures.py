"""`PictureLab`: the base of systems that learn label columns of one set of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from mien.core.decades import decade_name, decades
from mien.data import registry
from mien.data.overlap import disjoint, reported
from mien.data.reader import Images, load
from mien.train.lab import Lab, TestPart
from mien.train.settings import Settings


@dataclass(frozen=True)
class PictureSettings(Settings):
    """Settings of a system that learns from pictures.

    Attributes:
        size: side of the pictures, px.
    """

    size: int = 48


GROUPS = ("age", "age_group", "gender", "race")
"""The columns by which figures are told apart wherever a set has them; ages by their decade."""

P = TypeVar("P", bound=PictureSettings)


@lru_cache(maxsize=16)
def _images(name: str, split: str, size: int, grey: bool) -> Images:
    return load(name, split, size=size, grey=grey)


class PictureLab(Lab[P]):
    """A `Lab` over the splits train, valid and test of one set.

    A system says which set and columns, makes its network `net`, and gives its `training_step`. Batches are
    pixels (n, C, H, W) uint8, then each column (n,). Rows with an unknown label are left out. Train rows may
    share pictures with valid and test rows only where the table of sets says so: validation leaves those
    out, the test part is told with and without them.

    Attributes:
        dataset: the set's name.
        columns: the label columns; the first is the one that runs are compared on.
        grey: pictures have one channel.
        net: the network; gives (n, c) logits of pictures of 0..255.
    """

    dataset: str
    columns: ClassVar[tuple[str, ...]]
    grey: bool = False
    net: nn.Module

    def images(self, split: str) -> Images:
        """Return the rows of a split that have all labels."""
        images = _images(self.dataset, split, self.config.size, self.grey)
        return images.take(self.labelled(images), split)

    def labelled(self, images: Images) -> npt.NDArray[np.bool_]:
        """Tell which rows can be used: (n,)."""
        row = registry.known(self.dataset)
        known = np.ones(len(images), bool)
        for name in self.columns:
            unknown = row.column(name).unknown
            if unknown is not None:
                known &= images.columns[name] != unknown
        return known

    def labels(self, images: Images) -> tuple[npt.NDArray[Any], ...]:
        """Return what is learned from rows, and judged on others, n entries each: the columns."""
        return tuple(images.columns[name] for name in self.columns)

    def rows(self, images: Images) -> Dataset[Any]:
        """Return rows as a batch is made of them: pixels, then the labels."""
        pixels = torch.as_tensor(np.ascontiguousarray(np.asarray(images.pixels).transpose(0, 3, 1, 2)))
        return TensorDataset(pixels, *map(_tensor, self.labels(images)))

    def chosen(self) -> Images:
        """Return the train split; `config.rows` of it, drawn by the seed, where it says so."""
        train = self.images("train")
        disjoint(train, self.images("test"), known=True)
        if self.config.rows:
            chosen = np.random.default_rng(self.seed).permutation(len(train))[: self.config.rows]
            train = train.take(np.sort(chosen))
        return train

    def train_rows(self) -> Dataset[Any]:
        """Return the chosen rows of the train split."""
        return self.rows(self.chosen())

    def valid_rows(self) -> Dataset[Any]:
        """Return the rows of the valid split that training has not seen."""
        return self.rows(reported(self.images("valid"), self.images("train"))[-1])

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return the test split and, where some of it was seen before, the rest of it."""
        parts = reported(self.images("test"), self.images("train"), self.images("valid"))
        return tuple(TestPart(self.rows(part), part.used, self.groups(part)) for part in parts)

    def groups(self, images: Images) -> dict[str, npt.NDArray[Any]]:
        """Return the (n,) names of the groups that figures are told apart by, for each of `GROUPS`."""
        return {
            name: _names(registry.known(images.name).column(name), images.columns[name])
            for name in GROUPS
            if name in images.columns
        }

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the first column's classes."""
        if not self.columns:
            return super().classes
        return registry.known(self.dataset).column(self.columns[0]).classes

    def predict(self, batch: Any) -> Tensor:
        """Return (n, c) probabilities of the first column's classes."""
        probabilities: Tensor = self.net(batch[0].float()).softmax(dim=1)
        return probabilities

    def targets(self, batch: Any) -> Tensor:
        """Return the first column."""
        labels: Tensor = batch[1]
        return labels


def _names(column: registry.Column, values: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    classes = (*column.classes, "unknown")  # which is -1
    if column.classes:
        return np.asarray([classes[value] for value in values.tolist()], np.str_)
    return np.asarray([decade_name(decade) for decade in decades(values).tolist()], np.str_)


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.as_tensor(values.astype(np.int64 if values.dtype.kind in "iu" else np.float32))
