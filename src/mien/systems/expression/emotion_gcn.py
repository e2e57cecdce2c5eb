"""Emotion-GCN: one graph makes the classifiers and regressors (Antoniadis et al. 2021, arXiv 2106.03487).

Expressions and valence and arousal are two views of one thing. Features are shared (Section III); the seven
classifiers and two regressors are not free weights but the outputs of a graph convolution network over nine
nodes, the labels. Each node begins as the embedding of its word; edges say which labels depend on each other
in the train rows, so a classifier and a regressor that share a neighbour are learned together.

Its arms: `gcn`, the paper; `multi-task`, two free linear layers on the same features; `single-task`, the
classes alone.
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
from torch.utils.data import TensorDataset

from mien.core.labels import AFFECTNET_EXPRESSIONS
from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.reader import Images
from mien.evaluate.reproduce import Reproduction
from mien.nn.densenet import DenseNet
from mien.nn.residual import ResidualNet
from mien.train.affect import AffectLab, AffectSettings, rarest_over_each

SYSTEM = System(
    id="emotion-gcn",
    title="Exploiting Emotional Dependencies with Graph Convolutional Networks for Facial Expression "
    "Recognition",
    year=2021,
    room="expression",
    makes=(),
    claims=(
        Claim(
            text="Classifiers and regressors from a graph of the labels beat free ones",
            protocol="FER+ test faces with a majority of seven expressions, no contempt; both learn "
            "expression, valence and arousal on the same features",
            metric="accuracy",
            paper_value=0.6646,
            where="AffectNet, 7 classes, DenseNet-121: 66.46 %, above multi-task learning",
        ),
        Claim(
            text="Learning valence and arousal too beats the classes alone",
            protocol="FER+ test faces with a majority of seven expressions, no contempt; free linear layers "
            "on the same features",
            metric="accuracy",
            paper_value=None,
            where="AffectNet, 7 classes: multi-task above single-task learning",
        ),
    ),
)

NODES = (*AFFECTNET_EXPRESSIONS[:7], "valence", "arousal")
"""The graph's nodes in the order of the outputs: the authors' seven classes have no contempt."""
_CLASSES = 7


@dataclass(frozen=True)
class Config(AffectSettings):
    """Settings of Emotion-GCN.

    Attributes:
        head: what makes the classifiers and regressors.
        backbone: what makes the features: the paper's, or a small residual one.
        widths: channels of the residual network's stages.
        words: length of the label embeddings; the paper's GloVe vectors have 300. Ours are fixed random ones
            of unit length: they tell nodes apart, not that "fear" is closer to "anger" than to "happy".
        hidden: features of a node between the two graph convolutions; the paper's are 512.
        edge: smallest absolute rank correlation that makes an edge.
        self_weight: p, of a node itself; its neighbours share the rest.
        weighted: weigh each class by f_min / f_i.
    """

    head: Literal["gcn", "multi-task", "single-task"] = "gcn"
    backbone: Literal["densenet121", "residual"] = "densenet121"
    widths: tuple[int, ...] = (32, 64, 128)
    words: int = 300
    hidden: int = 512
    edge: float = 0.1
    self_weight: float = 0.5
    weighted: bool = False


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1, batch=32, size=32, rows=128, backbone="residual", widths=(4, 8), words=8, hidden=8
        ),
        "cpu": Config(
            rounds=8,
            batch=64,
            size=32,
            learning_rate=0.03,
            weight_decay=5e-4,
            warmup=0.3,
            backbone="residual",
            widths=(8, 16, 32),
            words=32,
            hidden=64,
        ),
        # The authors' `main.py`: 10 rounds of batches of 35 at 227 px, SGD at 0.001 (a tenth of it after
        # round 10, which never comes; ours: Nesterov), decay 0.001, each class weighed. They start from
        # ImageNet's weights, this from none.
        "paper": Config(
            dataset="affectnet",
            rounds=10,
            batch=35,
            learning_rate=0.001,
            weight_decay=0.001,
            schedule="constant",
            size=227,
            weighted=True,
        ),
    }
)

_NOTE = (
    "AffectNet is not here. Expressions are FER+ majorities; valence and arousal are derived, not annotated: "
    "the expectation of Russell and Mehrabian's (1977) values of the words under each face's ten votes, so "
    "they tell of the votes besides the majority and of nothing else. Label embeddings are fixed random "
    "vectors instead of GloVe's; a small residual network on 32 px, 8 rounds, no pretraining"
)
_ARMS = {head: (head, (f"head={head}",)) for head in ("gcn", "multi-task", "single-task")}
REPRODUCE = (
    Reproduction(
        claim="Classifiers and regressors from a graph of the labels beat free ones",
        metric="accuracy",
        arms=(_ARMS["gcn"], _ARMS["multi-task"], _ARMS["single-task"]),
        note=_NOTE,
    ),
    Reproduction(
        claim="Learning valence and arousal too beats the classes alone",
        metric="accuracy",
        arms=(_ARMS["multi-task"], _ARMS["single-task"], _ARMS["gcn"]),
        note=_NOTE,
    ),
)


def dependencies(
    expression: npt.NDArray[Any], affect: npt.NDArray[Any], *, edge: float = 0.1, self_weight: float = 0.5
) -> npt.NDArray[np.float32]:
    """Return the (9, 9) matrix A of what depends on what, from train rows.

    Nodes are joined where Spearman's correlation of their labels over the rows is at least `edge` in absolute
    value; two expressions never are, as one excludes the other. A node keeps p = `self_weight`, its
    neighbours share 1 - p evenly (the re-weighting of ML-GCN, Chen et al. 2019, against over-smoothing).

    Args:
        expression: (n,) classes.
        affect: (n, 2) valence and arousal.
        edge: the threshold.
        self_weight: p.
    """
    from scipy.stats import rankdata

    shown = (expression[:, None] == np.arange(_CLASSES)).astype(np.float64)
    ranks = rankdata(np.concatenate([shown, affect], axis=1), axis=0)
    ranks -= ranks.mean(axis=0)
    # A label that no row has, or all have, depends on nothing.
    length = np.sqrt((ranks**2).sum(axis=0))
    ranks /= np.where(length > 0, length, 1)
    joined = np.abs(ranks.T @ ranks) >= edge
    joined[:_CLASSES, :_CLASSES] = False
    np.fill_diagonal(joined, False)
    neighbours = joined.sum(axis=1, keepdims=True)
    weights = (1 - self_weight) * joined / np.maximum(neighbours, 1)
    np.fill_diagonal(weights, self_weight)
    return np.asarray(weights, np.float32)


def normalised(dependencies: Tensor) -> Tensor:
    """Return A_hat = D^-1/2 A^T D^-1/2 with D the sums of A's rows, as the authors' code has it."""
    scale = dependencies.sum(dim=1).rsqrt()
    return scale[:, None] * dependencies.T * scale[None]


class GraphConvolution(nn.Module):
    """H' = A_hat H W (Kipf and Welling 2017, arXiv 1609.02907), without a bias.

    Args:
        inputs: features of a node.
        outputs: of a node after it.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = outputs**-0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        """Return (k, outputs) of (k, inputs) nodes and their (k, k) adjacency."""
        return adjacency @ nodes @ self.weight


