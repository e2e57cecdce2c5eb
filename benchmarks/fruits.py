"""FRUITS: the recognisers on this machine by the time of their whole way, and what they tell people apart by.

MIEN_DATA=FOLDER python benchmarks/fruits.py [--repeats 20] [--models NAME...]

Face Recognition Under Inference Time conStraint (Zhu et al. 2021, "WebFace260M"): what counts is a single
core's time from the compressed picture to the embedding, detection and alignment included, and an algorithm
enters the class of 100, 500 or 1,000 ms that it keeps to. Here the picture is a JPEG of 640 x 480 with one
face; recognisers are those whose cards are installed (`mien models`), third-party ones included, each behind
mien's own detector and landmarks with the crop of its card. In place of FRUITS' test set, which its makers
keep, `mien evaluate --protocol` judges each one: LFW's pairs, and open-set search for held-out people.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt

import machine
import photos
from mien.evaluate import protocols
from mien.runtime import assets
from mien.runtime.embed import embed
from mien.runtime.pipeline import Options, Pipeline
from speed import Probe

CLASSES_MS = (100, 500, 1000)
"""FRUITS' time constraints."""

JUDGED = ("lfw", "identification")
"""The protocols that recognisers are judged by."""


def recognisers() -> tuple[list[assets.Installed], list[str]]:
    """Return the recognisers on this machine, and the names of those that mien knows and are not here."""
    here = [entry for entry in assets.installed() if "embeddings" in entry.card.fields]
    known = [name for name, row in assets.table().items() if "embeddings" in row.card.fields]
    names = {entry.card.name for entry in here}
    return here, [name for name in known if name not in names]


def way(name: str, repeats: int) -> dict[str, Any]:
    """Return ms of each stage of one picture on one thread, whole and by stage, and the class it keeps to."""
    data = photos.jpeg(photos.one_face())
    pipeline = Pipeline(Options(want=("embeddings",), models=(name,), threads=1))
    recogniser = pipeline.model_for("embeddings")
    assert recogniser is not None
    detector = pipeline.models()[0].card.name
    probe = Probe(pipeline)
    rows = []
    for turn in range(repeats + 2):
        probe.times.clear()
        start = time.perf_counter()
        faces = pipeline.analyze(data)
        total = time.perf_counter() - start
        assert len(faces) == 1
        spent = dict(probe.times)
        stages = {
            "decode": spent.pop("decoding"),
            "detect": spent.pop(detector),
            "embed": spent.pop(recogniser.card.name),
            "landmarks": sum(value for key, value in spent.items() if key != "arithmetic"),
        }
        stages["align and the rest"] = total - sum(stages.values())
        if turn >= 2:
            rows.append({**stages, "whole": total})
    medians = {stage: machine.spread([1000 * row[stage] for row in rows]) for stage in rows[0]}
    # The slow quarter decides, not a lucky run.
    kept = [limit for limit in CLASSES_MS if medians["whole"]["high"] <= limit]
    return {"stages_ms": medians, "class_ms": min(kept) if kept else None, "makers": dict(pipeline.makers)}


def judged(name: str) -> dict[str, Any]:
    """Return what `mien evaluate --protocol` tells of a recogniser, by protocol."""
    pipeline = Pipeline(Options(want=("embeddings",), models=(name,), threads=1))

    def embedded(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return embed(pixels, pipeline)

    return {protocol: protocols.judge(protocol, embedded).to_dict() for protocol in JUDGED}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20, help="of the timed picture")
    parser.add_argument("--models", nargs="*", help="names of some of the recognisers; all that are here")
    given = parser.parse_args()
    facts = machine.facts()
    here, absent = recognisers()
    rows = []
    for entry in here:
        card = entry.card
        if given.models and card.name not in given.models:
            continue
        row = {
            "name": card.maker,
            "megabytes": round(entry.path.stat().st_size / 1e6, 1),
            "terms": card.licence.weights,
            "commercial": card.licence.commercial,
            **way(card.name, given.repeats),
            **judged(card.name),
        }
        rows.append(row)
        print(row["name"], row["stages_ms"]["whole"], row["class_ms"], flush=True)
    print(machine.write("fruits", {"machine": facts, "recognisers": rows, "absent": absent}))


if __name__ == "__main__":
    main()
