"""Masked faces: masks drawn by key points, and fine-tuning on them (Cai et al. 2023, arXiv 2311.07475).

Pictures of masked people are few, so masks of several kinds are drawn over ordinary ones by their key points
(`mien.data.masks`). A network that learned from bare faces is fine-tuned with masks over a part of them
(`masked`), and is judged on pairs whose second face wears one, and on the same pairs without.

The paper fine-tunes VGG-16, ResNet-50 and Inception-ResNet v1, which reached the most, to classify 50 people
of LFW; here people of the test are not those of the training, as wherever recognition is measured in this
project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from mien.core.system import Claim, DataUsed, System
from mien.data.masks import KINDS, Kind, Masks, masked_probes
from mien.data.people import drawn_pairs, people
from mien.data.reader import Images, Pairs
from mien.evaluate.reproduce import Reproduction
from mien.nn.embedder import Embedder
from mien.nn.inception_resnet import InceptionResNet
from mien.nn.margins import MarginSoftmax
from mien.train.lab import TestPart
from mien.train.recognition import TEST_PAIRS, PairRows, RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="masked-face",
    title="Masked Face Dataset Generation and Masked Face Recognition",
    year=2023,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="Fine-tuning on drawn masks raises verification of masked faces and keeps that of others",
            protocol="6,000 pairs of 40 held-out people, second faces masked or not; as many rounds without",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="the abstract: 95 % of 50 masked people are recognised after fine-tuning",
        ),
    ),
)


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of masked face recognition.

    Attributes:
        network: Inception-ResNet v1, or the small residual network.
        width: channels of the small network's first stage.
        bare: rounds before fine-tuning, without masks.
        masked: part of the faces that wear one in fine-tuning; 0 goes on without.
        kinds: of masks that are drawn in training; tests have all.
        margin_size: of CosFace's margin in the loss.
        scale: of its cosines.
    """

    network: Literal["inception-resnet", "residual"] = "inception-resnet"
    width: int = 16
    bare: int = 5
    masked: float = 0.5
    kinds: tuple[Kind, ...] = KINDS
    margin_size: float = 0.35
    scale: float = 64.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.bare < self.rounds:
            raise ValueError(f"{self.bare} of {self.rounds} rounds without masks leave none to fine-tune in")
        if self.network == "inception-resnet" and self.size < 75:
            raise ValueError(f"Inception-ResNet needs 75 px or more, not {self.size}")
        Masks(self.masked, self.kinds)


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=2,
            bare=1,
            batch=32,
            rows=96,
            size=32,
            embedding=16,
            network="residual",
            width=4,
            margin_size=0.2,
            scale=16.0,
        ),
        "cpu": Config(
            rounds=8,
            bare=4,
            batch=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            warmup=0.5,
            size=48,
            embedding=128,
            network="residual",
            width=8,
            margin_size=0.2,
            scale=24.0,
        ),
        # Inception-ResNet v1 at the 160 px of its public weights; rounds and rates are ours.
        "paper": Config(rounds=40, bare=20, batch=128, learning_rate=0.05, weight_decay=5e-4, size=160),
    }
)

REPRODUCE = (
    Reproduction(
        claim="Fine-tuning on drawn masks raises verification of masked faces and keeps that of others",
        metric="TAR at FAR 1 %",
        arms=(
            ("fine-tuned with masks", ()),
            ("without masks", ("masked=0.0",)),
            ("surgical masks alone", ("kinds=surgical",)),
        ),
        note=(
            "201 people, a small residual network at 48 px, 4 rounds without masks and 4 with; where the "
            "probes wear none, that no difference is found (inconclusive) is what the claim says; masks of "
            "the test are drawn by the same means as those of the training"
        ),
    ),
)


class MaskedFace(RecognitionLab[Config]):
    """A network under CosFace's margin that sees masks from a round on."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net: nn.Module = InceptionResNet(config.embedding)
        if config.network == "residual":
            widths: Sequence[int] = [config.width * 2**stage for stage in range(4)]
            self.net = Embedder(config.embedding, widths=widths)
        self.head = MarginSoftmax(config.embedding, self.people, "cosface", config.margin_size, config.scale)
        self.masks = Masks(config.masked, config.kinds)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces, 0..255."""
        made: Tensor = self.net(pixels)
        return made

    def augmented(self, pixels: Tensor) -> Tensor:
        """Return jittered (n, 3, H, W) faces; masks are on them before, so that they move along."""
        if self.current_epoch >= self.config.bare and self.config.masked:
            pixels = self.masks(pixels)
        return super().augmented(pixels)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return CosFace's loss on jittered faces."""
        pixels, persons = batch
        value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value

    def valid_rows(self) -> Dataset[Any]:
        """Return pairs of people that are kept for choosing, and the same with masked probes."""
        bare = super().valid_rows()
        assert isinstance(bare, PairRows)
        images = people("valid", self.config.size)
        return ConcatDataset([bare, PairRows(*masked_probes(images, bare.pairs))])

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return pairs of held-out people whose second face is masked, then the same pairs without masks."""
        images = people("test", self.config.size)
        pairs = drawn_pairs(images.columns["person"], TEST_PAIRS)
        return (
            _part(*masked_probes(images, pairs), f"pairs of {images.split}, masked probes"),
            _part(images, pairs, f"pairs of {images.split}"),
        )


def _part(images: Images, pairs: Pairs, split: str) -> TestPart:
    person = images.columns["person"]
    used = DataUsed(images.name, split, len(pairs), images.sha256)
    drawn = np.stack([person[pairs.first], person[pairs.second]], axis=1)
    return TestPart(PairRows(images, pairs), used, units=drawn)


LAB = MaskedFace