class GraphHead(nn.Module):
    """Makes the classifiers and regressors: two graph convolutions over the labels' embeddings.

    The matrix of dependencies is the identity until `dependencies` of train rows is set; it is stored with
    the weights and not learned.

    Args:
        features: of a picture, which the classifiers take.
        words: length of the embeddings.
        hidden: features of a node between both convolutions.
    """

    dependencies: Tensor
    embeddings: Tensor

    def __init__(self, features: int, words: int, hidden: int) -> None:
        super().__init__()
        self.first = GraphConvolution(words, hidden)
        self.second = GraphConvolution(hidden, features)
        drawn = torch.randn(len(NODES), words, generator=torch.Generator().manual_seed(0))
        self.register_buffer("embeddings", functional.normalize(drawn, dim=1))
        self.register_buffer("dependencies", torch.eye(len(NODES)))

    def weights(self) -> Tensor:
        """Return (9, features) the classifiers, then the regressors."""
        adjacency = normalised(self.dependencies)
        hidden = functional.leaky_relu(self.first(self.embeddings, adjacency), 0.2)
        made: Tensor = self.second(hidden, adjacency)
        return made

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, 9) logits, valence and arousal of (n, features)."""
        return features @ self.weights().T


class Network(nn.Module):
    """Shared features and the head.

    Args:
        config: its sizes; the paper's has 6,953,856 + 300 x 512 + 512 x 1024 = 7,631,744 parameters.
        channels: of the pictures.
    """

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.dense = config.backbone == "densenet121"
        self.backbone = (
            DenseNet(channels)
            if self.dense
            else ResidualNet(channels, config.widths, (1,) * len(config.widths))
        )
        features = self.backbone.features
        self.head: nn.Module
        if config.head == "gcn":
            self.head = GraphHead(features, config.words, config.hidden)
        else:
            self.head = nn.Linear(features, len(NODES) if config.head == "multi-task" else _CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 7 or 9) logits, valence and arousal of (n, channels, H, W) faces, 0..255."""
        features = self.backbone(pixels)
        if self.dense:
            # The authors take the maximum for their own head only, the mean for the others; here all do.
            features = features.amax(dim=(2, 3))
        made: Tensor = self.head(features)
        return made


