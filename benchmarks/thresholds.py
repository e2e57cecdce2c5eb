"""Measures a recogniser's thresholds for its card: false match rates with intervals over people.

python benchmarks/thresholds.py [--data FOLDER] [--recogniser NAME] [--out FILE.json] [--write CARD.json]

All pictures of `identities` go through the public API, every one is compared with every other, plain and with
the mirrored face. `--write` puts what was measured into a card: the operating points at FMR 0.1 % (which
decisions take) and 1 %.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import mien
from lfw import read
from mien.core import errorrates
from mien.core.card import Card
from mien.runtime.calibrate import comparisons
from mien.runtime.verify import largest

RATES = (1e-3, 1e-2)


def measure(data: Path, recogniser: str, *, mirror: bool) -> dict[str, Any]:
    """Return the operating points on `identities`, with what they were measured on."""
    pictures, people = [], []
    for part in ("train", "valid"):
        more, names = read(data / "identities" / f"{part}.parquet", "name")
        pictures += more
        people += names
    embeddings, owners, makers = [], [], {}
    results = mien.stream(pictures, ["embeddings"], [recogniser], mirror=mirror)
    for owner, result in zip(people, results, strict=True):
        if len(result.faces):
            face = largest(result.faces)
            assert face.embeddings is not None
            embeddings.append(face.embeddings[0])
            owners.append(owner)
            makers = dict(face.makers)
    compared = comparisons(np.stack(embeddings), owners)
    limits = [errorrates.at_fmr(compared.mated, compared.other, rate).threshold for rate in RATES]
    return {
        "mirrored": mirror,
        "makers": makers,
        "pictures": len(owners),
        "pictures_without_a_found_face": len(pictures) - len(owners),
        "people": len(set(owners)),
        "mated_comparisons": len(compared.mated),
        "other_comparisons": len(compared.other),
        "points": [asdict(point) for point in compared.at(limits)],
    }


def into_card(card: Path, measured: list[dict[str, Any]]) -> None:
    """Replace a card's thresholds of embeddings by what was measured."""
    values = json.loads(card.read_text("utf-8"))
    rows = []
    for part in measured:
        detector = part["makers"].get("boxes", "the default detector")
        said = (
            f"{part['pictures']} crops of {part['people']} people of CelebA, mostly young women, "
            f"found by {detector}; intervals over people (benchmarks/thresholds.py)"
        )
        for point in part["points"]:
            row = {"field": "embeddings", "metric": "cosine", "value": round(point["threshold"], 4)}
            row |= {key: float(f"{point[key]:.3g}") for key in ("fmr", "fmr_low", "fmr_high", "fnmr")}
            rows.append({**row, "data": said, **({"mirrored": True} if part["mirrored"] else {})})
    values["thresholds"] = rows
    card.write_text(Card.from_json(json.dumps(values), card.name).to_json() + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--recogniser", default="dlib-resnet")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "thresholds.json")
    parser.add_argument("--write", type=Path, help="a card to put the thresholds into")
    given = parser.parse_args()
    began = time.time()
    measured = [measure(given.data, given.recogniser, mirror=mirror) for mirror in (False, True)]
    print(json.dumps(measured, indent=1))
    if given.write:
        into_card(given.write, measured)
    given.out.parent.mkdir(exist_ok=True)
    said = {"recogniser": given.recogniser, "measured": measured, "seconds": round(time.time() - began)}
    given.out.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
