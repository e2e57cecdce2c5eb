"""VGGFace2: people with many pictures each, and recognition probed across pose and age.

Cao et al. 2018 (arXiv 1710.08092). The set has 9,131 people with 363 pictures each, "deeper" than sets of
many people with few pictures. The paper trains ResNet-50 and SE-ResNet-50 on it with softmax over its people
(Section V), every batch balanced over people, a fifth of the pictures without colour. The embedding is what
the classifier sees; the authors' later models have a layer of 128 or 256 before it.

It is probed with templates: means of the embeddings of five pictures of a person in one pose, or at one age
(Section IV). Each cell of the matrix of poses, or of ages, is a part of the test rows here; on VGGFace2
itself the templates are the official ones, on `identities` they are drawn by the pose of our landmarks.
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
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mien.core.crops import LUMA
from mien.core.system import Claim, DataUsed, System
from mien.data.overlap import disjoint
from mien.data.people import drawn_pairs, people
from mien.data.poses import poses
from mien.data.reader import Images, load
from mien.evaluate import probing
from mien.evaluate.probing import Probe
from mien.evaluate.reproduce import Reproduction
from mien.nn.bottleneck import BottleneckNet
from mien.train.lab import TestPart
from mien.train.recognition import TEST_PAIRS, PairRows, RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="vggface2",
    title="VGGFace2: A dataset for recognising faces across pose and age",
    year=2018,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="Few people with many pictures teach more than many people with few",
            protocol="pairs of held-out people, and of their templates in each two poses; as many pictures "
            "to train on, three times as many of a third of the people",
            metric="ROC AUC",
            paper_value=None,
            where="Section V: similarity across poses is higher after VGGFace2 than after MS-Celeb-1M",
        ),
        Claim(
            text="Templates of one person are more alike across poses after few people with many pictures",
            protocol="held-out people: their pairs, and those of their templates in each two poses, of one "
            "person; as many pictures to train on",
            metric="similarity of one person",
            paper_value=None,
            where="Section V, the matrices of similarity across poses, after VGGFace2 and after MS-Celeb-1M",
        ),
        Claim(
            text="Squeeze and excitation recognise better than the residual network alone",
            protocol="pairs of held-out people, and pairs of their templates in each two poses",
            metric="ROC AUC",
            paper_value=None,
            where="IJB-B, TAR at FAR 0.1 %, from scratch: 88.8 % of SE-ResNet-50, 87.8 % of ResNet-50",
        ),
    ),
)

POSES = ("frontal", "three-quarter", "profile")
AGES = ("young", "mature")

# Of the yaw, degrees. `identities` shows hardly a true profile: the third group is what is most turned.
_TURNED = (10.0, 25.0)
_VALID_PAIRS = 500
# VGGFace2's pictures are twice as wide as the box around the face; the networks see 1.3 times its width
# (Section V-A).
_LOOSE = (0.175, 0.175, 0.825, 0.825)


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of VGGFace2; the defaults are SE-ResNet-50 on the set itself.

    Attributes:
        source: the set; `identities` is cut to ArcFace's template.
        embedding: of a linear layer before the classifier; 0 has none, and the embedding is what the network
            gives.
        depths: blocks of each stage.
        middles: channels of the 3 x 3 convolutions of each stage.
        outputs: channels of each stage.
        stem: channels of the first convolution.
        pool: halve the picture once more behind it.
        excitation: reduction of squeeze and excitation; 0 is ResNet.
        persons: train on this many people that have `each` pictures, drawn by the seed; 0 takes everybody.
        each: pictures of each of them.
        grey: part of the training pictures that lose their colours.
        template: pictures of a template, where they are drawn.
    """

    source: Literal["vggface2", "identities"] = "vggface2"
    size: int = 224
    embedding: int = 0
    depths: tuple[int, ...] = (3, 4, 6, 3)
    middles: tuple[int, ...] = (64, 128, 256, 512)
    outputs: tuple[int, ...] = (256, 512, 1024, 2048)
    stem: int = 64
    pool: bool = True
    excitation: int = 16
    persons: int = 0
    each: int = 0
    grey: float = 0.2
    template: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.persons) != bool(self.each):
            raise ValueError("persons and each go together: give both or none")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            source="identities",
            rounds=1,
            batch=32,
            rows=128,
            size=32,
            depths=(1, 1),
            middles=(4, 8),
            outputs=(8, 16),
            stem=8,
            excitation=4,
            template=2,
        ),
        "cpu": Config(
            source="identities",
            rounds=24,
            batch=42,
            learning_rate=0.05,
            weight_decay=5e-4,
            warmup=2.0,
            size=48,
            depths=(1, 1, 1, 1),
            middles=(16, 32, 48, 64),
            outputs=(32, 64, 96, 128),
            stem=16,
            pool=False,
            excitation=4,
            persons=62,
            each=21,
            template=2,
        ),
        # Section V-A: 224 of 256 px, balanced batches of 256, from 0.1, a tenth of it where errors do not
        # fall any more, twice. Rounds and weight decay are not said.
        "paper": Config(
            rounds=20, batch=256, pictures=1, learning_rate=0.1, weight_decay=1e-4, schedule="steps"
        ),
    }
)

