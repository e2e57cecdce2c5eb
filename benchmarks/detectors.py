"""Every detector and sensible combinations, by the same pictures: recall by size, false faces, turns, time.

python benchmarks/detectors.py [--data FOLDER] [--quick] [--only NAME]

The default is chosen by this table: small faces found and no false ones first, then time. It is the first
row. Detectors of others (YuNet, SCRFD, UltraFace) are in it for comparison where `--data` has their files.
"+ mesh" asks the mesh model about candidates from a low score (the card's `confirm`), "below" only the
unsure ones.

What is measured, on what:
- demo: the six demo photos, one face each, boxes labelled by hand.
- group: pictures of 1280 x 960 made of real faces (CelebA, LFW) of 16 to 400 px height on backgrounds without
  faces; searched from 16 px up. Recall by the faces' height (forehead to chin).
- false: faces that were found where there are none, per megapixel, in pictures of scikit-image without faces.
- turned: demo photos and LFW crops on their sides and upside down, without a tag.
- huge: crops in which the face fills the picture, at 112 and 448 px and more.
- crops: recall on samples of prepared crop sets (LFW, identities, CelebA, UTKFace).
- time: of the processor, for one 640 x 480 picture with one face on one thread; medians of
  interleaved rounds.

A found box counts when its centre lies within 0.35 heights of the face's and its side is between half and
double: so that detectors are not judged by whether their boxes begin at the brows or at the hair.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
from PIL import Image, ImageDraw, ImageFilter

import machine
from mien.core import geometry
from mien.core.card import Confirm
from mien.core.fields import Floats
from mien.core.picture import Picture, Pixels
from mien.runtime import assets
from mien.runtime.confirm import Confirmation
from mien.runtime.detect import Found, Search, detect
from mien.runtime.model import Model
from mien.runtime.plan import ARITHMETIC, plan
from photos import PLACES

EMPTY = (
    "brick",
    "cell",
    "chelsea",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "horse",
    "hubble_deep_field",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
# Heights of pasted faces, px: edges of the bins, and how many of each a picture gets.
BINS = (16, 20, 28, 40, 64, 128, 400)
PER_PICTURE = (8, 8, 6, 4, 2, 1)
WEIGHTS = {
    "yunet": "face_detection_yunet_2023mar.onnx",
    "scrfd-500m": "det_500m.onnx",
    "ultraface": "version-RFB-320.onnx",
}


def face_box(
    left_eye: tuple[float, float], right_eye: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Return forehead to chin and ear to ear from upright eyes: 2.0 by 2.6 distances between them."""
    apart = right_eye[0] - left_eye[0]
    x, y = (left_eye[0] + right_eye[0]) / 2, (left_eye[1] + right_eye[1]) / 2
    return x - apart, y - 1.08 * apart, x + apart, y + 1.52 * apart


@dataclass(frozen=True)
class Crops:
    """A set of prepared crops, whose faces all lie at the same place."""

    path: str
    box: tuple[float, float, float, float]


SETS = {
    "lfw_pairs": Crops("lfw_pairs/images.parquet", face_box((38.3, 51.7), (73.5, 51.5))),
    "identities": Crops("identities/valid.parquet", face_box((38.3, 51.7), (73.5, 51.5))),
    "celeba10k": Crops("celeba10k/train.parquet", face_box((34.5, 55.5), (54.0, 55.5))),
    "utkface": Crops("utkface/valid.parquet", face_box((24.0, 26.0), (48.0, 26.0))),
}


@dataclass(frozen=True)
class Setup:
    """A way to find faces."""

    name: str
    find: Callable[[Pixels, Search, bool], Found]


@dataclass
class Tally:
    """Counts of one setup on one kind of picture."""

    hits: int = 0
    faces: int = 0
    false: int = 0
    megapixels: float = 0.0
    by_bin: dict[int, list[int]] = field(default_factory=dict)

    def add(self, found: Found, truth: Floats, pixels: Pixels) -> None:
        """Judge one picture's boxes."""
        hit = matched(found.boxes, truth)
        self.faces += len(truth)
        self.hits += int(hit.sum())
        self.false += len(found) - int(hit.sum())
        self.megapixels += pixels.shape[0] * pixels.shape[1] / 1e6
        for box, good in zip(truth, hit, strict=True):
            place = int(np.searchsorted(BINS, float(box[3] - box[1]), side="right")) - 1
            counts = self.by_bin.setdefault(min(max(place, 0), len(BINS) - 2), [0, 0])
            counts[0] += int(good)
            counts[1] += 1


