"""`mien doctor` tells what is here, what is missing and what adds it; it works where nothing is."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mien.cli import doctor as command
from mien.cli.app import app
from mien.runtime import assets


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "120"})


def examined() -> dict[str, Any]:
    found = json.loads(doctor("--json").stdout)
    assert isinstance(found, dict)
    return found


DEFAULTS = {name: asset for name, asset in assets.table().items() if asset.default}


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(assets.MODELS, str(tmp_path))
    return tmp_path


def test_all_that_is_needed_is_here_and_timed() -> None:
    ran = doctor()
    assert ran.exit_code == 0, ran.output
    assert "Nothing that mien needs is missing." in ran.stdout
    found = examined()
    assert found["needed"] == []
    wanted = {name: "shipped" if asset.shipped else "ready" for name, asset in DEFAULTS.items()}
    assert {name: found["models"][name] for name in DEFAULTS} == wanted
    assert found["packages"]["numpy"] == importlib.metadata.version("numpy")
    speed = found["speed_ms"]
    assert len(speed) > 3
    assert all(milliseconds > 0 for milliseconds in speed.values())
    for name in speed:
        assert name in ran.stdout


def test_without_models_it_names_the_command_that_gets_them(no_models: Path) -> None:
    ran = doctor()
    assert ran.exit_code == 1
    defaults = [name for name, asset in DEFAULTS.items() if not asset.shipped]
    assert f"mien models get {' '.join(defaults)}" in ran.stdout
    assert ran.stdout.count("absent") >= len(defaults)
    assert examined()["speed_ms"] == {}


def test_a_damaged_model_is_named(no_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(assets.MODELS)
    here = assets.folder()
    monkeypatch.setenv(assets.MODELS, str(no_models))
    for file in [*here.glob("*.onnx"), *here.glob("*.json")]:
        shutil.copy(file, no_models)
    damaged = no_models / "iris.onnx"
    damaged.write_bytes(damaged.read_bytes() + b"!")
    found = examined()
    assert found["models"]["iris"] == "damaged"
    assert found["needed"] == [{"command": "mien models get iris", "why": "damaged models"}]


def test_missing_packages_are_told_with_the_extra_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def light(package: str) -> str:
        if package in ("av", "pyarrow", "pillow-heif"):
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", light)
    monkeypatch.setattr(command, "_speed", list)
    ran = doctor()
    assert ran.exit_code == 0
    useful = [advice["command"] for advice in examined()["useful"]]
    for extra in ("video", "tables", "heic"):
        assert f"pip install 'mien[{extra}]'" in useful
        assert f"pip install 'mien[{extra}]'" in ran.stdout


def test_extras_are_those_of_the_packages_own_metadata() -> None:
    found = dict(command._requirements())
    assert found["onnxruntime"] == ""
    assert found["av"] == "video"
    assert found["pyarrow"] == "tables", "of two extras the smaller one is named"
    assert "pytest" not in found
