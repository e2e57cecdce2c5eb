"""What a search answers: the nearest faces, and who it is, or nobody, and how often that is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mien.core.faces import Faces


@dataclass(frozen=True)
class Match:
    """A face of the gallery that is near.

    Attributes:
        face: its number.
        person: the person's number; None: nobody has said whose it is.
        name: the person's; "" when there is none.
        similarity: cosine of the two embeddings, -1..1. It is no probability.
        path: of its picture; "" when that is not known.
        box: (x1, y1, x2, y2) px in it.
    """

    face: int
    person: int | None
    name: str
    similarity: float
    path: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Answer:
    """Who a face is, as far as the gallery can tell.

    Attributes:
        known: True: somebody of the gallery; False: nobody; None: it cannot be decided, for the recogniser's
            card has no thresholds.
        person: the person's number; None unless `known`.
        name: the person's; "" when there is none.
        similarity: of the nearest face that may say who somebody is, -1..1; None where there is none.
        threshold: somebody at this similarity and above; None where none is known.
        fmr: at this similarity, the rate of strangers who come as near to one face (1:1), 0..1.
        fmr_high: from the upper bounds of the 95 % intervals.
        fpir: at this similarity, the rate of strangers who come as near to any of the faces compared with:
            1 - (1 - FMR)^N, an approximation.
        fpir_high: from `fmr_high`.
        beyond: the rates were not measured at a similarity this high, but follow from those below.
        compared: N: with how many faces of people it was compared.
        data: on what the rates were measured.
        model: name and version of the recogniser.
        matches: the nearest faces, best first, those without a person among them.
        face: the face that was searched for; None for a bare embedding.
    """

    known: bool | None
    person: int | None
    name: str
    similarity: float | None
    threshold: float | None
    fmr: float | None
    fmr_high: float | None
    fpir: float | None
    fpir_high: float | None
    beyond: bool
    compared: int
    data: str
    model: str
    matches: tuple[Match, ...]
    face: Faces | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; of the face only its box."""
        plain = {name: value for name, value in vars(self).items() if name not in ("matches", "face")}
        return {
            "box": None if self.face is None else self.face.boxes[0].tolist(),
            **plain,
            "matches": [{**vars(match), "box": list(match.box)} for match in self.matches],
        }
