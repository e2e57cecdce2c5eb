"""Made faces for the gallery's tests: people as directions, faces as directions near them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core.faces import Faces
from mien.gallery.recogniser import Recogniser

SIZE = 32
RECOGNISER = Recogniser("made", "1", SIZE)


def vectors(people: int, each: int, *, seed: int = 0, spread: float = 0.3) -> npt.NDArray[np.float32]:
    """Return (people, each, SIZE) unit vectors, those of one person near each other."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(people, 1, SIZE))
    near = centres / np.linalg.norm(centres, axis=2, keepdims=True)
    near = near + spread * random.normal(size=(people, each, SIZE)) / SIZE**0.5
    return np.asarray(near / np.linalg.norm(near, axis=2, keepdims=True), np.float32)


def faces(embeddings: npt.NDArray[np.float32], source: str = "", maker: str = "made 1") -> Faces:
    """Return faces side by side in a picture, with these embeddings."""
    count = len(embeddings)
    left = 100 * np.arange(count, dtype=np.float32)
    boxes = np.stack([left, np.zeros(count), left + 80, np.full(count, 80)], axis=1).astype(np.float32)
    points = np.array([[20, 30], [60, 30], [40, 50], [28, 66], [52, 66]], np.float32)
    return Faces(
        boxes=boxes,
        scores=np.full(count, 0.9, np.float32),
        landmarks=points + np.stack([left, np.zeros(count, np.float32)], axis=1)[:, None],
        embeddings=embeddings,
        picture_size=(max(100 * count, 1), 80),
        source=source,
        makers={"embeddings": maker, "boxes": "made 1", "landmarks": "made 1"},
    )
