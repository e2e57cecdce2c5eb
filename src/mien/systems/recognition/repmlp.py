"""RepMLP: convolutions that end as one fully connected layer (Ding et al. 2021, arXiv 2105.01883).

A RepMLP cuts its feature map into partitions of h x w and sends them through three parts (Section 3.1):

- global perceptron: the means of all partitions go through FC1, ReLU and FC2, and what comes out is added to
  the partitions, which so know of each other;
- partition perceptron: FC3, in g groups of channels, sees all of a partition at once, each place by weights
  of its own, which is why aligned faces suit it;
- local perceptron, in training only: convolutions of several sizes beside FC3, for the local prior.

A convolution is a linear map of the partition, so that after training the convolutions and all norms are
merged into FC1 and FC3 (Section 3.2, Eq. 6 to 13): `merged` gives the same network without them.

For faces (Section 4.3) RepMLPs stand in the bottlenecks of a small residual network, "FaceResNet", where its
stages do not halve the picture, each between two convolutions that take the channels down to a half and back
(Figure 4). Trained with AM-Softmax, which is CosFace's margin.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.bottleneck import BottleneckNet, convolution
from mien.nn.margins import MarginSoftmax
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="repmlp",
    title="RepMLP: Re-parameterizing Convolutions into Fully-connected Layers for Image Recognition",
    year=2021,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="RepMLPs in the bottlenecks recognise faces better than convolutions alone",
            protocol="pairs of held-out people; one residual network, its bottlenecks plain or with RepMLP",
            metric="ROC AUC",
            paper_value=None,
            where="Section 4.3, Table 5, and abstract: 2.9 points of top-1 accuracy on MegaFace",
        ),
        Claim(
            text="Convolutions beside the fully connected layer in training make it recognise better",
            protocol="pairs of held-out people; RepMLPs with and without the local perceptron, which costs "
            "nothing once it is merged",
            metric="ROC AUC",
            paper_value=None,
            where="Section 4.1, Table 1: on CIFAR-10, without the local perceptron much worse",
        ),
    ),
)


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of RepMLP; the defaults are the paper's network for faces.

    Attributes:
        block: what the blocks that do not halve the picture have in their middle, but for those of the last
            stage: RepMLP between two convolutions, or one convolution (FaceResNet itself).
        widths: channels of each stage, inside its blocks and behind them alike.
        depths: blocks of each stage.
        stem: channels of the first convolution.
        pool: the largest of 3 x 3 behind it, which halves the picture once more.
        partition: h and w, px of the feature map.
        reduction: r, by which a RepMLP has fewer channels than its block.
        groups: g, of FC3 and of the convolutions beside it.
        kernels: K, sides of these convolutions; none has no local perceptron.
        margin: of AM-Softmax.
        scale: of the cosines in the loss.
    """

    size: int = 96
    block: Literal["repmlp", "plain"] = "repmlp"
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depths: tuple[int, ...] = (3, 2, 2, 2)
    stem: int = 64
    pool: bool = True
    partition: int = 6
    reduction: int = 2
    groups: int = 4
    kernels: tuple[int, ...] = (1, 3, 5)
    margin: float = 0.35
    scale: float = 30.0


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            rows=128,
            size=32,
            embedding=16,
            widths=(8, 8, 8),
            depths=(2, 1, 1),
            stem=8,
            pool=False,
            partition=4,
            groups=2,
            margin=0.2,
            scale=16.0,
        ),
        # Half the paper's pictures and no pooling: its maps of 24, 12, 6 and 3 px.
        "cpu": Config(
            rounds=6,
            batch=64,
            learning_rate=0.05,
            weight_decay=5e-4,
            warmup=1.0,
            size=48,
            embedding=128,
            widths=(16, 32, 64, 64),
            depths=(2, 2, 2, 1),
            stem=16,
            pool=False,
            margin=0.2,
            scale=16.0,
        ),
        # Section 4.3: batches of 512, from 0.1; 420,000 iterations of them are 37 rounds over MS1M-V2. The
        # rate is divided by ten after 60, 87 and 97 % of them, and here, in two steps, after 50 and 75 %.
        # Weight decay is MobileFaceNet's, which the paper refers to; margin and scale are AM-Softmax's own.
        "paper": Config(
            rounds=37, batch=512, learning_rate=0.1, weight_decay=4e-5, schedule="steps", many=True
        ),
    }
)

