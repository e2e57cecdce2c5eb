"""Light CNN: competing feature maps against wrong labels (Wu et al. 2018, arXiv 1511.02683).

Three networks on grey faces of 128 px whose layers end in Max-Feature-Maps instead of ReLU (Tables 1 to 3):
Light CNN-4 after AlexNet, Light CNN-9 with 1 x 1 layers between its 3 x 3 ones, Light CNN-29 with residual
blocks. The last layer's 256 numbers are the embedding; people are told apart by a softmax over them.

Wrong labels are met by semantic bootstrapping (Section III-C): a network that was trained on them looks at
its own training faces. Those that it is sure of are taught on as what it takes them for, those whose labels
contradict it are left out, and training goes on; twice in the paper. From which probability on it is sure,
0.7, is the paper's; that a label contradicts where a guess gives it more is ours (`relabelled`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from mien.core.crops import LUMA
from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.maxfeature import MaxFeatureMap
from mien.train.recognition import RecognitionLab, RecognitionSettings

SYSTEM = System(
    id="lightcnn",
    title="A Light CNN for Deep Face Representation with Noisy Labels",
    year=2018,
    room="recognition",
    makes=(),
    claims=(
        Claim(
            text="Max-Feature-Map 2/1 beats ReLU at equal cost under wrong labels",
            protocol="6,000 pairs of 40 held-out people; 30 % of the train labels wrong, equal multiply-adds",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="Light CNN-9 on LFW: accuracy 98.30 % with ReLU, more with either MFM",
        ),
        Claim(
            text="Semantic bootstrapping helps under wrong labels",
            protocol="6,000 pairs of 40 held-out people; 30 % of the train labels wrong, as many rounds",
            metric="TAR at FAR 1 %",
            paper_value=None,
            where="MS-Celeb-1M as it is against the same, labelled anew once and twice",
        ),
    ),
)

Activation = Literal["mfm21", "mfm32", "relu"]

# How many maps a layer makes for each that it passes on.
_MAKES = {"mfm21": 2.0, "mfm32": 1.5, "relu": 1.0}


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of Light CNN.

    Attributes:
        network: number of its convolutions, by which the paper names it.
        activation: MFM 2/1, MFM 3/2, or ReLU. Layers are as much wider as the multiply-adds stay those of
            MFM 2/1.
        width: of the paper's channels.
        norm: batch normalisation behind each layer, which the paper's networks have not: few rounds need it.
        dropout: rate before the softmax.
        bootstraps: how often the labels are made anew, after half of the training first, then in equal parts
            of its rest; the paper's 2, or 0.
        sure: probability from which on a face is taught as what it is taken for.
    """

    size: int = 128
    embedding: int = 256
    network: Literal["4", "9", "29"] = "29"
    activation: Activation = "mfm21"
    width: float = 1.0
    norm: bool = False
    dropout: float = 0.7
    bootstraps: int = 0
    sure: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "4" and self.size < 57:
            raise ValueError(f"Light CNN-4 has large kernels and no padding: 57 px or more, not {self.size}")
        if self.bootstraps and (self.ema or self.bootstraps >= self.rounds):
            raise ValueError("labels are made anew between rounds, by the weights themselves: ema must be 0")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=2,
            batch=32,
            rows=128,
            size=32,
            embedding=16,
            network="9",
            width=0.1,
            norm=True,
            noise=0.3,
            bootstraps=1,
            sure=0.1,
            learning_rate=0.02,
        ),
        "cpu": Config(
            rounds=10,
            batch=32,
            learning_rate=0.1,
            weight_decay=5e-4,
            warmup=0.5,
            size=32,
            network="9",
            width=0.1875,
            norm=True,
            dropout=0.0,
            noise=0.3,
        ),
        # Section IV-A: dropout 0.7, momentum 0.9, weight decay 5e-4; batch, rate and rounds are those of the
        # authors' `train.py`, which lowers the rate to 0.457 of it every ten rounds.
        "paper": Config(
            rounds=80,
            batch=128,
            learning_rate=0.01,
            weight_decay=5e-4,
            schedule="steps",
            bootstraps=2,
        ),
    }
)

