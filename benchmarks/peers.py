"""mien beside face_recognition (dlib) and facenet-pytorch's MTCNN: faces found and time, on one thread.

python benchmarks/peers.py [--face-recognition PYTHON] [--facenet PYTHON] [--rounds 5] [--data FOLDER]

Each tool runs in a process of its own, by the interpreter given (this one where none is); the pictures go to
all of them in turn, round by round. A tool that does not import is left out, and the result says why. To
install them:

    python -m venv fr; fr/bin/pip install dlib-bin numpy pillow click 'setuptools<81'
    fr/bin/pip install --no-deps face_recognition face_recognition_models
    python -m venv fp; fp/bin/pip install torch==2.13.0 numpy pillow
    fp/bin/pip install --no-deps facenet-pytorch

Pictures: the sample photos, one face each, and a group picture made of 40 faces of LFW, 32 to 112 px high,
whose places are known. A face counts as found when a box has its centre in the middle half of the face's
place and between 0.4 and 1.6 of its side; boxes that belong to no face are false.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

Box = tuple[float, float, float, float]
Find = Callable[[str], list[Box]]

SIDES = (32, 48, 64, 96, 112)
"""Heights of the group picture's faces, px; eight of each."""
PER_SIDE = 8


def serve(tool: str) -> None:
    """Answer, for each path that comes in, what a tool finds there and how long it took, in its process."""
    find, about = TOOLS[tool]()
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        boxes = find(json.loads(line))
        seconds = time.perf_counter() - start
        print(json.dumps({"boxes": [list(map(float, box)) for box in boxes], "seconds": seconds}), flush=True)


def _mien(*fields: str) -> tuple[Find, dict[str, Any]]:
    from mien.runtime.pipeline import Options, Pipeline

    pipeline = Pipeline(Options(want=fields, threads=1))

    def find(path: str) -> list[Box]:
        return [tuple(box) for box in pipeline.analyze(path).boxes.tolist()]

    return find, {"models": [model.card.maker for model in pipeline.models()]}


def _face_recognition(*, embed: bool) -> tuple[Find, dict[str, Any]]:
    from importlib.metadata import version

    import face_recognition

    def find(path: str) -> list[Box]:
        picture = face_recognition.load_image_file(path)
        places = face_recognition.face_locations(picture)
        if embed:
            face_recognition.face_encodings(picture, places)
        return [(left, top, right, bottom) for top, right, bottom, left in places]

    return find, {"version": version("face_recognition"), "dlib": version("dlib-bin")}


def _facenet() -> tuple[Find, dict[str, Any]]:
    from importlib.metadata import version

    import torch

    torch.set_num_threads(1)
    instead = _without_torchvision(torch)
    from facenet_pytorch import MTCNN
    from PIL import Image

    network = MTCNN(keep_all=True)

    def find(path: str) -> list[Box]:
        boxes, _ = network.detect(Image.open(path).convert("RGB"))
        return [] if boxes is None else [tuple(box) for box in boxes.tolist()]

    about = {"version": version("facenet-pytorch"), "torch": torch.__version__}
    return find, {**about, **({"note": instead} if instead else {})}


def _without_torchvision(torch: Any) -> str:
    """Put the one function that MTCNN needs of torchvision in its place where torchvision does not import."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        import types

        def batched_nms(boxes: Any, scores: Any, groups: Any, threshold: float) -> Any:
            if not len(boxes):
                return torch.zeros(0, dtype=torch.long)
            # as torchvision's: boxes of different groups are moved so far apart that they cannot overlap
            moved = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
            order = scores.argsort(descending=True)
            areas = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
            kept = []
            while len(order):
                best, rest = order[0], order[1:]
                kept.append(best)
                low = torch.maximum(moved[best, :2], moved[rest, :2])
                high = torch.minimum(moved[best, 2:], moved[rest, 2:])
                both = (high - low).clamp(min=0).prod(dim=1)
                order = rest[both / (areas[best] + areas[rest] - both) <= threshold]
            return torch.stack(kept)

        for name in ("torchvision", "torchvision.transforms", "torchvision.ops", "torchvision.ops.boxes"):
            sys.modules[name] = types.ModuleType(name)
        functional = types.ModuleType("torchvision.transforms.functional")
        sys.modules["torchvision.transforms"].functional = functional  # type: ignore[attr-defined]
        sys.modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
        return (
            "torchvision does not import beside this torch: its batched_nms is replaced by the same in torch"
        )
    return ""


TOOLS: dict[str, Callable[[], tuple[Find, dict[str, Any]]]] = {
    "mien": lambda: _mien("landmarks"),
    "face_recognition": lambda: _face_recognition(embed=False),
    "facenet-pytorch MTCNN": _facenet,
    "mien, with embeddings": lambda: _mien("landmarks", "embeddings"),
    "face_recognition, with embeddings": lambda: _face_recognition(embed=True),
}


class Tool:
    """A tool's process: pictures in, boxes and seconds out."""

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self.process = subprocess.Popen(
            [python, __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
        )
        first = self._line()
        self.about: dict[str, Any] = json.loads(first) if first else {"absent": self._last_words()}

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def _last_words(self) -> str:
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    def find(self, path: Path) -> tuple[list[Box], float]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(str(path)) + "\n")
        self.process.stdin.flush()
        line = self._line()
        if not line:
            raise SystemExit(f"{self.name} ended at {path.name}: {self._last_words()}")
        answer = json.loads(line)
        return [tuple(box) for box in answer["boxes"]], answer["seconds"]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()


