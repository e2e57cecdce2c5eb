"""AffectNet's baselines for expressions, valence and arousal (Mollahosseini et al. 2017, arXiv 1708.03985).

The network is AlexNet in all of them. For the eight expressions, of which contempt has a thirty-sixth of the
rows of happiness, the paper compares four ways to learn (Section 5.1):

- plain: from the rows as they are;
- down: from at most 15,000 rows of each class;
- up: from rows of the rare classes repeated until all have as many as the most frequent one;
- weighted: with a loss that weighs a row of class i by f_min / f_i, f being the classes' numbers of rows.

Valence and arousal have a network each, of one output and the Euclidean loss (Section 5.2); the paper sets it
against support vector regression on histograms of oriented gradients. Everything is judged by the paper's own
list of metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, Subset, TensorDataset

from mien.core.labels import AFFECTNET_EXPRESSIONS
from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.reader import Images
from mien.evaluate.metrics import METRICS, Numbers
from mien.evaluate.reproduce import Reproduction
from mien.nn.residual import ResidualNet
from mien.train.affect import AffectLab, AffectSettings, rarest_over_each

SYSTEM = System(
    id="affectnet",
    title="AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in the Wild",
    year=2017,
    room="expression",
    makes=(),
    claims=(
        Claim(
            text="A loss weighted by the classes' rarity beats the plain one on imbalanced expressions",
            protocol="FER+ test faces with a majority, 8 classes; the mean over the classes of what is "
            "found, which on AffectNet's balanced validation is the accuracy",
            metric="balanced accuracy",
            paper_value=0.58,
            where="Section 5.1: 58 % on AffectNet's validation, the weighted loss the best of the four",
        ),
        Claim(
            text="A network tells valence better than support vectors on gradients do",
            protocol="FER+ test faces; valence derived from the votes, not annotated",
            metric="CCC",
            paper_value=0.60,
            where="Section 5.2: CCC of valence 0.60 on AffectNet's validation",
        ),
    ),
)

CATEGORICAL = ("accuracy", "macro F1", "Cohen's kappa", "Krippendorff's alpha", "ROC AUC", "AUC-PR")
"""The paper's metrics of expressions, and with `balanced accuracy` its skew-normalised accuracy."""
DIMENSIONAL = ("RMSE", "CORR", "SAGR", "CCC")
"""The paper's metrics of valence and arousal."""

_CLASSES = len(AFFECTNET_EXPRESSIONS)
Imbalance = Literal["plain", "down", "up", "weighted"]


@dataclass(frozen=True)
class Config(AffectSettings):
    """Settings of AffectNet's baselines.

    Attributes:
        task: what is learned.
        imbalance: how the rows of rare expressions are made to count.
        most: rows of a class that `down` keeps; the paper's are 15,000, four times contempt's.
        network: the paper's, a small residual one, or for valence and arousal linear support vectors on
            histograms of oriented gradients.
        widths: channels of the residual network's stages.
        tube: errors smaller than this cost support vectors nothing.
    """

    task: Literal["expression", "valence", "arousal"] = "expression"
    imbalance: Imbalance = "plain"
    most: int = 15_000
    network: Literal["alexnet", "residual", "gradients"] = "alexnet"
    widths: tuple[int, ...] = (32, 64, 128)
    tube: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task != "expression" and self.imbalance != "plain":
            raise ValueError(f"imbalance is of expressions: {self.task} is learned from all rows alike")
        if self.task == "expression" and self.network == "gradients":
            raise ValueError("support vectors on gradients tell valence or arousal, not expressions")


_CPU = Config(
    rounds=5,
    batch=64,
    learning_rate=0.03,
    weight_decay=5e-4,
    warmup=0.3,
    size=32,
    most=476,
    network="residual",
    widths=(8, 16, 32),
)
RECIPES = MappingProxyType(
    {
        "tiny": Config(rounds=1, batch=32, size=32, rows=128, network="residual", widths=(4, 8)),
        "cpu": _CPU,
        # Its test rows are others: those whose votes have a valence, with a majority or not.
        "valence": replace(_CPU, task="valence"),
        # Section 5: batches of 256, SGD at 0.01 with momentum 0.9, a tenth of it every 10,000 steps (here:
        # down a cosine; ours: Nesterov). Valence and arousal: learning_rate=0.001.
        "paper": Config(
            dataset="affectnet",
            rounds=20,
            batch=256,
            learning_rate=0.01,
            weight_decay=5e-4,
            imbalance="weighted",
            size=227,
        ),
    }
)

