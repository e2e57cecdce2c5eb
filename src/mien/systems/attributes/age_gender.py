"""Age and gender by one network, with more of the rare ages (Zaman and Ahmed 2025, arXiv 2507.18565).

The paper trains one convolutional network for both tasks and finds its error to differ between ages, for
which it asks for targeted augmentation. Of the paper only the abstract was at hand, which names no sizes:
under every recipe the network is this project's small residual one.

- shared: one body, a head for the age and one for the gender; the arm without the gender's loss is the body
  for the age alone;
- targeted: copies of training pictures, changed more than the others, are dealt evenly to all decades of age,
  so that rare ones get the most of them; the other arm has as many copies, of any pictures.

The age is a distribution over years, learned from a bell around the label (Gao et al. 2017, arXiv 1611.01731)
and by its expectation (Gao et al. 2018, arXiv 2007.01771). Its median is the age, its 5 and 95 % quantiles
are the interval, whose width one temperature sets so that nine in ten validation faces lie inside.
"""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mien.core.fields import FIELDS
from mien.core.labels import UTKFACE_GENDERS
from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.reader import Images
from mien.evaluate.metrics import decades, interval_coverage, mae
from mien.evaluate.reproduce import Reproduction
from mien.nn.residual import ResidualNet
from mien.train.pictures import PictureLab, PictureSettings

SYSTEM = System(
    id="age-gender",
    title="Deep Learning-Based Age Estimation and Gender Deep Learning-Based Age Estimation and Gender "
    "Classification for Targeted Advertisement",
    year=2025,
    room="attributes",
    makes=("age", "age_interval", "gender"),
    claims=(
        Claim(
            text="Targeted augmentation lowers the error over all decades of age",
            protocol="UTKFace test faces, mean over the decades of the mean absolute error; as many copies "
            "of training pictures, dealt to rare ages or to any",
            metric="MAE over decades",
            paper_value=None,
            where="abstract: the errors of age groups reveal the need for targeted data augmentation",
        ),
        Claim(
            text="One network for age and gender estimates the age better than one for the age alone",
            protocol="UTKFace test faces, mean absolute error in years; the same body with and without the "
            "loss of the gender",
            metric="MAE",
            paper_value=5.77,
            where="abstract: shared representations lead to improved performance, 5.77 years and 95 %",
        ),
    ),
)

YEARS = 117
"""The distribution's bins: the year k is the ages from k - 0.5 to k + 0.5."""

INTERVAL = (0.05, 0.95)
"""The quantiles of `age_interval`."""

_GENDERS = torch.tensor([FIELDS["gender"].labels.index(name) for name in UTKFACE_GENDERS])


@dataclass(frozen=True)
class Config(PictureSettings):
    """Settings of age-gender.

    Attributes:
        widths: channels of the network's stages.
        depths: blocks of each stage.
        dropout: rate before the heads.
        targeted: deal the copies evenly to the decades of age instead of to any pictures.
        copies: how many there are, as a part of the training pictures.
        expectation: weight of the error of the expected age, per year.
        gender: weight of the gender's loss; 0 learns the age alone.
        mirrored: take the mean of the logits of a face and of its mirror image.
    """

    size: int = 64
    widths: tuple[int, ...] = (24, 48, 96, 128)
    depths: tuple[int, ...] = (2, 2, 2, 1)
    dropout: float = 0.2
    targeted: bool = True
    copies: float = 0.2
    expectation: float = 0.2
    gender: float = 1.0
    mirrored: bool = False


RECIPES = MappingProxyType(
    {
        "tiny": Config(rounds=1, batch=32, size=32, widths=(8, 8), depths=(1, 1), rows=128),
        "cpu": Config(
            rounds=4,
            batch=64,
            learning_rate=0.03,
            weight_decay=5e-4,
            warmup=0.5,
            clip=5.0,
            size=32,
            widths=(12, 24, 48),
            depths=(1, 1, 1),
            dropout=0.0,
            copies=0.25,
        ),
        # What `mien analyze` runs.
        "ship": Config(
            rounds=45,
            batch=64,
            learning_rate=0.04,
            weight_decay=5e-4,
            warmup=1.0,
            clip=5.0,
            ema=0.999,
            # A machine without these numbers in its processor takes several times as long as with 32 bits.
            precision="bf16",
            # Of the two tasks the one that was learned less well.
            gender=2.0,
            mirrored=True,
        ),
        # Four times the multiply-adds of "ship"; the paper's sizes are not known.
        "paper": Config(
            rounds=60,
            batch=64,
            learning_rate=0.04,
            weight_decay=5e-4,
            warmup=1.0,
            clip=5.0,
            ema=0.999,
            widths=(48, 96, 192, 256),
        ),
    }
)

