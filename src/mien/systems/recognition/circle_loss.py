"""Circle loss: what is further from its goal is pulled harder (Sun et al. 2020, arXiv 2002.10857).

Of a picture with within-class similarities s_p and between-class similarities s_n, most losses are forms of
one (Eq. 1): log(1 + sum_j sum_i exp(gamma (s_n^j - s_p^i + m))). With class labels, where they are cosines to
the centres of the classes, it is AM-Softmax (Eq. 2); with pair labels, where they are those to the other
pictures of the batch, it becomes the triplet loss of the hardest pair as gamma grows (Eq. 3). All of them
pull s_n and s_p equally hard, whatever they are.

Circle loss weighs them (Eq. 4 and 5), alpha_n = [s_n + m]+ and alpha_p = [1 + m - s_p]+, and gives each a
margin of its own, m and 1 - m, so that the boundary of a decision is a circle around s_n = 0, s_p = 1 of the
radius sqrt(2) m (Eq. 9), and not a line. The weights are constants of a step: no gradient goes through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.core.system import Claim, System
from mien.evaluate import plots
from mien.evaluate.reproduce import Reproduction
from mien.nn.embedder import Embedder
from mien.nn.ir50 import IR50
from mien.nn.margins import cosines
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="circle-loss",
    title="Circle Loss: A Unified Perspective of Pair Similarity Optimization",
    year=2020,
    room="recognition",
    makes=("embeddings",),
    claims=(
        Claim(
            text="With class labels it is better than AM-Softmax",
            protocol="pairs of held-out people; one network trained alike by each loss",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="MegaFace and IJB-C, Section 4.2",
        ),
        Claim(
            text="With pair labels it is better than the triplet loss",
            protocol="pairs of held-out people; one network trained alike by each loss, batches of 16 people "
            "with 4 pictures each",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="retrieval of fine-grained classes, Section 4.4",
        ),
        Claim(
            text="With class labels it converges faster than AM-Softmax",
            protocol="pairs of held-out people, after two rounds instead of eight",
            metric="ROC AUC",
            paper_value=None,
            where="a more definite convergence target, Section 3.3",
        ),
        Claim(
            text="With pair labels it converges faster than the triplet loss",
            protocol="pairs of held-out people, after two rounds instead of eight",
            metric="ROC AUC",
            paper_value=None,
            where="a more definite convergence target, Section 3.3",
        ),
    ),
)

Labels = Literal["class", "pair"]
Loss = Literal["circle", "unified", "triplet"]


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of Circle loss.

    Attributes:
        labels: compare pictures with the centres of all people, or with the others of their batch.
        loss: circle; unified, where nothing is weighted: AM-Softmax with class labels; or its limit, triplet,
            where the worst similarity of each kind counts.
        margin: m, of the cosines.
        scale: gamma, of the cosines; the triplet loss has none.
        network: the small one that losses are compared on, or IR-100 for the paper's ResNet of 100 layers.
    """

    labels: Labels = "class"
    loss: Loss = "circle"
    margin: float = 0.25
    scale: float = 256.0
    network: Literal["embedder", "ir-100"] = "embedder"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels == "pair" and self.pictures < 2:
            raise ValueError(f"pairs need two pictures of each person in a batch, not {self.pictures}")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1, batch=32, learning_rate=2e-3, optimiser="adamw", size=32, embedding=16, rows=160
        ),
        "cpu": Config(
            rounds=8,
            batch=64,
            # Its steps do not depend on the scale of a loss, so that one rate suits them all.
            optimiser="adamw",
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup=1.0,
            size=32,
            embedding=128,
            # The paper's 256 is for tens of thousands of people.
            scale=64.0,
        ),
        # Section 4.1: faces, gamma = 256, m = 0.25, 512 numbers; the rate falls to a tenth twice.
        "paper": Config(
            rounds=20,
            batch=512,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="steps",
            network="ir-100",
            many=True,
        ),
    }
)

