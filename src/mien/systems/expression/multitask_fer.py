"""Multi-task FER: one network tells emotion, gender, race and age (Saroop et al. 2021, arXiv 2110.15028).

The network is that of the authors' code (sashankmvv/Emotion-recognition, `model.py`): three pairs of
convolutions, the first pair of 5 x 5, one hidden layer, and a head for each task: seven emotions, and
RAF-DB's genders, races and groups of age. Their losses are weighed 2, 0.1, 1.5 and 4 (`train.py`).

The claim is that the emotion is told better when the others are learned beside it. RAF-DB has all four labels
and is not at hand, so faces of two sets are mixed: FER2013's with their emotion, UTKFace's with the rest.
What a face has no label for adds nothing to the loss. So it is in the authors' code with FER2013, whose
labels of gender, race and age are all zero there (`utils.py`): it learns the emotion alone. UTKFace's Indian
and other faces have no race here, since RAF-DB tells three.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import ConcatDataset, TensorDataset

from mien.core.labels import (
    FER2013_EXPRESSIONS,
    RAFDB_AGES,
    RAFDB_GENDERS,
    RAFDB_RACES,
    UTKFACE_GENDERS,
    UTKFACE_RACES,
)
from mien.core.system import Claim, System
from mien.data.overlap import disjoint
from mien.data.reader import Images, load
from mien.evaluate.reproduce import Reproduction
from mien.train.pictures import PictureLab, PictureSettings

SYSTEM = System(
    id="multitask-fer",
    title="Facial Emotion Recognition: A multi-task approach using deep learning",
    year=2021,
    room="expression",
    makes=("expression",),
    claims=(
        Claim(
            text="Learning gender, race and age beside it raises the accuracy of the emotion",
            protocol="FER2013 test faces, 7 classes; the same network and rounds with and without UTKFace's "
            "faces and labels",
            metric="accuracy",
            paper_value=None,
            where="abstract: significantly better than the state of the art; on RAF-DB, with all four labels "
            "on each face, 79.26 %",
        ),
    ),
)

TASKS = MappingProxyType(
    {
        "emotion": (FER2013_EXPRESSIONS, 2.0),
        "gender": (RAFDB_GENDERS, 0.1),
        "race": (RAFDB_RACES, 1.5),
        "age": (RAFDB_AGES, 4.0),
    }
)
"""For each head its classes and the weight of its loss, in the order of the authors' outputs."""

NONE = -1
"""The label of a face that has none."""

# UTKFace's numbers of a label as RAF-DB's: classes are matched by name.
_SAME_RACE = {"white": "caucasian", "black": "african_american", "asian": "asian"}
_GENDERS = np.array([RAFDB_GENDERS.index(name) for name in UTKFACE_GENDERS])
_RACES = np.array(
    [RAFDB_RACES.index(_SAME_RACE[name]) if name in _SAME_RACE else NONE for name in UTKFACE_RACES]
)
_FIRST_YEARS = np.array([int(group.rstrip("+").split("-")[0]) for group in RAFDB_AGES])


@dataclass(frozen=True)
class Config(PictureSettings):
    """Settings of multi-task FER.

    Attributes:
        others: learn gender, race and age from UTKFace's faces, too.
        other_rows: how many of those, chosen by the seed; 0 takes all.
        width: channels of the first pair of convolutions, the later have 2 and 4 times as many; the authors'
            is 64.
        hidden: units of the hidden layer; the authors' are 128.
        dropout: scale of the authors' rates (0.6, 0.5 and 0.4 behind the pairs, 0.4 behind the layer).
    """

    size: int = 50
    others: bool = True
    other_rows: int = 0
    width: int = 64
    hidden: int = 128
    dropout: float = 1.0


RECIPES = MappingProxyType(
    {
        "tiny": Config(rounds=1, batch=32, size=32, width=4, hidden=16, rows=96, other_rows=64),
        "cpu": Config(
            rounds=4,
            batch=64,
            optimiser="adamw",
            learning_rate=3e-3,
            weight_decay=1e-2,
            warmup=0.5,
            size=32,
            width=8,
            hidden=64,
            dropout=0.3,
            rows=10_000,
            other_rows=5_000,
        ),
        # `train.py`: Adam at 3e-4, batches of 32, 50 epochs, patience 10; the rate falls at plateaus there.
        "paper": Config(
            rounds=50,
            batch=32,
            optimiser="adamw",
            learning_rate=3e-4,
            weight_decay=0.0,
            schedule="constant",
            patience=10,
        ),
    }
)

