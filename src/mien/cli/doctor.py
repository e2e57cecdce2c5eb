"""`mien doctor`: what is installed, which models are here and intact, how fast this machine is, what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from typing import Any

from mien.cli import common

# package -> the extra that brings it, and what for
_OPTIONAL = {
    "pyarrow": ("tables", "Parquet tables"),
    "pandas": ("tables", "data frames"),
    "av": ("video", "videos"),
    "scipy": ("video", "tracks in videos"),
    "pillow-heif": ("heic", "HEIC pictures"),
}
_NEEDED = ("numpy", "pillow", "onnx", "onnxruntime", "typer", "rich")


@common.guarded
def doctor(json: common.Json = False) -> None:
    """Say what works on this machine, how fast, and the command that adds what is missing."""
    from mien.runtime import assets
    from mien.runtime.stream import available_cores

    packages = {name: _version(name) for name in (*_NEEDED, *_OPTIONAL)}
    entries = assets.installed()
    damaged = [entry.card.name for entry in entries if not assets.intact(entry.card.name)]
    speed = _speed() if entries and not damaged else []
    advice = [
        f"pip install 'mien[{extra}]'   ({about})"
        for name, (extra, about) in _OPTIONAL.items()
        if not packages[name]
    ]
    if damaged:
        advice.append(f"mien models get {' '.join(damaged)}   (damaged)")
    missing = assets.missing_defaults()
    if missing:
        advice.append(f"mien models get {' '.join(missing)}   (models that mien uses by default)")
    if json:
        common.out_json(
            {
                "python": platform.python_version(),
                "cores": available_cores(),
                "packages": packages,
                "models": [entry.card.maker for entry in entries],
                "damaged": damaged,
                "missing": missing,
                "speed_ms": dict(speed),
                "advice": advice,
            }
        )
        return
    common.out(f"Python {platform.python_version()} on {platform.machine()}, {available_cores()} cores")
    common.out(
        "packages: " + ", ".join(f"{name} {version or 'absent'}" for name, version in packages.items())
    )
    common.out(f"models in {assets.folder()}: " + (", ".join(entry.card.name for entry in entries) or "none"))
    for stage, milliseconds in speed:
        common.out(f"{milliseconds:8.1f} ms  {stage}")
    common.out("missing:" if advice else "nothing is missing")
    for line in advice:
        common.out(f"  {line}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _speed() -> list[tuple[str, float]]:
    """Time each model, and the whole, on one thread: a 640 x 480 picture and one face."""
    import numpy as np

    from mien.runtime.pipeline import Options, Pipeline

    pipeline = Pipeline(Options(threads=1))
    rows = []
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    for model in pipeline.models():
        crop, given = model.card.crop, model.card.input
        wide, high = (crop.width, crop.height) if crop else (given.width or 640, given.height or 480)
        value: Any = np.zeros((1, 1 if given.grey else 3, high, wide), np.float32)
        rows.append(
            (
                f"{model.card.name}, one {'face' if crop else 'picture'}",
                _median(lambda m=model, v=value: m.run(v)),
            )
        )
    rows.append(("a 640 x 480 picture without faces, in all", _median(lambda: pipeline.analyze(picture))))
    return rows


def _median(call: Any) -> float:
    call()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[2]
