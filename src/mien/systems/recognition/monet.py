"""MONet: a network of linear maps and products alone (Cheng et al. 2024, ICLR, arXiv 2401.17992).

Its Mu-Layer multiplies two linear images of a token by each other, C (A x + a (A x) * (B D x)), where the
second one goes through fewer channels (Section 3.1). A Poly-Block has two of them beside shortcuts, the first
with its channels shifted by one token in four directions (Section 3.2), so that N blocks are a polynomial of
degree 4^N in the picture up to the layer norms. There is no activation function: not in the layers, not in
the embedding of patches (two convolutions that halve the picture, "pyramid"), not in the head.

The polynomial networks before it that it is compared with are here, too, written small:

- pi-net: residual blocks whose two convolutions, without activations, are multiplied with the shortcut
  (Chrysos et al. 2020, arXiv 2003.03828; the authors' PiNet-18 with the 1 x 1 convolution, which is the one
  that the paper quotes);
- ccp: one polynomial of the whole picture by the coupled CP decomposition, x_n = (A_n z) * x_(n-1) + x_(n-1)
  (the same paper, Eq. 3 and 4).

On faces all three are trained alike, with CosFace's margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.margins import MarginSoftmax
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="monet",
    title="Multilinear Operator Networks",
    year=2024,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="A network of Mu-Layers outperforms prior polynomial networks",
            protocol="pairs of held-out people; networks without any activation function, of about as many "
            "multiply-adds, trained alike",
            metric="ROC AUC",
            paper_value=None,
            where="ImageNet, Table 2: 81.3 % of MONet-S (32.9 M parameters), 65.2 % of Pi-Nets (12.3 M)",
        ),
    ),
)

Network = Literal["monet", "pi-net", "ccp"]


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of MONet; the defaults are MONet-S.

    Attributes:
        network: MONet or one of the polynomial networks before it.
        widths: channels of each stage; of "ccp" the first is the rank of its decomposition.
        depths: blocks of each stage; of "ccp" the first is the degree of its polynomial.
        expansion: hidden channels of a block's second Mu-Layer, as a multiple of the block's.
        margin: of CosFace, on the cosine.
        scale: of the cosines in the loss.
    """

    network: Network = "monet"
    widths: tuple[int, ...] = (128, 192, 256, 384)
    depths: tuple[int, ...] = (4, 6, 12, 14)
    expansion: int = 3
    margin: float = 0.35
    scale: float = 64.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(self.depths):
            raise ValueError(f"{len(self.widths)} widths and {len(self.depths)} depths")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            rows=128,
            size=32,
            embedding=16,
            learning_rate=1e-3,
            optimiser="adamw",
            clip=1.0,
            widths=(8, 16),
            depths=(1, 1),
            margin=0.2,
            scale=16.0,
        ),
        "cpu": Config(
            rounds=12,
            batch=64,
            learning_rate=2e-3,
            weight_decay=0.01,
            optimiser="adamw",
            warmup=1.0,
            clip=1.0,
            size=48,
            embedding=128,
            widths=(32, 64),
            depths=(1, 2),
            margin=0.2,
            scale=16.0,
        ),
        # Section 4.1: MONet-S, AdamW, 300 rounds, batches of 448, gradients clipped at 1. The paper learns
        # ImageNet's classes; what is learned here, CosFace's margin at its own 0.35 and 64, is not its.
        "paper": Config(
            rounds=300,
            batch=448,
            learning_rate=1e-3,
            weight_decay=0.01,
            optimiser="adamw",
            warmup=10.0,
            clip=1.0,
            size=224,
            many=True,
        ),
    }
)

# Sizes at which the rivals cost about as many multiply-adds a face as MONet: 5.8, 7.5 and 5.6 million.
_PI_NET = ("network=pi-net", "widths=16,32,64", "depths=1,1,1")
_CCP = ("network=ccp", "widths=200", "depths=4")

REPRODUCE = (
    Reproduction(
        claim="A network of Mu-Layers outperforms prior polynomial networks",
        metric="ROC AUC",
        arms=(("MONet", ()), ("Pi-Net", _PI_NET), ("CCP", _CCP)),
        note="some 200 people and faces of 48 px instead of ImageNet, 12 rounds, one optimiser for all; "
        "networks of 6 to 8 million multiply-adds, Pi-Net's the most",
    ),
)


def shifted(x: Tensor) -> Tensor:
    """Move a quarter each of the channels one token down, up, right and left; what has no neighbour stays.

    The spatial shift of S2-MLP (Yu et al. 2022, arXiv 2106.07477, Section 3.2), which the Mu-Layer takes
    (Section 3.1, "spatial aggregation module").

    Args:
        x: (n, h, w, c).
    """
    down, up, right, left = x.tensor_split(4, dim=3)
    return torch.cat(
        [
            torch.cat([down[:, :1], down[:, :-1]], dim=1),
            torch.cat([up[:, 1:], up[:, -1:]], dim=1),
            torch.cat([right[:, :, :1], right[:, :, :-1]], dim=2),
            torch.cat([left[:, :, 1:], left[:, :, -1:]], dim=2),
        ],
        dim=3,
    )