REPRODUCE = (
    Reproduction(
        claim="Learning gender, race and age beside it raises the accuracy of the emotion",
        metric="accuracy",
        arms=(
            ("emotion and others", ("others=true",)),
            ("emotion alone", ("others=false",)),
            ("emotion alone, as many steps", ("others=false", "rounds=6")),
        ),
        note="no set here has all four labels: 10,000 faces of FER2013 with their emotion are mixed with "
        "5,000 of UTKFace with gender, race and age, and each is learned for what it has. The first two arms "
        "see every emotion equally often, the third as many faces in all as the first. An eighth of the "
        "authors' channels, 32 instead of 50 px, 4 rounds instead of 50: the comparison is the paper's, the "
        "level is not",
    ),
)


def as_rafdb(images: Images) -> tuple[npt.NDArray[np.int64], ...]:
    """Return UTKFace's gender, race and age as RAF-DB's classes, (n,) each; `NONE` where it has none."""
    age = np.searchsorted(_FIRST_YEARS, images.columns["age"], side="right") - 1
    return _GENDERS[images.columns["gender"]], _RACES[images.columns["race"]], age


def loss(logits: tuple[Tensor, ...], labels: tuple[Tensor, ...]) -> Tensor:
    """Return the mean over n faces of sum_t w_t CE_t, a task counting for the faces that have its label.

    Args:
        logits: (n, c_t) of each of `TASKS`.
        labels: (n,) of each, `NONE` where a face has none.
    """
    total = logits[0].new_zeros(())
    for (_, weight), scores, truth in zip(TASKS.values(), logits, labels, strict=True):
        total = total + weight * functional.cross_entropy(scores, truth, ignore_index=NONE, reduction="sum")
    return total / len(labels[0])


class Network(nn.Module):
    """The authors' network.

    Args:
        config: its sizes; the authors' code makes 2,398,162 weights that are learned.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for factor, kernel, rate in ((1, 5, 0.6), (2, 3, 0.5), (4, 3, 0.4)):
            width = factor * config.width
            for inputs in (channels, width):
                layers += [
                    nn.Conv2d(inputs, width, kernel, padding=kernel // 2),
                    nn.ELU(),
                    nn.BatchNorm2d(width),
                ]
            layers += [nn.MaxPool2d(2), nn.Dropout(rate * config.dropout)]
            channels = width
        side = config.size // 8
        self.body = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels * side * side, config.hidden),
            nn.ELU(),
            nn.BatchNorm1d(config.hidden),
            nn.Dropout(0.4 * config.dropout),
        )
        self.heads = nn.ModuleList(nn.Linear(config.hidden, len(classes)) for classes, _ in TASKS.values())
        for layer in self.body.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the (n, c) logits of each task of (n, 1, H, W) grey faces, 0..255."""
        features = self.body((pixels / 255).expand(-1, 3, -1, -1))
        return tuple(head(features) for head in self.heads)


class MultitaskFer(PictureLab[Config]):
    """Emotions of FER2013 beside gender, race and age of UTKFace."""

    dataset = "fer2013"
    columns = ("emotion",)
    grey = True

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = Network(config)

    def others(self) -> Images:
        """Return the train faces of UTKFace that are learned from."""
        images = load("utkface", "train", size=self.config.size, grey=True)
        disjoint(images, self.images("valid"), self.images("test"))
        if self.config.other_rows:
            chosen = np.random.default_rng(self.seed).permutation(len(images))[: self.config.other_rows]
            images = images.take(np.sort(chosen))
        return images

    def train_rows(self) -> ConcatDataset[tuple[Tensor, ...]]:
        """Return rows of pixels, emotion, gender, race and age; `NONE` for what the set does not tell."""
        faces = self.chosen()
        nothing = np.full(len(faces), NONE)
        parts = [_rows(faces, (faces.columns["emotion"], nothing, nothing, nothing))]
        if self.config.others:
            others = self.others()
            parts.append(_rows(others, (np.full(len(others), NONE), *as_rafdb(others))))
        return ConcatDataset(parts)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the weighted loss of all tasks."""
        pixels, *labels = batch
        value = loss(self.net(pixels.float()), tuple(labels))
        self.log("loss", value)
        return value

    def predict(self, batch: Any) -> Tensor:
        """Return (n, 7) probabilities of the emotions."""
        emotion: Tensor = self.net(batch[0].float())[0]
        return emotion.softmax(dim=1)


LAB = MultitaskFer


def _rows(images: Images, labels: tuple[npt.NDArray[Any], ...]) -> TensorDataset:
    pixels = torch.as_tensor(np.ascontiguousarray(np.asarray(images.pixels).transpose(0, 3, 1, 2)))
    return TensorDataset(pixels, *(torch.as_tensor(column.astype(np.int64)) for column in labels))