_NOTE = (
    "VGGFace2 is not here: 1,302 pictures of `identities`, faces of 48 px, a small SE-ResNet; templates of "
    "two pictures instead of five, by the yaw of five landmarks, of 25 of the 40 held-out people; the pose "
    "called profile is whatever is turned by 25 degrees or more. Ages are not known of this set"
)
_DEEP: tuple[str, tuple[str, ...]] = ("62 people, 21 pictures each", ())
_WIDE = ("186 people, 7 pictures each", ("persons=186", "each=7"))
_PLAIN = ("62 people, 21 pictures each, without excitation", ("excitation=0",))
REPRODUCE = (
    Reproduction(
        claim="Few people with many pictures teach more than many people with few",
        metric="ROC AUC",
        arms=(_DEEP, _WIDE),
        note=_NOTE,
    ),
    Reproduction(
        claim="Templates of one person are more alike across poses after few people with many pictures",
        metric="similarity of one person",
        arms=(_DEEP, _WIDE, _PLAIN),
        note=f"{_NOTE}. The similarity of two people may rise with that of one: ROC AUC sees both",
    ),
    Reproduction(
        claim="Squeeze and excitation recognise better than the residual network alone",
        metric="ROC AUC",
        arms=(_DEEP, _PLAIN),
        note=_NOTE,
    ),
)


