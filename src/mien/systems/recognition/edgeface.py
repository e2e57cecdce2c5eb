"""EdgeFace: EdgeNeXt with low-rank linear layers for faces (George et al. 2023, arXiv 2307.01838).

Depthwise convolutions see what is near, attention between channels what is far (the split depthwise transpose
attention encoders of EdgeNeXt), and every linear layer is a product of two of lower rank, LoRaLin: the part
of the rank that is kept is gamma (Section 3.2). The paper trains XS with gamma 0.6 and S with gamma 0.5 by
CosFace and compares them with networks of the size of MobileFaceNet.

Recipe "ship" makes mien's own recogniser. No set of millions of identities is at hand: the network is taught
by one that had it, from its embeddings of faces whose names need not be known, then sharpened by the people
that are known here. A plain residual network of as many milliseconds learns five times as many faces an hour
on a processor as the depthwise ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.masks import Masks
from mien.data.order import Balanced
from mien.evaluate.reproduce import Reproduction
from mien.nn.edgenext import EXTRA_SMALL, SMALL, EdgeNeXt, Sizes
from mien.nn.margins import MarginSoftmax
from mien.nn.mobilefacenet import MobileFaceNet
from mien.nn.recogniser import ResidualRecogniser
from mien.train.distil import Taught, Teacher
from mien.train.lab import InOrder
from mien.train.recognition import RecognitionLab, RecognitionSettings, pixels_of

SYSTEM = System(
    id="edgeface",
    title="EdgeFace: Efficient Face Recognition Model for Edge Devices",
    year=2023,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="EdgeFace beats a MobileFaceNet that takes as long",
            protocol="pairs of people who are not trained on; the same rounds, widths of equal time a face",
            metric="EER",
            paper_value=0.0027,
            where="Table 2, as errors: LFW 99.73 % with 1.77 M parameters and 154 MFLOPs, against 99.4 % of "
            "MobileFaceNetV1 with 3.4 M and 1,100 MFLOPs",
        ),
        Claim(
            text="Low-rank layers are as good as full ones",
            protocol="pairs of people who are not trained on; gamma 0.6 against 1, all else alike; at most "
            "0.01 worse",
            metric="EER",
            paper_value=None,
            where="Section 3.2: fewer parameters and operations at nearly the same accuracy",
        ),
    ),
)


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of EdgeFace.

    Attributes:
        network: the paper's, the peer that it is compared with, or a plain residual one.
        widths: channels of each stage of the paper's network.
        depths: blocks of each.
        heads: of each attention.
        gamma: part of the rank that every linear layer keeps; 1 keeps full layers, as EdgeNeXt has them.
        scale: of every residual branch at the start.
        mobile_width: channels of MobileFaceNet's first layers; 64 in its paper.
        mobile_depths: its bottlenecks that add their input, in each stage; 4, 6 and 2 in its paper.
        margin_size: m of CosFace.
        margin_scale: s of CosFace.
        residual_widths: channels of each stage of the residual network.
        residual_depths: blocks of each.
        teacher: whose embeddings are learned, by the name of its file; empty learns from people alone. A
            round is then one pass over all faces at hand.
        passes: over all faces that the teacher has seen, each in another view; rounds repeat them in turn.
        sharpened: the last rounds, in which people are learned beside the teacher's embeddings.
        people_weight: of the people's loss in these.
    """

    network: Literal["edgeface", "mobilefacenet", "residual"] = "edgeface"
    widths: tuple[int, ...] = EXTRA_SMALL.widths
    depths: tuple[int, ...] = EXTRA_SMALL.depths
    heads: int = EXTRA_SMALL.heads
    gamma: float = 0.6
    scale: float = 1e-6
    mobile_width: int = 64
    mobile_depths: tuple[int, ...] = (4, 6, 2)
    margin_size: float = 0.4
    margin_scale: float = 64.0
    residual_widths: tuple[int, ...] = (24, 64, 128, 192)
    residual_depths: tuple[int, ...] = (1, 1, 2, 2)
    teacher: str = ""
    passes: int = 1
    sharpened: int = 0
    people_weight: float = 0.0


# Section 4.2 and the authors' configuration: AdamW at 0.003 (along a polynomial; ours: a cosine), CosFace
# with a margin of 0.4, a second part with another schedule left out.
_PAPER = Config(
    rounds=100, batch=512, optimiser="adamw", learning_rate=0.003, weight_decay=0.05, warmup=2.0, many=True
)

RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            rows=160,
            size=32,
            embedding=16,
            optimiser="adamw",
            learning_rate=0.002,
            widths=(8, 8, 12, 16),
            depths=(1, 1, 1, 1),
            heads=2,
            scale=0.1,
            mobile_width=4,
            mobile_depths=(1, 1, 1),
            margin_scale=16.0,
        ),
        "cpu": Config(
            rounds=7,
            batch=64,
            size=64,
            embedding=128,
            optimiser="adamw",
            learning_rate=0.002,
            weight_decay=0.05,
            warmup=0.5,
            widths=(16, 32, 48, 96),
            depths=(1, 1, 2, 1),
            # Few steps would not lift branches that begin at a millionth.
            scale=0.1,
            mobile_width=16,
            mobile_depths=(1, 2, 1),
            margin_size=0.2,
            margin_scale=32.0,
        ),
        # What `mien verify --fast` runs.
        "ship": Config(
            rounds=24,
            batch=64,
            learning_rate=0.1,
            weight_decay=1e-4,
            warmup=0.2,
            clip=5.0,
            ema=0.999,
            # A machine without these numbers in its processor takes several times as long as with 32 bits.
            precision="bf16",
            embedding=128,
            many=True,
            pictures=2,
            network="residual",
            margin_size=0.2,
            margin_scale=32.0,
            teacher="mobilefacenet_foamliu",
            passes=6,
            sharpened=4,
            people_weight=0.02,
        ),
        "paper": _PAPER,
        "paper-s": replace(_PAPER, widths=SMALL.widths, heads=SMALL.heads, gamma=0.5),
    }
)

