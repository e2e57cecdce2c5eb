"""Time of one picture stage by stage, the pipeline's own share of it, and a folder of 1,000 photos.

python benchmarks/speed.py [--photos 1000] [--repeats 40]

One picture: a 640 x 480 JPEG with one face, all fields of the default models, pipelines of one and of two
threads in turn. Decoding is what `Pipeline.read` takes; a model is what its onnxruntime session takes;
arithmetic is pose and quality; the rest is all that mien does around them: views, crops, colour planes,
batches, suppression, results. The pipeline's own cost is arithmetic and rest.

A folder: the sample photos at several sizes. One run over all of it with a worker a core tells the
process's resident memory after 100 pictures and at the end; then a single worker and one a core take it in
blocks in turn.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

import machine
import photos
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.plan import Arithmetic
from mien.runtime.stream import available_cores, stream

SIZES = (480, 640, 800, 1024, 1280)
"""Longer sides of the folder's photos, px."""
BLOCK = 100


class Probe:
    """Adds up the time inside a pipeline's decoding, sessions and arithmetic, call by call."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.times: dict[str, float] = defaultdict(float)
        for model in pipeline.models():
            object.__setattr__(model, "session", _Session(model.session, self, model.card.name))
        for step in pipeline._steps:
            if isinstance(step.by, Arithmetic):
                timed = replace(step.by, compute=self._timed("arithmetic", step.by.compute))
                object.__setattr__(step, "by", timed)
        pipeline.read = self._timed("decoding", pipeline.read)  # type: ignore[method-assign]

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **more)
            finally:
                self.times[name] += time.perf_counter() - start

        return timed


class _Session:
    def __init__(self, session: Any, probe: Probe, name: str) -> None:
        self.run = probe._timed(name, session.run)
        self.get_outputs = session.get_outputs


def one_picture(repeats: int) -> dict[str, Any]:
    """Measure one picture with pipelines of one and two threads in turn."""
    data = photos.jpeg(photos.one_face())
    result: dict[str, Any] = {"picture": f"640 x 480 JPEG of {len(data)} bytes"}
    probes: dict[int, tuple[Pipeline, Probe]] = {}
    for threads in (1, 2):
        pipeline = Pipeline(Options(threads=threads))
        probes[threads] = pipeline, Probe(pipeline)
    result["fields"] = list(probes[1][0].fields)
    result["faces"] = len(probes[1][0].analyze(data))
    rows: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for turn in range(repeats + 3):
        for threads, (pipeline, probe) in probes.items():
            probe.times.clear()
            start = time.perf_counter()
            pipeline.analyze(data)
            total = time.perf_counter() - start
            if turn >= 3:
                rest = total - sum(probe.times.values())
                rows[threads].append({**probe.times, "rest": rest, "total": total})
    for threads, measured in rows.items():
        own = [(row["arithmetic"] + row["rest"]) / row["total"] for row in measured]
        medians = {
            name: machine.spread([1000 * row[name] for row in measured])
            for name in measured[0]
            if name != "total"
        }
        whole = machine.spread([1000 * row["total"] for row in measured])
        result[f"threads_{threads}"] = {
            "stages_ms": medians,
            "total_ms": whole,
            "pictures_per_second": round(1000 / whole["median"], 1),
            "own_share": machine.spread(own, 4),
        }
    return result


def side_by_side(repeats: int) -> dict[str, float]:
    """Return the pictures per second that two workers make of copies of the one picture."""
    data = photos.jpeg(photos.one_face())
    pipeline = Pipeline(Options(threads=1))
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        count = sum(1 for _ in stream([data] * repeats, Options(threads=2), pipeline=pipeline))
        rates.append(count / (time.perf_counter() - start))
    return machine.spread(rates, 1)


def profile(repeats: int, lines: int = 15) -> list[dict[str, Any]]:
    """Return the functions that take most time themselves, ms a picture, on one thread."""
    data = photos.jpeg(photos.one_face())
    pipeline = Pipeline(Options(threads=1))
    pipeline.analyze(data)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(repeats):
        pipeline.analyze(data)
    profiler.disable()
    stats: Any = pstats.Stats(profiler)
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:lines]
    return [
        {
            "function": f"{Path(file).name}:{line} {name}" if line else name,
            "calls": round(calls / repeats, 1),
            "own_ms": round(1000 * own / repeats, 3),
        }
        for (file, line, name), (_, calls, own, _, _) in rows
    ]


def make_folder(folder: Path, count: int) -> list[Path]:
    """Write photos: every sample at every size, again and again under new names."""
    made: list[bytes] = []
    for size, picture in itertools.product(SIZES, photos.samples().values()):
        small = picture.copy()
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        made.append(photos.jpeg(small))
    paths = []
    for number in range(count):
        path = folder / f"{number:04}.jpg"
        path.write_bytes(made[number % len(made)])
        paths.append(path)
    return paths


def folder_of_photos(count: int) -> dict[str, Any]:
    """Measure blocks of a folder with one worker and with one for each core, in turn."""
    process = psutil.Process(os.getpid())
    cores = available_cores()
    rates: dict[int, list[float]] = {1: [], cores: []}
    with tempfile.TemporaryDirectory() as folder:
        paths = make_folder(Path(folder), count)
        pipeline = Pipeline(Options(threads=1))
        faces, memory = 0, []
        for number, result in enumerate(_run(paths, cores, pipeline), start=1):
            faces += len(result.faces)
            if number in (100, count):
                memory.append(process.memory_info().rss)
        for start in range(0, count, BLOCK):
            part = paths[start : start + BLOCK]
            # whoever goes first warms the file cache for the other: take turns
            for workers in sorted(rates, reverse=bool(start // BLOCK % 2)):
                began = time.perf_counter()
                for _ in _run(part, workers, pipeline):
                    pass
                rates[workers].append(len(part) / (time.perf_counter() - began))
    ratios = [many / one for one, many in zip(rates[1], rates[cores], strict=True)]
    return {
        "photos": count,
        "sizes_px": list(SIZES),
        "faces": faces,
        "workers": cores,
        "one_worker_pictures_per_second": machine.spread(rates[1], 1),
        "all_workers_pictures_per_second": machine.spread(rates[cores], 1),
        "ratio": machine.spread(ratios),
        "rss_after_100_mb": round(memory[0] / 1e6, 1),
        "rss_at_end_mb": round(memory[-1] / 1e6, 1),
        "rss_ratio": round(memory[-1] / memory[0], 4),
    }


def _run(paths: Sequence[Path], workers: int, pipeline: Pipeline) -> Any:
    return stream(paths, Options(threads=workers), pipeline=pipeline)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1000, help="of the folder; a multiple of 100")
    parser.add_argument("--repeats", type=int, default=40, help="of the one picture")
    given = parser.parse_args()
    result: dict[str, Any] = {"machine": machine.facts()}
    # The folder goes first: its memory is measured in a process that has done nothing else.
    result["folder"] = folder_of_photos(given.photos)
    result["side_by_side_pictures_per_second"] = side_by_side(given.repeats)
    result["profile"] = profile(given.repeats)
    result["one_picture"] = one_picture(given.repeats)
    for threads in (1, 2):
        measured = result["one_picture"][f"threads_{threads}"]
        print(f"one 640 x 480 picture, {threads} thread(s): {measured['total_ms']['median']} ms")
        for name, value in measured["stages_ms"].items():
            print(f"  {value['median']:8.2f} ms  {name}")
        print(f"  own cost: {100 * measured['own_share']['median']:.1f} %")
    print(f"two workers: {result['side_by_side_pictures_per_second']['median']} pictures/s")
    for row in result["profile"]:
        print(f"  {row['own_ms']:8.3f} ms  {row['calls']:5.1f} x  {row['function']}")
    print({name: value for name, value in result["folder"].items() if name != "sizes_px"})
    print(machine.write("speed", result))


if __name__ == "__main__":
    main()
