"""FaceNet: an embedding learned by triplets that are semi-hard (Schroff et al. 2015, arXiv 1503.03832).

An embedding of length 1 is learned so that an anchor is nearer to every picture of its person, the positives,
than to any of others, the negatives, by a margin of squared distance (Eq. 1 to 3). In a large batch every
pair of anchor and positive is used, with a negative that is semi-hard (Eq. 4): farther than the positive,
but not yet by the margin. The hardest ones would make the network collapse early on, most others teach it
nothing (Section 3.2).

- 128 bytes: the 128 numbers fit into a byte each (Section 5.3): `mien.core.codes`.
- Harmonic embeddings (the appendix): a new network v2 whose embeddings can be compared with those that an
  older one, v1, has left. It begins as a v2 that was trained alone, with a fresh last layer. Its triplets are
  of the embeddings of both: first the last layer learns from them, then all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mien.core import codes
from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.colours import ImageNetColours
from mien.nn.embedder import Embedder
from mien.train.recognition import RecognitionLab, RecognitionSettings
from mien.train.run import train

SYSTEM = System(
    id="facenet",
    title="FaceNet: A Unified Embedding for Face Recognition and Clustering",
    year=2015,
    room="recognition",
    makes=("embeddings",),
    claims=(
        Claim(
            text="Semi-hard negatives teach more than random ones",
            protocol="pairs of held-out people; one network; all pairs of anchor and positive in batches of "
            "16 people with 8 pictures each, one negative to each",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="Section 3.2",
        ),
        Claim(
            text="128 bytes a face are as good as 128 floats",
            protocol="pairs of held-out people; the same embeddings, with a byte or a float for each number",
            metric="ROC AUC",
            paper_value=None,
            where='"without loss of accuracy", Section 5.3',
        ),
        Claim(
            text="Harmonic embeddings of a new version compared with the old are better than the old alone",
            protocol="pairs of held-out people; one face by the larger network v2, the other by the small v1"
            ", or both by v1",
            metric="ROC AUC",
            paper_value=None,
            where="the ROC curves of NN1, and of NN2 against NN1, in the appendix",
        ),
    ),
)

Mining = Literal["semi-hard", "random", "hard"]


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of FaceNet.

    Attributes:
        mining: which negative goes with an anchor and a positive.
        margin: alpha, of squared distances on the unit sphere.
        network: the small one that losses are compared on, or the paper's NN2.
        width: channels of the small network's first stage; the others have twice, 4 and 8 times as many.
        coded: compare faces by their 128 bytes.
        across: compare by two networks: this one, v2, and v1, one of half the width that was trained before.
        harmonic: learn from the embeddings of both; else each learned alone.
        alone: rounds that each version learned alone before.
    """

    mining: Mining = "semi-hard"
    margin: float = 0.2
    network: Literal["nn2", "embedder"] = "embedder"
    width: int = 16
    coded: bool = False
    across: bool = False
    harmonic: bool = False
    alone: int = 12
    embedding: int = 128
    pictures: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures < 2:
            raise ValueError(f"triplets need two pictures of each person in a batch, not {self.pictures}")
        if self.harmonic and not self.across:
            raise ValueError("harmonic embeddings are compared across versions: give across=true, too")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            rows=160,
            size=32,
            embedding=16,
            width=4,
            pictures=4,
            optimiser="adamw",
            learning_rate=2e-3,
            alone=1,
        ),
        "cpu": Config(
            rounds=12,
            batch=128,
            optimiser="adamw",
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup=1.0,
            size=32,
        ),
        # Section 3.2 and 3.3: batches of about 1,800 with about 40 faces of each person, AdaGrad at 0.05. The
        # faces of people without many, which the paper adds to its batches as negatives, are other people's
        # forty here.
        "paper": Config(
            rounds=30,
            batch=1800,
            learning_rate=0.05,
            weight_decay=0.0,
            optimiser="adagrad",
            schedule="constant",
            size=224,
            network="nn2",
            pictures=40,
        ),
    }
)

_NOTE = (
    "a small network, 32 px, 207 people in batches of 128 instead of millions in batches of 1,800, AdamW "
    "instead of AdaGrad"
)
REPRODUCE = (
    Reproduction(
        claim="Semi-hard negatives teach more than random ones",
        metric="TAR at FAR 1 %",
        arms=(("semi-hard", ()), ("random", ("mining=random",)), ("hardest", ("mining=hard",))),
        note=_NOTE,
    ),
    Reproduction(
        claim="128 bytes a face are as good as 128 floats",
        metric="ROC AUC",
        arms=(("128 bytes", ("coded=true",)), ("128 floats", ())),
        tolerance=0.001,
        note=f"{_NOTE}; both arms are of the same weights; as good means that the area is at most 0.001 "
        "smaller, which was set before the runs",
    ),
    Reproduction(
        claim="Harmonic embeddings of a new version compared with the old are better than the old alone",
        metric="ROC AUC",
        arms=(
            ("v1 against v2, harmonic", ("across=true", "harmonic=true", "rounds=6")),
            ("v1 alone", ("width=8",)),
            # A round without learning: both are as they were trained.
            ("v1 against v2, each trained alone", ("across=true", "rounds=1")),
            ("v2 alone", ()),
        ),
        note=f"{_NOTE}; v1 has half of v2's channels; the harmonic v2 goes on from v2 alone for six rounds",
    ),
)


