"""FRUITS: the recognisers on this machine by the time of their whole way, and what they tell people apart by.

MIEN_DATA=FOLDER python benchmarks/fruits.py [--models NAME...] [--protocols NAME...] [--again] [--out FILE]

Face Recognition Under Inference Time conStraint (Zhu et al. 2021, "WebFace260M"): what counts is a single
core's time from the compressed picture to the embedding, detection and alignment included, and an algorithm
enters the class of 100, 500 or 1,000 ms that it keeps to. Here the picture is a JPEG of 640 x 480 with one
face; recognisers are those whose cards are installed (`mien models`), third-party ones included, each behind
mien's own detector and landmarks with the crop of its card; `--models` takes files with cards as well, such
as `mien export` writes. In place of FRUITS' test set, which its makers keep, `mien evaluate --protocol`
judges each one: LFW's pairs, and open-set search for held-out people. LFW's pairs are not judged again for
the recogniser whose figure benchmarks/lfw.py has written.

The result file is written after every part. What it has is kept, so that a stopped run goes on where it was,
and recognisers can be measured one at a time; `--again` measures anew. Then `python benchmarks/tables.py`
writes what the documentation and `mien models compare` show.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import machine
import photos
from mien.core.atomic import writing
from mien.evaluate import protocols
from mien.runtime import assets
from mien.runtime.embed import embed
from mien.runtime.model import Model
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.recognisers import CLASSES_MS
from speed import Probe

JUDGED = ("lfw", "identification")
"""The protocols that recognisers are judged by."""


def way(model: str, repeats: int) -> dict[str, Any]:
    """Return ms of each stage of one picture on one thread, whole and by stage, and the class it keeps to.

    Args:
        model: name or file of the recogniser.
        repeats: of the picture.
    """
    data = photos.jpeg(photos.one_face())
    pipeline = Pipeline(Options(want=("embeddings",), models=(model,), threads=1))
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


def judged(maker: str, model: str, protocol: str) -> dict[str, Any]:
    """Return what `mien evaluate --protocol` tells of a recogniser."""
    pipeline = Pipeline(Options(want=("embeddings",), models=(model,), threads=1))

    def embedded(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        def told(done: int) -> None:
            if done % 1000 == 0 or done == len(pixels):
                print(f"{maker}, {protocol}: {done:,} of {len(pixels):,} pictures", flush=True)

        return embed(pixels, pipeline, progress=told)

    return protocols.judge(protocol, embedded).to_dict()


def measured_elsewhere(maker: str) -> bool:
    """Tell whether benchmarks/lfw.py has written a recogniser's figure on LFW: one fact, one place."""
    try:
        data: dict[str, Any] = json.loads((machine.RESULTS / "lfw.json").read_text("utf-8"))
    except FileNotFoundError:
        return False
    return bool(data["recogniser"] == maker)


class Results:
    """The rows of the result file by recogniser, written whenever one of them grows.

    Args:
        file: the result file; what it has is kept.
        here: names and versions on this machine; rows of their other versions are dropped.
    """

    def __init__(self, file: Path, here: Mapping[str, str]) -> None:
        self.file = file
        data: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {"recognisers": []}
        self.rows: dict[str, dict[str, Any]] = {
            row["name"]: row
            for row in data["recognisers"]
            if row["name"].rpartition(" ")[0] not in here or row["name"] in here.values()
        }

    def fill(self, maker: str, part: str, measure: Callable[[], dict[str, Any]], *, again: bool) -> None:
        """Measure a part of a row, unless it is there, and write the file."""
        row = self.rows.setdefault(maker, {"name": maker})
        if part in row and not again:
            print(f"{maker}: {part} is in {self.file.name}", flush=True)
            return
        row[part] = measure()
        measured = {name.rpartition(" ")[0] for name in self.rows}
        known = [name for name, asset in assets.table().items() if "embeddings" in asset.card.fields]
        result = {
            "recognisers": list(self.rows.values()),
            "absent": [name for name in known if name not in measured],
        }
        with writing(self.file, text=True) as opened:
            opened.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def _named(entry: assets.Installed, names: Sequence[str]) -> bool:
    return entry.card.name in names or str(entry.path) in names


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", help="names or .onnx files; all that are installed")
    parser.add_argument("--protocols", nargs="*", choices=JUDGED, default=JUDGED, help="none: time only")
    parser.add_argument("--repeats", type=int, default=20, help="of the timed picture")
    parser.add_argument("--again", action="store_true", help="measure what the result file has, too")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "fruits.json")
    given = parser.parse_args()
    facts = machine.facts()
    here = {entry.card.name: entry for entry in assets.installed() if "embeddings" in entry.card.fields}
    for file in [name for name in given.models or () if name.endswith(".onnx")]:
        card = Model.load(file, threads=1).card
        here[card.name] = assets.Installed(card, Path(file), default=False)
    chosen = [name for name, entry in here.items() if not given.models or _named(entry, given.models)]
    unknown = [name for name in given.models or () if not any(_named(here[card], [name]) for card in chosen)]
    if unknown:
        parser.error(f"not on this machine: {', '.join(unknown)}; here are {', '.join(here)}")
    results = Results(given.out, {name: entry.card.maker for name, entry in here.items()})
    for name in chosen:
        entry = here[name]
        # Both names lead to it: a file that is not installed has its path only.
        maker, model = entry.card.maker, str(entry.path)

        def timed(entry: assets.Installed = entry, model: str = model) -> dict[str, Any]:
            return {
                "machine": facts,
                "megabytes": round(entry.path.stat().st_size / 1e6, 1),
                "terms": entry.card.licence.weights,
                "commercial": entry.card.licence.commercial,
                **way(model, given.repeats),
            }

        results.fill(maker, "way", timed, again=given.again)
        spent = results.rows[maker]["way"]
        print(f"{maker}: {spent['stages_ms']['whole']} ms, class {spent['class_ms']}", flush=True)
        for protocol in given.protocols:
            if protocol == "lfw" and measured_elsewhere(maker):
                print(f"{maker}: lfw is in lfw.json", flush=True)
                continue

            def judging(model: str = model, maker: str = maker, protocol: str = protocol) -> dict[str, Any]:
                return judged(maker, model, protocol)

            results.fill(maker, protocol, judging, again=given.again)
    print(given.out)


if __name__ == "__main__":
    main()
