"""CAST: a network cleans the faces that the next one learns from (Zhu et al. 2021, arXiv 2103.04098).

Pictures that a search engine gives for a name are mostly of that person, with others among them, and one
person may be found under two names. "Cleaning Automatically by Self-Training" goes round:

1. a teacher embeds every picture of the uncleaned set;
2. within each folder the pictures are clustered by DBSCAN; the largest cluster stays, the others go;
3. of the folders' mean embeddings those that are alike are of one person: beyond the one cosine two folders
   become one, between two cosines the smaller folder goes, as nobody knows;
4. a student learns from what is left, from the beginning, and is the next teacher - of the uncleaned set
   again, so that what went by mistake comes back.

The paper begins with a teacher from another, public set (MS1MV2) and goes round three times. Here the first
teacher learns from the uncleaned set itself, as nothing else of the same people is at hand: it finds what it
has not learned by heart. What is planted is known: pictures under a wrong name, and people under two names.

Its protocol of evaluation under a time constraint, FRUITS, is `benchmarks/fruits.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import DBSCAN
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mien.core.system import Claim, DataUsed, System
from mien.data.people import people
from mien.data.reader import Images
from mien.evaluate.reproduce import Reproduction
from mien.nn.embedder import Embedder
from mien.nn.ir50 import IR50
from mien.nn.margins import MarginSoftmax
from mien.train.lab import TestPart
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="webface260m",
    title="WebFace260M: A Benchmark Unveiling the Power of Million-Scale Deep Face Recognition",
    year=2021,
    room="recognition",
    makes=("embeddings",),
    claims=(
        Claim(
            text="Planted noise is found better by three networks in turn than by the first teacher alone",
            protocol="a fifth of the pictures moved to other people's folders, a fifth of the people in two "
            "folders; which pictures go, and which folders become one",
            metric="F1",
            paper_value=None,
            where="its section on CAST: recognition gains with each turn of cleaning",
        ),
        Claim(
            text="More of the planted noise is found than by the first teacher alone",
            protocol="the same",
            metric="recall",
            paper_value=None,
            where="its section on CAST",
        ),
        Claim(
            text="What is found is noise more often than when the first teacher alone says so",
            protocol="the same",
            metric="precision",
            paper_value=None,
            where="its section on CAST",
        ),
    ),
)

Ints = npt.NDArray[np.int64]

GONE = -1
"""The folder of a picture, or of a folder, that was thrown out."""


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of CAST; `noise` is the part of the pictures that lie in a wrong folder.

    Attributes:
        split: part of the people whose pictures lie in two folders.
        iterations: how often a network is learned, the first one from the uncleaned set; they share `rounds`.
        neighbour: cosine from which two pictures of a folder are neighbours (DBSCAN's 1 - eps).
        neighbours: pictures within that cosine, itself included, that make one a core of a cluster.
        merge: cosine of two folders' means from which they become one.
        doubtful: cosine of two folders' means from which the smaller one goes.
        margin: of ArcFace, radians.
        scale: of the cosines.
        network: the small one that is compared, or the paper's ResNet-100.
    """

    noise: float = 0.2
    split: float = 0.2
    iterations: int = 3
    neighbour: float = 0.5
    neighbours: int = 3
    merge: float = 0.7
    doubtful: float = 0.5
    margin: float = 0.5
    scale: float = 64.0
    network: Literal["embedder", "ir-100"] = "embedder"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or self.rounds % self.iterations:
            raise ValueError(f"{self.rounds} rounds cannot be shared by {self.iterations} networks")
        if self.pictures or self.ema or self.schedule == "plateau":
            raise ValueError("several networks in one run go without P x K batches, averages and plateaus")
        if not self.doubtful <= self.merge:
            raise ValueError(f"doubtful must not be above merge: {self.doubtful}, {self.merge}")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=2,
            iterations=2,
            batch=32,
            learning_rate=2e-3,
            optimiser="adamw",
            size=32,
            embedding=16,
            rows=160,
            scale=16.0,
            margin=0.1,
            neighbour=0.3,
        ),
        "cpu": Config(
            rounds=27,
            batch=32,
            optimiser="adamw",
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup=0.5,
            size=32,
            embedding=128,
            scale=16.0,
            margin=0.1,
            # Chosen with the noise of a seed that no arm has: a small network's faces are further apart and
            # its folders nearer than ResNet-100's.
            neighbour=0.4,
            neighbours=4,
            merge=0.8,
            doubtful=0.7,
        ),
        # ResNet-100 under ArcFace; folders become one beyond 0.7, the smaller one goes beyond 0.5. How near
        # DBSCAN's neighbours are the paper does not say.
        "paper": Config(
            rounds=60, batch=512, learning_rate=0.1, weight_decay=5e-4, network="ir-100", many=True
        ),
    }
)