_HERE = (
    "AffectNet is not here: FER+ majorities, whose rarest class (contempt, 119 train rows) has a "
    "seventy-third of the most frequent one's, AffectNet's a thirty-sixth. A small residual network "
    "instead of AlexNet"
)
REPRODUCE = (
    Reproduction(
        claim="A loss weighted by the classes' rarity beats the plain one on imbalanced expressions",
        metric="balanced accuracy",
        arms=(
            ("weighted", ("imbalance=weighted",)),
            ("plain", ("imbalance=plain",)),
            ("down-sampling", ("imbalance=down", "rounds=40")),
            ("up-sampling", ("imbalance=up", "rounds=2")),
        ),
        note=f"{_HERE}, faces of 32 px; all arms see about 125,000 of them, up-sampling 140,000: two rounds "
        "of it. The test has 16 faces of contempt and 18 of disgust: few, but a quarter of the metric",
    ),
    Reproduction(
        claim="A network tells valence better than support vectors on gradients do",
        metric="CCC",
        arms=(
            ("network", ()),
            ("support vectors", ("network=gradients", "size=48")),
        ),
        recipe="valence",
        note=f"{_HERE}. Valence is derived, not annotated: the expectation of Russell and Mehrabian's (1977) "
        "values of the words under each face's ten votes. Support vectors see 48 px; they are linear and "
        "learned by SGD, without the paper's principal components",
    ),
)


