"""Ada-NETS: grouping faces by a graph of few wrong edges (Wang et al. 2022, arXiv 2202.03800).

A graph network that groups faces learns from their nearest neighbours, of which many show others: their
messages spoil a face's features. Ada-NETS cleans the graph first, then groups (Section 3):

- The structure space: two faces are as similar as the sets of those who have each of them for a neighbour as
  they have them (k-reciprocal neighbours, kR), mixed with the cosine: (1 - eta) Jaccard + eta cosine.
- The adaptive filter: how many neighbours a face shall have is regressed from their features, by a
  bidirectional LSTM. Its target is the number whose neighbours have the best quality Q(j), an F-score of
  precision and recall, where precision counts double (beta = 0.5).
- A network of two graph convolutions over the edges that are left, learned by hinges of cosines. Faces whose
  new features are near enough are linked; what hangs together is a person.

It sees no pictures but their embeddings, here those of a small recogniser (`mien.train.embedded`); faces by
the ten thousands are made ones, spread as the real ones (`mien.data.embedded`). The numbers that the paper's
text leaves open are those of the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mien.core.grouping import Floats, Ids, Neighbours, connected
from mien.core.system import Claim, System
from mien.data.embedded import Embedded, Population, neighbours
from mien.data.order import shuffled
from mien.evaluate.grouping import GROUPINGS, Setting, choose, goodness
from mien.evaluate.reproduce import Reproduction
from mien.train.embedded import embedded
from mien.train.lab import Lab, TestPart
from mien.train.settings import Settings

SYSTEM = System(
    id="ada-nets",
    title="Ada-NETS: Face Clustering via Adaptive Neighbour Discovery in the Structure Space",
    year=2022,
    room="matching",
    makes=(),
    claims=(
        Claim(
            text="Learned grouping puts more pairs right than DBSCAN, HDBSCAN, Chinese whispers and k-means",
            protocol="embeddings of held-out people, and 10,000 made ones; the settings of each method by "
            "validation people; DBSCAN is the one it is judged against",
            metric="pairwise F",
            paper_value=0.9279,
            where="Table 1, 584,000 faces of MS-Celeb-1M; DBSCAN 0.6793, k-means 0.7921",
        ),
        Claim(
            text="Learned grouping puts more of each face's group right than those methods",
            protocol="the same",
            metric="B-cubed F",
            paper_value=0.9140,
            where="Table 1, 584,000 faces of MS-Celeb-1M; DBSCAN 0.6717, k-means 0.8123",
        ),
        Claim(
            text="The filter in the structure space makes a better graph than all nearest neighbours",
            protocol="the same network and candidates; with both, with either, with neither of them",
            metric="B-cubed F",
            paper_value=None,
            where="the ablation of structure space and adaptive neighbour discovery, Section 4",
        ),
        Claim(
            text="It scales to 100,000 faces",
            protocol="100,000 made faces, against the methods that need no more than the nearest neighbours",
            metric="B-cubed F",
            paper_value=None,
            where="Table 1, up to 5.21 million faces",
        ),
    ),
)

_PAIRS, _FACES, _CLEAN, _SCALES = (claim.text for claim in SYSTEM.claims)

Method = Literal["ada-nets", "dbscan", "hdbscan", "chinese-whispers", "k-means"]


@dataclass(frozen=True)
class Config(Settings):
    """Settings of Ada-NETS; `batch` counts faces whose neighbourhoods make a step, `rows` those of a round.

    Attributes:
        method: what groups: this system, or one that learns nothing and is only given its settings.
        neighbours: k, candidates of a face, itself among them.
        structure: find candidates in the structure space; else by cosine.
        adaptive: keep as many as the filter says; else all.
        eta: part of the cosine in the structure space.
        beta: of the quality; below 1 precision counts more than recall.
        memory: numbers of the filter's LSTM in each direction.
        depth: width of the filter's layers behind it.
        width: of the graph network.
        dropout: in the filter.
        filter_part: of the filter's loss beside the graph network's: under SGD, the ratio of their rates.
        near: beta_1, the cosine that faces of one person shall reach.
        far: beta_2: the cosine of two people shall be below minus this.
        people: of each part, the first ones only, for tests; 0 is all.
        many: learn from `celeba10k`'s people of few pictures, too.
        made: how many made faces are grouped, beside those of held-out people; 0 makes none.
    """

    method: Method = "ada-nets"
    neighbours: int = 80
    structure: bool = True
    adaptive: bool = True
    eta: float = 0.3
    beta: float = 0.5
    memory: int = 256
    depth: int = 512
    width: int = 512
    dropout: float = 0.5
    filter_part: float = 0.1
    near: float = 0.9
    far: float = 1.0
    people: int = 0
    many: bool = True
    made: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 2:
            raise ValueError(f"{self.neighbours} neighbours, the face itself counted: use 2 or more")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in 0..1, not {self.eta}")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=16,
            rows=64,
            optimiser="adamw",
            learning_rate=2e-3,
            neighbours=8,
            memory=8,
            depth=16,
            width=16,
            people=6,
            many=False,
        ),
        "cpu": Config(
            rounds=5,
            batch=32,
            rows=3000,
            optimiser="adamw",
            learning_rate=4e-3,
            weight_decay=0.01,
            warmup=0.2,
            neighbours=32,
            memory=32,
            depth=64,
            width=128,
            dropout=0.1,
            filter_part=1.0,
            made=10_000,
        ),
        # The authors' configurations: k 80, SGD without decay to speak of, 0.1 for the graph network and 0.01
        # for the filter along a cosine; 35,000 steps of the graph network (one face and its neighbours each),
        # 40,000 of the filter (1,024 faces each): four rounds of MS-Celeb-1M's part are as many steps of 64.
        "paper": Config(rounds=4, batch=64, learning_rate=0.1, weight_decay=1e-5, warmup=0.1),
    }
)

_BASELINES = (
    ("DBSCAN", ("method=dbscan", "rounds=1")),
    ("HDBSCAN", ("method=hdbscan", "rounds=1")),
    ("Chinese whispers", ("method=chinese-whispers", "rounds=1")),
    ("k-means", ("method=k-means", "rounds=1")),
)

_NOTE = (
    "embeddings of MobileFaceNet (1 million parameters); learned from 12,023 faces of 4,422 people instead "
    "of 584,000 of MS-Celeb-1M, 32 candidates instead of 80, a quarter of the width. Held-out people: 1,016 "
    "faces of 40, and every method's settings by 28 validation people. Made faces are drawn as real train "
    "embeddings are spread, most people with one or two; settings by another draw of as many. Links are "
    "sought among the candidates, not by another search"
)

REPRODUCE = (
    Reproduction(claim=_PAIRS, metric="pairwise F", arms=(("Ada-NETS", ()), *_BASELINES), note=_NOTE),
    Reproduction(claim=_FACES, metric="B-cubed F", arms=(("Ada-NETS", ()), *_BASELINES), note=_NOTE),
    Reproduction(
        claim=_CLEAN,
        metric="B-cubed F",
        arms=(
            ("filter and structure space", ()),
            ("all neighbours by cosine", ("adaptive=false", "structure=false")),
            ("structure space only", ("adaptive=false",)),
            ("filter only", ("structure=false",)),
        ),
        note=_NOTE,
    ),
    Reproduction(
        claim=_SCALES,
        metric="B-cubed F",
        arms=(
            ("Ada-NETS", ("made=100000",)),
            ("DBSCAN", ("method=dbscan", "rounds=1", "made=100000")),
            ("Chinese whispers", ("method=chinese-whispers", "rounds=1", "made=100000")),
        ),
        note=_NOTE
        + ", of 10,000 for the 100,000, too. HDBSCAN and k-means are left out: here they compare all "
        "with all, or with tens of thousands of centres",
    ),
)


# ---- the structure space (Section 3.1)


def reciprocal(indices: Ids, k: int) -> sparse.csr_array:
    """Return kR: the (n, n) 0 or 1 of j being among the k nearest of i, and i among those of j.

    Args:
        indices: (n, at least k) neighbours, each face itself first.
        k: how many count.
    """
    count = len(indices)
    ends = np.arange(0, count * k + 1, k)
    near = sparse.csr_array(
        (np.ones(count * k, np.int32), indices[:, :k].ravel(), ends), shape=(count, count)
    )
    return sparse.csr_array(near.multiply(near.T))


def expanded(indices: Ids, k: int) -> sparse.csr_array:
    """Return kR with what its members add: j's own half-sized kR, of which two thirds are in i's (0 or 1)."""
    full, half = reciprocal(indices, k), reciprocal(indices, max(1, k // 2))
    sizes = np.asarray(half.sum(axis=1)).ravel()
    pairs = full.tocoo()
    inside = _at(full, half, pairs.row, pairs.col)
    kept = 3 * inside >= 2 * sizes[pairs.col]
    adding = sparse.csr_array(
        (np.ones(int(kept.sum()), np.int32), (pairs.row[kept], pairs.col[kept])), shape=full.shape
    )
    whole = sparse.csr_array(full + adding @ half)
    whole.data[:] = 1
    return whole


def _at(left: sparse.csr_array, right: sparse.csr_array, rows: Ids, columns: Ids, step: int = 4096) -> Ids:
    """Return (m,) of `left @ right.T` at places whose rows rise, block by block: most of it is of no use."""
    other = sparse.csr_array(right.T)
    values = np.empty(len(rows), np.int64)
    for first in range(0, left.shape[0], step):
        low, high = np.searchsorted(rows, (first, first + step))
        if high > low:
            product = sparse.csr_matrix(left[first : first + step] @ other)
            values[low:high] = np.asarray(product[rows[low:high] - first, columns[low:high]]).ravel()
    return values


def structure_space(near: Neighbours, eta: float) -> Ids:
    """Return the (n, k) candidates of each face by falling similarity in the structure space, itself first.

    The similarity is (1 - eta) |R(i) & R(j)| / |R(i) | R(j)| + eta cosine, R being the expanded kR; equals
    stay in the order of their cosines.
    """
    count, k = near.indices.shape
    sets = expanded(near.indices, k)
    sizes = np.asarray(sets.sum(axis=1)).ravel()
    rows = np.repeat(np.arange(count), k)
    shared = _at(sets, sets, rows, near.indices.ravel()).reshape(count, k)
    jaccard = shared / (sizes[:, None] + sizes[near.indices] - shared)
    similar = (1 - eta) * jaccard + eta * near.cosines
    similar[:, 0] = np.inf
    return np.take_along_axis(near.indices, np.argsort(-similar, axis=1, kind="stable"), axis=1)


# ---- the adaptive filter (Section 3.2)


def best_number(candidates: Ids, person: Ids, beta: float) -> Ids:
    """Return the (n,) numbers j of candidates of the best quality, 1 being the face itself alone.

    Q(j) = (1 + beta^2) P(j) R(j) / (beta^2 P(j) + R(j)), P and R being precision and recall of the first j.

    Args:
        candidates: (n, k), each face itself first.
        person: (n,).
        beta: below 1, precision counts more.
    """
    _, place, sizes = np.unique(person, return_inverse=True, return_counts=True)
    right = (person[candidates] == person[:, None]).cumsum(axis=1)
    precision = right / np.arange(1, candidates.shape[1] + 1)
    recall = right / sizes[place][:, None]
    quality = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
    return np.asarray(quality.argmax(axis=1) + 1, np.int64)


@torch.no_grad()
def _widen(*layers: nn.Module) -> None:
    """Multiply the first values of layers' weights, (out, d), by the root of d.

    Such values are made for inputs of variance 1; here inputs have length 1, and would hardly be seen.
    """
    for layer in layers:
        for name, weights in layer.named_parameters():
            if name.startswith("weight") and not name.startswith("weight_hh"):
                weights.mul_(math.sqrt(weights.shape[1]))


class AdaptiveFilter(nn.Module):
    """Tells how many of its candidates a face shall keep, from their features: LSTM, mean, two layers.

    Args:
        features: d, numbers of an embedding.
        memory: of the LSTM in each direction; the paper's is d.
        depth: of the layers behind.
        dropout: between them.
    """

    def __init__(self, features: int, memory: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, memory, batch_first=True, bidirectional=True)
        self.joined = nn.Linear(2 * memory, features)
        self.layers = nn.Sequential(
            nn.Linear(features, depth),
            nn.PReLU(depth),
            nn.Dropout(dropout),
            nn.Linear(depth, features),
            nn.PReLU(features),
            nn.Dropout(dropout),
        )
        self.number = nn.Linear(features, 1)
        _widen(self.lstm, self.layers[0], self.number)

    def forward(self, candidates: Tensor) -> Tensor:
        """Return (n,) parts of the k candidates to keep, 0..1 or a little beyond, of (n, k, d) features."""
        seen = (self.joined(self.lstm(candidates)[0]) + candidates) / math.sqrt(2)
        mean = functional.normalize(functional.normalize(seen, dim=2).mean(dim=1), dim=1)
        value: Tensor = self.number((mean + self.layers(mean)) / math.sqrt(2))
        return value[:, 0]


def relative_huber(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean Huber loss (delta 1) of (n,) errors in parts of the truth."""
    return functional.huber_loss(predicted / truth, torch.ones_like(truth), delta=1.0)


