"""Do models trained on tight crops work on the faces that `mien analyze` cuts out of photos?

python benchmarks/domain_gap.py [--expression FILE.onnx] [--age-gender FILE.onnx] [--rows 2000] [--out
FILE.json] [--sheets FOLDER]

Expression was learned from grey faces of 48 px, age and gender from colour faces of 64 px, each set with a
crop of its own. Here both see other pictures, found, aligned and cut by the pipeline:

- CelebA (`celeba10k`, 178 x 218 px at half size): people labelled smiling, male and young there. What the
  models say is compared with that: the area under the ROC curve of happiness for smiling, of youth for
  young, and the share of right genders. CelebA's own classifiers reach 92 to 93 % on smiling, 98 % on male,
  88 % on young.
- The sets' own test faces, enlarged and sent through the pipeline like any photo, beside the same faces in
  the crops that the set itself has: what detection and our alignment cost. Faces that are not found count
  for neither.
- The demo photos: six faces to look at.

`--sheets` writes fifty faces of CelebA with what was said of them, for the eye.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

import machine
import mien
from mien.core.faces import Faces
from mien.core.fields import FIELDS
from mien.core.labels import FERPLUS_EXPRESSIONS, UTKFACE_GENDERS
from mien.data.reader import Images, load
from mien.data.votes import majority, votes_of
from mien.runtime.verify import largest

Numbers = npt.NDArray[Any]
_FIELDS = ("expression", "age", "gender", "age_interval")
_ENLARGED = 4


def told(pictures: Iterable[Image.Image], models: Sequence[str]) -> list[Faces | None]:
    """Return what is told of the largest face of each picture; None where none is found."""
    results = mien.stream((np.asarray(picture) for picture in pictures), _FIELDS, models, threads=1)
    return [largest(result.faces) if len(result.faces) else None for result in results]


def pictures(images: Images, rows: Sequence[int], enlarged: int) -> Iterable[Image.Image]:
    """Yield rows as pictures of a photo's kind."""
    for row in rows:
        pixels = np.asarray(images.pixels[row])
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).convert("RGB")
        yield image.resize((image.width * enlarged, image.height * enlarged), Image.Resampling.BICUBIC)


def column(found: Sequence[Faces], name: str) -> Numbers:
    return np.concatenate([getattr(face, name) for face in found])


def spread(rows: int, wanted: int) -> list[int]:
    chosen: list[int] = np.unique(np.linspace(0, rows - 1, min(rows, wanted)).astype(int)).tolist()
    return chosen


def celeba(models: Sequence[str], wanted: int, sheets: Path | None) -> dict[str, Any]:
    images = load("celeba10k", "train")
    rows = spread(len(images), wanted)
    faces = told(pictures(images, rows, 2), models)
    kept = [row for row, face in zip(rows, faces, strict=True) if face is not None]
    found = [face for face in faces if face is not None]
    expression, age, gender = (column(found, name) for name in ("expression", "age", "gender"))
    names = [*FERPLUS_EXPRESSIONS]
    labels = {name: images.columns[name][kept] for name in ("Smiling", "Male", "Young")}
    classes = expression.argmax(axis=1)
    male = [*FIELDS["gender"].labels].index("male")
    if sheets:
        sheets.mkdir(parents=True, exist_ok=True)
        some = spread(len(kept), 50)
        sheet(images, [kept[i] for i in some], [found[i] for i in some]).save(
            sheets / "celeba.jpg", quality=90
        )
    return {
        "pictures": len(rows),
        "found": len(kept),
        "happiness for smiling, ROC AUC": float(
            roc_auc_score(labels["Smiling"], expression[:, names.index("happiness")])
        ),
        "called happy of the smiling": float(
            (classes == names.index("happiness"))[labels["Smiling"] == 1].mean()
        ),
        "called happy of the others": float(
            (classes == names.index("happiness"))[labels["Smiling"] == 0].mean()
        ),
        "gender": float(((gender[:, male] > 0.5) == (labels["Male"] == 1)).mean()),
        "youth for young, ROC AUC": float(roc_auc_score(labels["Young"], -age)),
        "median age of the young": float(np.median(age[labels["Young"] == 1])),
        "median age of the others": float(np.median(age[labels["Young"] == 0])),
        "expressions": {name: float((classes == index).mean()) for index, name in enumerate(names)},
        "mean of probabilities": {
            name: float(expression[:, index].mean()) for index, name in enumerate(names)
        },
    }


