"""Tiny sets for tests: the official layouts with made pictures, and Parquet files as mien reads them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
from PIL import Image
from pyarrow import parquet

from mien.core.labels import CELEBA_ATTRIBUTES, FERPLUS_VOTES

Pixels = npt.NDArray[np.uint8]

DATE = "20170109150557335"


def picture(seed: int, width: int = 20, height: int = 20) -> Pixels:
    """Return (height, width, 3) noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(pixels: Pixels, kind: str = "png") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def save(file: Path, pixels: Pixels) -> Pixels:
    """Write a picture by its name's ending; return the pixels that it has when it is read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return np.asarray(Image.open(file).convert("RGB"))


def split(file: Path, pictures: Sequence[bytes], columns: Mapping[str, Any] | None = None) -> Path:
    """Write a split in the Hugging Face layout, its pictures named 0.png, 1.png ..."""
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(pictures)]
    parquet.write_table(pyarrow.table({"image": images, **(columns or {})}), file)
    return file


def read(file: Path) -> list[dict[str, Any]]:
    """Return a Parquet file's rows."""
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


def pixels_of(row: Mapping[str, Any]) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"))


FER_USAGES = ("Training", "Training", "PublicTest", "PrivateTest")


def fer2013(folder: Path, *, icml: bool = False, votes: bool = True) -> list[Pixels]:
    """Write fer2013.csv (or icml_face_data.csv) of four faces, emotions 0 3 4 6; return them, (48, 48)."""
    folder.mkdir(parents=True, exist_ok=True)
    faces = [picture(seed, 48, 48)[..., 0] for seed in range(4)]
    texts = [" ".join(map(str, face.ravel())) for face in faces]
    rows = list(zip((0, 3, 4, 6), texts, FER_USAGES, strict=True))
    if icml:
        lines = ["emotion, Usage, pixels", *(f"{e},{usage},{text}" for e, text, usage in rows)]
        (folder / "icml_face_data.csv").write_text("\n".join(lines) + "\n")
    else:
        lines = ["emotion,pixels,Usage", *(f"{e},{text},{usage}" for e, text, usage in rows)]
        (folder / "fer2013.csv").write_text("\n".join(lines) + "\n")
    if votes:
        ferplus(folder / "fer2013new.csv")
    return faces


def ferplus(file: Path) -> None:
    """Write fer2013new.csv: row i gives i votes to neutral and the others to fear; the last is no face."""
    lines = [",".join(("Usage", "Image name", *FERPLUS_VOTES))]
    for number, usage in enumerate(FER_USAGES):
        votes = dict.fromkeys(FERPLUS_VOTES, 0) | {"neutral": number, "fear": 10 - number}
        if number == 3:
            votes = dict.fromkeys(FERPLUS_VOTES, 0) | {"NF": 10}
        name = "" if number == 3 else f"fer{number:07d}.png"
        lines.append(",".join((usage, name, *(str(votes[vote]) for vote in FERPLUS_VOTES))))
    file.write_text("\r\n".join(lines) + "\r\n")


def celeba(folder: Path, count: int = 6) -> list[Pixels]:
    """Write CelebA's layout: picture i has the attributes whose number i divides, and person 100 + i."""
    pictures = []
    attributes = [str(count), " ".join(CELEBA_ATTRIBUTES) + " "]
    landmarks = [str(count), "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y ..."]
    parts, people = [], []
    for i in range(1, count + 1):
        name = f"{i:06d}.jpg"
        pictures.append(save(folder / "Img" / "img_align_celeba" / name, picture(i, 178, 218)))
        signs = " ".join(" 1" if number % i == 0 else "-1" for number in range(40))
        attributes.append(f"{name} {signs}")
        landmarks.append(f"{name}  " + "  ".join(str(i + k) for k in range(10)))
        parts.append(f"{name} {(0, 0, 0, 0, 1, 2)[i - 1]}")
        people.append(f"{name} {100 + i}")
    for part, lines in (
        ("Anno/list_attr_celeba.txt", attributes),
        ("Anno/list_landmarks_align_celeba.txt", landmarks),
        ("Anno/identity_CelebA.txt", people),
        ("Eval/list_eval_partition.txt", parts),
    ):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text("\r\n".join(lines) + "\r\n")
    return pictures