class MuLayer(nn.Module):
    """Products of two linear images of each token: y = C (u + a u * v) (Section 3.1, Eq. 1).

    u = norm(A x) and v = norm(B D x), D leading to an eighth of the hidden channels: without the norms, y is
    linear in u and in v, and of second degree in x.

    Args:
        inputs: channels of a token, in and out.
        hidden: of u and v.
        spatial: shift A x and D x among the tokens.
    """

    def __init__(self, inputs: int, hidden: int, *, spatial: bool) -> None:
        super().__init__()
        self.a = nn.Linear(inputs, hidden)
        self.d = nn.Linear(inputs, hidden // 8)
        self.b = nn.Linear(hidden // 8, hidden)
        self.c = nn.Linear(hidden, inputs)
        self.first_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.second_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.weight = nn.Parameter(torch.ones(1))
        self.spatial = spatial
        # The authors' code: every image begins as one, so that products pass what they multiply.
        for layer in (self.a, self.d, self.b):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.ones_(layer.bias)

    def images(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and v, each (n, h, w, hidden), of (n, h, w, inputs)."""
        first, second = self.a(x), self.d(x)
        if self.spatial:
            first, second = shifted(first), shifted(second)
        return self.first_norm(first), self.second_norm(self.b(second))

    def multiplied(self, first: Tensor, second: Tensor) -> Tensor:
        """Return (n, h, w, inputs) of u and v: what the layer makes of them, linear in each."""
        made: Tensor = self.c(first + self.weight * first * second)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, h, w, inputs) of (n, h, w, inputs)."""
        return self.multiplied(*self.images(x))


class PolyBlock(nn.Module):
    """Two Mu-Layers beside shortcuts, the first across tokens; one norm before both (Section 3.2).

    Args:
        channels: of a token.
        expansion: hidden channels of the second, as a multiple of these.
    """

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.across = MuLayer(channels, channels, spatial=True)
        self.within = MuLayer(channels, expansion * channels, spatial=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, h, w, channels) of (n, h, w, channels)."""
        x = x + self.across(self.norm(x))
        made: Tensor = x + self.within(self.norm(x))
        return made


class MONet(nn.Module):
    """Patches of 4 px, embedded in two steps, stages of Poly-Blocks, halved between stages, and their mean.

    With the defaults of `Config` (MONet-S) and a linear layer to 1,000 classes it has 32,880,688 parameters
    ("32.9 M", Table 2).

    Args:
        widths: channels of each stage; the last is the number of features.
        depths: blocks of each stage.
        expansion: of the blocks.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int], expansion: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, widths[0], 2, 2), nn.Conv2d(widths[0], widths[0], 2, 2))
        self.halvings = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, 2, 1) for inputs, outputs in pairwise(widths)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(PolyBlock(width, expansion) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )
        self.features = widths[-1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, features) of (n, 3, H, W) pictures, about -2..2."""
        x = self.patches(pixels)
        for number, stage in enumerate(self.stages):
            x = self.halvings[number - 1](x) if number else x
            x = stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        features: Tensor = x.mean(dim=(2, 3))
        return features


class PiBlock(nn.Module):
    """f + s + norm(W (f * s)): two 3 x 3 convolutions f, the shortcut s and the product of both.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: 1, or 2 to halve the picture.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.product = nn.Sequential(nn.Conv2d(outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride)."""
        made, shortcut = self.body(x), self.shortcut(x)
        y: Tensor = made + shortcut + self.product(made * shortcut)
        return y


class PiNet(nn.Module):
    """A strided convolution, then stages of multiplying blocks that halve the picture from the second on.

    Args:
        widths: channels of each stage; the last is the number of features.
        depths: blocks of each stage.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
        ]
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(PiBlock(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.layers = nn.Sequential(*layers)
        self.features = inputs

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, features) of (n, 3, H, W) pictures, about -2..2."""
        features: Tensor = self.layers(pixels).mean(dim=(2, 3))
        return features


class CCP(nn.Module):
    """A polynomial of a picture z: x_1 = A_1 z, x_n = (A_n z) * x_(n-1) + x_(n-1); the features are x_N.

    Args:
        inputs: numbers of a picture.
        rank: of the decomposition: the number of features.
        degree: N.
    """

    def __init__(self, inputs: int, rank: int, degree: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(inputs, rank, bias=False) for _ in range(degree))
        self.features = rank
        for weight in self.maps.parameters():
            nn.init.normal_(weight, std=inputs**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, rank) of (n, ...) pictures, about -2..2."""
        z = pixels.flatten(1)
        x: Tensor = self.maps[0](z)
        for layer in list(self.maps)[1:]:
            x = layer(z) * x + x
        return x


def body(config: Config) -> MONet | PiNet | CCP:
    """Make the network that settings ask for, without its head."""
    if config.network == "monet":
        return MONet(config.widths, config.depths, config.expansion)
    if config.network == "pi-net":
        return PiNet(config.widths, config.depths)
    return CCP(3 * config.size**2, config.widths[0], config.depths[0])


class Polynomial(nn.Module):
    """A polynomial network with a linear layer and a norm behind it.

    Args:
        config: its sizes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.body = body(config)
        self.head = nn.Sequential(
            nn.Linear(self.body.features, config.embedding, bias=False), nn.BatchNorm1d(config.embedding)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) float, of any lengths, of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.head(self.body((pixels - 127.5) / 64))
        return made.float()


class Monet(RecognitionLab[Config]):
    """MONet, or a polynomial network before it, on identities with CosFace's margin."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = Polynomial(config)
        self.loss = MarginSoftmax(
            config.embedding, self.people, "cosface", size=config.margin, scale=config.scale
        )

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.net(pixels)
        return made

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of jittered faces."""
        pixels, persons = batch
        value: Tensor = self.loss(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value


LAB = Monet
