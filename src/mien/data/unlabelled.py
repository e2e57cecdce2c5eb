"""All faces at hand without their labels, placed alike: what a recogniser learns from its teacher on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mien.core import geometry
from mien.core.crops import TEMPLATES
from mien.data.augment import Jitter
from mien.data.order import Shuffled
from mien.data.people import CELEBA_SQUARE, people
from mien.data.reader import Images, load

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Crowd:
    """Faces of several sets, each cut as ArcFace's template does it whatever its set's own crops are.

    Attributes:
        parts: the sets' pictures, of any sizes, RGB or grey.
        places: for each set the (2, 3) map from places in the template's crop to places in its pictures, both
            in parts of the width and height. What lies outside of a picture repeats its edge.
        rows: (n,) which rows there are, counted through the parts.
    """

    parts: tuple[Images, ...]
    places: tuple[Matrix, ...]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def hashes(self) -> npt.NDArray[np.bytes_]:
        """(n,) of each picture's content at full size, as `Images` has them."""
        return np.concatenate([part.hashes for part in self.parts])[self.rows]

    @property
    def sha256(self) -> str:
        """SHA-256 of the pictures at full size, in their order, and of where faces lie in them."""
        places = np.concatenate([place.ravel() for place in self.places]).round(6)
        return hashlib.sha256(self.hashes.tobytes() + places.tobytes()).hexdigest()

    def without(self, gone: npt.NDArray[np.bool_]) -> Crowd:
        """Return the faces that are not among (n,) those gone."""
        return Crowd(self.parts, self.places, self.rows[~gone])

    def faces(self, chosen: npt.NDArray[np.int64], size: int, affine: Tensor | None = None) -> Tensor:
        """Return (m, 3, size, size) float faces, 0..255.

        Args:
            chosen: (m,) of the n faces.
            size: side of the crops, px.
            affine: (m, 2, 3) maps from where a crop's pixel lands to where it comes from, both -1..1 within
                the template's crop, as `Jitter` draws them; None changes nothing.
        """
        rows = self.rows[chosen]
        if affine is None:
            affine = torch.eye(2, 3).expand(len(rows), 2, 3)
        made = torch.zeros(len(rows), 3, size, size)
        first = 0
        for part, place in zip(self.parts, self.places, strict=True):
            here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
            if len(here):
                pixels = np.stack([np.asarray(part.pixels[row - first]) for row in rows[here].tolist()])
                pictures = torch.as_tensor(pixels.transpose(0, 3, 1, 2)).float()
                grid = functional.affine_grid(
                    _composed(affine[here], place), [len(here), 1, size, size], align_corners=False
                )
                cut = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
                made[here] = cut.expand(-1, 3, -1, -1)
            first += len(part)
        return made


def crowd() -> Crowd:
    """Return the train faces of `identities`, `celeba10k`, `utkface` and `fer2013`, without anybody's name.

    People of `identities` that runs are chosen or judged by are not among them.
    """
    known = load("identities", "train")
    kept = np.isin(known.hashes, people("train", known.pixels.shape[1]).hashes)
    x1, y1, x2, y2 = CELEBA_SQUARE
    arcface = TEMPLATES["arcface"].points
    sets = (
        (known, np.eye(2, 3)),
        (load("celeba10k", "train"), np.array([[x2 - x1, 0, x1], [0, y2 - y1, y1]])),
        *(
            (load(name, "train"), geometry.similarity(arcface, TEMPLATES[name].points))
            for name in ("utkface", "fer2013")
        ),
    )
    count = sum(len(images) for images, _ in sets)
    chosen = np.ones(count, bool)
    chosen[: len(known)] = kept
    return Crowd(
        tuple(images for images, _ in sets), tuple(place for _, place in sets), np.flatnonzero(chosen)
    )


@dataclass(frozen=True, eq=False)
class Views:
    """Faces as a teacher is shown them once, in blocks that can be made again: what it said stays true.

    Each pass shows every face once, turned and moved a little. Half of them are blended with another face:
    blends fill the space between the faces that there are (Beyer et al. 2022, arXiv 2106.05237).

    Attributes:
        faces: that are shown.
        size: side of the crops, px.
        passes: how many.
        block: faces of one block.
        turn: largest, degrees; half of the faces are mirrored, too.
        zoom: largest, part of the size.
        move: largest, part of the side.
        seed: of all that is drawn.
    """

    faces: Crowd
    size: int
    passes: int
    block: int = 64
    turn: float = 6.0
    zoom: float = 0.08
    move: float = 0.04
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of blocks."""
        return self.passes * (len(self.faces) // self.block)

    @property
    def sha256(self) -> str:
        """SHA-256 of all that decides what a block shows."""
        drawn = f"{self.turn} {self.zoom} {self.move} {self.seed}"
        said = f"{self.faces.sha256} {self.size} {self.block} {drawn}"
        return hashlib.sha256(said.encode()).hexdigest()

    def __getitem__(self, number: int) -> Tensor:
        """Return (block, 3, size, size) float faces, 0..255, of a block."""
        if not 0 <= number < len(self):
            raise IndexError(f"block {number} of {len(self)}")
        a_pass, place = divmod(number, len(self.faces) // self.block)
        chosen = Shuffled(len(self.faces), self.seed).order(a_pass)[place * self.block :][: self.block]
        jitter = Jitter(turn=self.turn, zoom=self.zoom, move=self.move, mirror=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, number)) % 2**63)
            made = self.faces.faces(chosen, self.size, jitter.placed(len(chosen)))
            blended = torch.rand(self.block) < 0.5
            part = torch.rand(self.block)[blended, None, None, None]
            partners = torch.randint(len(self.faces), (self.block,)).numpy()[blended.numpy()]
            others = self.faces.faces(partners, self.size, jitter.placed(len(partners)))
        made[blended] += part * (others - made[blended])
        return made


def near_duplicates(
    crops: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], bits: int
) -> npt.NDArray[np.bool_]:
    """Return (n,) which grey crops look like one of others: difference hashes at most `bits` of 64 apart.

    A hash says of 8 x 8 places of a crop made small whether it grows lighter to the right there (Krawetz
    2013, "dHash"); JPEG and a change of size hardly touch it.

    Args:
        crops: (n, H, W), faces placed alike.
        others: (m, H, W), placed as the crops are.
        bits: how many may differ.
    """
    mine, theirs = _hashes(crops), _hashes(others)
    return np.array([bool((np.bitwise_count(theirs ^ one) <= bits).any()) for one in mine], bool)


def _hashes(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    small = functional.interpolate(torch.as_tensor(crops)[:, None].float(), size=(8, 9), mode="area")
    bits = (small[:, 0, :, 1:] > small[:, 0, :, :-1]).reshape(len(small), 64).numpy()
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def _composed(affine: Tensor, place: Matrix) -> Tensor:
    """Return (m, 2, 3) maps into a set's pictures, -1..1, of maps within the crop and the crop's place."""
    turned = torch.as_tensor(place[:, :2], dtype=torch.float32)
    shift = turned.sum(dim=1) + 2 * torch.as_tensor(place[:, 2], dtype=torch.float32) - 1
    made = turned @ affine
    made[:, :, 2] += shift
    return made
