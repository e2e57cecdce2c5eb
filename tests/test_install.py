"""What a user gets with `pip install mien`: a wheel, its size, and that it all works without extras."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
MOST_MEGABYTES = 220


def _run(command: Sequence[str | Path], code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=Path(command[0]).parent,
    )
    assert done.returncode == code, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT])
    return next(folder.glob("mien-*.whl"))


@pytest.fixture(scope="session")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of a fresh environment that holds mien, what it needs, nothing else."""
    folder = tmp_path_factory.mktemp("light")
    _run([sys.executable, "-m", "venv", "--without-pip", folder])
    programs = folder / "bin"
    _run([sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet", wheel])
    return programs


def test_wheel_holds_all_that_is_no_code(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in (source / "mien").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted - inside == set()
    for kind in (
        "mien/py.typed",
        "mien/runtime/assets.toml",
        "mien/report/assets/page.html",
        "mien/models/cards/dlib-resnet.json",
    ):
        assert kind in inside


def test_installed_size_is_below_the_limit(light: Path) -> None:
    packages = next((light.parent / "lib").glob("python*/site-packages"))
    size = sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
    assert 100 < size < MOST_MEGABYTES, f"{size:.0f} MB installed"


def test_version_is_the_wheels(light: Path, wheel: Path) -> None:
    assert _run([light / "mien", "--version"]).strip() == wheel.name.split("-")[1]


def test_doctor_works_without_extras_and_names_them(light: Path, tmp_path: Path) -> None:
    found = json.loads(_run([light / "mien", "doctor", "--json"], code=1, MIEN_MODELS=str(tmp_path)))
    useful = [advice["command"] for advice in found["useful"]]
    for extra in ("video", "tables", "heic"):
        assert f"pip install 'mien[{extra}]'" in useful
    assert found["needed"][0]["command"].startswith("mien models get ")


def test_pictures_are_analysed_with_the_light_packages_alone(
    light: Path, tmp_path: Path, astronaut: npt.NDArray[np.uint8]
) -> None:
    photo, table = tmp_path / "photo.jpg", tmp_path / "faces.csv"
    Image.fromarray(astronaut).save(photo)
    _run([light / "mien", "analyze", photo, "-o", table, "--threads", "1"])
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["error"] for row in rows] == [""]
    assert float(rows[0]["score"]) > 0.5


def test_recognisers_are_compared_without_the_result_files(light: Path, tmp_path: Path) -> None:
    told = json.loads(_run([light / "mien", "models", "compare", "--json"], MIEN_MODELS=str(tmp_path)))
    (default,) = (row for row in told if row["default"])
    assert default["lfw"]["accuracy"] > 0.98


def test_every_module_imports_with_the_light_packages_alone(light: Path) -> None:
    code = """
import importlib, pkgutil, sys, mien
sys.modules["torch"] = sys.modules["cv2"] = None
lab = ("mien.nn", "mien.data", "mien.train", "mien.evaluate", "mien.systems.")
names = [m.name for m in pkgutil.walk_packages(mien.__path__, "mien.") if not m.name.startswith(lab)]
for name in names:
    importlib.import_module(name)
print(len(names), *({"onnxruntime", "onnx"} & set(sys.modules)))
"""
    count, *heavy = _run([light / "python", "-c", code]).split()
    assert int(count) > 30
    assert heavy == []
