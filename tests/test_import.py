"""Importing mien is quick and light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mien

MOST_MILLISECONDS = 150

LAB = ("mien.nn", "mien.data", "mien.train", "mien.evaluate", "mien.systems.")
"""The floor that may import torch; everything else is the light one."""


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_takes_less_than_150_ms() -> None:
    code = "import time; t = time.perf_counter(); import mien; print(1000 * (time.perf_counter() - t))"
    assert min(float(_python(code)) for _ in range(3)) < MOST_MILLISECONDS


@pytest.mark.parametrize("heavy", ["onnxruntime", "onnx", "torch", "numpy"])
def test_import_leaves_heavy_packages_alone(heavy: str) -> None:
    assert _python(f"import sys, mien; print({heavy!r} in sys.modules)").strip() == "False"


def test_no_module_imports_a_heavy_package_before_it_is_needed() -> None:
    code = (
        f"LAB = {LAB}"
        + """
import importlib, pkgutil, sys, mien
sys.modules["torch"] = sys.modules["cv2"] = None
for module in pkgutil.walk_packages(mien.__path__, "mien."):
    if not module.name.startswith(LAB):
        importlib.import_module(module.name)
print(*({"av", "onnx", "onnxruntime", "pandas", "pyarrow", "ray", "scipy"} & set(sys.modules)))
"""
    )
    assert _python(code).split() == []


def test_every_door_opens() -> None:
    for name in mien.__all__:
        assert getattr(mien, name) is not None
        assert name in dir(mien)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        mien.analyse  # noqa: B018
