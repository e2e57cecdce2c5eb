"""SymFace: the two halves of a face should have one embedding (Prakash et al. 2024, arXiv 2409.11816).

Faces that look into the camera are much the same on both sides. The 3-point symmetric split (3PSS) tells by
the eyes and the nose which faces do (`frontness`), and cuts those into halves along their middle (`halves`).
Beside a margin loss on whole faces, L_f, the network is penalised where the halves of a face, one of them
mirrored, are embedded apart (`disparity`): L_total = L_f + L_rho. Whole faces are what it recognises by.

A half stands where it stands in the whole face; the other half is grey, which the networks read as zero. That
way any network takes it, also one whose last layer knows the size of its maps. Whole faces and halves go
through the network as one batch: its norms see the same mixture in training and later.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from mien.core.fields import Floats
from mien.core.system import Claim, System
from mien.data.landmarks import landmarks
from mien.evaluate.reproduce import Reproduction
from mien.nn.embedder import Embedder
from mien.nn.margins import Margin, MarginSoftmax
from mien.nn.mobilefacenet import MobileFaceNet
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="symface",
    title="SymFace: Additional Facial Symmetry Loss for Deep Face Recognition",
    year=2024,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="The symmetry penalty improves verification with a residual network",
            protocol="6,000 pairs of 40 people held out of training; ArcFace with the penalty and without",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="the abstract: any network outperforms its baseline across architectures",
        ),
        Claim(
            text="The symmetry penalty improves verification with MobileFaceNet",
            protocol="6,000 pairs of 40 people held out of training; ArcFace with the penalty and without",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="the abstract; the paper's small networks are MobileFaceNet and ShuffleFaceNet",
        ),
    ),
)

# Vertices of the mesh whose mean each point is: the eye on the left of the picture, the other one, the nose.
POINTS = ((33, 133), (362, 263), (1,))
PARTNERS = (1, 0, 2)
"""For each point the one that it is in a mirror."""


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of SymFace.

    Attributes:
        network: MobileFaceNet, or the small residual network that losses are compared on.
        width: channels of the network's first layers.
        depths: bottlenecks of MobileFaceNet's three stages.
        margin: the loss on whole faces, L_f.
        margin_size: its m.
        scale: its s.
        symmetry: weight of the penalty; 1 in L_total = L_f + L_rho, 0 leaves the margin loss alone.
        frontal: frontness from which on a face is split.
    """

    embedding: int = 128
    network: Literal["residual", "mobilefacenet"] = "mobilefacenet"
    width: int = 64
    depths: tuple[int, ...] = (4, 6, 2)
    margin: Margin = "arcface"
    margin_size: float = 0.5
    scale: float = 64.0
    symmetry: float = 1.0
    frontal: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.symmetry < 0 or not 0 <= self.frontal <= 1:
            raise ValueError(f"symmetry {self.symmetry} must be 0 or more, frontal {self.frontal} in 0..1")
        if self.symmetry and self.many:
            raise ValueError("the penalty needs landmarks, which are stored set by set: many must be false")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1, batch=32, rows=128, size=32, embedding=16, network="residual", width=4, scale=16.0
        ),
        # A sixtieth of the paper's multiply-adds; a margin and a scale that 200 people can be learned with.
        "cpu": Config(
            rounds=5,
            batch=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            warmup=0.5,
            size=48,
            width=16,
            depths=(1, 2, 1),
            margin_size=0.3,
            scale=24.0,
        ),
        # Embeddings of 128 as in the paper's tables of small networks; margin, scale, batch and rates are
        # those of ArcFace's code, which its baselines begin from.
        "paper": Config(rounds=25, batch=512, learning_rate=0.1, weight_decay=5e-4, schedule="steps"),
    }
)

_NOTE = (
    "201 people instead of tens of thousands, 48 px, small networks and 5 rounds; about half of the faces "
    "are frontal enough to be split; both arms see the same faces as often, and the penalty doubles the cost"
)
_RESIDUAL = ("network=residual", "width=8")
REPRODUCE = (
    Reproduction(
        claim="The symmetry penalty improves verification with a residual network",
        metric="TAR at FAR 1 %",
        arms=(
            ("residual, symmetry", _RESIDUAL),
            ("residual, margin alone", (*_RESIDUAL, "symmetry=0.0")),
        ),
        note=_NOTE,
    ),
    Reproduction(
        claim="The symmetry penalty improves verification with MobileFaceNet",
        metric="TAR at FAR 1 %",
        arms=(
            ("MobileFaceNet, symmetry", ()),
            ("MobileFaceNet, margin alone", ("symmetry=0.0",)),
        ),
        note=_NOTE,
    ),
)