def rafdb(folder: Path) -> None:
    """Write RAF-DB's folder `basic`: train 1..7 with labels 1..7, test 1 with label 4."""
    lines = [*(f"train_{i:05d}.jpg {i}" for i in range(1, 8)), "test_0001.jpg 4"]
    for line in lines:
        stem = line.partition(".")[0]
        save(folder / "basic" / "Image" / "aligned" / f"{stem}_aligned.jpg", picture(len(line), 100, 100))
        manual = folder / "basic" / "Annotation" / "manual" / f"{stem}_manu_attri.txt"
        manual.parent.mkdir(parents=True, exist_ok=True)
        manual.write_text("".join(f"{k}.5\t{k}.25\n" for k in range(5)) + "1\n2\n4\n")
    table = folder / "basic" / "EmoLabel" / "list_patition_label.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(lines) + "\n")


def affectnet(folder: Path, train: int = 120, valid: int = 20) -> None:
    """Write AffectNet's splits as Parquet: noise of 40 px, row i is of label i % 9 (8: none, no valence).

    The last train picture is the first one of valid.
    """
    for part, count, first in (("train", train, 0), ("valid", valid, train - 1)):
        labels = [i % 9 for i in range(count)]
        valence = [-2.0 if label == 8 else (label - 4) / 5 for label in labels]
        columns = {
            "expression": pyarrow.array(labels, pyarrow.int8()),
            "valence": pyarrow.array(valence, pyarrow.float32()),
            "arousal": pyarrow.array([v if v < -1 else -v for v in valence], pyarrow.float32()),
        }
        pictures = [encoded(picture(first + i, 40, 40)) for i in range(count)]
        split(folder / f"{part}.parquet", pictures, columns)


def lfw(folder: Path) -> None:
    """Write LFW: Ann with three pictures, Bob with two, Cid with one; two parts of one pair of each kind."""
    for person, count in (("Ann_A", 3), ("Bob_B", 2), ("Cid_C", 1)):
        for i in range(1, count + 1):
            save(
                folder / "lfw" / person / f"{person}_{i:04d}.jpg",
                picture(len(person) * 10 + ord(person[0]) + i, 25, 25),
            )
    pairs = ["2\t1", "Ann_A\t1\t3", "Ann_A\t2\tBob_B\t1", "Bob_B\t1\t2", "Bob_B\t2\tCid_C\t1"]
    (folder / "pairs.txt").write_text("\n".join(pairs) + "\n")
    (folder / "peopleDevTrain.txt").write_text("1\nAnn_A\t3\n")
    (folder / "peopleDevTest.txt").write_text("1\nCid_C\t1\n")


def vggface2(folder: Path, people: int = 2) -> None:
    """Write VGGFace2's layout: persons 1, 2 ... in test with 50 pictures, person 100 in train with two.

    Of each in test, the first thirty pictures are in the list of poses, the last twenty in that of ages. The
    box of picture i begins at (i, 2), its landmarks are i, i + 1 ...
    """
    lines = ["Class_ID, Name, Sample_Num, Flag, Gender"]
    poses: list[str] = []
    ages: list[str] = []
    for split, numbers, count in (("test", range(1, people + 1), 50), ("train", (100,), 2)):
        boxes, landmarks = ["NAME_ID,X,Y,W,H"], ["NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y"]
        for number in numbers:
            person = f"n{number:06d}"
            lines.append(f'{person}, "Person_{number}",{count},{int(split == "train")}, {"fm"[number % 2]}')
            for i in range(1, count + 1):
                name = f"{person}/{i:04d}_01"
                save(folder / split / f"{name}.jpg", picture(1000 * number + i, 24, 20))
                boxes.append(f'"{name}",{i},2,10,12')
                landmarks.append(f'"{name}",' + ",".join(str(float(i + k)) for k in range(10)))
                if split == "test":
                    (poses if i <= 30 else ages).append(f"{name}.jpg")
        for kind, rows in (("bb", boxes), ("landmark", landmarks)):
            file = folder / "bb_landmark" / f"loose_{kind}_{split}.csv"
            file.parent.mkdir(exist_ok=True)
            file.write_text("\n".join(rows) + "\n")
    (folder / "meta").mkdir()
    (folder / "meta" / "identity_meta.csv").write_text("\n".join(lines) + "\n")
    (folder / "meta" / "test_posetemp_imglist.txt").write_text("\n".join(poses) + "\n")
    (folder / "meta" / "test_agetemp_imglist.txt").write_text("\n".join(ages) + "\n")