_NOTE = (
    "201 people, 30 % of whose faces have another's label; Light CNN-9 of three sixteenths of the channels, "
    "32 px and batch normalisation, 10 rounds: few faces are known surely enough to be relabelled; the rule "
    "that a label contradicts where a guess gives it more was chosen after looks at train faces of seed 0"
)
_PLAIN: tuple[str, tuple[str, ...]] = ("MFM 2/1", ())
REPRODUCE = (
    Reproduction(
        claim="Max-Feature-Map 2/1 beats ReLU at equal cost under wrong labels",
        metric="TAR at FAR 1 %",
        arms=(_PLAIN, ("ReLU", ("activation=relu",)), ("MFM 3/2", ("activation=mfm32",))),
        note=_NOTE,
    ),
    Reproduction(
        claim="Semantic bootstrapping helps under wrong labels",
        metric="TAR at FAR 1 %",
        arms=(("bootstrapped twice", ("bootstraps=2",)), _PLAIN),
        note=_NOTE,
    ),
)


def channels(base: int, config: Config) -> int:
    """Return how many maps a layer passes on for the paper's `base`, an even number.

    A layer of c maps in and out costs c (makes c) multiply-adds a place and kernel weight: at equal cost c is
    proportional to 1 / sqrt(makes).
    """
    wider = math.sqrt(_MAKES["mfm21"] / _MAKES[config.activation])
    return 2 * max(1, round(base * config.width * wider / 2))


def competing(layer: nn.Conv2d | nn.Linear, config: Config) -> nn.Sequential:
    """Return a layer with its norm, where the settings want one, and its activation."""
    if isinstance(layer, nn.Conv2d):
        norm: nn.Module = nn.BatchNorm2d(layer.out_channels)
    else:
        norm = nn.BatchNorm1d(layer.out_features)
    compete: nn.Module = nn.ReLU()
    if config.activation != "relu":
        compete = MaxFeatureMap(2 if config.activation == "mfm21" else 3)
    return nn.Sequential(layer, norm if config.norm else nn.Identity(), compete)


