"""`mien explain`: a sheet of a photo's faces by a trained run, and what it says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli.app import app


def test_a_photo_is_explained_by_a_trained_run(
    tmp_path: Path, shared_data: Path, demo_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_RUNS", str(tmp_path))
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    target = tmp_path / "explained.png"
    call = ["explain", str(demo_photos / "obama.jpg"), "-o", str(target), "--recipe", "tiny"]
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 2
    assert "mien train gimefive --recipe tiny" in " ".join(refused.output.split())
    assert not target.exists()
    assert CliRunner().invoke(app, ["train", "gimefive", "--recipe", "tiny", "--json"]).exit_code == 0
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
