"""Measures a recogniser's thresholds for its card: false match rates with intervals over people.

python benchmarks/thresholds.py [--recogniser NAME] [--out FILE.json] [--write CARD.json]

All pictures of `identities`, read from MIEN_DATA, go through detector, alignment and recogniser; every one is
compared with every other, plain and with the mirrored face. `--write` puts what was measured into a card: the
operating points at FMR 0.1 % (which decisions take) and 1 %.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import errorrates
from mien.core.card import Card
from mien.core.errorrates import compare_all
from mien.data.reader import load
from mien.runtime.embed import embed
from mien.runtime.pipeline import Options, Pipeline

RATES = (1e-3, 1e-2)


def measure(recogniser: str, *, mirror: bool) -> dict[str, Any]:
    """Return the operating points on `identities`, with what they were measured on."""
    parts = [load("identities", part) for part in ("train", "valid")]
    people = np.concatenate([part.columns["name"] for part in parts])
    pipeline = Pipeline(Options(want=("embeddings",), models=(recogniser,), threads=1, mirror=mirror))
    vectors = np.concatenate([embed(part.pixels, pipeline) for part in parts])
    found = vectors.any(axis=1)
    owners = people[found]
    compared = compare_all(vectors[found], owners)
    limits = [errorrates.at_fmr(compared.mated, compared.other, rate).threshold for rate in RATES]
    return {
        "mirrored": mirror,
        "makers": dict(pipeline.makers),
        "pictures": len(owners),
        "pictures_without_a_found_face": int((~found).sum()),
        "people": len(np.unique(owners)),
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
    parser.add_argument("--recogniser", default="dlib-resnet")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "thresholds.json")
    parser.add_argument("--write", type=Path, help="a card to put the thresholds into")
    given = parser.parse_args()
    began = time.time()
    measured = [measure(given.recogniser, mirror=mirror) for mirror in (False, True)]
    print(json.dumps(measured, indent=1))
    if given.write:
        into_card(given.write, measured)
    given.out.parent.mkdir(exist_ok=True)
    said = {"recogniser": given.recogniser, "measured": measured, "seconds": round(time.time() - began)}
    given.out.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