_NOTE = (
    "207 people at 32 px and a small network instead of 4 million at 112 px and ResNet-100; the first "
    "teacher learns from the uncleaned set itself, the paper's from a public one, so it learns to tell the "
    "two folders of one person apart; the cosines were chosen with the noise of another seed. The third arm "
    "learns as long as all three networks together, then cleans once"
)

_ARMS = (
    ("CAST, three networks", ()),
    ("the first teacher alone", ("iterations=1", "rounds=9")),
    ("one network of as many rounds", ("iterations=1",)),
)

REPRODUCE = tuple(
    Reproduction(claim=claim.text, metric=claim.metric, arms=_ARMS, note=_NOTE) for claim in SYSTEM.claims
)


@dataclass(frozen=True, eq=False)
class Planted:
    """An uncleaned set of which all that is wrong is known.

    Attributes:
        folder: (n,) the folder that each picture lies in, 0..f - 1.
        wrong: (n,) bool, whether it shows somebody else than its folder is of.
        person: (f,) the person that each folder is of.
    """

    folder: Ints
    wrong: npt.NDArray[np.bool_]
    person: Ints


def plant(person: Ints, noise: float, split: float, random: np.random.Generator) -> Planted:
    """Spoil a clean set.

    Args:
        person: (n,) who each picture shows, 0..p - 1.
        noise: part of the pictures that are moved to the folder of another person.
        split: part of the people whose pictures are dealt to two folders.
        random: of the draws.
    """
    count = int(person.max()) + 1
    twins = np.flatnonzero(random.permutation(count) < round(split * count))
    owner = np.concatenate([np.arange(count), twins])
    second = np.full(count, GONE)
    second[twins] = count + np.arange(len(twins))
    folder = np.where((second[person] >= 0) & (random.random(len(person)) < 0.5), second[person], person)
    wrong = random.random(len(person)) < noise
    for row in np.flatnonzero(wrong).tolist():
        others = np.flatnonzero(owner != person[row])
        if len(others):
            folder[row] = random.choice(others)
    return Planted(folder.astype(np.int64), owner[folder] != person, owner)


