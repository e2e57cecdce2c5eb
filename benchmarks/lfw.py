"""LFW's official 6,000 pairs through detector, alignment and recogniser; the crop is chosen on other people.

python benchmarks/lfw.py [--data FOLDER] [--detector NAME] [--recogniser NAME] [--out FILE.json]

Every choice of template, margin and fill is compared on pairs of `identities` (CelebA people, none of them in
LFW); the best one by its share of missed pairs at a false match rate of 0.1 % is what the recogniser's card
should say. The table tells what each choice would have given on LFW; it chooses nothing. What counts is the
last part: the public API, with the crop of the installed card, in one pass and with the mirrored face.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
from PIL import Image

import mien
from mien.core import errorrates
from mien.core.crops import Crop
from mien.core.faces import Faces
from mien.core.fields import Floats
from mien.evaluate.verification import ten_folds
from mien.runtime.describe import Known, describe
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
    for result in stream(pictures, pipeline=pipeline):
        if len(result.faces):
            face = largest(result.faces)
            found.append({name: getattr(face, name)[0] for name in POINTS})
        else:
            found.append(None)
    return found


def embed(
    model: Model, crop: Crop, pictures: list[Any], points: list[Known | None], *, mirror: bool
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


def through_the_door(
    pictures: Iterable[npt.NDArray[np.uint8]], detectors: tuple[str, ...], recogniser: str, *, mirror: bool
) -> Floats:
    """Return (n, d) embeddings of the largest faces as `mien.stream` gives them; zeros without a face."""
    results = mien.stream(pictures, ["embeddings"], [*detectors, recogniser], mirror=mirror)
    rows = [embeddings_of(largest(r.faces))[0] if len(r.faces) else None for r in results]
    empty = np.zeros_like(next(row for row in rows if row is not None))
    return np.stack([empty if row is None else row for row in rows])


def embeddings_of(faces: Faces) -> Floats:
    assert faces.embeddings is not None
    return faces.embeddings


def read(path: Path, column: str) -> tuple[list[npt.NDArray[np.uint8]], list[str]]:
    table = parquet.read_table(path, columns=["image", column])
    pictures = [
        np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in table["image"].to_pylist()
    ]
    return pictures, [str(name) for name in table[column].to_pylist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
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

    pictures, people = read(given.data / "identities" / "valid.parquet", "identity")
    more, more_people = read(given.data / "identities" / "train.parquet", "identity")
    pictures, people = (pictures + more)[: given.sample], (people + more_people)[: given.sample]
    points = points_of(pictures, pipeline)
    names = np.array(people)
    upper = np.triu_indices(len(names), 1)
    mated = (names[:, None] == names[None])[upper]
    table = []
    for template, margin, fill in CHOICES:
        crop = replace(model.card.crop, template=template, margin=margin, fill=fill)
        vectors = embed(model, crop, pictures, points, mirror=False)
        similar = (vectors @ vectors.T)[upper]
        at = errorrates.at_fmr(similar[mated], similar[~mated], 1e-3)
        row = {"template": template, "margin": margin, "fill": fill, "identities_fnmr_at_fmr_0.001": at.fnmr}
        table.append(row)
        print(row, flush=True)
    best = min(table, key=lambda row: float(str(row["identities_fnmr_at_fmr_0.001"])))

    pictures, keys = read(given.data / "lfw_pairs" / "images.parquet", "name")
    points = points_of(pictures, pipeline)
    missed = sum(p is None for p in points)
    place = {name: index for index, name in enumerate(keys)}
    with (given.data / "lfw_pairs" / "pairs.csv").open() as file:
        pairs = list(csv.DictReader(file))
    first = np.array([place[pair["name_a"]] for pair in pairs])
    second = np.array([place[pair["name_b"]] for pair in pairs])
    same = np.array([pair["same"] == "1" for pair in pairs])
    folds = np.array([int(pair["fold"]) for pair in pairs])
    for row, (template, margin, fill) in zip(table, CHOICES, strict=True):
        crop = replace(model.card.crop, template=template, margin=margin, fill=fill)
        vectors = embed(model, crop, pictures, points, mirror=False)
        row["lfw"], row["lfw_error"] = ten_folds((vectors[first] * vectors[second]).sum(axis=1), same, folds)
        print(row, flush=True)
    official: dict[str, Any] = {}
    for name, mirror in (("one pass", False), ("mirrored", True)):
        vectors = through_the_door(pictures, chosen, given.recogniser, mirror=mirror)
        similar = (vectors[first] * vectors[second]).sum(axis=1)
        accuracy, error = ten_folds(similar, same, folds)
        points_at = [vars(errorrates.at_fmr(similar[same], similar[~same], fmr)) for fmr in (1e-2, 1e-3)]
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