def posed(yaw: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return the (n,) place in `POSES` of (n,) yaws in degrees, to either side."""
    return np.asarray(np.digitize(np.abs(yaw), _TURNED), np.int64)


def chosen(person: npt.NDArray[np.int64], persons: int, each: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the rows, ascending, of some people with some of their pictures each.

    Args:
        person: (n,) who each row shows.
        persons: how many people.
        each: pictures of each.
        seed: of the draws.

    Raises:
        ValueError: too few people have as many pictures.
    """
    random = np.random.default_rng((seed, 29))
    names, counts = np.unique(person, return_counts=True)
    names = names[counts >= each]
    if len(names) < persons:
        raise ValueError(f"{len(names)} people have {each} pictures, not {persons}")
    taken = random.choice(names, persons, replace=False)
    rows = [random.choice(np.flatnonzero(person == who), each, replace=False) for who in taken.tolist()]
    return np.sort(np.concatenate(rows))


def monochrome(pixels: Tensor, share: float) -> Tensor:
    """Take the colours out of a share of (n, 3, H, W) pictures, drawn from torch's global generator."""
    luma = torch.tensor(LUMA, dtype=pixels.dtype, device=pixels.device)
    grey = (pixels * luma[:, None, None]).sum(dim=1, keepdim=True).expand_as(pixels)
    drawn = torch.rand(len(pixels)).to(pixels.device) < share
    return torch.where(drawn[:, None, None, None], grey, pixels)


class TemplatePairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Pairs of templates: (k, C, H, W) uint8 of the one, of the other, and 1 where they show one person.

    Args:
        images: the faces.
        probe: templates of their rows.
        one: the group of the first of a pair.
        other: that of the second.
    """

    def __init__(self, images: Images, probe: Probe, one: int, other: int) -> None:
        self.images, self.probe = images, probe
        self.first, self.second = probe.compared(one, other)
        self.same = probe.person[self.first] == probe.person[self.second]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        first, second = (
            _pixels(self.images, self.probe.rows[side[index]]) for side in (self.first, self.second)
        )
        return first, second, torch.tensor(int(self.same[index]))


class Recogniser(nn.Module):
    """ResNet with or without squeeze and excitation, perhaps a layer behind it, and a classifier of people.

    The paper's sizes and 8,631 people make 41,192,951 parameters, 43,723,943 with squeeze and excitation.

    Args:
        config: its sizes.
        persons: how many people it tells apart.
    """

    def __init__(self, config: Config, persons: int) -> None:
        super().__init__()
        self.body = BottleneckNet(
            config.depths,
            config.middles,
            config.outputs,
            stem=config.stem,
            pool=config.pool,
            excitation=config.excitation,
            halving="first",
        )
        features = self.body.features
        self.layer: nn.Module = nn.Linear(features, config.embedding) if config.embedding else nn.Identity()
        self.classifier = nn.Linear(config.embedding or features, persons)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, d) float, of any lengths, of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.layer(self.body((pixels - 127.5) / 64))
        return made.float()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, persons) logits of (n, 3, size, size) faces, 0..255."""
        logits: Tensor = self.classifier(self.embed(pixels))
        return logits


class VggFace2(RecognitionLab[Config]):
    """ResNet or SE-ResNet with softmax over people, tested on pairs of pictures and of templates."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = Recogniser(config, self.people)

    def images(self, part: Literal["train", "valid", "test"]) -> Images:
        """Return the faces of a part, the column `person` telling who they show.

        Of VGGFace2, "valid" is every fiftieth person of the official train split, "test" the official one.
        """
        if self.config.source == "identities":
            return people(part, self.config.size)
        images = load("vggface2", "test" if part == "test" else "train", size=self.config.size, crop=_LOOSE)
        columns = MappingProxyType({**images.columns, "person": images.columns["identity"].astype(np.int64)})
        named = Images(images.name, part, images.pixels, columns, images.hashes, images.mapped)
        kept = columns["person"] % 50 == 0
        return named if part == "test" else named.take(kept if part == "valid" else ~kept)

    def chosen(self) -> Images:
        """Return the faces to train on: as many people and pictures of each as the settings say."""
        train = self.images("train")
        disjoint(train, self.images("valid"), self.images("test"))
        if self.config.persons:
            train = train.take(
                chosen(train.columns["person"], self.config.persons, self.config.each, self.seed)
            )
        if self.config.rows:
            kept = np.random.default_rng(self.seed).permutation(len(train))[: self.config.rows]
            train = train.take(np.sort(kept))
        return train

    def augmented(self, pixels: Tensor) -> Tensor:
        """Return jittered (n, 3, H, W) float faces, some of them without colour."""
        return monochrome(super().augmented(pixels), self.config.grey)

    def valid_rows(self) -> Dataset[Any]:
        """Return pairs of people that are kept for choosing: few, as rounds here are short."""
        images = self.images("valid")
        return PairRows(images, drawn_pairs(images.columns["person"], _VALID_PAIRS))

    def probes(self, images: Images) -> list[Probe]:
        """Return the templates of the test faces: the official ones, or of poses by the landmarks' yaw."""
        person = images.columns["person"]
        if self.config.source == "identities":
            pose = posed(poses(images)[:, 0])
            return [probing.drawn(person, pose, POSES, pictures=self.config.template)]
        named = (("pose_template", POSES), ("age_template", AGES))
        return [
            probing.listed(person, images.columns[column], groups)
            for column, groups in named
            if column in images.columns
        ]

    def test_parts(self) -> tuple[TestPart, ...]:
        """Return pairs of held-out people, and of their templates in each two groups of pose or age."""
        images = self.images("test")
        person = images.columns["person"]
        pairs = drawn_pairs(person, TEST_PAIRS)
        units = np.stack([person[pairs.first], person[pairs.second]], axis=1)
        used = DataUsed(images.name, f"pairs of {images.split}", len(pairs), images.sha256)
        parts = [TestPart(PairRows(images, pairs), used, units=units)]
        for probe in self.probes(images):
            for one in range(len(probe.groups)):
                for other in range(one, len(probe.groups)):
                    rows = TemplatePairs(images, probe, one, other)
                    name = f"templates {probe.groups[one]} and {probe.groups[other]}"
                    units = np.stack([probe.person[rows.first], probe.person[rows.second]], axis=1)
                    parts.append(
                        TestPart(rows, DataUsed(images.name, name, len(rows), images.sha256), units=units)
                    )
        return tuple(parts)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, d) of (n, 3, size, size) faces, 0..255."""
        return self.net.embed(pixels)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the cross-entropy of jittered faces."""
        pixels, persons = batch
        value = functional.cross_entropy(self.net(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value

    def predict(self, batch: Any) -> Tensor:
        """Return the (n,) cosines of a batch of pairs, of pictures or of templates."""
        first, second, _ = batch
        if first.ndim == 4:
            return super().predict(batch)
        made = functional.normalize(self.embed(torch.cat([first, second]).flatten(0, 1).float()))
        one, other = made.reshape(-1, first.shape[1], made.shape[1]).mean(dim=1).chunk(2)
        return functional.cosine_similarity(one, other)

    @torch.no_grad()
    def predictions(self, rows: Dataset[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return (targets, predictions) over rows, each picture of a template embedded once."""
        if not isinstance(rows, TemplatePairs):
            return super().predictions(rows)
        vectors = rows.probe.vectors(self.embeddings(rows.images, rows.probe))
        cosines = (vectors[rows.first] * vectors[rows.second]).sum(axis=1)
        return rows.same.astype(np.int64), np.asarray(cosines)

    @torch.no_grad()
    def embeddings(self, images: Images, probe: Probe) -> npt.NDArray[np.floating]:
        """Return (n, d) of unit length of the pictures that templates are made of, zeros of others."""
        self.eval()
        used = np.unique(probe.rows)
        batches = DataLoader(TensorDataset(_pixels(images, used)), 128)
        made = torch.cat([functional.normalize(self.embed(pixels.float())) for (pixels,) in batches])
        vectors = np.zeros((len(images), made.shape[1]), np.float32)
        vectors[used] = made.numpy()
        return vectors


def _pixels(images: Images, rows: npt.NDArray[np.int64]) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(np.asarray(images.pixels[rows]).transpose(0, 3, 1, 2)))


LAB = VggFace2