_NOTE = (
    "a residual network of 1.8 M multiply-adds at 32 px, 4 rounds: what is compared is the paper's, the "
    "level is not; the abstract tells no arm without what it claims, so the second arms are ours"
)
REPRODUCE = (
    Reproduction(
        claim="Targeted augmentation lowers the error over all decades of age",
        metric="MAE over decades",
        arms=(("copies of rare ages", ("targeted=true",)), ("copies of any", ("targeted=false",))),
        note=_NOTE,
    ),
    Reproduction(
        claim="One network for age and gender estimates the age better than one for the age alone",
        metric="MAE",
        arms=(("age and gender", ("targeted=true",)), ("age alone", ("targeted=true", "gender=0"))),
        note=_NOTE,
    ),
)


def bell(ages: Tensor) -> Tensor:
    """Return (n, 117) label distributions of (n,) ages: p_k ~ exp(-(k - a)^2 / 2 s^2), s = 1 + 0.04 a years.

    The bell of the paper on label distributions (arXiv 1611.01731, Eq. 2), here wider for the old, whose age
    people guess less exactly: half of UTKFace's children are one to three years old.
    """
    years = torch.arange(YEARS, device=ages.device)
    sigma = (1 + 0.04 * ages)[:, None]
    return (-0.5 * ((years - ages[:, None]) / sigma) ** 2).softmax(dim=1)


def loss(logits: Tensor, ages: Tensor, expectation: float) -> Tensor:
    """Return the mean loss of ages: KL(bell || q) + w |sum_k k q_k - a| (arXiv 2007.01771, Eq. 3, 5 and 6).

    Args:
        logits: (n, 117) of q.
        ages: (n,) years.
        expectation: w.
    """
    log_q = logits.log_softmax(dim=1)
    years = torch.arange(YEARS, device=logits.device)
    mean = (log_q.exp() * years).sum(dim=1)
    divergence = functional.kl_div(log_q, bell(ages), reduction="batchmean")
    return divergence + expectation * (mean - ages).abs().mean()


def quantile(probabilities: Tensor, part: float) -> Tensor:
    """Return (n,) ages below which a part of (n, 117) distributions lies, each year's share spread evenly."""
    if part > 0.5:
        # From the nearer end: sums of floats keep their digits there.
        return (YEARS - 1) - quantile(probabilities.flip(1), 1 - part)
    below = probabilities.cumsum(dim=1) - probabilities
    filled = ((part - below) / probabilities.clamp_min(1e-12)).clamp(0, 1)
    return filled.sum(dim=1) - 0.5


