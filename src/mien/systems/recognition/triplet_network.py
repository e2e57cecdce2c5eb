"""Triplet network: which of two pictures is of a third one's class (Hoffer and Ailon 2014, arXiv 1412.6622).

Three towers that share their weights embed a picture x, one of its class x+ and one of another x-. A softmax
over the two distances |Net(x) - Net(x+)| and |Net(x) - Net(x-)| is learned to be (0, 1) by the squared error
(Section 3.1): only which is larger counts, no distance has to be above or below anything.

The Siamese network that it is compared with has two towers and the contrastive loss (Hadsell et al. 2006,
its Eq. 4): pairs of one class are drawn together, others pushed apart up to a margin. Here both see the same
pairs: every picture of a batch is x once, its x+ and its x- are drawn among the others. As the towers share
their weights, each picture is embedded once for all the triplets that it is in.

What is measured is whether the nearest neighbours of a picture show its person: pictures of people who were
never seen, each judged by all the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from mien.core.system import Claim, DataUsed, System
from mien.data.people import people
from mien.data.reader import Images
from mien.evaluate.reproduce import Reproduction
from mien.nn.embedder import Embedder
from mien.train.lab import TestPart
from mien.train.recognition import RecognitionLab, RecognitionSettings, pixels_of

SYSTEM = System(
    id="triplet-network",
    title="Deep metric learning using Triplet network",
    year=2014,
    room="recognition",
    makes=("embeddings",),
    claims=(
        Claim(
            text="Neighbours are right more often than those of a Siamese network",
            protocol="pictures of held-out people, each told by its five nearest neighbours among all the "
            "others; one network trained on the same pairs by either loss",
            metric="accuracy",
            paper_value=None,
            where="Table 1: 99.54 % against 97.9 % on MNIST",
        ),
    ),
)


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of the triplet network.

    Attributes:
        loss: of triplets, or the contrastive one of a Siamese network.
        margin: beyond this distance the contrastive loss leaves pairs of two people alone. Two pictures are
            about sqrt(2 embedding) apart before training.
        network: the small one that losses are compared on, or the paper's own of four convolutions.
        neighbours: how many tell whom a picture shows.
    """

    loss: Literal["triplet", "siamese"] = "triplet"
    margin: float = 16.0
    network: Literal["embedder", "paper"] = "embedder"
    neighbours: int = 5
    embedding: int = 128
    pictures: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures < 2:
            raise ValueError(f"triplets need two pictures of each person in a batch, not {self.pictures}")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1, batch=32, rows=160, size=32, embedding=16, optimiser="adamw", learning_rate=2e-3
        ),
        "cpu": Config(
            rounds=10,
            batch=64,
            # Its steps do not depend on the scale of a loss, so that one rate suits both.
            optimiser="adamw",
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup=1.0,
            size=48,
        ),
        # Section 4 and the authors' code, of pictures of 32 px.
        "paper": Config(
            rounds=30,
            batch=128,
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="constant",
            size=32,
            network="paper",
            many=True,
            pictures=2,
        ),
    }
)

REPRODUCE = (
    Reproduction(
        claim="Neighbours are right more often than those of a Siamese network",
        metric="accuracy",
        arms=(
            ("triplet network", ()),
            ("Siamese network", ("loss=siamese",)),
            ("Siamese network, half the margin", ("loss=siamese", "margin=8")),
        ),
        note="faces of people who were not trained on instead of the paper's own classes; a residual network "
        "of 48 px; the triplets and the pairs are of pictures in the same batch",
    ),
)


def triplet_loss(near: Tensor, far: Tensor) -> Tensor:
    """Return the mean squared error of the softmax of distances to (0, 1), that is d+^2 (Section 3.1).

    d+ = exp(|Net(x) - Net(x+)|) / (exp(|Net(x) - Net(x+)|) + exp(|Net(x) - Net(x-)|)); d- = 1 - d+.

    Args:
        near: (n,) distances of x and x+.
        far: (n,) distances of x and x-.
    """
    shares = torch.stack([near, far], dim=1).softmax(dim=1)
    target = shares.new_tensor([0.0, 1.0]).expand_as(shares)
    return functional.mse_loss(shares, target)