_PAIRS = ("labels=pair", "pictures=4")
# Section 4.1: of fine-grained retrieval, which learns from pairs.
_CIRCLE_PAIRS = (*_PAIRS, "margin=0.4", "scale=80")
# FaceNet's 0.2 of squared distances is 0.1 of cosines.
_TRIPLET = (*_PAIRS, "loss=triplet", "margin=0.1")
# AM-Softmax's own margin.
_AM_SOFTMAX = ("loss=unified", "margin=0.35", "scale=16")
_EARLY = ("rounds=2", "warmup=0.5")
_NOTE = (
    "a small network, 32 px and 207 people; margins are the papers' own, and so is the scale of Circle loss "
    "with pair labels (of retrieval); with class labels scales are the best of a few on the validation rows, "
    "after two rounds of another seed (Circle loss 64 of 64, 256; AM-Softmax 16 of 16, 32, 64); the unified "
    "loss with pair labels has AM-Softmax's"
)

REPRODUCE = (
    Reproduction(
        claim="With class labels it is better than AM-Softmax",
        metric="TAR at FAR 1 %",
        arms=(
            ("Circle loss", ()),
            ("AM-Softmax", _AM_SOFTMAX),
            ("softmax of cosines", ("loss=unified", "margin=0", "scale=16")),
        ),
        note=_NOTE,
    ),
    Reproduction(
        claim="With pair labels it is better than the triplet loss",
        metric="TAR at FAR 1 %",
        arms=(
            ("Circle loss", _CIRCLE_PAIRS),
            ("triplet loss, hardest", _TRIPLET),
            ("unified loss", (*_PAIRS, "loss=unified", "margin=0.35", "scale=16")),
        ),
        note=_NOTE,
    ),
    Reproduction(
        claim="With class labels it converges faster than AM-Softmax",
        metric="ROC AUC",
        arms=(("Circle loss", _EARLY), ("AM-Softmax", (*_AM_SOFTMAX, *_EARLY))),
        note=f"{_NOTE}; the learning rate falls to nothing within the two rounds",
    ),
    Reproduction(
        claim="With pair labels it converges faster than the triplet loss",
        metric="ROC AUC",
        arms=(
            ("Circle loss", (*_CIRCLE_PAIRS, *_EARLY)),
            ("triplet loss, hardest", (*_TRIPLET, *_EARLY)),
        ),
        note=f"{_NOTE}; the learning rate falls to nothing within the two rounds",
    ),
)


def circle(similar: Tensor, same: Tensor, other: Tensor, margin: float, scale: float) -> Tensor:
    """Return the mean Circle loss of pictures (Eq. 4 to 8).

    log(1 + sum_j exp(gamma alpha_n^j (s_n^j - m)) sum_i exp(-gamma alpha_p^i (s_p^i - 1 + m)))

    Args:
        similar: (n, k) cosines of n pictures and k others, or centres of classes.
        same: (n, k) bool, which of them are within a class: s_p.
        other: (n, k) bool, which are between classes: s_n. Pictures without both kinds do not count.
        margin: m.
        scale: gamma.
    """
    # Eq. 5 with O_p = 1 + m and O_n = -m
    towards = (1 + margin - similar.detach()).relu()
    apart = (similar.detach() + margin).relu()
    positive = _log_sum(-scale * towards * (similar - (1 - margin)), same)
    negative = _log_sum(scale * apart * (similar - margin), other)
    return _mean(functional.softplus(positive + negative), same, other)


def unified(similar: Tensor, same: Tensor, other: Tensor, margin: float, scale: float) -> Tensor:
    """Return the mean of the loss that others are forms of (Eq. 1); arguments as `circle`."""
    together = _log_sum(-scale * similar, same) + _log_sum(scale * similar, other)
    return _mean(functional.softplus(together + scale * margin), same, other)