def matched(boxes: Floats, truth: Floats) -> npt.NDArray[np.bool_]:
    """Tell which true faces have a box of their own; boxes come best first."""
    hit = np.zeros(len(truth), bool)
    for box in boxes:
        middle, size = (box[:2] + box[2:]) / 2, np.sqrt(np.prod(box[2:] - box[:2]))
        for i, face in enumerate(truth):
            centre, height = (face[:2] + face[2:]) / 2, face[3] - face[1]
            ratio = size / np.sqrt(np.prod(face[2:] - face[:2]))
            if not hit[i] and np.hypot(*(middle - centre)) < 0.35 * height and 0.5 < ratio < 2:
                hit[i] = True
                break
    return hit


def read_crops(data: Path, name: str, count: int, generator: np.random.Generator) -> list[Image.Image]:
    table = parquet.read_table(data / SETS[name].path, columns=["image"])
    rows = generator.choice(len(table), count, replace=False)
    return [Image.open(io.BytesIO(table["image"][int(row)].as_py()["bytes"])).convert("RGB") for row in rows]


def empty_picture(name: str) -> Pixels:
    from skimage import data

    pixels = np.asarray(getattr(data, name)())
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3], np.uint8)


def group_pictures(data: Path, count: int, generator: np.random.Generator) -> list[tuple[Pixels, Floats]]:
    """Make pictures of faces of many sizes; return each with its faces' boxes."""
    names = ("celeba10k", "identities", "lfw_pairs")
    stock = {name: read_crops(data, name, 40 * count // 2, generator) for name in names}
    backgrounds = [Image.fromarray(empty_picture(name)) for name in EMPTY if name not in ("page", "text")]
    made = []
    for number in range(count):
        ground = backgrounds[number % len(backgrounds)].resize((1280, 960), Image.Resampling.BICUBIC)
        taken: list[tuple[float, float, float, float]] = []
        truth = []
        for low, high, many in reversed(list(zip(BINS[:-1], BINS[1:], PER_PICTURE, strict=True))):
            for _ in range(many):
                name = names[int(generator.integers(len(names)))]
                crop = stock[name][int(generator.integers(len(stock[name])))]
                box = np.array(SETS[name].box)
                scale = float(np.exp(generator.uniform(np.log(low), np.log(high)))) / (box[3] - box[1])
                size = (max(4, round(crop.width * scale)), max(4, round(crop.height * scale)))
                for _ in range(200):
                    left = int(generator.integers(0, max(1, 1280 - size[0])))
                    top = int(generator.integers(0, max(1, 960 - size[1])))
                    place = (left - 2, top - 2, left + size[0] + 2, top + size[1] + 2)
                    if size[1] < 960 and not any(_meet(place, other) for other in taken):
                        break
                else:
                    continue
                mask = Image.new("L", size, 0)
                inset = max(1, round(0.04 * size[0]))
                ImageDraw.Draw(mask).rounded_rectangle(
                    (inset, inset, size[0] - inset, size[1] - inset), radius=size[0] // 5, fill=255
                )
                soft = mask.filter(ImageFilter.GaussianBlur(inset))
                ground.paste(crop.resize(size, Image.Resampling.LANCZOS), (left, top), soft)
                taken.append(place)
                truth.append(box * scale + (left, top, left, top))
        made.append((np.asarray(ground), np.asarray(truth, np.float32)))
    return made


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def demo_pictures(data: Path) -> list[tuple[Pixels, Floats]]:
    return [
        (Picture.read(data / "demo_photos" / name).pixels, np.array([box], np.float32))
        for name, box in PLACES.items()
    ]


def crop_pictures(
    data: Path, name: str, count: int, enlarged: int, generator: np.random.Generator
) -> list[tuple[Pixels, Floats]]:
    return [
        (
            np.asarray(
                crop.resize((crop.width * enlarged, crop.height * enlarged), Image.Resampling.BICUBIC)
            ),
            np.array([SETS[name].box], np.float32) * enlarged,
        )
        for crop in read_crops(data, name, count, generator)
    ]


def huge_pictures(data: Path, count: int, generator: np.random.Generator) -> list[tuple[Pixels, Floats]]:
    made = [
        pair
        for name in ("lfw_pairs", "identities")
        for enlarged in (1, 4)
        for pair in crop_pictures(data, name, count, enlarged, generator)
    ]
    for pixels, boxes in demo_pictures(data):
        x1, y1, x2, y2 = (int(value) for value in boxes[0])
        for margin in (0.0, 0.15):
            left, top = (max(0, int(low - margin * (high - low))) for low, high in ((x1, x2), (y1, y2)))
            part = pixels[top : int(y2 + margin * (y2 - y1)), left : int(x2 + margin * (x2 - x1))]
            made.append((np.ascontiguousarray(part), boxes - np.array([left, top] * 2, np.float32)))
    return made


def turned_pictures(data: Path, count: int, generator: np.random.Generator) -> list[tuple[Pixels, Floats]]:
    made = []
    for pixels, boxes in [*demo_pictures(data), *crop_pictures(data, "lfw_pairs", count, 3, generator)]:
        for turns in (1, 2, 3):
            corners = geometry.rotate_quarter(
                boxes.reshape(-1, 2, 2), turns, (pixels.shape[1], pixels.shape[0])
            )
            turned = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
            made.append((np.ascontiguousarray(np.rot90(pixels, turns)), turned.astype(np.float32)))
    return made


def setups(data: Path, folder: Path) -> list[Setup]:
    """Return the ways to find faces; others' where `data` has their files, installed into `folder`."""
    names = ["centerface", "blazeface-full-range", "blazeface-back", "blazeface-short-range"]
    models = {name: Model.load(name, threads=1) for name in [*names, "face-mesh"]}
    os.environ[assets.MODELS] = str(folder)
    for name, file in WEIGHTS.items():
        if (path := data / "weights" / file).is_file():
            assets.add(path, assets.table()[name].card)
            models[name] = Model.load(name, threads=1)
            names.append(name)
    mesh = models["face-mesh"]

    def plain(name: str, score: float | None = None) -> Setup:
        def find(pixels: Pixels, search: Search, may_turn: bool) -> Found:
            return detect(models[name], pixels, replace(search, score=score), may_turn=may_turn)

        return Setup(name if score is None else f"{name} from {score}", find)

    def confirmed(name: str, rule: Confirm | None = None) -> Setup:
        """Ask for the second opinion of the card, or of a rule."""
        settings = models[name].card.detector
        assert settings is not None
        rule = rule or settings.confirm or Confirm("presence", 0.5, 0.3, 0.8)
        card = replace(models[name].card, detector=replace(settings, confirm=rule))
        model = replace(models[name], card=card)
        steps = plan(("presence",), [card, *ARITHMETIC, mesh.card])[1:]
        confirm = Confirmation(rule, steps, {mesh.card.maker: mesh})

        def find(pixels: Pixels, search: Search, may_turn: bool) -> Found:
            return detect(model, pixels, search, may_turn=may_turn, confirm=confirm)

        below = f" below {rule.sure}" if rule.sure <= 1 else ""
        return Setup(f"{name} from {rule.score} + mesh{below}", find)

    quick, thorough = confirmed("blazeface-full-range"), confirmed("centerface")

    def glance_first(pixels: Pixels, search: Search, may_turn: bool) -> Found:
        whole = replace(search, smallest=float(max(pixels.shape)))
        found = quick.find(pixels, whole, False)
        return found if len(found) else thorough.find(pixels, search, may_turn)

    others = [name for name in WEIGHTS if name in models]
    return [
        thorough,
        *(plain(name) for name in names),
        plain("centerface", 0.15),
        confirmed("centerface", Confirm("presence", 0.5, 0.15)),
        *(confirmed(name) for name in (*names[1:4], *others)),
        Setup("full range's whole view, else centerface from 0.15 + mesh", glance_first),
    ]


def times(ways: Sequence[Setup], pixels: Pixels, rounds: int) -> dict[str, float]:
    """Return each setup's median milliseconds of processor, in rounds: busy moments hit all alike."""
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(rounds + 1):
        for way in ways:
            began = time.process_time()
            way.find(pixels, Search(), True)
            if turn:
                taken[way.name].append(1000 * (time.process_time() - began))
    return {name: float(np.median(values)) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--quick", action="store_true", help="a quarter of the pictures")
    parser.add_argument("--only", default="", help="setups whose name contains this")
    given = parser.parse_args()
    facts = machine.facts()
    part = 4 if given.quick else 1
    generator = np.random.default_rng(20)
    kinds: dict[str, tuple[Search, bool, list[tuple[Pixels, Floats]]]] = {
        "demo": (Search(), True, demo_pictures(given.data)),
        "group": (Search(smallest=16), False, group_pictures(given.data, 16 // part, generator)),
        "false": (
            Search(smallest=16),
            True,
            [(empty_picture(name), np.zeros((0, 4), np.float32)) for name in EMPTY],
        ),
        "turned": (Search(), True, turned_pictures(given.data, 20 // part, generator)),
        "huge": (Search(), False, huge_pictures(given.data, 60 // part, generator)),
    }
    for name in SETS:
        kinds[name] = (Search(), False, crop_pictures(given.data, name, 300 // part, 1, generator))
    with tempfile.TemporaryDirectory() as folder:
        ways = [way for way in setups(given.data, Path(folder)) if given.only in way.name]
        photo = kinds["demo"][2][0][0]
        still = Image.new("RGB", (640, 480), (90, 90, 90))
        still.paste(Image.fromarray(photo).resize((480, 480)), (80, 0))
        milliseconds = times(ways, np.asarray(still), 5 if given.quick else 15)
        rows: list[dict[str, Any]] = []
        for way in ways:
            row: dict[str, Any] = {"setup": way.name, "milliseconds": round(milliseconds[way.name], 1)}
            for kind, (search, may_turn, pictures) in kinds.items():
                tally = Tally()
                for pixels, truth in pictures:
                    tally.add(way.find(pixels, search, may_turn), truth, pixels)
                row[kind] = {"found": tally.hits, "faces": tally.faces, "false": tally.false}
                row[kind]["megapixels"] = round(tally.megapixels, 2)
                if kind == "group":
                    row["group"]["bins"] = {
                        f"{BINS[i]}-{BINS[i + 1]}": counts for i, counts in sorted(tally.by_bin.items())
                    }
            rows.append(row)
            print(_line(row), flush=True)
    base = next((row["milliseconds"] for row in rows if row["setup"] == "centerface"), None)
    for row in rows:
        row["time_over_centerface"] = round(row["milliseconds"] / base, 2) if base else None
    print(machine.write("detectors", {"machine": facts, "quick": given.quick, "rows": rows}))


def _line(row: dict[str, Any]) -> str:
    bins = " ".join(f"{100 * good / max(total, 1):3.0f}" for good, total in row["group"]["bins"].values())
    crops = " ".join(f"{100 * row[name]['found'] / row[name]['faces']:5.1f}" for name in SETS)
    return (
        f"{row['setup']:58} {row['milliseconds']:6.1f} ms  "
        f"demo {row['demo']['found']}/6 +{row['demo']['false']}"
        f"  group {bins} +{row['group']['false']}  "
        f"empty {row['false']['false'] / row['false']['megapixels']:.2f}/MP"
        f"  turned {row['turned']['found']}/{row['turned']['faces']} +{row['turned']['false']}"
        f"  huge {row['huge']['found']}/{row['huge']['faces']} +{row['huge']['false']}"
        f"  crops {crops} +{sum(row[name]['false'] for name in SETS)}"
    )


if __name__ == "__main__":
    main()