def learned(
    expression: npt.NDArray[Any], imbalance: Imbalance, most: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return the (m,) rows to learn from, ascending: some of them left out or repeated.

    Args:
        expression: (n,) classes.
        imbalance: the way.
        most: rows of a class that "down" keeps, drawn by the seed.
        seed: of the run.
    """
    rows = [np.flatnonzero(expression == c) for c in np.unique(expression)]
    if imbalance == "down":
        random = np.random.default_rng(seed)
        rows = [random.permutation(mine)[:most] for mine in rows]
    elif imbalance == "up":
        count = max(map(len, rows))
        rows = [np.resize(mine, count) for mine in rows]
    return np.sort(np.concatenate(rows)).astype(np.int64)


def weighted_loss(logits: Tensor, expression: Tensor, weights: Tensor) -> Tensor:
    """Return -1/N sum_n H_kk log p_k with k the class of row n (Section 5.1, the information gain loss).

    Args:
        logits: (n, 8).
        expression: (n,) classes.
        weights: (8,) the diagonal of H; it has nothing else.
    """
    return (weights[expression] * functional.cross_entropy(logits, expression, reduction="none")).mean()


def gradients(pixels: Tensor, cell: int = 8, bins: int = 9) -> Tensor:
    """Return histograms of oriented gradients (Dalal and Triggs 2005), each 2 x 2 cells of unit length.

    Args:
        pixels: (n, 1 or 3, H, W); colours are averaged.
        cell: side of a cell, px.
        bins: of the direction, over half a turn.

    Returns:
        (n, 4 bins (H / cell - 1) (W / cell - 1)).
    """
    grey = pixels.mean(dim=1)
    down, right = torch.zeros_like(grey), torch.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    turn = torch.atan2(down, right).rad2deg() % 180
    # What rounds up to half a turn is none.
    place = (turn * bins / 180).floor().long() % bins
    length = torch.hypot(down, right)
    layers = torch.zeros(len(grey), bins, *grey.shape[1:]).to(length)
    layers.scatter_(1, place[:, None], length[:, None])
    cells = functional.avg_pool2d(layers, cell)
    blocks = functional.unfold(cells, 2)
    return functional.normalize(blocks, dim=1).flatten(1)


class SupportVectors(nn.Module):
    """One linear value of the gradients: with the tube's loss and weight decay, support vector regression.

    Args:
        size: side of the pictures, px.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.value = nn.Linear(36 * (size // 8 - 1) ** 2, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 1) of (n, C, size, size) faces, 0..255."""
        value: Tensor = self.value(gradients(pixels))
        return value


class AlexNet(nn.Module):
    """Krizhevsky et al. (2012) as Caffe has it: normalisation behind pooling's place, grouped convolutions.

    Args:
        channels: of the pictures, 1 or 3.
        outputs: numbers to give; with 1,000 it has Caffe's 60,965,224 parameters.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(channels, 96, 11, 4),
            nn.ReLU(),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, outputs),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, outputs) of (n, channels, 227, 227) faces, 0..255."""
        made: Tensor = self.head(self.blocks((pixels - 127.5) / 64))
        return made


def _network(config: Config, channels: int) -> nn.Module:
    outputs = _CLASSES if config.task == "expression" else 1
    if config.network == "gradients":
        return SupportVectors(config.size)
    if config.network == "alexnet":
        return AlexNet(channels, outputs)
    features = ResidualNet(channels, config.widths, (1,) * len(config.widths))
    return nn.Sequential(features, nn.Linear(features.features, outputs))


class AffectNet(AffectLab[Config]):
    """Eight expressions, or valence, or arousal."""

    class_weights: Tensor

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = _network(config, self.channels)
        self.jitter = Jitter(turn=10.0, zoom=0.1, move=0.05, mirror=True)
        self.register_buffer("class_weights", torch.ones(_CLASSES))

    @property
    def classes(self) -> tuple[str, ...]:
        """The expressions; none where values are predicted."""
        return self.expressions if self.config.task == "expression" else ()

    def labelled(self, images: Images) -> npt.NDArray[np.bool_]:
        """Tell which rows have what the task learns."""
        if self.config.task == "expression":
            return np.asarray(self.expression(images) >= 0)
        return ~np.isnan(self.affect(images)[:, 0])

    def labels(self, images: Images) -> tuple[npt.NDArray[Any], ...]:
        """Return (n,) expressions, or one of valence and arousal."""
        if self.config.task == "expression":
            return (self.expression(images),)
        return (self.affect(images)[:, 0 if self.config.task == "valence" else 1],)

    def train_rows(self) -> Dataset[Any]:
        """Return the train rows, of rare and frequent classes as the way to learn wants them."""
        rows = super().train_rows()
        if self.config.imbalance not in ("down", "up"):
            return rows
        assert isinstance(rows, TensorDataset)
        chosen = learned(rows.tensors[1].numpy(), self.config.imbalance, self.config.most, self.seed)
        return Subset(rows, chosen.tolist())

    def on_fit_start(self) -> None:
        """Take the weights of the classes from the train rows.

        Only their ratios are the paper's: they are scaled so that the mean over the rows is one, as for the
        plain loss, and learning rates compare.
        """
        if self.config.imbalance == "weighted":
            rows = self.train_rows()
            assert isinstance(rows, TensorDataset)
            weights = rarest_over_each(rows.tensors[1], _CLASSES)
            self.class_weights.copy_(weights / weights[rows.tensors[1]].mean())

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the task's loss on jittered faces."""
        pixels, truth = batch
        made = self.net(self.jitter(pixels))
        if self.config.task == "expression":
            value = weighted_loss(made, truth, self.class_weights)
        elif self.config.network == "gradients":
            value = ((made[:, 0] - truth).abs() - self.config.tube).clamp_min(0).mean()
        else:
            value = ((made[:, 0] - truth) ** 2).mean() / 2
        self.log("loss", value)
        return value

    def predict(self, batch: Any) -> Tensor:
        """Return (n, 8) probabilities, or (n,) values."""
        made: Tensor = self.net(batch[0].float())
        return made.softmax(dim=1) if self.config.task == "expression" else made[:, 0]

    def score(self, targets: Numbers, predictions: Numbers) -> float:
        """Return the balanced accuracy, or the concordance."""
        name = "balanced accuracy" if self.config.task == "expression" else "CCC"
        return measured(targets, predictions, (name,))[name]

    def on_validation_epoch_end(self) -> None:
        """Log `score` as "valid", and every metric of the paper's list."""
        super().on_validation_epoch_end()
        targets, predictions = (np.concatenate(column) for column in zip(*self._seen, strict=True))
        names = CATEGORICAL if self.config.task == "expression" else DIMENSIONAL
        self.log_dict(dict(measured(targets, predictions, names)))


def measured(targets: Numbers, predictions: Numbers, names: tuple[str, ...]) -> Mapping[str, float]:
    """Return metrics by their names, each given classes or scores as it wants."""
    return {name: METRICS[name].compute(targets, METRICS[name].read(predictions)) for name in names}


LAB = AffectNet
