"""Partial FC's network by its count, and its lab under two processes, which one goes on from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mien.systems.recognition.partial_fc import RECIPES, Config, PartialFC, ir100
from mien.train.run import train

TRAIN = """
import sys
from pathlib import Path
from mien.systems.recognition.partial_fc import RECIPES, PartialFC
from mien.train.run import train
make = lambda: PartialFC(RECIPES["tiny"], 0)
train("partial-fc", make, folder=Path(sys.argv[1]), processes=2, progress=False)
"""


def test_the_papers_network_has_its_parameters_but_for_one_norm_a_block() -> None:
    with torch.device("meta"):
        made = ir100(RECIPES["paper"])
    count = sum(weights.numel() for weights in made.parameters())
    norms = 2 * sum(depth * width for depth, width in ((3, 64), (13, 128), (30, 256), (3, 512)))
    assert count == 65_129_792
    # ArcFace's ResNet-100: 65.15 million.
    assert round((count + norms) / 1e6, 2) == 65.15


def test_what_two_processes_learned_one_goes_on_from(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_DATA", str(shared_data))
    script = tmp_path / "both.py"
    script.write_text(TRAIN)
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")], check=True, capture_output=True, timeout=500
    )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)
    centres = kept["state_dict"]["head.centres"]
    lab = PartialFC(RECIPES["tiny"], 0)
    assert centres.shape == (lab.people, RECIPES["tiny"].embedding)
    (momentum,) = (
        state["momentum_buffer"]
        for state in kept["optimizer_states"][0]["state"].values()
        if state["momentum_buffer"].shape == centres.shape
    )
    torch.manual_seed(0)
    first = PartialFC(RECIPES["tiny"], 0).head.centres.detach()
    moved = (centres != first).any(dim=1)
    half = -(-lab.people // 2)
    assert moved[:half].any()
    assert moved[half:].any()
    assert torch.equal((momentum != 0).any(dim=1), moved)
    (tmp_path / "run" / "run.json").unlink()
    longer = replace(RECIPES["tiny"], rounds=2)
    train("partial-fc", lambda: PartialFC(longer, 0), folder=tmp_path / "run", progress=False)
    end = torch.load(last, weights_only=True)
    assert (kept["epoch"], end["epoch"]) == (0, 1)
    assert not torch.equal(end["state_dict"]["head.centres"], centres)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["score"] > 0


def test_settings_that_spread_classes_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match="not under adamw"):
        Config(optimiser="adamw")
    with pytest.raises(ValueError, match="no common norm"):
        Config(clip=1.0)