def dealt(ages: npt.NDArray[Any], copies: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return (copies,) rows to copy: each decade of (n,) ages gets as many, each row of one alike."""
    decade = decades(ages)
    _, place, counts = np.unique(decade, return_inverse=True, return_counts=True)
    weights = 1 / counts[place]
    return random.choice(len(ages), copies, p=weights / weights.sum())


class WithCopies(Dataset[tuple[Tensor, ...]]):
    """Rows, then copies of some of them; each row says last whether it is a copy.

    Args:
        rows: of tensors.
        copies: (m,) numbers of rows.
    """

    def __init__(self, rows: Dataset[tuple[Tensor, ...]], copies: npt.NDArray[np.int64]) -> None:
        assert isinstance(rows, Sized)
        self.rows, self.count, self.copies = rows, len(rows), copies

    def __len__(self) -> int:
        return self.count + len(self.copies)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        copied = index >= self.count
        row = self.rows[int(self.copies[index - self.count]) if copied else index]
        return (*row, torch.tensor(copied))


class Network(nn.Module):
    """One body with a head for the age and one for the gender.

    Args:
        config: its sizes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.body = ResidualNet(3, config.widths, config.depths)
        self.drop = nn.Dropout(config.dropout)
        self.age = nn.Linear(self.body.features, YEARS)
        self.gender = nn.Linear(self.body.features, len(_GENDERS))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the age (n, 117) and of the gender (n, 2) of (n, 3, H, W) faces, 0..255."""
        features = self.drop(self.body(pixels))
        # The loss takes sums over them: halves would not do.
        return self.age(features).float(), self.gender(features).float()


class Shipped(nn.Module):
    """A network as it ships: the age with its interval, and the gender.

    Args:
        net: gives logits of both.
        mirrored: take the mean of the logits of a face and of its mirror image.
        temperature: that logits of the age are divided by: above 1 for wider intervals.
    """

    def __init__(self, net: nn.Module, *, mirrored: bool, temperature: float = 1.0) -> None:
        super().__init__()
        self.net, self.mirrored, self.temperature = net, mirrored, temperature

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return {"age": (n,), "age_interval": (n, 2), "gender": (n, 2)} of (n, 3, H, W) faces, 0..255."""
        age, gender = self.logits(pixels)
        probabilities = (age / self.temperature).softmax(dim=1)
        low, median, high = (quantile(probabilities, part) for part in (INTERVAL[0], 0.5, INTERVAL[1]))
        return {
            "age": median.clamp_min(0),
            "age_interval": torch.stack([low, high], dim=1).clamp_min(0),
            "gender": gender.softmax(dim=1),
        }

    def logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the probabilities are made from, as `Network` does."""
        age, gender = self.net(pixels)
        if self.mirrored:
            mirrored_age, mirrored_gender = self.net(pixels.flip(-1))
            age, gender = (age + mirrored_age) / 2, (gender + mirrored_gender) / 2
        return age, gender


class AgeGender(PictureLab[Config]):
    """One residual network for age and gender on UTKFace."""

    dataset = "utkface"
    columns = ("age", "gender")

    ships = "age-gender"

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = Network(config)
        # Photos that people have are of any light and colour, and their faces may be small.
        self.jitter = Jitter(
            turn=10,
            zoom=0.1,
            move=0.04,
            mirror=True,
            contrast=0.3,
            brightness=0.1,
            colour=0.6,
            coarse=0.1,
            erase=0.3,
        )
        self.copies_jitter = replace(self.jitter, turn=20, zoom=0.2, move=0.08, coarse=0.2, erase=0.5)
        self.temperature = 1.0

    def rows(self, images: Images) -> Dataset[Any]:
        """Return rows of pixels, age and gender; training rows also say whether they are copies."""
        rows = super().rows(images)
        if images.split != "train":
            return rows
        random = np.random.default_rng((self.seed, 48))
        copies = round(self.config.copies * len(images))
        if self.config.targeted:
            return WithCopies(rows, dealt(images.columns["age"], copies, random))
        return WithCopies(rows, random.choice(len(images), copies))

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of the age, and of the gender where it is learned."""
        pixels, ages, genders, copied = batch
        changed = self.jitter(pixels)
        if copied.any():
            changed[copied] = self.copies_jitter(pixels[copied])
        age, gender = self.net(changed)
        value = loss(age, ages, self.config.expectation)
        self.log("age loss", value)
        if self.config.gender:
            classes = _GENDERS.to(genders.device)[genders]
            value = value + self.config.gender * functional.cross_entropy(gender, classes)
        self.log("loss", value)
        return value

    def predict(self, batch: Any) -> Tensor:
        """Return (n,) ages, years."""
        ages: Tensor = self.exported()(batch[0].float())["age"]
        return ages

    def truth(self, batch: Any) -> dict[str, Tensor]:
        """Return (n,) ages, years, and (n,) genders in the order of the field's labels."""
        _, ages, genders = batch
        return {"age": ages, "gender": _GENDERS.to(genders.device)[genders]}

    def score(self, targets: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> float:
        """Return the mean absolute error of ages, years, as a negative number."""
        return -mae(targets, predictions)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Choose the temperature at which nine in ten validation faces lie in their interval."""
        self.eval()
        shipped = Shipped(self.net, mirrored=self.config.mirrored)
        found = [
            (shipped.logits(batch[0].float())[0], batch[1]) for batch in DataLoader(self.valid_rows(), 128)
        ]
        logits, ages = (torch.cat(column) for column in zip(*found, strict=True))
        wanted = INTERVAL[1] - INTERVAL[0]
        low, high = math.log(0.1), math.log(10.0)
        for _ in range(30):
            middle = (low + high) / 2
            probabilities = (logits / math.exp(middle)).softmax(dim=1)
            interval = torch.stack([quantile(probabilities, part) for part in INTERVAL], dim=1)
            enough = interval_coverage(ages.numpy(), interval.numpy()) >= wanted
            low, high = (low, middle) if enough else (middle, high)
        self.temperature = math.exp(high)

    def exported(self) -> nn.Module:
        """Return the network with its decoding."""
        return Shipped(self.net, mirrored=self.config.mirrored, temperature=self.temperature)


LAB = AgeGender