_NOTE = (
    "some 200 people, faces of 48 px, an eighth of the paper's widths and 6 rounds: the maps are of the "
    "paper's sizes (24, 12, 6 and 3 px), the level is not; AM-Softmax has a margin of 0.2"
)
_REPMLP: tuple[str, tuple[str, ...]] = ("RepMLP", ())
_PLAIN = ("convolutions alone", ("block=plain",))
_BARE = ("RepMLP without local perceptron", ("kernels=",))
REPRODUCE = (
    Reproduction(
        claim="RepMLPs in the bottlenecks recognise faces better than convolutions alone",
        metric="ROC AUC",
        arms=(_REPMLP, _PLAIN, _BARE),
        note=_NOTE,
    ),
    Reproduction(
        claim="Convolutions beside the fully connected layer in training make it recognise better",
        metric="ROC AUC",
        arms=(_REPMLP, _BARE),
        note=_NOTE,
    ),
)


class RepMLP(nn.Module):
    """Global, partition and local perceptron over a feature map of one size.

    Args:
        channels: C, of input and output.
        side: H and W of the feature map.
        partition: h and w; divides `side`. As large as it, there is one partition and no global perceptron.
        groups: g.
        kernels: K, odd; convolutions beside FC3.

    Attributes:
        local: the convolutions with their norms, by K; none in a merged one.
    """

    def __init__(self, channels: int, side: int, partition: int, groups: int, kernels: Sequence[int]) -> None:
        super().__init__()
        if side % partition or channels % groups:
            raise ValueError(
                f"partitions of {partition} do not fill {side} px, or {groups} groups {channels} channels"
            )
        self.channels, self.partition, self.parts = channels, partition, side // partition
        self.fc1: nn.Linear | None = None
        if self.parts > 1:
            seen = channels * self.parts**2
            self.mean_norm: nn.Module = nn.BatchNorm2d(channels)
            self.fc1, self.fc2 = nn.Linear(seen, seen), nn.Linear(seen, seen)
        places = channels * partition**2
        # A linear layer in groups is a 1 x 1 convolution in groups (Section 3.1, Eq. 5).
        self.fc3 = nn.Conv2d(places, places, 1, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(places)
        self.local = nn.ModuleDict(
            {
                str(kernel): nn.Sequential(
                    nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False),
                    nn.BatchNorm2d(channels),
                )
                for kernel in kernels
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, C, H, W) of (n, C, H, W)."""
        parts, side = self.parts, self.partition
        shape = x.shape
        x = x.reshape(-1, self.channels, parts, side, parts, side)
        if self.fc1 is not None:
            known = self.fc2(self.fc1(self.mean_norm(x.mean(dim=(3, 5))).flatten(1)).relu())
            x = x + known.reshape(-1, self.channels, parts, 1, parts, 1)
        cut = x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        made = self.norm(self.fc3(cut.reshape(len(cut), -1, 1, 1))).reshape(cut.shape)
        for branch in self.local.values():
            made = made + branch(cut)
        placed: Tensor = made.reshape(-1, parts, parts, self.channels, side, side).permute(0, 3, 1, 4, 2, 5)
        return placed.reshape(shape)

    @torch.no_grad()
    def merged(self) -> RepMLP:
        """Return the same map, of FC1, FC2 and FC3 alone; this one must not be in training.

        Raises:
            ValueError: it is in training: its norms depend on the batch.
        """
        if self.training:
            raise ValueError("a RepMLP in training cannot be merged: call eval() first")
        made = copy.deepcopy(self)
        made.local = nn.ModuleDict()
        weight, bias = _of_norm(self.fc3.weight, self.norm)
        for branch in self.local.values():
            assert isinstance(branch, nn.Sequential)
            conv, norm = branch
            assert isinstance(conv, nn.Conv2d)
            kernel, shift = _of_norm(conv.weight, norm)
            weight = weight + as_linear(kernel, self.partition, conv.groups)[:, :, None, None]
            bias = bias + shift.repeat_interleave(self.partition**2)
        places = self.channels * self.partition**2
        made.fc3 = nn.Conv2d(places, places, 1, groups=self.fc3.groups)
        made.fc3.weight.copy_(weight)
        assert made.fc3.bias is not None
        made.fc3.bias.copy_(bias)
        made.norm = nn.Identity()
        if self.fc1 is not None:
            assert made.fc1 is not None
            made.mean_norm = nn.Identity()
            # FC1 sees each channel's parts, one channel behind the other.
            scale, shift = (one.repeat_interleave(self.parts**2) for one in _scale(self.mean_norm))
            made.fc1.weight.copy_(self.fc1.weight * scale)
            made.fc1.bias.copy_(self.fc1.bias + self.fc1.weight @ shift)
        return made.eval()


def as_linear(kernel: Tensor, side: int, groups: int) -> Tensor:
    """Return a convolution as the weights of a linear layer in groups (Section 3.2, Eq. 9 and 10).

    What a linear layer makes of the unit vectors are its weights, so they are what the convolution makes of
    pictures of one pixel: of the first pixel of every group at once, then of the second, and so on.

    Args:
        kernel: (O, C / g, K, K), K odd; its stride is 1, its padding keeps the size.
        side: of the pictures.
        groups: g.

    Returns:
        (O side^2, C side^2 / g): places of output and of a group's input, channel by channel.
    """
    inputs = kernel.shape[1] * side**2
    units = torch.eye(inputs, dtype=kernel.dtype, device=kernel.device)
    pictures = units.reshape(inputs, -1, side, side).repeat(1, groups, 1, 1)
    made = functional.conv2d(pictures, kernel, padding=kernel.shape[-1] // 2, groups=groups)
    return made.flatten(1).T


def _scale(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what a norm that is not in training multiplies by and adds, (channels,) each."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def _of_norm(weight: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of a convolution that has no bias, with the norm behind it (Eq. 6)."""
    scale, shift = _scale(norm)
    return weight * scale[:, None, None, None], shift


def merge(net: nn.Module) -> nn.Module:
    """Return a copy of a network that is not in training, with every RepMLP in it merged."""
    made = copy.deepcopy(net)
    for name, layer in list(made.named_modules()):
        if isinstance(layer, RepMLP):
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, layer.merged())
    return made