def frontness(points: Floats) -> Floats:
    """Return (n,) rho of 3PSS: 1 where the nose is midway between the eyes, 0 where it is beside one of them.

    rho = 1 - D / (half of the eyes' distance), not below 0, where D is how far the nose is from the middle
    of the eyes; all along x.

    Args:
        points: (n, 3, 2) the eyes and the nose, in the order of `POINTS`.
    """
    left, right, nose = points[:, 0, 0], points[:, 1, 0], points[:, 2, 0]
    half = np.maximum((right - left) / 2, 1e-6)
    return np.asarray(np.maximum(0, 1 - np.abs(nose - (left + right) / 2) / half))


def middles(points: Tensor) -> Tensor:
    """Return (n,) where to split: midway between the middle of the eyes and the nose, along x.

    Args:
        points: (n, 3, 2), as in `frontness`.
    """
    return (points[:, :2, 0].mean(dim=1) + points[:, 2, 0]) / 2


def halves(pixels: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Split faces, mirror the right halves, and put both where left halves are; the rest is grey.

    Args:
        pixels: (n, C, H, W), 0..255.
        middle: (n,) where to split, in parts of the width; it comes to lie in the pictures' middle.

    Returns:
        Two (n, C, H, W).
    """
    count, _, height, width = pixels.shape
    place = (torch.arange(width, device=pixels.device) + 0.5) / width - 0.5
    down = (2 * torch.arange(height, device=pixels.device) + 1) / height - 1
    made = []
    for direction in (1.0, -1.0):
        # Where each column comes from, in the grid's -1..1.
        across = 2 * (middle.to(pixels)[:, None] + direction * place) - 1
        places = (across[:, None].expand(count, height, width), down[:, None].expand(count, height, width))
        grid = torch.stack(places, dim=-1)
        moved = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        made.append(torch.where(place < 0, moved, 127.5))
    return made[0], made[1]


def disparity(left: Tensor, right: Tensor) -> Tensor:
    """Return the mean squared distance of the directions of (n, d) and (n, d) embeddings, 0..4; 0 of none."""
    apart = functional.normalize(left) - functional.normalize(right)
    return apart.square().sum() / max(1, len(left))


class Mobile(nn.Module):
    """MobileFaceNet for pictures of 0..255; the paper's size has 0.99 million parameters.

    Args:
        config: its sizes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = MobileFaceNet(config.embedding, config.size, config.width, config.depths)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.net((pixels - 127.5) / 128)
        return made.float()


def network(config: Config) -> nn.Module:
    """Make the network that the settings name."""
    if config.network == "mobilefacenet":
        return Mobile(config)
    return Embedder(config.embedding, widths=tuple(config.width * 2**stage for stage in range(4)))


class SymFace(RecognitionLab[Config]):
    """A margin loss on whole faces with the penalty on the halves of frontal ones."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = network(config)
        self.head = MarginSoftmax(
            config.embedding, self.people, config.margin, config.margin_size, config.scale
        )

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces, 0..255."""
        made: Tensor = self.net(pixels)
        return made

    def train_rows(self) -> Dataset[Any]:
        """Return the train faces with their persons and, where they are split, their points.

        With the penalty: pixels, persons, (n, 3, 2) the eyes and the nose in parts of the sides, and (n,)
        whether each is frontal. Faces that the mesh is not sure of are not.
        """
        rows = super().train_rows()
        if not self.config.symmetry:
            return rows
        assert isinstance(rows, TensorDataset)
        found = landmarks(self.chosen())
        points = found.points(POINTS)
        frontal = (frontness(points) >= self.config.frontal) & (found.presence > 0.5)
        return TensorDataset(*rows.tensors, torch.as_tensor(points), torch.as_tensor(frontal))

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return L_f + symmetry L_rho on jittered faces; both arms draw the same jitter."""
        if not self.config.symmetry:
            pixels, persons = batch
            value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
            self.log("loss", value)
            return value
        pixels, persons, points, frontal = batch
        whole, points = self.jitter.together(pixels, points, PARTNERS)
        left, right = halves(whole[frontal], middles(points[frontal]))
        made = self.embed(torch.cat([whole, left, right]))
        margin: Tensor = self.head(made[: len(whole)], persons)
        apart = disparity(*made[len(whole) :].chunk(2))
        value = margin + self.config.symmetry * apart
        self.log_dict({"loss": value, "margin": margin, "disparity": apart})
        return value


LAB = SymFace
