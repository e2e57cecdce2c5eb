"""What made a gallery's embeddings, and the digest that keeps those of two recognisers apart."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from mien.core.card import Card
from mien.core.faces import Faces


@dataclass(frozen=True)
class Recogniser:
    """A recogniser as it was used.

    Attributes:
        model: its name.
        version: of its weights together with its card.
        size: numbers in an embedding.
        mirrored: the mirrored face's embedding was added.
        card: its card; None when mien knows of none, as for embeddings that another program made.
    """

    model: str
    version: str
    size: int
    mirrored: bool = False
    card: Card | None = None

    @property
    def contract(self) -> str:
        """A digest of all that decides whether two embeddings can be compared: model, version, preprocessing.

        Detector and landmarks do not count: they move the crop by a pixel or so, which the recogniser was
        made to bear. Which ones they were is kept with each face.
        """
        facts = {
            "model": self.model,
            "version": self.version,
            "size": self.size,
            "mirrored": self.mirrored,
            "crop": dataclasses.asdict(self.card.crop) if self.card and self.card.crop else None,
            "input": dataclasses.asdict(self.card.input) if self.card else None,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        added = ", with the mirrored face" if self.mirrored else ""
        return f"{self.model} {self.version} ({self.size} numbers{added}; contract {self.contract[:12]})"


def recogniser_of(faces: Faces, *, mirrored: bool, card: Card | None) -> Recogniser:
    """Return what made the embeddings of faces.

    Args:
        faces: with embeddings.
        mirrored: whether the mirrored face was added, which the faces themselves do not tell.
        card: of the model that they name, where it is known.

    Raises:
        ValueError: there are no embeddings, or the faces do not say what made them.
    """
    maker = faces.makers.get("embeddings", "")
    if faces.embeddings is None or " " not in maker:
        raise ValueError("needs embeddings, and in makers['embeddings'] the name and version of their model")
    model, version = maker.rsplit(" ", 1)
    return Recogniser(model, version, faces.embeddings.shape[1], mirrored, card)