def within_folders(
    vectors: npt.NDArray[Any], folder: Ints, neighbour: float, neighbours: int
) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: the pictures of the largest cluster of each folder (intra-class cleaning).

    Args:
        vectors: (n, d) of unit length.
        folder: (n,) of each picture.
        neighbour: cosine from which two pictures are neighbours.
        neighbours: that make a picture a core of a cluster, itself included; a folder without a core goes.
    """
    kept = np.zeros(len(folder), bool)
    for one in np.unique(folder).tolist():
        rows = np.flatnonzero(folder == one)
        apart = np.clip(1 - vectors[rows] @ vectors[rows].T, 0, None)
        cluster = DBSCAN(eps=1 - neighbour, min_samples=neighbours, metric="precomputed").fit_predict(apart)
        if (cluster >= 0).any():
            kept[rows] = cluster == np.bincount(cluster[cluster >= 0]).argmax()
    return kept


def among_folders(means: npt.NDArray[Any], sizes: npt.NDArray[Any], merge: float, doubtful: float) -> Ints:
    """Return (f,) the folder that each folder becomes, or `GONE` (inter-class cleaning).

    Pairs of folders are taken from the most alike on. Folders that have become one go by the largest of them,
    and are as large as all of them.

    Args:
        means: (f, d) mean embeddings of unit length.
        sizes: (f,) pictures of each; those of none are left alone.
        merge: cosine from which two folders are of one person.
        doubtful: cosine from which only one of two folders, the larger one, is kept.
    """
    becomes = np.arange(len(means))
    size = np.array(sizes, np.int64)
    cosine = means @ means.T
    first, second = np.nonzero(np.triu(cosine >= doubtful, 1) & (np.minimum.outer(size, size) > 0))
    for pair in np.argsort(-cosine[first, second], kind="stable").tolist():
        one, other = becomes[first[pair]], becomes[second[pair]]
        if one == other or GONE in (one, other):
            continue
        larger, smaller = (one, other) if size[one] >= size[other] else (other, one)
        alike = cosine[first[pair], second[pair]] >= merge
        becomes[becomes == smaller] = larger if alike else GONE
        if alike:
            size[larger] += size[smaller]
    return becomes.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Cleaned:
    """What cleaning made of a set.

    Attributes:
        folder: (n,) the folder of each picture now, or `GONE`.
        kept: (n,) bool: what intra-class cleaning left in its folder.
        becomes: (f,) what each folder has become, or `GONE`.
    """

    folder: Ints
    kept: npt.NDArray[np.bool_]
    becomes: Ints


def clean(vectors: npt.NDArray[Any], folder: Ints, folders: int, config: Config) -> Cleaned:
    """Clean a set by a teacher's (n, d) embeddings of unit length; `folder` is (n,), 0..folders - 1."""
    kept = within_folders(vectors, folder, config.neighbour, config.neighbours)
    sums = np.zeros((folders, vectors.shape[1]))
    np.add.at(sums, folder[kept], vectors[kept])
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    sizes = np.bincount(folder[kept], minlength=folders)
    becomes = among_folders(means, sizes, config.merge, config.doubtful)
    return Cleaned(np.where(kept, becomes[folder], GONE), kept, becomes)


