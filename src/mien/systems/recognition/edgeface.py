"""EdgeFace: EdgeNeXt with low-rank linear layers for faces (George et al. 2023, arXiv 2307.01838).

Depthwise convolutions see what is near, attention between channels what is far (the split depthwise transpose
attention encoders of EdgeNeXt), and every linear layer is a product of two of lower rank, LoRaLin: the part
of the rank that is kept is gamma (Section 3.2). The paper trains XS with gamma 0.6 and S with gamma 0.5 by
CosFace and compares them with networks of the size of MobileFaceNet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor, nn

from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.edgenext import EXTRA_SMALL, SMALL, EdgeNeXt, Sizes
from mien.nn.margins import MarginSoftmax
from mien.nn.mobilefacenet import MobileFaceNet
from mien.train.recognition import RecognitionLab, RecognitionSettings

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
        network: the paper's, or the peer that it is compared with.
        widths: channels of each stage of the paper's network.
        depths: blocks of each.
        heads: of each attention.
        gamma: part of the rank that every linear layer keeps; 1 keeps full layers, as EdgeNeXt has them.
        scale: of every residual branch at the start.
        mobile_width: channels of MobileFaceNet's first layers; 64 in its paper.
        mobile_depths: its bottlenecks that add their input, in each stage; 4, 6 and 2 in its paper.
        margin_size: m of CosFace.
        margin_scale: s of CosFace.
    """

    network: Literal["edgeface", "mobilefacenet"] = "edgeface"
    widths: tuple[int, ...] = EXTRA_SMALL.widths
    depths: tuple[int, ...] = EXTRA_SMALL.depths
    heads: int = EXTRA_SMALL.heads
    gamma: float = 0.6
    scale: float = 1e-6
    mobile_width: int = 64
    mobile_depths: tuple[int, ...] = (4, 6, 2)
    margin_size: float = 0.4
    margin_scale: float = 64.0


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
    sizes = Sizes(config.widths, config.depths, config.heads)
    return EdgeNeXt(config.embedding, sizes, config.gamma, config.scale)


class EdgeFace(RecognitionLab[Config]):
    """EdgeFace, or its peer, with CosFace's margin."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = network(config)
        self.head = MarginSoftmax(
            config.embedding, self.people, "cosface", config.margin_size, config.margin_scale
        )

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) float, of any lengths, of (n, 3, H, W) faces of 0..255."""
        made: Tensor = self.net((pixels - 127.5) / 127.5)
        return made.float()

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return CosFace's loss on jittered faces."""
        pixels, persons = batch
        value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value


LAB = EdgeFace
