"""Recognisers side by side: what was measured of each, from the figures that are packed with mien."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mien.core import strict
from mien.core.card import Card
from mien.runtime import assets

CLASSES_MS = (100, 500, 1000)
"""The time constraints of FRUITS (Zhu et al. 2021, "WebFace260M", Section 5): what the whole way may take."""


@dataclass(frozen=True)
class Time:
    """What one face costs a recogniser on one thread.

    Attributes:
        network_ms: its network alone.
        whole_ms: from a JPEG of 640 x 480 px to the embedding, detection and alignment included.
        class_ms: the constraint of FRUITS that the whole way keeps to; None where it keeps to none.
        megabytes: of its file.
        measured: when, and on which machine.
    """

    network_ms: float
    whole_ms: float
    class_ms: int | None
    megabytes: float
    measured: str


@dataclass(frozen=True)
class Figures:
    """What was measured of a recogniser.

    Attributes:
        lfw: accuracy on LFW's 6,000 pairs in one pass, 0..1; None where it was not measured.
        lfw_error: its standard error over the ten folds.
        time: None where it was not measured.
    """

    lfw: float | None = None
    lfw_error: float | None = None
    time: Time | None = None


@dataclass(frozen=True)
class Recogniser:
    """A row of the comparison.

    Attributes:
        card: its card.
        state: as `assets.state` tells it.
        default: whether it answers when nobody chose a model.
        megabytes: of its file, here or where it was measured; None where neither is known.
        figures: what was measured of this version of it; all None where nothing was.
    """

    card: Card
    state: str
    default: bool
    megabytes: float | None
    figures: Figures


def figures() -> Mapping[str, Figures]:
    """Return what was measured, by name and version: benchmarks/tables.py packs it from the result files."""
    text = (assets.package() / "models" / "recognisers.json").read_text("utf-8")
    return {
        maker: strict.read(Figures, told, f"recognisers.json: {maker}")
        for maker, told in json.loads(text).items()
    }


def compare(terms: str = "any") -> list[Recogniser]:
    """Return all recognisers that mien knows, and those that the user added, most accurate on LFW first.

    Args:
        terms: "permissive" keeps to those whose card allows commercial use.
    """
    here = {entry.card.name: entry for entry in assets.installed() if "embeddings" in entry.card.fields}
    known = {name: asset for name, asset in assets.table().items() if "embeddings" in asset.card.fields}
    measured = figures()
    rows = []
    for name in dict.fromkeys([*known, *here]):
        card = here[name].card if name in here else known[name].card
        if terms == "permissive" and not card.licence.commercial:
            continue
        told = measured.get(card.maker, Figures())
        size = here[name].path.stat().st_size / 1e6 if name in here else None
        if size is None and told.time is not None:
            size = told.time.megabytes
        default = name in known and known[name].default
        rows.append(Recogniser(card, assets.state(name), default, size, told))
    return sorted(rows, key=lambda row: -(row.figures.lfw or 0))