def squared_distances(embeddings: Tensor) -> Tensor:
    """Return the (n, n) squared distances of (n, d) embeddings of length 1: 2 - 2 cos."""
    return (2 - 2 * embeddings @ embeddings.T).clamp(min=0)


def mine(distances: Tensor, persons: Tensor, mining: Mining, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Choose triplets: every pair of anchor and positive, with a negative where there is one.

    Args:
        distances: (n, n) squared.
        persons: (n,) who the rows show.
        mining: semi-hard takes any negative that is farther than the positive, by less than the margin
            (Eq. 4); random any; hard the nearest.
        margin: alpha.

    Returns:
        (t,) rows of anchors, positives, negatives.
    """
    other = persons[:, None] != persons
    itself = torch.eye(len(persons), dtype=torch.bool, device=persons.device)
    anchors, positives = (~other & ~itself).nonzero(as_tuple=True)
    far, allowed = distances.detach()[anchors], other[anchors]
    near = distances.detach()[anchors, positives][:, None]
    if mining == "semi-hard":
        allowed = allowed & (far > near) & (far < near + margin)
    some = allowed.any(dim=1)
    anchors, positives, allowed, far = anchors[some], positives[some], allowed[some], far[some]
    if mining == "hard":
        negatives = far.masked_fill(~allowed, torch.inf).argmin(dim=1)
    else:
        # the largest of random numbers is any of them; torch.multinomial refuses to draw for no row
        negatives = torch.rand_like(far).masked_fill(~allowed, -1).argmax(dim=1)
    return anchors, positives, negatives


def triplet_loss(distances: Tensor, triplets: tuple[Tensor, Tensor, Tensor], margin: float) -> Tensor:
    """Return the mean of [|a - p|^2 - |a - n|^2 + alpha]+ over triplets (Eq. 3); 0 where there are none.

    Args:
        distances: (n, n) squared.
        triplets: (t,) rows of anchors, positives and negatives.
        margin: alpha.
    """
    anchors, positives, negatives = triplets
    losses = (distances[anchors, positives] - distances[anchors, negatives] + margin).relu()
    return losses.sum() / max(1, len(anchors))


class Inception(nn.Module):
    """Convolutions of three sizes and a pooling side by side (Szegedy et al. 2015, arXiv 1409.4842).

    Args:
        inputs: channels.
        single: channels of the 1 x 1 convolution; 0 has none.
        three: channels before and of the 3 x 3 convolution.
        five: likewise of the 5 x 5.
        pooled: channels behind the pooling; 0 leaves them as they are.
        pooling: the largest of 3 x 3 or their L2 norm.
        stride: 1, or 2 to halve the picture.
    """

    def __init__(
        self,
        inputs: int,
        single: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pooled: int,
        pooling: Literal["max", "l2"],
        stride: int = 1,
    ) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, stride, 1) if pooling == "max" else NormPool()
        branches = [
            nn.Sequential(*_convolution(inputs, three[0], 1), *_convolution(three[0], three[1], 3, stride)),
            nn.Sequential(*_convolution(inputs, five[0], 1), *_convolution(five[0], five[1], 5, stride)),
            nn.Sequential(pool, *(_convolution(inputs, pooled, 1) if pooled else ())),
        ]
        if single:
            branches.insert(0, nn.Sequential(*_convolution(inputs, single, 1)))
        self.branches = nn.ModuleList(branches)
        self.outputs = single + three[1] + five[1] + (pooled or inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride) of (n, inputs, h, w)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class NormPool(nn.Module):
    """The L2 norm of each channel over 3 x 3 pixels ("L2" in Table 2), divided by 3: the root of a mean."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, c, h, w)."""
        means: Tensor = functional.avg_pool2d(x.square(), 3, 1, 1)
        # The root's slope at 0 is infinite.
        return (means + 1e-12).sqrt()


# Table 2, from inception (3a) to (5b).
_TABLE: tuple[tuple[int, tuple[int, int], tuple[int, int], int, Literal["max", "l2"], int], ...] = (
    (64, (96, 128), (16, 32), 32, "max", 1),
    (64, (96, 128), (32, 64), 64, "l2", 1),
    (0, (128, 256), (32, 64), 0, "max", 2),
    (256, (96, 192), (32, 64), 128, "l2", 1),
    (224, (112, 224), (32, 64), 128, "l2", 1),
    (192, (128, 256), (32, 64), 128, "l2", 1),
    (160, (144, 288), (32, 64), 128, "l2", 1),
    (0, (160, 256), (64, 128), 0, "max", 2),
    (384, (192, 384), (48, 128), 128, "l2", 1),
    (384, (192, 384), (48, 128), 128, "max", 1),
)


class NN2(nn.Module):
    """The paper's Inception network (Table 2): 7.5 million parameters, 1.6 billion multiply-adds at 224 px.

    Batch norms stand behind the convolutions, which the paper does not speak of, as in OpenFace's version of
    it; where the paper's table says "norm" there is one over neighbouring channels.

    Args:
        embedding: d.
    """

    def __init__(self, embedding: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            ImageNetColours(),
            *_convolution(3, 64, 7, 2),
            *(nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(5)),
            *(*_convolution(64, 64, 1), *_convolution(64, 192, 3)),
            *(nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, 1)),
        ]
        inputs = 192
        for single, three, five, pooled, pooling, stride in _TABLE:
            block = Inception(inputs, single, three, five, pooled, pooling, stride)
            layers.append(block)
            inputs = block.outputs
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, d), of any lengths, of (n, 3, H, W) faces, 0..255."""
        made: Tensor = self.head(self.body(pixels))
        return made.float()


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    yield nn.BatchNorm2d(outputs)
    yield nn.ReLU()


def network(config: Config) -> NN2 | Embedder:
    """Make an untrained network; it has a `body` and a `head`, the last layer."""
    if config.network == "nn2":
        return NN2(config.embedding)
    return Embedder(config.embedding, widths=[config.width * times for times in (1, 2, 4, 8)])


def older(config: Config) -> Config:
    """Return the settings of v1 of those of v2."""
    return replace(config, network="embedder", width=config.width // 2)


class FaceNet(RecognitionLab[Config]):
    """A network that learns by triplets, perhaps beside an older version of it."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = network(config)
        if config.across:
            self.older = network(older(config))
            self.older.requires_grad_(False).eval()

    def setup(self, stage: str) -> None:
        """Take the versions as they were trained alone, with this seed; train those that were not yet."""
        if not self.config.across:
            return
        alone = replace(self.config, across=False, harmonic=False, rounds=self.config.alone)
        for net, settings in ((self.older, older(alone)), (self.net, alone)):
            made = train("facenet", partial(FaceNet, settings, self.seed), progress=False).lab
            assert isinstance(made, FaceNet)
            net.load_state_dict(made.net.state_dict())
        if self.config.harmonic:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed + 1)
                self.net.head.load_state_dict(network(self.config).head.state_dict())

    def train(self, mode: bool = True) -> FaceNet:
        """Begin or end training; the older version stays as it is."""
        super().train(mode)
        if self.config.across:
            self.older.eval()
        return self

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of length 1 of (n, 3, H, W) faces of 0..255."""
        return functional.normalize(self.net(pixels))

    def training_step(self, batch: Any, index: int) -> Tensor | None:
        """Return the loss of the batch's triplets; nothing where both versions stay as they were trained."""
        config = self.config
        if config.across and not config.harmonic:
            return None
        pixels, persons = batch
        pixels = self.augmented(pixels)
        if config.harmonic:
            # At first only the last layer learns.
            features = self.net.body(pixels)
            features = features.detach() if 3 * self.current_epoch < config.rounds else features
            made = torch.cat([functional.normalize(self.net.head(features).float()), self.old(pixels)])
            persons = persons.repeat(2)
        else:
            made = self.embed(pixels)
        distances = squared_distances(made)
        triplets = mine(distances, persons, config.mining, config.margin)
        value = triplet_loss(distances, triplets, config.margin)
        self.log("loss", value)
        return value

    @torch.no_grad()
    def old(self, pixels: Tensor) -> Tensor:
        """Return what the older version makes: (n, embedding) of length 1."""
        return functional.normalize(self.older(pixels))

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the (n, embedding) of both faces of a batch of pairs; the second by v1 where two compare."""
        first, second, _ = batch
        if self.config.across:
            return self.embed(first.float()), self.old(second.float())
        one, other = self.embed(torch.cat([first, second]).float()).chunk(2)
        return one, other

    def predict(self, batch: Any) -> Tensor:
        """Return the (n,) cosines of a batch of pairs, in floats."""
        one, other = self.pair(batch)
        return (one * other).sum(dim=1)

    @torch.no_grad()
    def predictions(self, rows: Dataset[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return (targets, cosines) of rows, by codes where the settings say so.

        Runs are validated in floats all the same: those of both kinds keep the same weights.
        """
        if not self.config.coded:
            return super().predictions(rows)
        self.eval()
        targets, cosines = [], []
        for batch in DataLoader(rows, 128):
            one, other = (codes.decode(codes.encode(made.cpu().numpy())) for made in self.pair(batch))
            targets.append(self.targets(batch).numpy())
            cosines.append((one * other).sum(axis=1))
        return np.concatenate(targets), np.concatenate(cosines)


LAB = FaceNet
