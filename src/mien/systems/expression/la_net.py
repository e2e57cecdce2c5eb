"""LA-Net: landmarks against wrong labels of expressions (Wu and Cui, ICCV 2023, arXiv 2307.09023).

While it is trained, the network has two branches behind a common stem: one tells the expression, the other
finds 19 landmarks. Each batch's faces have neighbours in both feature spaces, and what those are taken for is
a second opinion on a face's label; its mean over the rounds is learned beside the label itself. A contrastive
loss pulls a face's expression features to the landmark features of faces of the same expression. At inference
only the expression branch is left, an ordinary ResNet-18.

Constants that the paper leaves open are those of the authors' code (their repository LA-Net). Two of its
parts are left out: sampling that grows more balanced over the rounds, and weights pretrained on MS-Celeb-1M.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.core.labels import FERPLUS_EXPRESSIONS
from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.landmarks import landmarks
from mien.data.reader import Images
from mien.data.votes import votes_of
from mien.evaluate.reproduce import Reproduction
from mien.nn.residual import ResidualBlock
from mien.train.pictures import PictureLab, PictureSettings

SYSTEM = System(
    id="la-net",
    title="LA-Net: Landmark-Aware Learning for Reliable Facial Expression Recognition under Label Noise",
    year=2023,
    room="expression",
    makes=("expression",),
    claims=(
        Claim(
            text="With three tenths of the labels wrong, LA-Net beats plain cross-entropy",
            protocol="FER+ faces by their most frequent vote, 8 classes; 30 % of the train labels changed to"
            " another class, evenly; one network for inference",
            metric="accuracy",
            paper_value=0.8601,
            where="Table 1: 86.01 % against the baseline's 79.77 %; at 10 % noise 88.02 against 83.29,"
            " at 20 % 86.85 against 82.34",
        ),
    ),
)

_CLASSES = len(FERPLUS_EXPRESSIONS)

# The 19 points of AFLW as vertices of the mesh whose mean each is, from left to right in the picture: the
# outer end, middle and inner end of a brow, the other brow from inside; the corners and middles of the eyes;
# the nose's left wing, tip and right wing; the mouth's left corner, middle and right corner; the chin.
LANDMARKS = (
    *((70,), (105,), (107,), (336,), (334,), (300,)),
    *((33,), (159, 145), (133,), (362,), (386, 374), (263,)),
    *((98,), (1, 4), (327,)),
    *((61,), (13, 14), (291,)),
    (152,),
)
PARTNERS = (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18)
"""For each landmark the one that it is in a mirror."""


@dataclass(frozen=True)
class Config(PictureSettings):
    """Settings of LA-Net.

    Attributes:
        method: the paper's, or the cross-entropy of the same expression branch alone.
        noise: part of the train labels that are changed to another class, drawn by the seed.
        width: channels of the first stage; the paper's ResNet-18 has 64.
        depth: blocks of each of the four stages.
        stem: the first convolution's kernel; 7 is the paper's, with pooling behind it, so that maps of
            landmarks have a quarter of the picture's side; 3 has no pooling, they have half of it.
        embedding: numbers of the features that are contrasted.
        spread: standard deviation of a landmark's spot in its map, px of the map.
        landmark_weight: of the landmarks' loss.
        agreement_weight: of the divergence from the estimated distribution.
        contrast_weight: of the contrastive loss.
        neighbours: K, in either space.
        memory: part that stays of a face's distribution when a new estimate comes.
        temperature: of the contrastive loss.
        confidence: probability from which on a face's estimated expression counts as known.
        queue: faces of earlier batches that are contrasted with.
        twin: part that stays of the weights of the network's slow twin, which makes the keys.
    """

    method: Literal["la-net", "plain"] = "la-net"
    noise: float = 0.3
    width: int = 64
    depth: int = 2
    size: int = 224
    stem: Literal[3, 7] = 7
    embedding: int = 64
    spread: float = 1.5
    landmark_weight: float = 1.0
    agreement_weight: float = 1.0
    contrast_weight: float = 0.1
    neighbours: int = 8
    memory: float = 0.9
    temperature: float = 0.1
    confidence: float = 0.7
    queue: int = 8192
    twin: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise must be in 0..1, 1 excluded, not {self.noise}")
        if self.queue < self.batch:
            raise ValueError(f"a queue of {self.queue} is shorter than a batch of {self.batch}")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            optimiser="adamw",
            learning_rate=2e-3,
            weight_decay=0.0,
            rows=96,
            width=4,
            depth=1,
            size=32,
            stem=3,
            embedding=8,
            queue=64,
        ),
        "cpu": Config(
            rounds=10,
            batch=128,
            optimiser="adamw",
            learning_rate=4e-3,
            weight_decay=0.0,
            warmup=1.0,
            rows=4000,
            width=8,
            depth=1,
            size=48,
            stem=3,
            embedding=32,
            spread=1.0,
            # In 10 rounds as much of a label is forgotten as in 80 by 0.9: nearly all.
            memory=0.5,
            queue=1024,
            twin=0.99,
        ),
        # Section 4.2 and the authors' train.py: Adam at 1e-3 without decay; theirs falls in a line.
        "paper": Config(rounds=80, batch=128, optimiser="adamw", learning_rate=1e-3, weight_decay=0.0),
    }
)
REPRODUCE = (
    Reproduction(
        claim="With three tenths of the labels wrong, LA-Net beats plain cross-entropy",
        metric="accuracy",
        arms=(("LA-Net", ("method=la-net",)), ("cross-entropy", ("method=plain",))),
        note="4,000 train faces, a residual network of a thousandth of the paper's multiply-adds, 10 rounds"
        " instead of 80, no pretraining on faces: the comparison is the paper's, the level is not",
    ),
)


def most_voted(votes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the (n,) expression with the most of (n, 10) votes; 8 or 9 where most call it none.

    The protocol that the paper shares with those it is compared with; of equal ones the first counts.
    """
    return np.asarray(votes.argmax(axis=1), np.int64)