def triplet(similar: Tensor, same: Tensor, other: Tensor, margin: float) -> Tensor:
    """Return the mean triplet loss of each picture's hardest pair, [max s_n - min s_p + m]+ (Eq. 3)."""
    far = similar.masked_fill(~same, torch.inf).amin(dim=1)
    near = similar.masked_fill(~other, -torch.inf).amax(dim=1)
    return _mean((near - far + margin).relu(), same, other)


def _log_sum(values: Tensor, kept: Tensor) -> Tensor:
    return values.masked_fill(~kept, -torch.inf).logsumexp(dim=1)


def _mean(losses: Tensor, same: Tensor, other: Tensor) -> Tensor:
    counted = same.any(dim=1) & other.any(dim=1)
    return losses[counted].sum() / counted.sum().clamp(min=1)


def decision(near: Tensor, far: Tensor, margin: float, loss: Loss) -> Tensor:
    """Return what is learned to be below zero of one between-class and one within-class similarity.

    Args:
        near: s_n, any shape.
        far: s_p, of the same shape.
        margin: m.
        loss: of Circle loss it is alpha_n (s_n - m) - alpha_p (s_p - 1 + m), of the others s_n - s_p + m.
    """
    if loss != "circle":
        return near - far + margin
    return (near + margin).relu() * (near - margin) - (1 + margin - far).relu() * (far - 1 + margin)


def draw_boundary() -> bytes:
    """Return a plot, SVG, of gradients and boundaries of AM-Softmax and Circle loss (Figures 1 and 2)."""
    steps = torch.linspace(0, 1, 41)
    panels = {}
    for name, loss, margin, scale in (
        ("AM-Softmax", "unified", 0.35, 32.0),
        ("Circle loss", "circle", 0.25, 32.0),
    ):
        far, near = torch.meshgrid(steps, steps, indexing="ij")
        similar = torch.stack([far.flatten(), near.flatten()], dim=1).requires_grad_()
        same = torch.tensor([[True, False]]).expand(len(similar), 2)
        compute = circle if loss == "circle" else unified
        value = compute(similar, same, ~same, margin, scale) * len(similar)
        (slope,) = torch.autograd.grad(value, similar)
        pull = (slope / scale).reshape(41, 41, 2)
        level = decision(near, far, margin, "circle" if loss == "circle" else "unified")
        panels[name] = plots.Plane(-pull[..., 1].numpy(), -pull[..., 0].numpy(), level.numpy())
    return plots.planes(panels, steps.numpy(), "between-class similarity s_n", "within-class similarity s_p")


FIGURES = MappingProxyType({"boundary": draw_boundary})


class CircleLoss(RecognitionLab[Config]):
    """A network that learns by Circle loss, or by a loss that it is compared with."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = (
            Embedder(config.embedding)
            if config.network == "embedder"
            else IR50(config.size, config.embedding, depths=(3, 13, 30, 3))
        )
        if config.labels == "class":
            self.centres = nn.Parameter(torch.randn(self.people, config.embedding))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces of 0..255."""
        made: Tensor = self.net(pixels)
        return made

    def loss(self, embeddings: Tensor, persons: Tensor) -> Tensor:
        """Return the mean loss of (n, embedding) and their (n,) persons."""
        config = self.config
        if config.labels == "class":
            similar = cosines(embeddings, self.centres)
            same = functional.one_hot(persons, len(self.centres)).bool()
            other = ~same
        else:
            similar = cosines(embeddings, embeddings)
            itself = torch.eye(len(persons), dtype=torch.bool, device=persons.device)
            other = persons[:, None] != persons
            same = ~other & ~itself
        if config.loss == "triplet":
            return triplet(similar, same, other, config.margin)
        compute = circle if config.loss == "circle" else unified
        return compute(similar, same, other, config.margin, config.scale)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss on jittered faces."""
        pixels, persons = batch
        value = self.loss(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value


LAB = CircleLoss
