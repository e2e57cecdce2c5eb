"""`mien explain`: the faces of photos and videos, as a trained run sees them, or why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from films import film, pasted
from mien.cli.app import app
from mien.runtime.video import frames


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for runs, none in it before the first test."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _here(runs: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_RUNS", str(runs))
    monkeypatch.setenv("MIEN_DATA", str(shared_data))


def train() -> None:
    assert CliRunner().invoke(app, ["train", "gimefive", "--recipe", "tiny", "--json"]).exit_code == 0


def test_a_photo_is_explained_by_a_trained_run(tmp_path: Path, demo_photos: Path) -> None:
    target = tmp_path / "explained.png"
    call = ["explain", str(demo_photos / "obama.jpg"), "-o", str(target), "--recipe", "tiny"]
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 2
    assert "mien train gimefive --recipe tiny" in " ".join(refused.output.split())
    assert not target.exists()
    train()
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("face 0: ")
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert image.width == 7 * 144
    mapped = target.read_bytes()
    assert CliRunner().invoke(app, [*call, "--method", "saliency"]).exit_code == 0
    assert target.read_bytes() != mapped
    refused = CliRunner().invoke(app, [*call, "--method", "guess"])
    assert refused.exit_code == 2
    assert "use grad-cam or saliency" in " ".join(refused.output.split())


def test_a_video_is_explained_frame_by_frame(tmp_path: Path, demo_photos: Path) -> None:
    train()
    face = np.asarray(Image.open(demo_photos / "obama.jpg").convert("RGB").crop((280, 0, 720, 550)))
    grey = np.full((176, 320, 3), 120, np.uint8)
    source = film(
        tmp_path / "a.mp4", [pasted(grey, face, 20 + 10 * i, 20, 110) for i in range(4)], sound=True
    )
    made = {}
    for method in ("grad-cam", "saliency"):
        target = tmp_path / f"{method}.mp4"
        call = ["explain", str(source), "-o", str(target), "--recipe", "tiny", "--method", method, "-t", "1"]
        done = CliRunner().invoke(app, call)
        assert done.exit_code == 0, done.output
        assert re.fullmatch(r"track 1: \w+ 0\.\d\d over 4 frames\n", done.stdout)
        made[method] = [frame.pixels.astype(int) for frame in frames(target)]
        assert len(made[method]) == 4
    before = [frame.pixels.astype(int) for frame in frames(source)]
    for place, (old, mapped, slopes) in enumerate(zip(before, *made.values(), strict=True)):
        left = 20 + 10 * place
        # faces are drawn upon, and differently; what is far from the face is not
        assert np.abs(mapped - slopes)[60:120, left + 20 : left + 90].mean() > 4
        assert max(np.abs(mapped - old)[:, 200:].mean(), np.abs(slopes - old)[:, 200:].mean()) < 4
    refused = CliRunner().invoke(app, ["explain", str(source), "-o", str(tmp_path / "a.png")])
    assert refused.exit_code == 2
    assert "an ending of videos" in " ".join(refused.output.split())
    refused = CliRunner().invoke(app, ["explain", str(source), "-o", str(source), "--recipe", "tiny"])
    assert refused.exit_code == 1
    assert "never overwritten" in " ".join(refused.output.split())


def test_a_video_without_faces_is_told(tmp_path: Path) -> None:
    train()
    source = film(tmp_path / "a.mp4", [np.full((96, 160, 3), 120, np.uint8)] * 2)
    call = ["explain", str(source), "-o", str(tmp_path / "b.mp4"), "--recipe", "tiny", "-t", "1"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "no face found" in " ".join(done.stderr.split())