_NOTE = (
    "64 px, five blocks of half of XS's width, 7 rounds over 4,300 faces of 201 people instead of 100 over "
    "12 million faces; EdgeFace and MobileFaceNet take 0.4 ms a face in batches of 32 on one thread (2.7 and "
    "3.2 million multiply-adds); alone EdgeFace takes 3.6 ms, MobileFaceNet 2.6"
)
_EDGE: tuple[str, tuple[str, ...]] = ("EdgeFace, gamma 0.6", ())
_FULL = ("EdgeFace, full layers", ("gamma=1.0",))
_MOBILE = ("MobileFaceNet", ("network=mobilefacenet",))
REPRODUCE = (
    Reproduction(
        claim="EdgeFace beats a MobileFaceNet that takes as long",
        metric="EER",
        arms=(_EDGE, _MOBILE, _FULL),
        note=_NOTE,
    ),
    Reproduction(
        claim="Low-rank layers are as good as full ones",
        metric="EER",
        arms=(_EDGE, _FULL),
        tolerance=0.01,
        note=_NOTE,
    ),
)


def network(config: Config) -> nn.Module:
    """Make the network of these settings.

    At 112 px the paper's XS has 1.77 million parameters and 77 million multiply-adds ("154 MFLOPs"), S 3.65
    million and 153 million ("306 MFLOPs").
    """
    if config.network == "mobilefacenet":
        return MobileFaceNet(config.embedding, config.size, config.mobile_width, config.mobile_depths)
    if config.network == "residual":
        return ResidualRecogniser(
            config.embedding, config.size, config.residual_widths, config.residual_depths
        )
    sizes = Sizes(config.widths, config.depths, config.heads)
    return EdgeNeXt(config.embedding, sizes, config.gamma, config.scale)


class EdgeFace(RecognitionLab[Config]):
    """EdgeFace, or its peers, under CosFace's margin; or taught by a recogniser."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = network(config)
        self.head = MarginSoftmax(
            config.embedding, self.people, "cosface", config.margin_size, config.margin_scale
        )
        # The teacher saw how faces are placed: from there on they must stay.
        self.worse = Jitter(
            contrast=0.3, brightness=0.15, colour=0.6, coarse=0.2, blur=0.2, jpeg=0.3, erase=0.4
        )
        self.masks = Masks(0.1)

    @cached_property
    def _taught(self) -> Taught:
        return Taught(Teacher(self.config.teacher), self.config.size, self.config.passes, self.config.batch)

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor]:
        """The train faces with their persons, without those that may be in LFW."""
        images = self.chosen()
        kept = np.isin(images.hashes, self._taught.views.faces.hashes)
        return pixels_of(images.take(kept)), torch.as_tensor(self.persons(images)[kept])

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) float, of any lengths, of (n, 3, H, W) faces of 0..255."""
        scaled = ((pixels - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
        made: Tensor = self.net(scaled)
        return made.float()

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of people's faces; or blocks that the teacher has seen with what it said."""
        if not self.config.teacher:
            return super().train_dataloader()
        order = InOrder(len(self._taught), self.seed, self.global_rank, self.trainer.world_size)
        return DataLoader(self._taught, batch_size=None, sampler=order)

    def on_train_epoch_start(self) -> None:
        """Tell the blocks the number of the round, which decides their pass."""
        if self.config.teacher:
            self._taught.a_pass = self.current_epoch % self.config.passes

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return CosFace's loss on jittered faces; or how far from the teacher embeddings are, 1 - cosine."""
        if not self.config.teacher:
            pixels, persons = batch
            value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
            self.log("loss", value)
            return value
        pixels, said = batch
        made = self.embed(self.worse(self.masks(pixels)))
        value = 1 - functional.cosine_similarity(made, said.float()).mean()
        self.log("distance", value)
        if self.current_epoch >= self.config.rounds - self.config.sharpened:
            value = value + self.config.people_weight * self._people_loss(index)
        self.log("loss", value)
        return value

    def _people_loss(self, index: int) -> Tensor:
        pixels, persons = self._known
        groups = self.config.batch // self.config.pictures
        rows = self._order(self.current_epoch, groups).reshape(-1, self.config.batch)
        chosen = torch.as_tensor(rows[(index * self.trainer.world_size + self.global_rank) % len(rows)])
        value: Tensor = self.head(self.embed(self.worse(self.augmented(pixels[chosen]))), persons[chosen])
        self.log("people loss", value)
        return value

    @cache  # noqa: B019  (a lab lives as long as its process)
    def _order(self, a_round: int, groups: int) -> Any:
        return Balanced(self._known[1].numpy(), groups, self.config.pictures, self.seed).order(a_round)


LAB = EdgeFace
