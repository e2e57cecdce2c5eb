"""How good, large and fast the models are that mien trained and ships, and what their int8 variants lose.

python benchmarks/shipped.py [--expression FILE.onnx] [--age-gender FILE.onnx]

Figures are of the official test rows of the set that a model was trained on, in all and without the pictures
that training has seen, made by the .onnx file alone as `mien analyze` runs it (`mien evaluate` tells the
same). Times are medians over repeats on one thread with their quartiles, the variants in turns. The int8
variant is made on the spot from the same file (`mien export --int8`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import machine
from mien.evaluate import figures
from mien.evaluate.reproduce import paper
from mien.runtime import assets
from mien.runtime.model import Model
from mien.train.quantise import quantise

SHIPPED = {"expression": ("expression", "ferplus"), "age-gender": ("attributes", "age-gender")}
"""The models with the room and the id of the system that they come from."""

BATCHES = (1, 16)
_REPEATS = 60


def milliseconds(models: dict[str, Model]) -> dict[str, dict[str, Any]]:
    """Return for each model and size of a batch the ms a face, the models in turns."""
    made: dict[str, dict[str, Any]] = {name: {} for name in models}
    for batch in BATCHES:
        times: dict[str, list[float]] = {name: [] for name in models}
        for repeat in range(_REPEATS + 5):
            for name, model in models.items():
                crop = model.card.crop
                assert crop is not None
                channels = 1 if model.card.input.grey else 3
                shape = (batch, channels, crop.height, crop.width)
                pixels = np.random.default_rng(repeat).uniform(0, 255, shape).astype(np.float32)
                began = time.perf_counter()
                model.run(pixels)
                if repeat >= 5:
                    times[name].append((time.perf_counter() - began) * 1000 / batch)
        for name, found in times.items():
            made[name][f"batch_{batch}"] = machine.spread(found)
    return made


def measured(name: str, file: str) -> dict[str, Any]:
    """Return all that is known of a model and of its int8 variant."""
    room, system = SHIPPED[name]
    chosen = paper(room, system)
    lab = chosen.make(chosen.settings("ship"), 0)
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "float": Path(file) if file.endswith(".onnx") else assets.model_path(file),
            "int8": Path(folder, "int8.onnx"),
        }
        quantise(files["float"], files["int8"], lab.train_rows())
        models = {variant: Model.load(path, threads=1) for variant, path in files.items()}
        times = milliseconds(models)
        return {
            variant: {
                "bytes": files[variant].stat().st_size,
                "ms_a_face": times[variant],
                "figures": [one.to_dict() for one in figures.of_model(lab, model.card, model.run)],
            }
            for variant, model in models.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in SHIPPED:
        parser.add_argument(f"--{name}", default=name)
    given = vars(parser.parse_args())
    result = {"machine": machine.facts(("numpy", "onnxruntime", "torch"))}
    models = {name: measured(name, given[name.replace("-", "_")]) for name in SHIPPED}
    print(machine.write("shipped", result | {"models": models}))


if __name__ == "__main__":
    main()