def noisy(labels: npt.NDArray[np.int64], rate: float, seed: int) -> npt.NDArray[np.int64]:
    """Change a part of (n,) labels, each to one of the other classes with the same probability."""
    random = np.random.default_rng((seed, 18))
    changed = random.random(len(labels)) < rate
    shift = random.integers(1, _CLASSES, len(labels))
    return np.where(changed, (labels + shift) % _CLASSES, labels)


# ---- the network


def _block(inputs: int, outputs: int, stride: int = 1) -> ResidualBlock:
    """Return a block of the plain ResNet."""
    return ResidualBlock(inputs, outputs, stride, excitation=False, means=False)


def _stages(width: int, depth: int) -> nn.ModuleList:
    """Return stages two to four: each halves the picture and doubles the channels."""
    return nn.ModuleList(
        nn.Sequential(
            _block(width * 2**i, width * 2 ** (i + 1), 2),
            *(_block(width * 2 ** (i + 1), width * 2 ** (i + 1)) for _ in range(depth - 1)),
        )
        for i in range(3)
    )


class TwoBranches(nn.Module):
    """A ResNet that tells expressions, and beside it from its second stage on another that finds landmarks.

    Args:
        config: its sizes.
        channels: of the pictures; with 3 the paper's expression branch is a ResNet-18 to the last parameter.
        classes: of the classifier.
    """

    def __init__(self, config: Config, channels: int = 1, classes: int = _CLASSES) -> None:
        super().__init__()
        width = config.width
        pooling = [nn.MaxPool2d(3, 2, 1)] if config.stem == 7 else []
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, config.stem, 2, config.stem // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *pooling,
            *(_block(width, width) for _ in range(config.depth)),
        )
        self.expression = _stages(width, config.depth)
        self.classifier = nn.Linear(8 * width, classes)
        self.landmark = _stages(width, config.depth)
        self.laterals = nn.ModuleList(nn.Conv2d(width * 2**i, width, 1, bias=False) for i in range(4))
        self.points = nn.Conv2d(width, len(LANDMARKS), 1, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def shared(self, pixels: Tensor) -> Tensor:
        """Return (n, width, h, w), what both branches begin with, of (n, channels, H, W) in 0..255."""
        found: Tensor = self.stem((pixels - 127.5) / 64)
        return found

    def expression_features(self, shared: Tensor) -> Tensor:
        """Return (n, 8 width) of (n, width, h, w)."""
        for stage in self.expression:
            shared = stage(shared)
        return shared.mean(dim=(2, 3))

    def landmark_features(self, shared: Tensor) -> Tensor:
        """Return (n, width, h, w) of (n, width, h, w): a feature pyramid's finest level."""
        levels = [shared]
        for stage in self.landmark:
            levels.append(stage(levels[-1]))
        found: Tensor = self.laterals[3](levels[3])
        for level, lateral in zip(levels[2::-1], self.laterals[2::-1], strict=True):
            finer = functional.interpolate(found, size=level.shape[-2:], mode="bilinear", align_corners=False)
            found = finer + lateral(level)
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, classes) logits of (n, channels, H, W) pictures, 0..255: the expression branch alone."""
        logits: Tensor = self.classifier(self.expression_features(self.shared(pixels)))
        return logits


# ---- label distributions from neighbours (Section 3.2)


def nearest(features: Tensor, count: int) -> Tensor:
    """Return (n, count) for each of (n, d) features the others most alike by cosine, nearest first."""
    unit = functional.normalize(features.detach(), dim=1)
    alike = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return alike.topk(count, dim=1).indices


class Contribution(nn.Module):
    """How much each neighbour's opinion counts: learned from the features of both, as shares.

    Args:
        features: d, of a face.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        half, quarter = features // 2, features // 4
        self.roles = nn.Linear(features, features)  # the asking face's half, then the asked face's
        self.score = nn.Sequential(
            nn.Linear(features, half), nn.ReLU(), nn.Linear(half, quarter), nn.ReLU(), nn.Linear(quarter, 2)
        )

    def forward(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """Return (n, k) shares, each row summing to one, of (n, d) features and (n, k) numbers of rows."""
        asking, asked = self.roles(features).chunk(2, dim=1)
        pairs = torch.cat([asking[:, None].expand(-1, neighbours.shape[1], -1), asked[neighbours]], dim=2)
        scores = self.score(pairs).softmax(dim=2)[..., 0] + 1e-8
        shares: Tensor = scores / scores.sum(dim=1, keepdim=True)
        return shares


class LabelDistribution(nn.Module):
    """What each training face shows, by its label and by its neighbours in every round.

    In the batch t_i = (sum_j a_ij p_j + sum_j b_ij p_j) / 2 over its K neighbours j in expression space and
    in landmark space, p_j being their predictions and a, b their contributions. The distribution of a face is
    the moving average d_i <- m d_i + (1 - m) t_i, which begins with its label. Gradients flow through t_i.

    Args:
        labels: (N,) of all training faces.
        classes: c, how many there are.
        expression: features in expression space.
        landmark: features in landmark space.
        neighbours: K.
        memory: m.
    """

    bank: Tensor

    def __init__(
        self, labels: Tensor, classes: int, expression: int, landmark: int, neighbours: int, memory: float
    ) -> None:
        super().__init__()
        self.register_buffer("bank", functional.one_hot(labels, classes).float())
        self.expression = Contribution(expression)
        self.landmark = Contribution(landmark)
        self.neighbours, self.memory = neighbours, memory

    def forward(self, expression: Tensor, landmark: Tensor, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the (n, c) distributions of a batch, and keep them.

        Args:
            expression: (n, d) features.
            landmark: (n, e) features.
            logits: (n, c) predictions.
            rows: (n,) which of all training faces these are.
        """
        count = min(self.neighbours, len(rows) - 1)
        probabilities = logits.softmax(dim=1)
        estimate = torch.zeros_like(probabilities)
        for features, contribution in ((expression, self.expression), (landmark, self.landmark)):
            near = nearest(features, count)
            shares = contribution(features, near)
            estimate = estimate + 0.5 * (shares[..., None] * probabilities[near]).sum(dim=1)
        made = self.memory * self.bank[rows] + (1 - self.memory) * estimate
        self.bank[rows] = made.detach()
        return made


# ---- the expression-landmark contrastive loss (Section 3.3)


def contrast(
    queries: Tensor, keys: Tensor, marks: Tensor, bank: Tensor, bank_marks: Tensor, temperature: float
) -> Tensor:
    """Return the mean loss of queries in one space against keys of the other.

    For a query i and each key j of the batch with the same mark it is
    -log exp(q_i k_j / T) / (exp(q_i k_j / T) + sum_b exp(q_i k_b / T)), b running over the bank's keys with
    another mark; the mean over j, then over i.

    Args:
        queries: (n, d) of unit length.
        keys: (n, d) of unit length, of the same faces.
        marks: (n,) the faces' expressions, or a number of its own for a face whose expression is not sure.
        bank: (m, d) keys of earlier faces.
        bank_marks: (m,) theirs.
        temperature: T.
    """
    positive = queries @ keys.T / temperature
    negative = queries @ bank.T / temperature
    negative = negative.masked_fill(marks[:, None] == bank_marks[None], -torch.inf)
    rest = negative.logsumexp(dim=1, keepdim=True)
    losses = torch.logaddexp(positive, rest) - positive
    same = (marks[:, None] == marks[None]).float()
    return ((losses * same).sum(dim=1) / same.sum(dim=1)).mean()


def marks_of(distributions: Tensor, rows: Tensor, confidence: float) -> Tensor:
    """Return (n,) the likeliest class of (n, c) distributions; -1 - row where it is not likely enough."""
    likely, classes = distributions.detach().max(dim=1)
    return torch.where(likely >= confidence, classes, -1 - rows)


class Queue(nn.Module):
    """Keys of the faces of earlier batches, in both spaces, the oldest replaced first.

    Args:
        size: m, how many.
        features: d, of a key.
    """

    expression: Tensor
    landmark: Tensor
    marks: Tensor
    place: Tensor

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        for name in ("expression", "landmark"):
            self.register_buffer(name, functional.normalize(torch.randn(size, features), dim=1))
        # No face has it: what is drawn at the start is unlike all.
        self.register_buffer("marks", torch.full((size,), torch.iinfo(torch.int64).min))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, expression: Tensor, landmark: Tensor, marks: Tensor) -> None:
        """Take up (n, d) keys of both spaces with their (n,) marks; n is at most the queue's size."""
        places = (self.place + torch.arange(len(marks), device=marks.device)) % len(self.marks)
        self.expression[places], self.landmark[places], self.marks[places] = expression, landmark, marks
        self.place.copy_((self.place + len(marks)) % len(self.marks))


class Contrasted(nn.Module):
    """A network with the two projections whose results are contrasted; its slow twin makes the keys.

    Args:
        net: the network.
        config: its sizes.
    """

    def __init__(self, net: TwoBranches, config: Config) -> None:
        super().__init__()
        self.net = net
        self.expression = _projection(8 * config.width, config.embedding)
        self.landmark = _projection(config.width, config.embedding)

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, 8 width) expression features and (n, width, h, w) landmark features of pictures."""
        shared = self.net.shared(pixels)
        return self.net.expression_features(shared), self.net.landmark_features(shared)

    def keys(self, expression: Tensor, landmark: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, d) of unit length in both spaces, of the features that `features` gives."""
        return (
            functional.normalize(self.expression(expression), dim=1),
            functional.normalize(self.landmark(landmark.mean(dim=(2, 3))), dim=1),
        )

    @torch.no_grad()
    def follow(self, other: Contrasted, stays: float) -> None:
        """Move the weights to another's, w <- stays w + (1 - stays) v, and take its statistics."""
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            mine.lerp_(theirs, 1 - stays)
        for statistic, new in zip(self.buffers(), other.buffers(), strict=True):
            statistic.copy_(new)


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))


