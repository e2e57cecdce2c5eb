"""POSTER++: where the landmarks look in the picture (Mao et al. 2023, arXiv 2301.12149).

Two backbones see the face: IR-50 for the picture, and a MobileFaceNet that finds landmarks and is not changed
by the expressions. At each of three scales the maps of the landmark network are the queries, those of the
picture the keys and values of an attention within windows; nothing flows the other way, the image-to-landmark
branch of POSTER is gone. What comes out of the three scales is made into tokens of one length, and two
transformer blocks judge all of them.

The sizes are those of the authors' code (their repository POSTER_V2, `models/PosterV2_7cls.py`), where the
queries are the landmark features themselves, without a matrix of their own.

The authors' backbones come trained, IR-50 on the faces of MS-Celeb-1M, MobileFaceNet on landmarks, and the
latter stays as it is. Here both begin anew: the landmark network learns beside the rest, but only to find
what our own face mesh found, as if it had been trained apart.
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

from mien.core.labels import FER2013_EXPRESSIONS
from mien.core.system import Claim, System
from mien.data.augment import Jitter
from mien.data.landmarks import landmarks
from mien.data.reader import Images
from mien.evaluate.reproduce import Reproduction
from mien.nn.colours import ImageNetColours
from mien.nn.iresnet import ImprovedStages
from mien.nn.mobilefacenet import MobileFaceNet
from mien.train.pictures import PictureLab, PictureSettings

SYSTEM = System(
    id="poster-pp",
    title="POSTER++: A simpler and stronger facial expression recognition network",
    year=2023,
    room="expression",
    makes=("expression",),
    claims=(
        Claim(
            text="Queries from landmark features beat those from the picture itself",
            protocol="FER2013 test faces, 7 classes; one network, its windows asked by either",
            metric="accuracy",
            paper_value=None,
            where="POSTER++ is compared on RAF-DB (92.21 %) and AffectNet (67.49 %), not on FER2013",
        ),
    ),
)

_CLASSES = len(FER2013_EXPRESSIONS)


@dataclass(frozen=True)
class Config(PictureSettings):
    """Settings of POSTER++.

    Attributes:
        queries: what the windows of the picture are asked by: landmark features, or the windows themselves,
            which leaves the landmark network out.
        side: of the picture that both backbones see, px: every so many pixels of it; 16 divides it.
        width: channels at the first scale, the others have 2 and 4 times as many; the paper's is 64.
        depths: blocks of the picture's backbone in its three stages; the paper's are IR-50's first three.
        landmark_depths: bottlenecks of the landmark network at the three scales.
        windows: side of the windows at each scale; the maps' sides are a 4th, 8th and 16th of `side`.
        heads: of the attention at each scale.
        embedding: length of the transformer's tokens.
        blocks: of the transformer.
        layer_scale: what the branches beside the shortcuts of the fusion are first scaled by.
        drop_path: rates at which faces leave a branch of the fusion out, at each scale.
    """

    size: int = 224
    queries: Literal["landmarks", "image"] = "landmarks"
    side: int = 112
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 14)
    landmark_depths: tuple[int, ...] = (4, 6, 2)
    windows: tuple[int, ...] = (28, 14, 7)
    heads: tuple[int, ...] = (2, 4, 8)
    embedding: int = 768
    blocks: int = 2
    layer_scale: float = 1e-5
    drop_path: tuple[float, ...] = (0.0, 0.125, 0.25)


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1,
            batch=32,
            rows=128,
            size=32,
            side=32,
            width=4,
            depths=(1, 1, 1),
            landmark_depths=(1, 1, 1),
            windows=(4, 4, 2),
            heads=(1, 2, 4),
            embedding=16,
            blocks=1,
            layer_scale=0.1,
        ),
        # A two-thousandth of the paper's multiply-adds: what six runs in eight minutes of one core allow.
        "cpu": Config(
            rounds=2,
            batch=64,
            optimiser="adamw",
            learning_rate=4e-3,
            weight_decay=0.01,
            warmup=0.2,
            size=32,
            side=32,
            width=8,
            depths=(1, 1, 1),
            landmark_depths=(1, 1, 1),
            windows=(4, 4, 2),
            heads=(2, 4, 8),
            embedding=64,
            layer_scale=0.1,
            drop_path=(0.0, 0.0, 0.0),
        ),
        # The authors' `main.py` for RAF-DB, but for its optimiser (Adam within SAM, which looks at each batch
        # twice) and for its learning rate, which falls by 2 % each round.
        "paper": Config(rounds=200, batch=144, optimiser="adamw", learning_rate=3.5e-5, weight_decay=0.0),
    }
)

_NOTE = (
    "32 px, an eighth of the paper's channels and 2 rounds instead of 200; the paper's backbones come "
    "trained, on faces and on landmarks, here the landmark network learns beside the rest from landmarks "
    "that our face mesh found on the training faces; the windows of the image-only arm are asked by their "
    "own features, and all else is alike: the comparison is the paper's in small, the level is not"
)
REPRODUCE = (
    Reproduction(
        claim="Queries from landmark features beat those from the picture itself",
        metric="accuracy",
        arms=(("landmark queries", ()), ("image only", ("queries=image",))),
        note=_NOTE,
    ),
)

VERTICES = (
    # the jaw
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    # the brows
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    # the nose
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    # the eyes
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    # the lips' outer, then inner edge
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""Vertices of our face mesh that lie where iBUG's 68 points do, in the order of these."""