def contrastive_loss(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """Return the mean over pairs of d^2 / 2 for those of one class and [m - d]+^2 / 2 for others (Eq. 4)."""
    return (near.square() + (margin - far).relu().square()).mean() / 4


def drawn(persons: Tensor) -> tuple[Tensor, Tensor]:
    """Draw for each of (n,) persons another row of the same (n,), and a row of somebody else (n,).

    Raises:
        ValueError: a person with a single row, or nobody else.
    """
    other = persons[:, None] != persons
    same = ~other & ~torch.eye(len(persons), dtype=torch.bool, device=persons.device)
    if not (same.any(dim=1) & other.any(dim=1)).all():
        raise ValueError("a triplet needs two pictures of each person, and two people")
    rows = (torch.multinomial(mask.float(), 1).squeeze(1) for mask in (same, other))
    return next(rows), next(rows)


class Towers(nn.Module):
    """Three towers that share one network (Figure 1).

    Args:
        net: the embedding network.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (n,) distances of triplets.

        Args:
            pixels: (n, 3, H, W) of a batch, each of which is x once.
            positive: (n,) the row of each one's x+.
            negative: (n,) the row of each one's x-.

        Returns:
            |Net(x) - Net(x+)| and |Net(x) - Net(x-)|.
        """
        made = self.net(pixels)
        near, far = (functional.pairwise_distance(made, made[rows]) for rows in (positive, negative))
        return near, far


class Convolutions(nn.Module):
    """The paper's network for pictures of 32 px: filters of 5, 3, 3 and 2 px, 64, 128, 256 and 128 maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
            *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
            *(nn.Conv2d(128, 256, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
            *(nn.Conv2d(256, 128, 2), nn.ReLU(), nn.Flatten()),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 128) of (n, 3, 32, 32) pictures, 0..255."""
        made: Tensor = self.layers((pixels - 127.5) / 64)
        return made.float()


def by_neighbours(embeddings: npt.NDArray[Any], persons: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Tell whom each picture shows by its nearest neighbours among all the others.

    Args:
        embeddings: (n, d).
        persons: (n,) who they show.
        count: how many neighbours vote; of persons with as many votes the one with the nearest is taken.

    Returns:
        (n,) persons.
    """
    _, places = NearestNeighbors(n_neighbors=count).fit(embeddings).kneighbors()
    votes = persons[places]
    supports = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    # argmax takes the first of equals, and neighbours come in order
    return np.asarray(votes[np.arange(len(votes)), supports.argmax(axis=1)])


class TripletNetwork(RecognitionLab[Config]):
    """A network that learns from triplets, or from pairs, judged by nearest neighbours."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.towers = Towers(Convolutions() if config.network == "paper" else Embedder(config.embedding))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces of 0..255."""
        made: Tensor = self.towers.net(pixels)
        return made

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss on jittered faces."""
        pixels, persons = batch
        near, far = self.towers(self.augmented(pixels), *drawn(persons))
        if self.config.loss == "triplet":
            value = triplet_loss(near, far)
        else:
            value = contrastive_loss(near, far, self.config.margin)
        self.log("loss", value)
        return value

    def valid_rows(self) -> Dataset[Any]:
        """Return faces of people that are kept for choosing."""
        return _faces(people("valid", self.config.size))

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return faces of held-out people; verdicts draw people."""
        images = people("test", self.config.size)
        used = DataUsed(images.name, images.split, len(images), images.sha256)
        return (TestPart(_faces(images), used, units=images.columns["person"]),)

    def predict(self, batch: Any) -> Tensor:
        """Return (n, embedding) of a batch."""
        return self.embed(batch[0].float())

    def targets(self, batch: Any) -> Tensor:
        """Return the (n,) persons."""
        persons: Tensor = batch[1]
        return persons

    def score(self, targets: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> float:
        """Return how often neighbours are right: of (n,) persons and (n, embedding)."""
        return float(np.mean(by_neighbours(predictions, targets, self.config.neighbours) == targets))

    def predictions(self, rows: Dataset[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the (n,) persons of rows, and the (n,) ones that their neighbours tell."""
        persons, embeddings = super().predictions(rows)
        return persons, by_neighbours(embeddings, persons, self.config.neighbours)


def _faces(images: Images) -> TensorDataset:
    _, persons = np.unique(images.columns["person"], return_inverse=True)
    return TensorDataset(pixels_of(images), torch.as_tensor(persons))


LAB = TripletNetwork
