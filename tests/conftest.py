"""What the tests share: pictures, models, and data that is beside the checkout in CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

if TYPE_CHECKING:
    from mien.data.reader import Images
    from mien.runtime.pipeline import Pipeline

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _no_skip_in_ci(report: Report) -> Report:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_configure() -> None:
    # Torch's threads wait for each other: on a busy machine two are ten times slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A shell that runs the tests in the background has Ctrl-C ignored in all that they start, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_skip_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _no_skip_in_ci((yield))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets; CI has it beside the checkout."""
    folder = Path(os.environ.get("MIEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the data sets are not here ({folder}); set MIEN_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def demo_photos(shared_data: Path) -> Path:
    return shared_data / "demo_photos"


@pytest.fixture(scope="session")
def astronaut() -> npt.NDArray[np.uint8]:
    """Return scikit-image's photo of Eileen Collins, (512, 512, 3) RGB: a face at (170, 60, 290, 210)."""
    from skimage import data

    picture: Any = data.astronaut()  # type: ignore[no-untyped-call]
    return np.asarray(picture, np.uint8)


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """Return a pipeline of all default models (`make test` gets them first)."""
    from mien.runtime.pipeline import Options, Pipeline

    return Pipeline(Options(threads=1))


@pytest.fixture(scope="session")
def faces_with_landmarks(shared_data: Path) -> Images:
    """Return the train faces of LA-Net's tiny recipe; their landmarks are found where they are not yet."""
    from dataclasses import replace

    from landmarked import with_landmarks
    from mien.systems.expression.la_net import RECIPES, LaNet

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_DATA", str(shared_data))
        return with_landmarks(LaNet(replace(RECIPES["tiny"], method="plain"), 0).chosen())