class WindowCrossAttention(nn.Module):
    """softmax(q k^T / sqrt(d) + b) v in each window of a map, by heads, then a matrix (the paper's W-MCSA).

    k and v are linear in the window's features; q are the queries as they are; b is learned for each head and
    each displacement between two places of a window.

    Args:
        width: channels.
        heads: parts that the channels are cut into, d = width / heads.
        window: side of the windows.
    """

    displacement: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = places[:, None] - places[None] + window - 1
        self.register_buffer(
            "displacement", apart[..., 0] * (2 * window - 1) + apart[..., 1], persistent=False
        )

    def forward(self, image: Tensor, queries: Tensor | None) -> Tensor:
        """Return (n, H, W, width) of an image's map of that shape.

        Args:
            image: (n, H, W, width), H and W divided by the window's side.
            queries: (n, window, window, width), the same for all windows of a picture; None lets each window
                ask with its own features.
        """
        n, height, width, channels = image.shape
        side = self.window
        rows, columns = height // side, width // side
        # (n, windows, heads, places, d)
        split = (n, rows * columns, side * side, self.heads, channels // self.heads)
        windows = image.reshape(n, rows, side, columns, side, channels).transpose(2, 3)
        windows = windows.reshape(n, rows * columns, side * side, channels)
        key, value = (
            part.reshape(split).transpose(2, 3) for part in self.key_value(windows).chunk(2, dim=-1)
        )
        if queries is None:
            query = windows.reshape(split).transpose(2, 3)
        else:
            query = queries.reshape(n, 1, *split[2:]).transpose(2, 3).expand_as(key)
        bias = self.bias[self.displacement].permute(2, 0, 1)
        scores = query @ key.transpose(-2, -1) / (channels // self.heads) ** 0.5 + bias
        made = (scores.softmax(dim=-1) @ value).transpose(2, 3)
        made = made.reshape(n, rows, columns, side, side, channels).transpose(2, 3)
        y: Tensor = self.project(made.reshape(n, height, width, channels))
        return y


class Fusion(nn.Module):
    """One scale: the picture's map, asked by the landmarks', then a layer for each place.

    x = norm(x); x = x + g1 attention(x, q); x = x + g2 MLP(norm(x)), with g1 and g2 learned for each channel.

    Args:
        width: channels.
        heads: of the attention.
        window: side of its windows.
        layer_scale: first value of g1 and g2.
        drop_path: rate at which a face leaves out a branch in training.
    """

    def __init__(self, width: int, heads: int, window: int, layer_scale: float, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = WindowCrossAttention(width, heads, window)
        self.inner_norm = nn.LayerNorm(width)
        self.places = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.attention_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.places_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.drop_path = drop_path

    def forward(self, image: Tensor, landmarks: Tensor | None) -> Tensor:
        """Return (n, width, H, W) of an image's map of that shape.

        Args:
            image: (n, width, H, W).
            landmarks: (n, width, H', W') that the windows are asked by, brought to a window's size by means;
                None lets the windows ask themselves.
        """
        if landmarks is not None:
            landmarks = functional.adaptive_avg_pool2d(landmarks, self.attention.window).permute(0, 2, 3, 1)
        x: Tensor = self.norm(image.permute(0, 2, 3, 1))
        x = x + self._dropped(self.attention_scale * self.attention(x, landmarks))
        x = x + self._dropped(self.places_scale * self.places(self.inner_norm(x)))
        return x.permute(0, 3, 1, 2)

    def _dropped(self, branch: Tensor) -> Tensor:
        """Return a branch, in training without some faces and larger for the rest, the same in the mean."""
        if not self.training or not self.drop_path:
            return branch
        keep = 1 - self.drop_path
        kept: Tensor = branch.new_empty(len(branch), 1, 1, 1).bernoulli_(keep) / keep
        return branch * kept


class Network(nn.Module):
    """The paper's network.

    Args:
        config: its sizes; the paper's has 43.7 M parameters and 8.4 G multiply-adds for a face of 224 px.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.side = config.side
        widths = (config.width, 2 * config.width, 4 * config.width)
        length = config.embedding
        self.colours = ImageNetColours()
        self.image = ImprovedStages(3, widths, config.depths)
        self.halve = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for width in widths)
        self.landmarks: MobileFaceNet | None = None
        if config.queries == "landmarks":
            self.landmarks = MobileFaceNet(
                2 * len(VERTICES), config.side, config.width, config.landmark_depths
            )
            # points begin about the middle of the picture, a tenth of its side apart
            last = self.landmarks.head[-1]
            assert isinstance(last, nn.BatchNorm1d)
            nn.init.constant_(last.weight, 0.1)
            nn.init.constant_(last.bias, 0.5)
            self.last_query = nn.Conv2d(8 * config.width, 4 * config.width, 3, padding=1)
        self.fusions = nn.ModuleList(
            Fusion(width, heads, window, config.layer_scale, rate)
            for width, heads, window, rate in zip(
                widths, config.heads, config.windows, config.drop_path, strict=True
            )
        )
        # all scales end at a 16th of the side, with no activation in between, as in the authors' code
        self.embed = nn.ModuleList(
            (
                nn.Sequential(
                    nn.Conv2d(widths[0], length, 3, 2, 1),
                    nn.Conv2d(length, length, 3, 2, 1),
                ),
                nn.Conv2d(widths[1], length, 3, 2, 1),
                nn.Conv2d(widths[2], length, 1),
            )
        )
        tokens = 3 * (config.side // 16) ** 2
        self.judge = nn.Parameter(torch.empty(1, 1, length))
        self.positions = nn.Parameter(torch.empty(1, tokens + 1, length))
        for learned in (self.judge, self.positions):
            nn.init.trunc_normal_(learned, std=0.02)
        self.transformer = nn.ModuleList(
            nn.TransformerEncoderLayer(
                length, 8, 4 * length, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
            )
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(length, eps=1e-6)
        self.gate = nn.Sequential(
            nn.Linear(length, length), nn.ReLU(), nn.Linear(length, length), nn.Sigmoid()
        )
        self.head = nn.Linear(length, _CLASSES)

    def seen(self, pixels: Tensor) -> Tensor:
        """Return (n, 3, side, side) that the backbones see of (n, 1 or 3, size, size) faces, 0..255."""
        # the nearest pixels, without smoothing, as the authors' code
        seen = functional.interpolate(self.colours(pixels.float()), self.side)
        # the layout that small convolutions are a third faster in, and that attention needs
        return seen.contiguous(memory_format=torch.channels_last)

    def found(self, pixels: Tensor) -> Tensor:
        """Return (n, 68, 2) x y, in parts of the picture's side, of faces as `forward` takes them."""
        assert self.landmarks is not None
        found: Tensor = self.landmarks(self.seen(pixels))
        return found.reshape(-1, len(VERTICES), 2)

    def queries(self, seen: Tensor) -> list[Tensor] | list[None]:
        """Return the landmark network's maps, which the expressions' loss does not reach behind."""
        if self.landmarks is None:
            return [None, None, None]
        with torch.no_grad():
            first, second, third = self.landmarks.maps(seen)
        return [first, second, self.last_query(third)]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 7) logits of (n, 1 or 3, size, size) faces, 0..255."""
        seen = self.seen(pixels)
        tokens = [self.judge.expand(len(seen), -1, -1)]
        for image, halve, queries, fuse, embed in zip(
            self.image(seen), self.halve, self.queries(seen), self.fusions, self.embed, strict=True
        ):
            tokens.append(embed(fuse(halve(image), queries)).flatten(2).transpose(1, 2))
        x = torch.cat(tokens, dim=1) + self.positions
        for block in self.transformer:
            x = block(x)
        judged = self.norm(x[:, 0])
        logits: Tensor = self.head(judged * self.gate(judged))
        return logits


def landmark_loss(found: Tensor, known: Tensor) -> Tensor:
    """Return the mean distance in x and y, over the faces whose landmarks are known.

    Args:
        found: (n, points, 2).
        known: (n, points, 2); NaN where a face's are not.
    """
    use = ~known.isnan()
    apart = (found - known.nan_to_num()).abs() * use
    return apart.sum() / use.sum().clamp(min=1)


SURE = 0.5
"""Presence of a face from which the mesh is believed."""

# The authors' training pictures are mirrored and greyed out in places, by chance.
JITTER = Jitter(mirror=True, erase=0.3)


class PosterPP(PictureLab[Config]):
    """The network on FER2013's own labels, its landmark network on what our face mesh found."""

    dataset = "fer2013"
    columns = ("emotion",)
    grey = True

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net: Network = Network(config)

    def labels(self, images: Images) -> tuple[npt.NDArray[Any], ...]:
        """Return (n,) emotions; to learn from also (n, 68, 2) landmarks, NaN where the mesh sees no face."""
        labels = super().labels(images)
        if images.split != "train" or self.net.landmarks is None:
            return labels
        found = landmarks(images)
        points = found.points([(vertex,) for vertex in VERTICES])
        return *labels, np.where(found.presence[:, None, None] > SURE, points, np.nan)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the cross-entropy on jittered faces, plus the landmark loss on the faces as they are."""
        pixels, emotions, *known = batch
        value = functional.cross_entropy(self.net(JITTER(pixels)), emotions)
        self.log("loss", value)
        for points in known:
            apart = landmark_loss(self.net.found(pixels), points)
            self.log("landmarks", apart)
            value = value + apart
        return value


LAB = PosterPP
