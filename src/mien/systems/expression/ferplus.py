"""FER+: four ways to learn an expression from ten people's votes (Barsoum et al. 2016, arXiv 1608.01041).

The network is the paper's VGG-13 (Figure 3), the votes are cleaned as in the authors' code (their repository
FERPlus): single votes count as slips and are dropped. What is learned from the votes left is the scheme:

- majority: the label with more than half of the votes; faces without one are left out (Section 4.1);
- multi-label: every label with at least 30 % of the votes is right, the likeliest of them counts (4.2);
- drawing: in every round a label is drawn from the votes' distribution (4.3);
- distribution: the cross-entropy to the whole distribution (4.4).

All four are measured alike: accuracy on the test faces that have a majority.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.core.labels import FERPLUS_EXPRESSIONS, FERPLUS_VOTES
from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.reader import Images
from mien.data.votes import majority as majority_of
from mien.data.votes import votes_of
from mien.evaluate.calibration import temperature
from mien.evaluate.reproduce import Reproduction
from mien.nn.residual import ResidualNet
from mien.nn.vgg import VGG
from mien.train.pictures import PictureLab, PictureSettings

SYSTEM = System(
    id="ferplus",
    title="Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution",
    year=2016,
    room="expression",
    makes=("expression",),
    claims=(
        Claim(
            text="Drawing labels from the votes beats their majority",
            protocol="FER+ test faces with a majority, 8 classes; one network, the four schemes alike",
            metric="accuracy",
            paper_value=0.851,
            where="the four schemes reach 83.9 to 85.1 %, drawing the most",
        ),
        Claim(
            text="Learning the distribution of the votes beats their majority",
            protocol="FER+ test faces with a majority, 8 classes; one network, the four schemes alike",
            metric="accuracy",
            paper_value=None,
            where="the four schemes reach 83.9 to 85.1 %",
        ),
    ),
)

Scheme = Literal["majority", "multi-label", "drawing", "distribution"]
_CLASSES = len(FERPLUS_EXPRESSIONS)
_UNKNOWN = FERPLUS_VOTES.index("unknown")


@dataclass(frozen=True)
class Config(PictureSettings):
    """Settings of FER+.

    Attributes:
        scheme: what is learned from the votes.
        network: the paper's, or a small residual one, which costs a twentieth of its multiply-adds.
        width: channels of the first block, the later ones have 2, 4 and 4 times as many; the paper's is 64.
        hidden: units of the two fully connected layers; the paper's are 1024.
        norm: batch normalisation behind each convolution, which the paper's network has not: few
            rounds need it.
        dropout: scale of the paper's dropout rates (a quarter behind each block, a half behind each layer);
            the residual network has one, the second.
        contrast: largest change of the contrast in training, which the paper has not.
        coarse: part of the faces that training shows at half their size; the paper has none.
        erase: side of the largest square greyed out in training, part of the picture's; the paper has none.
        mirrored: take the mean of the logits of a face and of its mirror image.
    """

    scheme: Scheme = "distribution"
    network: Literal["vgg13", "residual"] = "vgg13"
    width: int = 64
    hidden: int = 1024
    size: int = 64  # the faces' own is 48
    norm: bool = False
    dropout: float = 1.0
    contrast: float = 0.0
    coarse: float = 0.0
    erase: float = 0.0
    mirrored: bool = False


RECIPES = MappingProxyType(
    {
        "tiny": Config(rounds=1, batch=32, width=4, hidden=16, size=32, rows=128, norm=True),
        # A hundredth of the paper's multiply-adds: what twelve runs in 40 minutes of two cores allow.
        "cpu": Config(
            rounds=8,
            batch=64,
            learning_rate=0.04,
            weight_decay=5e-4,
            warmup=1.0,
            width=8,
            hidden=64,
            size=48,
            norm=True,
            dropout=0.4,
        ),
        # What `mien analyze` runs: its pictures are of all kinds of light, and seconds a face do not matter.
        "ship": Config(
            rounds=45,
            batch=64,
            learning_rate=0.05,
            weight_decay=5e-4,
            warmup=1.0,
            ema=0.999,
            # A machine without these numbers in its processor takes several times as long as with 32 bits.
            precision="bf16",
            network="residual",
            size=48,
            dropout=0.6,
            contrast=0.3,
            coarse=0.1,
            erase=0.4,
            mirrored=True,
        ),
        # Section 5: 100 rounds; learning rate and batch are those of the authors' code.
        "paper": Config(rounds=100, batch=32, weight_decay=0.0, schedule="constant"),
    }
)

_NOTE = (
    "a network of a hundredth of the paper's multiply-adds with batch normalisation, 8 rounds instead of "
    "100: the comparison is the paper's, the level is not"
)
_ARMS = {
    scheme: (scheme, (f"scheme={scheme}",))
    for scheme in ("majority", "multi-label", "drawing", "distribution")
}
REPRODUCE = (
    Reproduction(
        claim="Drawing labels from the votes beats their majority",
        metric="accuracy",
        arms=(_ARMS["drawing"], _ARMS["majority"], _ARMS["multi-label"]),
        note=_NOTE,
    ),
    Reproduction(
        claim="Learning the distribution of the votes beats their majority",
        metric="accuracy",
        arms=(_ARMS["distribution"], _ARMS["majority"], _ARMS["multi-label"]),
        note=_NOTE,
    ),
)


def clean(votes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Drop single votes as slips: (n, 10) counts without them."""
    return np.where(votes > 1, votes, 0).astype(np.float64)


