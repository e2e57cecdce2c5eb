"""MobileNets: separable networks of any cost, taught attributes (Howard et al. 2017, arXiv 1704.04861).

The network is the paper's (Table 1) with its two multipliers: `width` thins every layer (alpha, Section 3.3)
and `size` is the side of the pictures (rho, Section 3.4). Faces' attributes are learned as in Section 4.5: a
small network emulates the outputs of a large one instead of the labels, on pictures that need none. The paper
took its teacher from within its house; ours is the network with full convolutions ("Conv MobileNet",
Table 4), trained on the labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from mien.core.labels import CELEBA_ATTRIBUTES
from mien.core.system import Claim, DataUsed, System
from mien.data.attributes import attributed, attributes
from mien.data.augment import Jitter
from mien.data.overlap import disjoint
from mien.data.reader import Images
from mien.evaluate.metrics import mean_average_precision
from mien.evaluate.reproduce import Reproduction
from mien.nn.mobilenet import MobileNet
from mien.train.lab import Lab, TestPart
from mien.train.pictures import PictureSettings
from mien.train.recognition import pixels_of
from mien.train.run import train

SYSTEM = System(
    id="mobilenets",
    title="MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
    year=2017,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="A network that emulates a larger one finds attributes as well as that one",
            protocol="faces of people who are not trained on, 40 attributes; a quarter of the width against "
            "full convolutions with seven times the multiply-adds; at most 0.01 worse",
            metric="mean AP",
            paper_value=0.872,
            where="Section 4.5, Table 12: 87.2 % with a quarter of the width at 224 px, its teacher 86.9 %",
        ),
        Claim(
            text="Wider networks beat narrower ones",
            protocol="faces of people who are not trained on, 40 attributes; a quarter of the width against "
            "an eighth, taught by the same network",
            metric="mean AP",
            paper_value=0.881,
            where="Table 12: 88.1 % with half the width, 87.2 % with a quarter; a smooth fall, Section 4.2",
        ),
        Claim(
            text="Larger pictures beat smaller ones",
            protocol="faces of people who are not trained on, 40 attributes; 48 px against 32 with a quarter "
            "of the width, taught by the same network",
            metric="mean AP",
            paper_value=0.872,
            where="Table 12: 87.2 % at 224 px against 86.4 % at 128 px; a smooth fall, Section 4.2",
        ),
    ),
)


@dataclass(frozen=True)
class Config(PictureSettings):
    """Settings of MobileNets.

    Attributes:
        size: side of the pictures, px: rho is its share of 224.
        width: alpha, multiplier of every layer's channels.
        full: full convolutions instead of depthwise separable ones, as the teacher has them.
        learn: the labels, or what the teacher says of the same faces.
        teacher_width: multiplier of the teacher's channels.
        teacher_size: side of the teacher's pictures, px.
    """

    size: int = 224
    width: float = 1.0
    full: bool = False
    learn: Literal["labels", "teacher"] = "teacher"
    teacher_width: float = 1.0
    teacher_size: int = 224


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            size=32,
            width=0.125,
            rows=128,
            learn="labels",
            teacher_width=0.0625,
            teacher_size=32,
        ),
        "cpu": Config(
            rounds=7,
            batch=32,
            optimiser="adamw",
            learning_rate=2e-3,
            weight_decay=0.0,
            warmup=0.5,
            size=48,
            width=0.25,
            teacher_width=0.25,
            teacher_size=48,
        ),
        # Section 3.2: RMSprop as Inception V3's (0.045), hardly any decay of weights, none for the distilled
        # (Section 4.5).
        "paper": Config(
            rounds=100, batch=96, optimiser="rmsprop", learning_rate=0.045, weight_decay=0.0, warmup=1.0
        ),
    }
)

_NOTE = (
    "48 px, a quarter and less of the paper's widths and 7 rounds over 5,600 faces: the comparisons are the "
    "paper's, the levels are not; the smallest student has 1 % of its teacher's multiply-adds in both"
)
_QUARTER: tuple[str, tuple[str, ...]] = ("a quarter of the width", ())
_TEACHER = ("the teacher", ("learn=labels", "full=true"))
REPRODUCE = (
    Reproduction(
        claim="A network that emulates a larger one finds attributes as well as that one",
        metric="mean AP",
        arms=(_QUARTER, _TEACHER, ("a quarter of the width, by labels", ("learn=labels",))),
        tolerance=0.01,
        note=_NOTE,
    ),
    Reproduction(
        claim="Wider networks beat narrower ones",
        metric="mean AP",
        arms=(
            _QUARTER,
            ("an eighth of the width", ("width=0.125",)),
            ("a sixteenth of the width", ("width=0.0625",)),
        ),
        note=_NOTE,
    ),
    Reproduction(
        claim="Larger pictures beat smaller ones",
        metric="mean AP",
        arms=(_QUARTER, ("a quarter of the width, 32 px", ("size=32",))),
        note=_NOTE,
    ),
)


def network(config: Config, outputs: int) -> nn.Sequential:
    """Make the paper's network with a linear classifier.

    With width 1 and 1000 outputs it has 4.2 million parameters and 569 million multiply-adds at 224 px.
    """
    body = MobileNet(width=config.width, full=config.full)
    return nn.Sequential(body, nn.Linear(body.features, outputs))


def teacher_of(config: Config) -> Config:
    """Return the settings of the network whose outputs others with these settings learn."""
    return replace(config, learn="labels", full=True, width=config.teacher_width, size=config.teacher_size)


class MobileNets(Lab[Config]):
    """The network on CelebA's attributes, by their labels or taught."""

    # Section 3.2: small networks overfit little, so that pictures are hardly changed.
    jitter = Jitter(mirror=True)

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = network(config, len(CELEBA_ATTRIBUTES))

    def chosen(self) -> Images:
        """Return the train faces; `config.rows` of them, drawn by the seed, where it says so."""
        size = self.config.size
        train = attributed("train", size)
        disjoint(train, attributed("valid", size), attributed("test", size))
        if self.config.rows:
            drawn = np.random.default_rng(self.seed).permutation(len(train))[: self.config.rows]
            train = train.take(np.sort(drawn))
        return train

    def taught(self) -> Tensor:
        """Return (n, 40) the teacher's probabilities for the train faces.

        The teacher of all students of a seed is one run: the first that asks trains it, the others wait.
        """
        config = teacher_of(self.config)
        teacher = train("mobilenets", lambda: MobileNets(config, self.seed), progress=False).lab
        assert isinstance(teacher, MobileNets)
        _, probabilities = teacher.predictions(_rows(teacher.chosen()))
        return torch.as_tensor(probabilities)

    def train_rows(self) -> Dataset[Any]:
        """Return the train faces with what is to be learned of each: (40,) of 0..1."""
        images = self.chosen()
        if self.config.learn == "labels":
            return _rows(images)
        return TensorDataset(pixels_of(images), self.taught())

    def valid_rows(self) -> Dataset[Any]:
        """Return faces of people who are kept for choosing, with their labels."""
        return _rows(attributed("valid", self.config.size))

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return faces of held-out people; verdicts draw people, not faces."""
        images = attributed("test", self.config.size)
        used = DataUsed(images.name, images.split, len(images), images.sha256)
        return (TestPart(_rows(images), used, units=images.columns["identity"].astype(np.int64)),)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the cross-entropy to labels or to the teacher's probabilities, attribute by attribute."""
        pixels, wanted = batch
        value = functional.binary_cross_entropy_with_logits(self.net(self.jitter(pixels)), wanted.float())
        self.log("loss", value)
        return value

    def predict(self, batch: Any) -> Tensor:
        """Return (n, 40) probabilities."""
        probabilities: Tensor = self.net(batch[0].float()).sigmoid()
        return probabilities

    def targets(self, batch: Any) -> Tensor:
        """Return (n, 40) labels, 0 or 1."""
        labels: Tensor = batch[1]
        return labels

    def score(self, targets: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> float:
        """Return the mean average precision."""
        return mean_average_precision(targets, predictions)


def _rows(images: Images) -> TensorDataset:
    return TensorDataset(pixels_of(images), torch.as_tensor(attributes(images)))


LAB = MobileNets
