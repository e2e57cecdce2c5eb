"""Importing mien is quick and light."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = (
    "mien.core.faces",
    "mien.core.picture",
    "mien.runtime.pipeline",
    "mien.runtime.stream",
    "mien.cli.app",
)


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_takes_less_than_150_ms() -> None:
    code = "import time; t = time.perf_counter(); import mien; print(time.perf_counter() - t)"
    assert min(float(_python(code)) for _ in range(3)) < 0.15


@pytest.mark.parametrize("heavy", ["onnxruntime", "onnx", "torch", "numpy"])
def test_import_leaves_heavy_packages_alone(heavy: str) -> None:
    assert _python(f"import sys, mien; print({heavy!r} in sys.modules)").strip() == "False"


@pytest.mark.parametrize("module", LIGHT)
def test_light_floor_imports_with_torch_and_opencv_blocked(module: str) -> None:
    blocked = "import sys; sys.modules['torch'] = sys.modules['cv2'] = None"
    code = f"{blocked}; import {module}; print('onnxruntime' in sys.modules)"
    assert _python(code).strip() == "False"