# ---- landmarks as maps


def maps_of(points: Tensor, side: int, spread: float) -> tuple[Tensor, Tensor]:
    """Return (n, k, side, side) maps with a spot for each landmark, and how much each place of them counts.

    A spot is exp(-r^2 / 2 s^2) around the middle of the landmark's pixel, cut off where x or y is three s
    away. Where it or a neighbour is above 0.2 a place counts ten times.

    Args:
        points: (n, k, 2) x y, 0..1 inside the picture.
        side: of the maps, px.
        spread: s, px of the maps.
    """
    offsets = torch.arange(side, device=points.device) - (points * side).floor()[..., None]
    lines = torch.exp(-(offsets**2) / (2 * spread**2)) * (offsets.abs() <= 3 * spread)
    across, down = lines[:, :, 0], lines[:, :, 1]
    maps = down[..., :, None] * across[..., None, :]
    return maps, 1 + 9 * (functional.max_pool2d(maps, 3, 1, 1) > 0.2)


def adaptive_wing(predicted: Tensor, maps: Tensor) -> Tensor:
    """Return the Adaptive Wing loss of each place of maps (Wang et al. 2019, arXiv 1904.07399, Eq. 2).

    w ln(1 + |(y - q) / e|^(a - y)) where |y - q| < t, else A |y - q| - C, with a = 2.1, w = 14, e = 1 and
    t = 0.5; A and C make it smooth there.
    """
    power, scale, turn = 2.1 - maps, 14.0, 0.5
    slope = scale / (1 + turn**power) * power * turn ** (power - 1)
    distance = (maps - predicted).abs()
    near = scale * torch.log1p(distance.clamp(max=turn) ** power)
    return torch.where(distance < turn, near, near + slope * (distance - turn))