# ---- the graph network (Section 3.3)


def graph(candidates: Ids, numbers: Ids) -> sparse.csr_array:
    """Return (n, n) A, whose rows sum up to 1: each face with itself, those it keeps, and those that keep it.

    Args:
        candidates: (n, k), each face itself first.
        numbers: (n,) how many of them it keeps, 1..k.
    """
    count, k = candidates.shape
    kept = np.arange(k) < numbers[:, None]
    rows = np.repeat(np.arange(count), kept.sum(axis=1))
    edges = sparse.csr_array((np.ones(len(rows), np.float32), (rows, candidates[kept])), shape=(count, count))
    both = sparse.csr_array(edges.maximum(edges.T))
    degree = np.asarray(both.sum(axis=1)).ravel()
    return sparse.csr_array(both.multiply((1 / degree)[:, None]), dtype=np.float32)


class GraphNetwork(nn.Module):
    """Two graph convolutions, F' = relu(A F W + b), and a layer: features of length 1.

    Args:
        features: d, numbers of an embedding.
        width: of all layers.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Sequential(nn.Linear(width, width), nn.PReLU(width))
        _widen(self.first, self.second)

    def forward(self, mixed: Tensor, edges: Tensor) -> Tensor:
        """Return (q, width) features of q faces.

        Args:
            mixed: (m, d) A F of the m faces that the q faces have edges to.
            edges: (q, m) sparse, their part of A.
        """
        hidden = functional.normalize(functional.relu(self.first(mixed)), dim=1)
        hidden = functional.relu(self.second(torch.sparse.mm(edges, hidden)))
        return functional.normalize(self.last(hidden), dim=1)


def hinges(features: Tensor, person: Tensor, near: float, far: float) -> Tensor:
    """Return the loss of neighbourhoods: [near - cos]+ of pairs of one person, [far + cos]+ of pairs of two.

    The former is their mean; of the latter only the most similar pair of a neighbourhood counts.

    Args:
        features: (b, k, width) of length 1.
        person: (b, k).
        near: beta_1.
        far: beta_2.
    """
    cosines = features @ features.transpose(1, 2)
    same = person[:, :, None] == person[:, None, :]
    close = (functional.relu(near - cosines) * same).sum(dim=(1, 2)) / same.sum(dim=(1, 2))
    hardest = cosines.masked_fill(same, -math.inf).amax(dim=(1, 2))
    return (close + functional.relu(far + hardest)).mean()


def _tensor(edges: sparse.csr_array) -> Tensor:
    table = edges.tocoo()
    places = torch.as_tensor(np.stack([table.row, table.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        places, torch.as_tensor(table.data), table.shape, is_coalesced=True, check_invariants=False
    )


# ---- the lab


class Crowd(Dataset["Crowd"]):
    """Faces to be grouped at once, and those that settings are chosen by: the one row of a set.

    Args:
        faces: to be grouped.
        known: of other people, or the same faces where the question is how well they can be grouped.
    """

    def __init__(self, faces: Embedded, known: Embedded) -> None:
        self.faces, self.known = faces, known

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Crowd:
        if index:
            raise IndexError(index)
        return self


_THRESHOLDS: tuple[Setting, ...] = tuple(
    (float(cosine),) for cosine in np.round(np.arange(-0.5, 1.0, 0.02), 2)
)
# Faces that the filter is asked about at once.
_STEP = 512


class AdaNets(Lab[Config]):
    """Filter and graph network, learned side by side; or a method that learns nothing, in the same place.

    The graph that the network learns on is made anew in each round by the filter as it is then; the first
    round has all candidates.
    """

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self._near: dict[str, Neighbours] = {}
        self._graph: tuple[sparse.csr_array, Tensor] | None = None
        if self.learns:
            features = self.learned.vectors.shape[1]
            self.filter = AdaptiveFilter(features, config.memory, config.depth, config.dropout)
            self.network = GraphNetwork(features, config.width)

    @property
    def learns(self) -> bool:
        """Whether there is anything to learn."""
        return self.config.method == "ada-nets"

    @cached_property
    def learned(self) -> Embedded:
        """The train faces."""
        return embedded("train", many=self.config.many, most=self.config.people)

    @cached_property
    def candidates(self) -> Ids:
        """The (n, k) candidates of the train faces."""
        return self.candidates_of(self.learned)

    @cached_property
    def numbers(self) -> Ids:
        """The (n,) best numbers of candidates of the train faces."""
        return best_number(self.candidates, self.learned.person, self.config.beta)

    def near(self, faces: Embedded) -> Neighbours:
        """Return the nearest neighbours of faces by cosine."""
        if faces.sha256 not in self._near:
            self._near[faces.sha256] = neighbours(faces, self.config.neighbours)
        return self._near[faces.sha256]

    def candidates_of(self, faces: Embedded) -> Ids:
        """Return the (n, k) candidates of faces."""
        near = self.near(faces)
        return structure_space(near, self.config.eta) if self.config.structure else near.indices

    # ---- rows

    def train_rows(self) -> Dataset[Any]:
        """Return the numbers of the train faces that steps are made around; others are their neighbours."""
        count = len(self.learned)
        kept = shuffled(count, self.seed, 31)[: self.config.rows or count]
        return TensorDataset(torch.as_tensor(np.sort(kept)))

    def valid_rows(self) -> Dataset[Any]:
        """Return the faces of the people that are kept for choosing."""
        known = embedded("valid", most=self.config.people)
        return Crowd(known, known)

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return the faces of held-out people, and made ones."""
        known = embedded("valid", most=self.config.people)
        crowds = [Crowd(embedded("test", most=self.config.people), known)]
        if self.config.made:
            population = Population.fit(embedded("train", many=True))
            made = population.draw(self.config.made, 1, f"{self.config.made} faces")
            crowds.append(Crowd(made, population.draw(min(self.config.made, 10_000), 2, "for choosing")))
        return tuple(TestPart(crowd, crowd.faces.used, units=crowd.faces.person) for crowd in crowds)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the one crowd."""
        return DataLoader(self.valid_rows(), batch_size=None)

    # ---- learning

    def configure_optimizers(self) -> Any:
        """Return nothing for methods that learn nothing."""
        return super().configure_optimizers() if self.learns else None

    def on_train_epoch_start(self) -> None:
        """Make the graph of the round."""
        if self.learns:
            self._graph = self.made_graph(self.learned, self.candidates, everything=self.current_epoch == 0)
            self.train()

    def training_step(self, batch: Any, index: int) -> Tensor | None:
        """Return the sum of both losses around a batch of faces."""
        if not self.learns:
            return None
        rows = batch[0].cpu().numpy()
        candidates = self.candidates[rows]
        losses = []
        if self.config.adaptive:
            features = torch.as_tensor(self.learned.vectors[candidates], device=self.device)
            truth = torch.as_tensor(self.numbers[rows], device=self.device) / candidates.shape[1]
            losses.append(self.config.filter_part * relative_huber(self.filter(features), truth.float()))
        asked, place = np.unique(candidates, return_inverse=True)
        made = self.features_of(asked)[torch.as_tensor(place.reshape(candidates.shape), device=self.device)]
        person = torch.as_tensor(self.learned.person[candidates], device=self.device)
        losses.append(hinges(made, person, self.config.near, self.config.far))
        value = torch.stack(losses).sum()
        self.log("loss", value)
        return value

    def features_of(self, rows: Ids) -> Tensor:
        """Return the graph network's (m, width) features of (m,) train faces."""
        assert self._graph is not None
        edges, mixed = self._graph
        part = edges[rows]
        around = np.unique(part.indices)
        made: Tensor = self.network(
            mixed[torch.as_tensor(around, device=self.device)],
            _tensor(sparse.csr_array(part[:, around])).to(self.device),
        )
        return made

    # ---- grouping

    @torch.no_grad()
    def kept(self, faces: Embedded, candidates: Ids) -> Ids:
        """Return how many candidates (n,) each face keeps, by the filter."""
        self.filter.eval()
        vectors, k = torch.as_tensor(faces.vectors, device=self.device), candidates.shape[1]
        parts = [
            self.filter(vectors[torch.as_tensor(candidates[first : first + _STEP], device=self.device)])
            for first in range(0, len(candidates), _STEP)
        ]
        return np.asarray((torch.cat(parts) * k).round().clamp(1, k).long().cpu().numpy(), np.int64)

    def made_graph(
        self, faces: Embedded, candidates: Ids, *, everything: bool = False
    ) -> tuple[sparse.csr_array, Tensor]:
        """Return A of faces, and (n, d) A F; with the candidates that the filter leaves, or with all."""
        everything |= not self.config.adaptive
        all_of_them = np.full(len(candidates), candidates.shape[1], np.int64)
        edges = graph(candidates, all_of_them if everything else self.kept(faces, candidates))
        return edges, torch.as_tensor(np.asarray(edges @ faces.vectors, np.float32), device=self.device)

    @torch.no_grad()
    def links(self, faces: Embedded) -> tuple[Ids, Ids, npt.NDArray[np.float32]]:
        """Return the pairs of faces and candidates, each (m,), with the cosines of their new features."""
        candidates = self.candidates_of(faces)
        edges, mixed = self.made_graph(faces, candidates)
        made = self.network(mixed, _tensor(edges).to(self.device)).float().cpu().numpy()
        cosines: Floats = np.stack(
            [np.einsum("nd,nd->n", made, made[candidates[:, place]]) for place in range(candidates.shape[1])],
            1,
        )
        return Neighbours(candidates, cosines).links(-1.1)

    def grouper(self, faces: Embedded) -> Callable[[Setting], Ids]:
        """Return what groups faces, (n,), by a setting."""
        if not self.learns:
            method = GROUPINGS[self.config.method]
            return lambda setting: method.group(faces.vectors, self.near(faces), setting, self.seed)
        first, second, cosines = self.links(faces)

        def grouped(setting: Setting) -> Ids:
            linked = cosines >= setting[0]
            return connected(len(faces), first[linked], second[linked])

        return grouped

    def predict(self, batch: Any) -> Tensor:
        """Return the (n,) groups of a crowd, by the setting that is best for the people who are known."""
        settings = _THRESHOLDS if self.learns else GROUPINGS[self.config.method].settings
        setting, _ = choose(settings, self.grouper(batch.known), batch.known.person)
        return torch.as_tensor(self.grouper(batch.faces)(setting))

    def targets(self, batch: Any) -> Tensor:
        """Return the (n,) persons of a crowd."""
        return torch.as_tensor(batch.faces.person)

    def score(self, targets: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> float:
        """Return the mean of pairwise and B-cubed F."""
        return goodness(targets, predictions)

    def predictions(self, rows: Dataset[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return (persons, groups) of a crowd."""
        self.eval()
        assert isinstance(rows, Crowd)
        return self.targets(rows).numpy(), self.predict(rows).numpy()


LAB = AdaNets