def majority(votes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the (n,) column with more than half of the (n, 10) cleaned votes; "unknown" where none has."""
    found = majority_of(votes)
    return np.where(found < 0, _UNKNOWN, found)


def multi_label(votes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return (n, 10) the cleaned votes of labels that have at least 30 % of them, as shares of those.

    "Unknown" alone where what is left is half of the votes or less, or a label that is no expression
    is among it.
    """
    counts = clean(votes)
    total = counts.sum(axis=1, keepdims=True)
    kept = np.where(counts >= 0.3 * total, counts, 0)
    useless = (kept.sum(axis=1) <= 0.5 * total[:, 0]) | (kept[:, _CLASSES:].sum(axis=1) > 0)
    return _shares(kept, useless)


def distribution(votes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return (n, 10) the shares of the strongest labels, until they hold three quarters of the cleaned votes.

    Labels of equal votes are taken together. A label that is no expression ends it; it counts only where
    nothing was taken before. "Unknown" alone where half of the votes or less were taken, or more than
    three labels.
    """
    taken = np.zeros(votes.shape)
    useless = np.zeros(len(votes), bool)
    for row, counts in enumerate(clean(votes)):
        total, left, number = counts.sum(), counts.copy(), 0
        ended = False
        while taken[row].sum() < 0.75 * total and number < 3 and not ended:
            most = left.max()
            for label in np.flatnonzero(left == most):
                ended = bool(label >= _CLASSES)
                if ended and taken[row].sum() > 0:
                    break
                taken[row, label], left[label] = most, 0
                number += 1
                if ended:
                    break
        useless[row] = taken[row].sum() <= 0.5 * total or number > 3
    return _shares(taken, useless)


def _shares(kept: npt.NDArray[Any], useless: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    kept = np.where(useless[:, None], np.eye(len(FERPLUS_VOTES))[_UNKNOWN], kept)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def learned(votes: npt.NDArray[Any], scheme: Scheme) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return which of n faces a scheme learns from, and (n, 8) what of each: shares that sum to one."""
    if scheme == "majority":
        shares = np.eye(len(FERPLUS_VOTES))[majority(votes)]
    else:
        shares = multi_label(votes) if scheme == "multi-label" else distribution(votes)
    use = shares.argmax(axis=1) < _CLASSES
    expressions = shares[:, :_CLASSES]
    total = np.maximum(expressions.sum(axis=1, keepdims=True), 1e-12)
    return use, (expressions / total).astype(np.float32)


def loss(logits: Tensor, shares: Tensor, scheme: Scheme) -> Tensor:
    """Return the mean loss of a batch.

    Args:
        logits: (n, 8).
        shares: (n, 8) of the votes, as `learned` gives them.
        scheme: majority and distribution are the cross-entropy -sum_k p_k log q_k (Eq. 2 and 6); multi-label
            is -log max_k 1[p_k > 0] q_k (Eq. 3); drawing is -log q_k of a drawn k (Eq. 5).
    """
    if scheme == "multi-label":
        right = logits.log_softmax(dim=1).masked_fill(shares <= 0, -torch.inf)
        return -right.amax(dim=1).mean()
    if scheme == "drawing":
        return functional.cross_entropy(logits, torch.multinomial(shares, 1).squeeze(1))
    return functional.cross_entropy(logits, shares)


def vgg13(config: Config) -> VGG:
    """Make the paper's network (Figure 3): ten convolutions in four blocks, three fully connected layers.

    The paper's sizes give 8,757,704 parameters ("8.75 million", Section 3).
    """
    width = config.width
    return VGG(
        1,
        config.size,
        ((2, width), (2, 2 * width), (3, 4 * width), (3, 4 * width)),
        (config.hidden, config.hidden),
        _CLASSES,
        norm=config.norm,
        dropout=(0.25 * config.dropout, 0.5 * config.dropout),
    )


class Residual(nn.Module):
    """The small residual network with a linear classifier.

    Args:
        config: its dropout.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.features = ResidualNet(1)
        self.head = nn.Sequential(
            nn.Dropout(0.5 * config.dropout), nn.Linear(self.features.features, _CLASSES)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 8) logits of (n, 1, size, size) faces, 0..255."""
        logits: Tensor = self.head(self.features(pixels))
        # The loss takes sums over them: halves would not do.
        return logits.float()


class Shipped(nn.Module):
    """A network as it ships: probabilities that were calibrated by one temperature.

    Args:
        net: gives logits.
        mirrored: take the mean of the logits of a face and of its mirror image.
        temperature: that logits are divided by (Guo et al. 2017, arXiv 1706.04599).
    """

    def __init__(self, net: nn.Module, *, mirrored: bool, temperature: float = 1.0) -> None:
        super().__init__()
        self.net, self.mirrored, self.temperature = net, mirrored, temperature

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return {"expression": (n, 8)} of (n, 1, size, size) faces, 0..255."""
        logits = self.net(pixels)
        if self.mirrored:
            logits = (logits + self.net(pixels.flip(-1))) / 2
        return {"expression": (logits / self.temperature).softmax(dim=1)}


class FerPlus(PictureLab[Config]):
    """VGG-13 on the votes of FER+, by one of the four schemes."""

    dataset = "fer2013"
    columns = ()
    grey = True

    ships = "expression"

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = vgg13(config) if config.network == "vgg13" else Residual(config)
        # Section 5: moved, turned and scaled a little, half of them mirrored.
        self.jitter = Jitter(
            turn=14.3,
            zoom=0.1,
            move=0.05,
            mirror=True,
            contrast=config.contrast,
            coarse=config.coarse,
            erase=config.erase,
        )
        self.temperature = 1.0

    def images(self, split: str) -> Images:
        """Return the rows that the scheme learns from (train), or those that have a majority."""
        images = super().images(split)
        if split == "train":
            return images.take(learned(votes_of(images), self.config.scheme)[0])
        return images.take(majority(votes_of(images)) < _CLASSES)

    def labels(self, images: Images) -> tuple[npt.NDArray[Any], ...]:
        """Return (n, 8) shares of the votes to learn from, or the (n,) majority to be judged by."""
        votes = votes_of(images)
        learn = images.split == "train"
        return (learned(votes, self.config.scheme)[1] if learn else majority(votes),)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the scheme's loss on jittered faces."""
        pixels, shares = batch
        value = loss(self.net(self.jitter(pixels)), shares, self.config.scheme)
        self.log("loss", value)
        return value

    def predict(self, batch: Any) -> Tensor:
        """Return (n, 8) probabilities."""
        probabilities: Tensor = self.exported()(batch[0].float())["expression"]
        return probabilities

    def calibrate(self) -> None:
        """Choose the temperature on the validation rows."""
        self.temperature = 1.0
        self.temperature = temperature(*self.predictions(self.valid_rows()))

    def exported(self) -> nn.Module:
        """Return the network with its decoding."""
        return Shipped(self.net, mirrored=self.config.mirrored, temperature=self.temperature)


LAB = FerPlus