class LaNet(PictureLab[Config]):
    """LA-Net on the most frequent votes of FER+, some of them wrong; trained by one process."""

    dataset = "fer2013"
    columns = ()
    grey = True
    classes = FERPLUS_EXPRESSIONS
    net: TwoBranches

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = TwoBranches(config)
        self.jitter = Jitter(turn=10, zoom=0.1, move=0.05, mirror=True)
        if config.method == "la-net":
            self.online = Contrasted(self.net, config)
            self.slow = copy.deepcopy(self.online).requires_grad_(False)
            self.queue = Queue(config.queue, config.embedding)
            self.distribution = LabelDistribution(
                torch.as_tensor(self.given(self.chosen())),
                _CLASSES,
                8 * config.width,
                config.width,
                config.neighbours,
                config.memory,
            )

    def labelled(self, images: Images) -> npt.NDArray[np.bool_]:
        """Tell which rows most people call an expression: (n,)."""
        return most_voted(votes_of(images)) < _CLASSES

    def given(self, images: Images) -> npt.NDArray[np.int64]:
        """Return the (n,) labels of rows; a part of those to learn from is wrong."""
        truth = most_voted(votes_of(images))
        return noisy(truth, self.config.noise, self.seed) if images.split == "train" else truth

    def labels(self, images: Images) -> tuple[npt.NDArray[Any], ...]:
        """Return the (n,) labels that are given.

        To learn from, the (n, 19, 2) landmarks come with them, and each row's number.
        """
        labels = self.given(images)
        if images.split != "train" or self.config.method == "plain":
            return (labels,)
        return labels, landmarks(images).points(LANDMARKS), np.arange(len(images))

    def on_fit_start(self) -> None:
        """Refuse several processes: each would know the distributions of its own faces only."""
        if self.trainer.world_size > 1:
            raise ValueError("la-net compares the faces of a batch with each other: train it in one process")

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss on jittered faces: the paper's four terms, or the cross-entropy alone."""
        config = self.config
        if config.method == "plain":
            pixels, labels = batch
            value = functional.cross_entropy(self.net(self.jitter(pixels)), labels)
            self.log("loss", value)
            return value
        pixels, labels, points, rows = batch
        pixels, points = self.jitter.together(pixels, points, PARTNERS)
        expression, landmark = self.online.features(pixels)
        logits = self.net.classifier(expression)
        distributions = self.distribution(expression, landmark.mean(dim=(2, 3)), logits, rows)
        maps, weights = maps_of(points, landmark.shape[-1], config.spread)
        terms = {
            "label": functional.cross_entropy(logits, labels),
            "agreement": functional.kl_div(logits.log_softmax(dim=1), distributions, reduction="batchmean"),
            "landmarks": (adaptive_wing(self.net.points(landmark), maps) * weights).mean(),
            "contrast": self._contrasted(pixels, expression, landmark, distributions, rows),
        }
        value = (
            terms["label"]
            + config.agreement_weight * terms["agreement"]
            + config.landmark_weight * terms["landmarks"]
            + config.contrast_weight * terms["contrast"]
        )
        self.log_dict({"loss": value, **{f"loss_{name}": term for name, term in terms.items()}})
        return value

    def _contrasted(
        self, pixels: Tensor, expression: Tensor, landmark: Tensor, distributions: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the expression-landmark contrastive loss in both directions, and keep the batch's keys."""
        asked_expression, asked_landmark = self.online.keys(expression, landmark)
        with torch.no_grad():
            self.slow.follow(self.online, self.config.twin)
            key_expression, key_landmark = self.slow.keys(*self.slow.features(pixels))
        marks = marks_of(distributions, rows, self.config.confidence)
        temperature, known = self.config.temperature, self.queue.marks
        # Copies, as gradients need them after the batch's keys have taken their places.
        bank_expression, bank_landmark = self.queue.expression.clone(), self.queue.landmark.clone()
        value = contrast(asked_expression, key_landmark, marks, bank_landmark, known, temperature) + contrast(
            asked_landmark, key_expression, marks, bank_expression, known, temperature
        )
        self.queue.add(key_expression, key_landmark, marks)
        return value


LAB = LaNet