def convolved(
    inputs: int, outputs: int, kernel: int, config: Config, *, padded: bool = True
) -> nn.Sequential:
    """Return a convolution that passes on `outputs` maps, of the input's size where it is padded."""
    made = round(outputs * _MAKES[config.activation])
    return competing(nn.Conv2d(inputs, made, kernel, padding=kernel // 2 if padded else 0), config)


class Block(nn.Module):
    """Two 3 x 3 layers whose input is added to what they make (Figure 4); nothing follows the sum.

    Args:
        width: channels.
        config: the activation and norms.
    """

    def __init__(self, width: int, config: Config) -> None:
        super().__init__()
        self.body = nn.Sequential(convolved(width, width, 3, config), convolved(width, width, 3, config))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, h, w) of its like."""
        y: Tensor = self.body(x)
        return x + y


def _four(config: Config) -> list[nn.Module]:
    """Return the layers of Table 1 up to the last pooling."""
    layers: list[nn.Module] = []
    inputs = 1
    for base, kernel in ((48, 9), (96, 5), (128, 5), (192, 4)):
        outputs = channels(base, config)
        layers += [convolved(inputs, outputs, kernel, config, padded=False), nn.MaxPool2d(2, ceil_mode=True)]
        inputs = outputs
    return layers


def _nine(config: Config, blocks: tuple[int, int, int, int]) -> list[nn.Module]:
    """Return the layers of Table 2, or of Table 3 where there are residual blocks, up to the last pooling."""
    bases = (48, 96, 192, 128, 128)
    widths = [channels(base, config) for base in bases]
    layers: list[nn.Module] = [convolved(1, widths[0], 5, config), nn.MaxPool2d(2, ceil_mode=True)]
    for stage, count in enumerate(blocks):
        inputs, outputs = widths[stage], widths[stage + 1]
        layers += [Block(inputs, config) for _ in range(count)]
        layers += [convolved(inputs, inputs, 1, config), convolved(inputs, outputs, 3, config)]
        # The fourth stage has the third one's size: Conv4 and Conv5 are pooled together.
        if stage != 2:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return layers


class LightCNN(nn.Module):
    """One of the three networks.

    The paper's tables count 4,095, 5,556 and 12,637 thousand weights, rounded down layer by layer. They give
    Conv2 of the two larger ones 165 thousand, as if all of the 96 maps that are made before it came in; 48 do
    (as in the authors' code), so that it has 83 thousand and the networks 4,097, 5,478 and 12,565 thousand.

    Args:
        config: which network, its sizes and its activation.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        blocks = (1, 2, 3, 4) if config.network == "29" else (0, 0, 0, 0)
        self.maps = nn.Sequential(*(_four(config) if config.network == "4" else _nine(config, blocks)))
        with torch.no_grad():
            features = self.maps.eval()(torch.zeros(1, 1, config.size, config.size)).numel()
        self.maps.train()
        made = round(config.embedding * _MAKES[config.activation])
        self.head = competing(nn.Linear(features, made), config)
        self.register_buffer("luma", torch.tensor(LUMA)[:, None, None], persistent=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    luma: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, size, size) faces, 0..255; the networks see them grey, 0..1."""
        grey = (pixels * self.luma).sum(dim=1, keepdim=True) / 255
        made: Tensor = self.head(self.maps(grey).flatten(1))
        return made.float()


def relabelled(probabilities: Tensor, given: Tensor, sure: float) -> Tensor:
    """Return (n,) what each face is taught as from now on, -1 for those that are left out.

    A face that the network is sure of is taught as what it takes it for. Of the others those keep their label
    to which it gives at least as much as a guess among all people would, 1 / people.

    Args:
        probabilities: (n, people) that the network gives each face.
        given: (n,) labels.
        sure: from which probability on it is believed.
    """
    most, who = probabilities.max(dim=1)
    own = probabilities.gather(1, given[:, None])[:, 0]
    kept = torch.where(own >= 1 / probabilities.shape[1], given, -1)
    return torch.where(most >= sure, who, kept)


class Bootstrapped(RecognitionLab[Config]):
    """A Light CNN under softmax, perhaps with labels that it makes anew on the way."""

    taught: Tensor

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net = LightCNN(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.embedding, self.people)
        # With the weights, so that a run that was stopped goes on with the labels that it had made.
        self.register_buffer("taught", torch.as_tensor(self.persons(self.chosen())))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, size, size) faces, 0..255."""
        made: Tensor = self.net(pixels)
        return made

    def train_rows(self) -> Dataset[Any]:
        """Return the train faces with their persons, as given, and each row's number."""
        rows = super().train_rows()
        assert isinstance(rows, TensorDataset)
        return TensorDataset(*rows.tensors, torch.arange(len(rows)))

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the cross-entropy of jittered faces to who they are taught as."""
        pixels, _, row = batch
        labels = self.taught[row]
        logits = self.classifier(self.dropout(self.embed(self.augmented(pixels))))
        kept = (labels >= 0).sum().clamp(min=1)
        value = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / kept
        self.log("loss", value)
        return value

    def on_fit_start(self) -> None:
        """Refuse several processes where labels are made anew: each would make its own."""
        if self.config.bootstraps and self.trainer.world_size > 1:
            raise ValueError("lightcnn makes its labels anew from its own weights: train it in one process")

    def on_train_epoch_end(self) -> None:
        """Make the labels anew where a part of the training is over."""
        half, times = self.config.rounds / 2, self.config.bootstraps
        if self.current_epoch + 1 in [round(half * (1 + turn / times)) for turn in range(times)]:
            self.bootstrap()
            self.log("taught", (self.taught >= 0).float().mean())

    @torch.no_grad()
    def bootstrap(self) -> None:
        """Teach each train face as what it is taken for, as what it was given as, or not at all."""
        training = self.training
        self.eval()
        rows = self.train_rows()
        assert isinstance(rows, TensorDataset)
        made = []
        for pixels, given in zip(*(torch.split(column, 256) for column in rows.tensors[:2]), strict=True):
            logits = self.classifier(self.embed(pixels.float().to(self.device)))
            made.append(relabelled(logits.softmax(dim=1), given.to(self.device), self.config.sure))
        self.taught.copy_(torch.cat(made))
        self.train(training)


LAB = Bootstrapped