def between(
    channels: int, side: int, partition: int, reduction: int, groups: int, kernels: Sequence[int]
) -> nn.Module:
    """Make the middle of a RepMLP bottleneck (Figure 4): down to channels / r, RepMLP, ReLU and back.

    Args:
        channels: of the block's middle.
        side: of its feature map.
        partition: of the RepMLP.
        reduction: r.
        groups: of the RepMLP.
        kernels: of the RepMLP.
    """
    fewer = channels // reduction
    return nn.Sequential(
        *convolution(channels, fewer, 3),
        RepMLP(fewer, side, partition, groups, kernels),
        nn.ReLU(),
        *convolution(fewer, channels, 3),
    )


class FaceResNet(nn.Module):
    """The paper's small residual network for faces with a linear layer and a norm behind it.

    Args:
        config: its sizes and blocks. A map smaller than a partition is one partition.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        first = config.size // (4 if config.pool else 2)

        def inner(stage: int, block: int, channels: int) -> nn.Module | None:
            # The first block of the first stage changes the channels, those of later stages halve.
            if config.block == "plain" or not block or stage == len(config.widths) - 1:
                return None
            side = first // 2**stage
            partition = min(config.partition, side)
            return between(channels, side, partition, config.reduction, config.groups, config.kernels)

        self.body = BottleneckNet(
            config.depths, config.widths, config.widths, stem=config.stem, pool=config.pool, inner=inner
        )
        self.head = nn.Sequential(
            nn.Linear(self.body.features, config.embedding, bias=False), nn.BatchNorm1d(config.embedding)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) float, of any lengths, of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.head(self.body((pixels - 127.5) / 64))
        return made.float()


class RepMlpLab(RecognitionLab[Config]):
    """FaceResNet with RepMLPs, or without, on identities with AM-Softmax."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = FaceResNet(config)
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


LAB = RepMlpLab
