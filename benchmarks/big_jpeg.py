"""A 12-megapixel JPEG with faces: time and peak memory of reading it at reduced scale, against full decoding.

python benchmarks/big_jpeg.py [--rounds 5] [--data FOLDER]

Two pictures of 4000 x 3000 px, made of the sample photos: one with large faces only, of which the reduced
picture shows enough, and one that holds smaller faces too, for which the pipeline decodes a second time, at
full size. Each is read alone, and analysed (all default fields, one thread), both ways in turn, every time in
a process of its own. Peak memory is what reading adds to the process, or all that the analysing process
holds, models included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WAYS = ("reduced", "full")
# Rows of photos: their height and where they begin, px. Heads are a sixth to a third of a photo's height.
ROWS = {"large": ((1500, 0), (1500, 1500)), "mixed": ((1500, 0), (840, 1500), (640, 2350))}


def measure(way: str, what: str, path: str) -> None:
    """Read or analyse the picture once one way and print what it took; runs in a process of its own."""
    import machine
    from mien.core.picture import Picture
    from mien.runtime.pipeline import _LEAST_SIDE, Options, Pipeline

    least_side = _LEAST_SIDE if way == "reduced" else None
    if what == "reading":
        import PIL.JpegImagePlugin  # noqa: F401 - the first picture loads the decoder

        before, start = machine.peak_bytes(), time.perf_counter()
        picture = Picture.read(path, least_side=least_side)
        seconds, peak = time.perf_counter() - start, machine.peak_bytes() - before
        print(json.dumps({"ms": 1000 * seconds, "peak_mb": peak / 1e6, "scale": picture.scale}))
        return
    pipeline = Pipeline(Options(threads=1))
    start = time.perf_counter()
    faces = pipeline.analyze(path if way == "reduced" else Picture.read(path))
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {"ms": 1000 * seconds, "peak_mb": machine.peak_bytes() / 1e6, "boxes": faces.boxes.tolist()}
        )
    )


def make(path: Path, data: Path, rows: Sequence[tuple[int, int]]) -> int:
    """Write a picture of rows of photos; return how many faces it holds."""
    from PIL import Image

    import photos

    picture = Image.new("RGB", (4000, 3000), (90, 100, 110))
    # obama3 is left out: his head is so small in the photo that "large" would not hold.
    samples = [p for name, p in photos.samples(data / "demo_photos").items() if name != "obama3.jpg"]
    count = 0
    for height, top in rows:
        left = 0
        while True:
            photo = samples[count % len(samples)]
            wide = round(photo.width * height / photo.height)
            if left + wide > picture.width:
                break
            picture.paste(photo.resize((wide, height), Image.Resampling.LANCZOS), (left, top))
            left += wide + 12
            count += 1
    path.write_bytes(photos.jpeg(picture))
    return count


def same_faces(first: list[Any], second: list[Any]) -> int:
    """Count the faces that both ways found, at an intersection over union of at least 0.5."""
    import numpy as np

    from mien.core.geometry import iou

    if not first or not second:
        return 0
    return int((iou(np.asarray(first), np.asarray(second)).max(axis=1) >= 0.5).sum())


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Measure a picture both ways, in turn."""
    import machine

    runs: dict[tuple[str, str], list[dict[str, Any]]] = {
        (way, what): [] for what in ("reading", "analysis") for way in WAYS
    }
    for _ in range(rounds):
        for (way, what), rows in runs.items():
            command = [sys.executable, __file__, "--measure", way, what, str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {
        way: {
            "scale": round(runs[way, "reading"][0]["scale"], 3),
            "found": len(runs[way, "analysis"][0]["boxes"]),
            **{
                f"{what}_{unit}": machine.spread([row[unit] for row in runs[way, what]], 1)
                for what in ("reading", "analysis")
                for unit in ("ms", "peak_mb")
            },
        }
        for way in WAYS
    }
    boxes = [runs[way, "analysis"][0]["boxes"] for way in WAYS]
    result["found_by_both"] = same_faces(boxes[0], boxes[1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(*given.measure)
        return
    import machine

    result: dict[str, Any] = {"machine": machine.facts()}
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in ROWS.items():
            path = Path(folder) / f"{name}.jpg"
            faces = make(path, given.data, rows)
            result[name] = {"faces": faces, "bytes": path.stat().st_size, **compare(path, given.rounds)}
            print(name, json.dumps(result[name], indent=1))
    print(machine.write("big-jpeg", result))


if __name__ == "__main__":
    main()