class Cast(RecognitionLab[Config]):
    """Networks that clean each other's set; judged by what of the planted noise the last one finds.

    `label` holds the folder that each train row is learned under, `GONE` where it is not learned. Test rows
    are decisions of the cleaning: (row, -1) whether a picture goes, (a, b) whether two folders become one.
    """

    label: Tensor

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.images = self.chosen()
        _, person = np.unique(self.images.columns["person"], return_inverse=True)
        random = np.random.default_rng((seed, 97))
        self.planted = plant(person, config.noise, config.split, random)
        self.register_buffer("label", torch.as_tensor(self.planted.folder))
        self.net, self.head = self._student()

    def chosen(self) -> Images:
        """Return the train faces; whole people of them, drawn by the seed, until there are `config.rows`."""
        train = people("train", self.config.size, many=self.config.many)
        if not self.config.rows:
            return train
        person = train.columns["person"]
        drawn = np.random.default_rng(self.seed).permutation(np.unique(person))
        counts = np.array([(person == who).sum() for who in drawn.tolist()])
        enough = 1 + int(np.searchsorted(np.cumsum(counts), self.config.rows))
        return train.take(np.isin(person, drawn[:enough]))

    def _student(self) -> tuple[nn.Module, MarginSoftmax]:
        config = self.config
        net = (
            Embedder(config.embedding)
            if config.network == "embedder"
            else IR50(config.size, config.embedding, dropout=0.0, depths=(3, 13, 30, 3))
        )
        folders = len(self.planted.person)
        return net, MarginSoftmax(config.embedding, folders, "arcface", config.margin, config.scale)

    @property
    def share(self) -> int:
        """Rounds that each network learns."""
        return self.config.rounds // self.config.iterations

    def train_rows(self) -> Dataset[Any]:
        """Return all train faces with their own row: what they are learned as changes."""
        return TensorDataset(self._pixels(), torch.arange(len(self.images)))

    def _pixels(self) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(np.asarray(self.images.pixels).transpose(0, 3, 1, 2)))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces."""
        made: Tensor = self.net(pixels)
        return made

    def on_train_epoch_start(self) -> None:
        """Where a network has learned its share: clean the set by it, and begin with the next one."""
        if self.current_epoch == 0 or self.current_epoch % self.share:
            return
        folder = self.cleaned().folder
        # A teacher that finds next to nobody has nothing to teach: the set stays as it was.
        if (folder != GONE).sum() >= self.config.batch:
            self.label.copy_(torch.as_tensor(folder))
        torch.manual_seed(hash((self.seed, self.current_epoch)) % 2**63)
        net, head = self._student()
        self.net.load_state_dict(net.state_dict())
        self.head.load_state_dict(head.state_dict())
        self.trainer.optimizers[0].state.clear()
        self.train()

    def configure_optimizers(self) -> Any:
        """Return the settings' optimiser; every network goes through the whole schedule in its share."""
        made = super().configure_optimizers()
        scheduler: LambdaLR = made["lr_scheduler"]["scheduler"]
        networks = self.config.iterations
        steps = int(self.trainer.estimated_stepping_batches) // networks
        whole = scheduler.lr_lambdas[0]
        scheduler.lr_lambdas = [lambda step: whole(step % steps * networks)] * len(scheduler.lr_lambdas)
        return made

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return ArcFace's loss of those pictures of a batch that are learned."""
        pixels, rows = batch
        label = self.label[rows]
        learned = label != GONE
        # A norm over a batch needs two.
        if int(learned.sum()) < 2:
            return 0.0 * self.head.centres.sum()
        made = self.embed(self.augmented(pixels[learned]))
        loss: Tensor = self.head(made, label[learned])
        self.log("loss", loss, prog_bar=True)
        return loss

    @torch.no_grad()
    def cleaned(self) -> Cleaned:
        """Clean the set, as it was before any cleaning, by the network as it is now."""
        training = self.training
        self.eval()
        loader = DataLoader(TensorDataset(self._pixels()), 256)
        vectors = torch.cat([self.embed(pixels.to(self.device).float()).cpu() for (pixels,) in loader])
        self.train(training)
        unit = nn.functional.normalize(vectors).numpy()
        return clean(unit, self.planted.folder, len(self.planted.person), self.config)

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return whether each picture is in a wrong folder, and whether each two folders show one person."""
        planted, images = self.planted, self.images
        rows = np.stack([np.arange(len(images)), np.full(len(images), GONE)], axis=1)
        pictures = TensorDataset(torch.as_tensor(rows), torch.as_tensor(planted.wrong.astype(np.int64)))
        first, second = np.triu_indices(len(planted.person), 1)
        owners = np.stack([planted.person[first], planted.person[second]], axis=1)
        pairs = TensorDataset(
            torch.as_tensor(np.stack([first, second], axis=1)),
            torch.as_tensor((owners[:, 0] == owners[:, 1]).astype(np.int64)),
        )
        of_pictures = DataUsed(images.name, "train pictures in wrong folders", len(rows), images.sha256)
        of_folders = DataUsed(images.name, "pairs of train folders", len(pairs), images.sha256)
        return (
            TestPart(pictures, of_pictures, units=planted.person[planted.folder]),
            TestPart(pairs, of_folders, units=owners),
        )

    def predictions(self, rows: Dataset[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return (targets, decisions) over test rows, or what validation compares over its pairs."""
        if not isinstance(rows, TensorDataset):
            return super().predictions(rows)
        made = self.cleaned()
        place, targets = (part.numpy() for part in rows.tensors)
        if (place[:, 1] == GONE).all():
            return targets, (~made.kept[place[:, 0]]).astype(np.int64)
        one, other = made.becomes[place[:, 0]], made.becomes[place[:, 1]]
        return targets, ((one == other) & (one != GONE)).astype(np.int64)


LAB = Cast