def concordance(values: Tensor, truth: Tensor) -> Tensor:
    """Return Lin's concordance of each of the columns of (n, k), (k,), by moments over n."""
    apart = (values.mean(dim=0) - truth.mean(dim=0)) ** 2
    together = ((values - values.mean(dim=0)) * (truth - truth.mean(dim=0))).mean(dim=0)
    spread = values.var(dim=0, unbiased=False) + truth.var(dim=0, unbiased=False)
    return 2 * together / (spread + apart).clamp_min(1e-8)


def loss(made: Tensor, expression: Tensor, affect: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the classes and 1 - the mean concordance of valence and arousal.

    Args:
        made: (n, 9), or (n, 7) of one task, whose second loss is 0.
        expression: (n,) classes.
        affect: (n, 2).
        weights: (7,) of the classes; None weighs all alike.
    """
    classes = functional.cross_entropy(made[:, :_CLASSES], expression, weights)
    if made.shape[1] == _CLASSES:
        return classes, classes.new_zeros(())
    return classes, 1 - concordance(made[:, _CLASSES:], affect).mean()


class EmotionGcn(AffectLab[Config]):
    """Seven expressions, valence and arousal, by one of the three heads."""

    expressions = AFFECTNET_EXPRESSIONS[:_CLASSES]
    class_weights: Tensor

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = Network(config, self.channels)
        # `main.py`: mirrored, turned by up to 30 degrees.
        self.jitter = Jitter(turn=30.0, mirror=True)
        self.register_buffer("class_weights", torch.ones(_CLASSES))

    def labelled(self, images: Images) -> npt.NDArray[np.bool_]:
        """Tell which rows have an expression, valence and arousal: all arms see the same rows."""
        known: npt.NDArray[np.bool_] = (self.expression(images) >= 0) & ~np.isnan(self.affect(images)[:, 0])
        return known

    def labels(self, images: Images) -> tuple[npt.NDArray[Any], ...]:
        """Return (n,) expressions and (n, 2) valence and arousal."""
        return self.expression(images), self.affect(images)

    def on_fit_start(self) -> None:
        """Take the graph and the weights of the classes from the train rows, and only from them."""
        rows = self.train_rows()
        assert isinstance(rows, TensorDataset)
        _, expression, affect = rows.tensors
        if self.config.weighted:
            self.class_weights.copy_(rarest_over_each(expression, _CLASSES))
        if isinstance(self.net.head, GraphHead):
            graph = dependencies(
                expression.numpy(),
                affect.numpy(),
                edge=self.config.edge,
                self_weight=self.config.self_weight,
            )
            self.net.head.dependencies.copy_(torch.as_tensor(graph))

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the sum of both tasks' losses (the authors' lambda is 1)."""
        pixels, expression, affect = batch
        weights = self.class_weights if self.config.weighted else None
        classes, values = loss(self.net(self.jitter(pixels)), expression, affect, weights)
        self.log_dict({"loss": classes + values, "loss_classes": classes, "loss_values": values})
        return classes + values

    def predict(self, batch: Any) -> Tensor:
        """Return (n, 7) probabilities."""
        probabilities: Tensor = self.net(batch[0].float())[:, :_CLASSES].softmax(dim=1)
        return probabilities


LAB = EmotionGcn