def group_picture(data: Path) -> tuple[Any, list[Box]]:
    """Return a picture of 40 faces of LFW on a background without faces, and their places.

    Without LFW it is one face, forty times.
    """
    import numpy as np
    from PIL import Image

    import photos

    parquet = data / "lfw_pairs" / "images.parquet"
    faces: list[Image.Image] = []
    if parquet.is_file():
        import pyarrow.parquet as pq

        rows = pq.ParquetFile(parquet).read_row_group(0, columns=["image"])["image"].to_pylist()
        step = len(rows) // (len(SIDES) * PER_SIDE)
        chosen = rows[:: max(1, step)]
        faces = [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in chosen]
    else:
        faces = [photos.astronaut().crop((150, 40, 300, 190))]
    # Soft coloured noise: detectors get texture to stumble over, and no faces.
    random = np.random.default_rng(0)
    noise = random.integers(60, 200, (30, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((1280, 960), Image.Resampling.BICUBIC)
    places: list[Box] = []
    for row, side in enumerate(SIDES):
        for column in range(PER_SIDE):
            face = faces[(row * PER_SIDE + column) % len(faces)]
            left, top = 24 + column * 156, 24 + row * 186
            picture.paste(face.resize((side, side), Image.Resampling.LANCZOS), (left, top))
            places.append((left, top, left + side, top + side))
    return picture, places


def matched(boxes: list[Box], places: list[Box]) -> list[bool]:
    """Tell for each place whether a box of its own fits it."""
    free = list(boxes)
    found = []
    for left, top, right, bottom in places:
        wide, high = right - left, bottom - top
        fitting = [
            box
            for box in free
            if abs((box[0] + box[2]) / 2 - (left + right) / 2) < wide / 4
            and abs((box[1] + box[3]) / 2 - (top + bottom) / 2) < high / 4
            and 0.4 < max(box[2] - box[0], box[3] - box[1]) / max(wide, high) < 1.6
        ]
        if fitting:
            free.remove(fitting[0])
        found.append(bool(fitting))
    return found


def compare(tools: dict[str, Tool], data: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Give every picture to every tool, round by round."""
    import machine
    import photos

    places: dict[Path, list[Box]] = {}
    for name, picture in photos.samples(data / "demo_photos").items():
        path = folder / f"{name}.jpg"
        path.write_bytes(photos.jpeg(picture, 95))
        places[path] = [photos.PLACES[name]]
    group, where = group_picture(data)
    group_path = folder / "group.jpg"
    group_path.write_bytes(photos.jpeg(group, 95))
    places[group_path] = where
    rows: dict[str, Any] = {}
    seconds: dict[str, dict[Path, list[float]]] = {name: {path: [] for path in places} for name in tools}
    boxes: dict[str, dict[Path, list[Box]]] = {name: {} for name in tools}
    for turn in range(rounds + 1):
        for path in places:
            for name, tool in tools.items():
                boxes[name][path], took = tool.find(path)
                if turn:  # the first round warms up
                    seconds[name][path].append(took)
    for name, tool in tools.items():
        fits = {path: matched(boxes[name][path], places[path]) for path in places}
        false = sum(len(boxes[name][path]) - sum(fits[path]) for path in places)
        singles = [path for path in places if path != group_path]
        per_photo = [1000 * sum(seconds[name][p][i] for p in singles) / len(singles) for i in range(rounds)]
        rows[name] = {
            **tool.about,
            "photos_found": sum(fits[path][0] for path in singles),
            "photos": len(singles),
            "group_found": {
                str(side): sum(fits[group_path][i * PER_SIDE : (i + 1) * PER_SIDE])
                for i, side in enumerate(SIDES)
            },
            "group_of_each": PER_SIDE,
            "false": false,
            "photo_ms": machine.spread(per_photo, 1),
            "group_ms": machine.spread([1000 * s for s in seconds[name][group_path]], 1),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--face-recognition", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--facenet", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--serve", choices=TOOLS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    import machine

    result: dict[str, Any] = {"machine": machine.facts()}
    result["machine"]["command"] = "python benchmarks/peers.py"
    pythons = {"face_recognition": given.face_recognition, "facenet-pytorch": given.facenet}
    all_tools = {
        name: Tool(name, next((p for key, p in pythons.items() if name.startswith(key)), sys.executable))
        for name in TOOLS
    }
    here = {name: tool for name, tool in all_tools.items() if "absent" not in tool.about}
    result["absent"] = {n: tool.about["absent"] for n, tool in all_tools.items() if n not in here}
    try:
        with tempfile.TemporaryDirectory() as folder:
            result["tools"] = compare(here, given.data, given.rounds, Path(folder))
    finally:
        for tool in all_tools.values():
            tool.close()
    for name, row in result["tools"].items():
        print(name, {key: value for key, value in row.items() if key != "models"})
    for name, reason in result["absent"].items():
        print(f"{name}: not here ({reason})")
    print(machine.write("peers", result))


if __name__ == "__main__":
    main()
