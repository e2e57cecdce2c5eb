"""LFW's official 6,000 pairs through detector, alignment and recogniser; the crop is chosen on other people.

python benchmarks/lfw.py [--detector NAME] [--recogniser NAME] [--out FILE.json]

The sets are read from MIEN_DATA. Every choice of template, margin and fill is compared on pairs of
`identities` (CelebA people, none of them in LFW); the best one by its share of missed pairs at a false match
rate of 0.1 % is what the recogniser's card should say. The table tells what each choice would have given on
LFW; it chooses nothing. What counts is the last part: the public API, with the crop of the installed card, in
one pass and with the mirrored face.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mien.core import errorrates
from mien.core.crops import Crop
from mien.core.fields import Floats
from mien.data.reader import load, load_pairs
from mien.evaluate.verification import similarities, ten_folds
from mien.runtime.describe import Known, describe
from mien.runtime.embed import embed
from mien.runtime.model import Model
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import stream
from mien.runtime.verify import largest

CHOICES: tuple[tuple[str, float, Literal["black", "edge"]], ...] = (
    ("dlib", 0.15, "edge"),
    ("dlib", 0.2, "edge"),
    ("dlib", 0.2, "black"),
    ("dlib", 0.25, "edge"),
    ("dlib", 0.3, "edge"),
    ("dlib5", 0.15, "edge"),
    ("dlib5", 0.2, "edge"),
    ("dlib5", 0.25, "edge"),
    ("dlib5", 0.25, "black"),
    ("dlib5", 0.3, "edge"),
    ("arcface", -0.1, "edge"),
    ("arcface", 0.0, "edge"),
)
POINTS = ("landmarks", "mesh")


def points_of(pictures: Iterable[npt.NDArray[np.uint8]], pipeline: Pipeline) -> list[Known | None]:
    """Return landmarks and mesh of the largest face of each picture; None where no face was found."""
    found: list[Known | None] = []
    for result in stream(iter(pictures), pipeline=pipeline):
        if len(result.faces):
            face = largest(result.faces)
            found.append({name: getattr(face, name)[0] for name in POINTS})
        else:
            found.append(None)
    return found


def embed_by(
    model: Model, crop: Crop, pictures: npt.NDArray[np.uint8], points: list[Known | None], *, mirror: bool
) -> Floats:
    """Return (n, d) unit embeddings; a picture without a found face is cut where faces usually lie."""
    usual = {
        name: np.median(np.stack([known[name] for known in points if known]), axis=0, keepdims=True)
        for name in POINTS
    }
    chosen = replace(model, card=replace(model.card, crop=crop))
    rows = []
    for start in range(0, len(pictures), 64):
        part = [
            (picture, {name: known[name][None] for name in POINTS} if known else usual)
            for picture, known in zip(pictures[start : start + 64], points[start : start + 64], strict=True)
        ]
        rows += [values["embeddings"] for values in describe(chosen, part, mirror=mirror)]
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", default="")
    parser.add_argument("--recogniser", default="dlib-resnet")
    parser.add_argument(
        "--sample", type=int, default=2000, help="pictures of `identities` that the choice is made on"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "lfw.json")
    given = parser.parse_args()
    began = time.time()
    chosen = (given.detector,) if given.detector else ()
    pipeline = Pipeline(Options(want=POINTS, models=chosen, threads=1))
    model = Model.load(given.recogniser, threads=2)
    assert model.card.crop is not None

    parts = [load("identities", part) for part in ("valid", "train")]
    pictures = np.concatenate([part.pixels for part in parts])[: given.sample]
    names = np.concatenate([part.columns["identity"] for part in parts])[: given.sample]
    points = points_of(pictures, pipeline)
    upper = np.triu_indices(len(names), 1)
    mated = (names[:, None] == names[None])[upper]
    table = []
    for template, margin, fill in CHOICES:
        crop = replace(model.card.crop, template=template, margin=margin, fill=fill)
        vectors = embed_by(model, crop, pictures, points, mirror=False)
        similar = (vectors @ vectors.T)[upper]
        at = errorrates.at_fmr(similar[mated], similar[~mated], 1e-3)
        row = {"template": template, "margin": margin, "fill": fill, "identities_fnmr_at_fmr_0.001": at.fnmr}
        table.append(row)
        print(row, flush=True)
    best = min(table, key=lambda row: float(str(row["identities_fnmr_at_fmr_0.001"])))

    images = load("lfw_pairs", "images")
    pairs = load_pairs(images)
    pictures = images.pixels
    points = points_of(pictures, pipeline)
    missed = sum(p is None for p in points)
    for row, (template, margin, fill) in zip(table, CHOICES, strict=True):
        crop = replace(model.card.crop, template=template, margin=margin, fill=fill)
        vectors = embed_by(model, crop, pictures, points, mirror=False)
        similar = similarities(vectors, pairs.first, pairs.second)
        row["lfw"], row["lfw_error"] = ten_folds(similar, pairs.same, pairs.fold)
        print(row, flush=True)
    official: dict[str, Any] = {}
    for name, mirror in (("one pass", False), ("mirrored", True)):
        whole = Options(want=("embeddings",), models=(*chosen, given.recogniser), threads=1, mirror=mirror)
        similar = similarities(embed(pictures, Pipeline(whole)), pairs.first, pairs.second)
        accuracy, error = ten_folds(similar, pairs.same, pairs.fold)
        mated, other = similar[pairs.same], similar[~pairs.same]
        points_at = [vars(errorrates.at_fmr(mated, other, fmr)) for fmr in (1e-2, 1e-3)]
        official[name] = {"accuracy": accuracy, "standard_error": error, "operating_points": points_at}
        print(name, accuracy, error, flush=True)
    result = {
        "detector": pipeline.makers["boxes"],
        "landmarks": pipeline.makers["landmarks"],
        "mesh": pipeline.makers["mesh"],
        "recogniser": model.card.maker,
        "crop": asdict(model.card.crop),
        "lfw": official,
        "pictures_without_a_found_face": missed,
        "chosen_on_identities": best,
        "table": table,
        "seconds": round(time.time() - began),
    }
    print(json.dumps(result, indent=1))
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
