"""A full or read-only disk is one clear error, exit code 1, no half file; with space again all goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import corpus
from disks import Disk, disk
from mien.report.tables import read_rows
from mien.runtime import assets

PICTURES = 4


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Return a small disk; with the parameter "limit" the stand-in for those who may not mount one."""
    with disk(tmp_path / "disk", 8, mount=getattr(request, "param", "") != "limit") as made:
        yield made


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(PICTURES):
        corpus.face(Image.fromarray(astronaut), 90 + index).save(folder / f"{index}.jpg")
    return folder


def assert_one_line(text: str, name: str) -> None:
    lines = [line for line in text.splitlines() if "are done already" not in line]
    assert len(lines) == 1, text
    assert lines[0].startswith("mien: cannot write ")
    assert name in lines[0]
    assert "No space left on device" in lines[0] or "File too large" in lines[0]


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("faces.csv", "disk"),
        ("faces.jsonl", "disk"),
        ("faces.parquet", "disk"),
        ("report", "disk"),
        ("faces.parquet", "limit"),
    ],
    indirect=["small"],
)
def test_analyze(name: str, small: Disk, photos: Path) -> None:
    output = small.path / "out" / name
    table = output / "faces.csv" if name == "report" else output
    arguments = ("analyze", photos, "--want", "landmarks", "-o", output)
    small.fill()
    assert_one_line(small.run(*arguments, expected=1).stderr, name)
    assert small.names() <= {f"{table.name}.journal"}

    small.free()
    small.run(*arguments, expected=0)
    rows = list(read_rows(table))
    made = small.names()
    finished = [table, output / "index.html"] if name == "report" else [table]
    for path in finished:
        path.unlink()
    small.fill()
    assert_one_line(small.run(*arguments, expected=1).stderr, name)
    assert small.names() == made - {path.name for path in finished}, "no half file"

    small.free()
    said = small.run(*arguments, expected=0).stderr
    assert f"{PICTURES} of {PICTURES} pictures are done already" in said
    assert list(read_rows(table)) == rows
    assert small.names() == made


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a mirror folder with the iris model's file."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "iris_landmark.tflite").write_bytes(assets.source_bytes("iris"))
    return folder


def test_models(small: Disk, mirror: Path, shared_data: Path) -> None:
    env = {"MIEN_MODELS": str(small.path / "models"), "MIEN_MIRROR": str(mirror), "PIP_NO_INDEX": "1"}
    yunet = shared_data / "weights" / "face_detection_yunet_2023mar.onnx"
    small.fill()
    assert_one_line(small.run("models", "get", "iris", expected=1, env=env).stderr, "iris")
    assert_one_line(small.run("models", "add", yunet, "--card", "yunet", expected=1, env=env).stderr, "yunet")
    assert small.names() == set()

    small.free()
    small.run("models", "get", "iris", expected=0, env=env)
    small.fill()
    assert_one_line(small.run("models", "add", yunet, "--card", "yunet", expected=1, env=env).stderr, "yunet")
    tar = small.path / "all.tar"
    assert_one_line(small.run("models", "bundle", tar, "iris", expected=1, env=env).stderr, "all.tar")
    assert small.names() == {"iris.onnx", "iris.json"}
    small.run("models", "verify", expected=0, env=env)

    small.free()
    small.run("models", "bundle", tar, "iris", expected=0, env=env)
    small.run("models", "remove", "iris", expected=0, env=env)
    small.fill()
    assert_one_line(small.run("models", "get", "--from-bundle", tar, expected=1, env=env).stderr, "iris")
    assert small.names() == {"all.tar"}


def test_read_only(small: Disk, photos: Path, mirror: Path) -> None:
    small.lock()
    place = small.path if small.mounted else Path("/proc/mien")
    env = {"MIEN_MODELS": str(place / "models"), "MIEN_MIRROR": str(mirror), "PIP_NO_INDEX": "1"}
    for name in ("faces.csv", "faces.parquet", "report"):
        said = small.run("analyze", photos, "--want", "boxes", "-o", place / name, expected=1).stderr
        assert said.count("\n") == 1
        assert said.startswith(f"mien: cannot write {place / name}")
    said = small.run("models", "get", "iris", expected=1, env=env).stderr
    assert said.count("\n") == 1
    assert said.startswith(f"mien: cannot write {place}")
    assert small.names() == set()
