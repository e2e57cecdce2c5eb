"""`AffectLab`: the base of systems that learn expressions, valence and arousal as AffectNet has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.core.labels import AFFECTNET_EXPRESSIONS, FERPLUS_VOTES
from mien.data.overlap import shared
from mien.data.reader import Images, load
from mien.data.votes import expected_affect, majority, votes_of
from mien.train.pictures import PictureLab, PictureSettings

_HELD_OUT = 20
"""One in so many of AffectNet's train pictures is for validation."""


@dataclass(frozen=True)
class AffectSettings(PictureSettings):
    """Settings of a system that learns from AffectNet, or from what stands in for it.

    Attributes:
        dataset: AffectNet, or FER2013's faces with labels that follow from the ten votes of FER+.
    """

    dataset: Literal["fer2013", "affectnet"] = "fer2013"


A = TypeVar("A", bound=AffectSettings)


class AffectLab(PictureLab[A]):
    """A `PictureLab` over AffectNet or FER+ whose labels mean the same.

    Of AffectNet, whose test split was never released, the official validation is the test split here, as in
    all papers; for validation a twentieth of the train pictures is held out, by their content. Of FER+ the
    expression is the majority, valence and arousal are `expected_affect`: derived from the votes, not
    annotated.

    Attributes:
        expressions: the classes, the first ones of AffectNet's eight.
    """

    columns = ()
    expressions: ClassVar[tuple[str, ...]] = AFFECTNET_EXPRESSIONS

    def __init__(self, config: A, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.dataset = config.dataset
        self.grey = config.dataset == "fer2013"

    @property
    def classes(self) -> tuple[str, ...]:
        """The expressions."""
        return self.expressions

    @property
    def channels(self) -> int:
        """Channels of the pictures: 1 or 3."""
        return 1 if self.grey else 3

    def images(self, split: str) -> Images:
        """Return the rows of train, valid or test that can be used."""
        if self.dataset == "fer2013":
            return super().images(split)
        reported_on = load("affectnet", "valid", size=self.config.size)
        if split == "test":
            return reported_on.take(self.labelled(reported_on), "valid")
        learned = load("affectnet", "train", size=self.config.size)
        held_out = np.array([int(digest, 16) % _HELD_OUT == 0 for digest in learned.hashes.tolist()])
        chosen = self.labelled(learned) & ~shared(learned, reported_on)
        if split == "valid":
            return learned.take(chosen & held_out, "train, held out")
        return learned.take(chosen & ~held_out, "train without held out")

    def expression(self, images: Images) -> npt.NDArray[np.int64]:
        """Return the (n,) place in `expressions`; -1 for rows that have none."""
        if images.name == "affectnet":
            found = images.columns["expression"].astype(np.int64)
            return np.where(found < len(self.expressions), found, -1)
        best = majority(votes_of(images))
        places = [self.expressions.index(name) if name in self.expressions else -1 for name in FERPLUS_VOTES]
        return np.where(best < 0, -1, np.array(places)[best])

    def affect(self, images: Images) -> npt.NDArray[np.float32]:
        """Return (n, 2) valence and arousal, -1..1; NaN for rows that have none."""
        if images.name == "affectnet":
            both = np.stack([images.columns[name] for name in ("valence", "arousal")], axis=1)
            return np.where((both < -1).any(axis=1, keepdims=True), np.nan, both).astype(np.float32)
        return expected_affect(votes_of(images), FERPLUS_VOTES)


def rarest_over_each(expression: Tensor, count: int) -> Tensor:
    """Return (count,) f_min / f_i of the classes' numbers of rows in (n,): the paper's weights.

    That is AffectNet's weighted loss (Mollahosseini et al. 2017, Section 5.1): the rarest class has 1. A
    class without rows has 0 and is not the rarest.
    """
    rows = torch.bincount(expression, minlength=count).double()
    there = rows > 0
    return torch.where(there, rows[there].min() / rows.clamp_min(1), 0.0).float()
