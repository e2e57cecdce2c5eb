"""ResNeSt for faces: split attention in a residual network (Zhang et al. 2020, arXiv 2004.08955).

A block's convolution has K cardinal groups of R splits, and attention weighs the splits of each group against
each other by what all of the picture says (Section 3.1), in a network with the tricks of ResNet-D. Radix 1
is squeeze and excitation (SE) and radix 0 the plain ResNet-D in the same network, so that the three differ in
nothing else (Table 2 compares them so). The paper shows it on ImageNet; here faces are learned, with
CosFace's margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.margins import MarginSoftmax
from mien.nn.resnest import ResNeSt, Splits
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="resnest",
    title="ResNeSt: Split-Attention Networks",
    year=2020,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="Split attention beats squeeze and excitation",
            protocol="pairs of people who are not trained on; radix 2 against radix 1, equal time a face",
            metric="EER",
            paper_value=0.1935,
            where="the authors' ablation of ResNeSt-50-fast, as errors: ImageNet top-1 80.65 % of 2s1x64d "
            "against 80.35 % of 1s1x64d",
        ),
        Claim(
            text="Split attention beats ResNet-D",
            protocol="pairs of people who are not trained on; radix 2 against radix 0, equal time a face",
            metric="EER",
            paper_value=0.1936,
            where="Table 2, left, as errors: ImageNet top-1 80.64 % of ResNeSt-50-fast against "
            "79.41 % of ResNet-50-D trained alike, 4.34 GFLOPs both",
        ),
    ),
)


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of ResNeSt.

    Attributes:
        depths: blocks of each stage.
        radix: R, splits of each cardinal group; 1 is squeeze and excitation, 0 is ResNet-D.
        cardinality: K, cardinal groups.
        group_width: channels of a group in the first stage for a width of 64; "d" in the paper's names.
        width: of the first stage; 64 in the paper.
        early: means halve the picture before the convolution instead of behind it ("fast").
        margin_size: m of CosFace.
        margin_scale: s of CosFace.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    radix: int = 2
    cardinality: int = 1
    group_width: int = 64
    width: int = 64
    early: bool = False
    margin_size: float = 0.35
    margin_scale: float = 64.0


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            rows=160,
            size=32,
            embedding=16,
            learning_rate=0.02,
            depths=(1, 1, 1, 1),
            width=4,
            margin_scale=16.0,
        ),
        "cpu": Config(
            rounds=6,
            batch=64,
            size=48,
            embedding=128,
            learning_rate=0.05,
            weight_decay=5e-4,
            warmup=0.5,
            depths=(1, 1, 1, 1),
            width=16,
            early=True,
            margin_size=0.2,
            margin_scale=32.0,
        ),
        # Section 4.2: SGD at 0.1 for each 256 pictures of a batch (8192 over all devices), five rounds of
        # warmup, a cosine over 270, weight decay 0.0001 of all but norms and biases.
        "paper": Config(rounds=270, batch=256, learning_rate=0.1, warmup=5.0, many=True),
    }
)

_NOTE = (
    "faces of 201 people at 48 px in place of ImageNet, four blocks of a quarter of the width instead of "
    "sixteen, 6 rounds instead of 270, no mixup nor learned augmentation; widths of 16 (radix 2), 17 (1) and "
    "20 (0) take about as long: 3.1, 2.8 and 2.7 ms a face alone, 0.54, 0.65 and 0.65 ms in batches of 32"
)
_SPLIT: tuple[str, tuple[str, ...]] = ("split attention (radix 2)", ())
_EXCITED = ("squeeze and excitation (radix 1)", ("radix=1", "width=17"))
_PLAIN = ("ResNet-D (radix 0)", ("radix=0", "width=20"))
REPRODUCE = (
    Reproduction(
        claim="Split attention beats squeeze and excitation",
        metric="EER",
        arms=(_SPLIT, _EXCITED, _PLAIN),
        note=_NOTE,
    ),
    Reproduction(
        claim="Split attention beats ResNet-D",
        metric="EER",
        arms=(_SPLIT, _PLAIN, _EXCITED),
        note=_NOTE,
    ),
)


def body(config: Config) -> ResNeSt:
    """Make the network before its last layer; with 1000 classes the paper's has 27.5 million parameters."""
    splits = Splits(config.radix, config.cardinality, config.group_width)
    return ResNeSt(config.depths, splits, config.width, early=config.early)


class ResNeStFace(RecognitionLab[Config]):
    """The network with a linear layer and a norm behind it, and CosFace's margin."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        features = body(config)
        self.net = nn.Sequential(
            features,
            nn.Linear(features.features, config.embedding, bias=False),
            nn.BatchNorm1d(config.embedding),
        )
        self.head = MarginSoftmax(
            config.embedding, self.people, "cosface", config.margin_size, config.margin_scale
        )

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) float, of any lengths, of (n, 3, H, W) faces of 0..255."""
        made: Tensor = self.net((pixels - 127.5) / 64)
        return made.float()

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return CosFace's loss on jittered faces."""
        pixels, persons = batch
        value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value


LAB = ResNeStFace