def utkface(models: Sequence[str], wanted: int) -> dict[str, Any]:
    images = load("utkface", "test")
    rows = spread(len(images), wanted)
    faces = told(pictures(images, rows, _ENLARGED), models)
    kept = [row for row, face in zip(rows, faces, strict=True) if face is not None]
    found = [face for face in faces if face is not None]
    own = of_crops(models[1], load("utkface", "test", size=64), kept)
    ages = images.columns["age"][kept]
    order = [[*FIELDS["gender"].labels].index(name) for name in UTKFACE_GENDERS]
    genders = np.array(order)[images.columns["gender"][kept]]
    result: dict[str, Any] = {"pictures": len(rows), "found": len(kept)}
    for name, made in (
        ("the set's crops", own),
        ("analyze's crops", {field: column(found, field) for field in ("age", "gender", "age_interval")}),
    ):
        low, high = made["age_interval"].T
        result[name] = {
            "MAE": float(np.abs(made["age"] - ages).mean()),
            "gender": float((made["gender"].argmax(axis=1) == genders).mean()),
            "interval coverage": float(((low <= ages) & (ages <= high)).mean()),
        }
    return result


def fer(models: Sequence[str], wanted: int) -> dict[str, Any]:
    images = load("fer2013", "test", grey=True)
    labels = majority(votes_of(images))
    judged = np.flatnonzero((labels >= 0) & (labels < len(FERPLUS_EXPRESSIONS)))
    rows = judged[spread(len(judged), wanted)].tolist()
    faces = told(pictures(images, rows, _ENLARGED), models)
    kept = [row for row, face in zip(rows, faces, strict=True) if face is not None]
    found = [face for face in faces if face is not None]
    own = of_crops(models[0], images, kept)["expression"]
    ours = column(found, "expression")
    return {
        "pictures": len(rows),
        "found": len(kept),
        "the set's crops": {"accuracy": float((own.argmax(axis=1) == labels[kept]).mean())},
        "analyze's crops": {"accuracy": float((ours.argmax(axis=1) == labels[kept]).mean())},
        "agree": float((own.argmax(axis=1) == ours.argmax(axis=1)).mean()),
    }


def of_crops(model: str, images: Images, rows: Sequence[int]) -> dict[str, Numbers]:
    """Return what a model says of a set's own crops."""
    from mien.runtime.model import Model

    pixels = np.asarray(images.pixels)[rows].transpose(0, 3, 1, 2).astype(np.float32)
    loaded = Model.load(model, threads=1)
    parts = [loaded.run(pixels[start : start + 64]) for start in range(0, len(pixels), 64)]
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}


def photos(models: Sequence[str], folder: Path) -> dict[str, Any]:
    said = {}
    for file in sorted(folder.glob("*.jpg")) + sorted(folder.glob("*.png")):
        faces = mien.analyze(file, _FIELDS, models, threads=1)
        said[file.name] = [_said(faces[number : number + 1]) for number in range(len(faces))]
    return said


def sheet(images: Images, rows: Sequence[int], found: Sequence[Faces]) -> Image.Image:
    """Return ten faces in a line, with what was said below each and CelebA's labels below that."""
    wide, high, text = 178, 218, 52
    image = Image.new("RGB", (10 * wide, -(-len(rows) // 10) * (high + text)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for place, (row, face) in enumerate(zip(rows, found, strict=True)):
        left, top = place % 10 * wide, place // 10 * (high + text)
        image.paste(next(iter(pictures(images, [row], 2))), (left, top))
        lines = (
            *_said(face).split("; "),
            " ".join(name for name in ("Smiling", "Male", "Young") if images.columns[name][row]),
        )
        for number, line in enumerate(lines):
            draw.text((left + 4, top + high + 2 + 16 * number), line, "black" if number < 2 else "gray", font)
    return image


def _said(face: Faces) -> str:
    """Return what is told of a face, its expression first."""
    (expression,), (age,), (gender,), ((low, high),) = (getattr(face, name) for name in _FIELDS)
    return (
        f"{FERPLUS_EXPRESSIONS[int(expression.argmax())]} {expression.max():.2f};"
        f" {age:.0f} ({low:.0f}-{high:.0f})"
        f" {FIELDS['gender'].labels[int(gender.argmax())]} {gender.max():.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--expression", default="expression")
    parser.add_argument("--age-gender", default="age-gender")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--sheets", type=Path)
    given = parser.parse_args()
    models = (given.expression, given.age_gender)
    made = {
        "machine": machine.facts(),
        "celeba": celeba(models, given.rows, given.sheets),
        "utkface": utkface(models, given.rows),
        "fer2013": fer(models, given.rows),
        "photos": photos(models, given.data / "demo_photos"),
    }
    print(machine.write("domain-gap", made))


if __name__ == "__main__":
    main()
