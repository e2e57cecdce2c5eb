"""Thresholds measured on a folder of persons agree with literal counts over all pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from mien.core.errorrates import compare_all
from mien.runtime.calibrate import NothingToCalibrate, calibrate
from mien.runtime.pipeline import Options, Pipeline

PEOPLE, PICTURES = 8, 4


@pytest.fixture(scope="module")
def people(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each of eight persons, four pictures each; one of them is damaged."""
    folder = tmp_path_factory.mktemp("people")
    table = parquet.read_table(shared_data / "identities" / "valid.parquet", columns=["image", "name"])
    seen: dict[str, int] = {}
    for row in table.to_pylist():
        count = seen.get(row["name"], 0)
        if (row["name"] in seen or len(seen) < PEOPLE) and count < PICTURES:
            seen[row["name"]] = count + 1
            (folder / row["name"]).mkdir(exist_ok=True)
            (folder / row["name"] / f"{count}.jpg").write_bytes(row["image"]["bytes"])
    (folder / min(seen) / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def recogniser() -> Pipeline:
    return Pipeline(Options(want=("embeddings",), threads=1))


def test_rates_are_those_counted_over_all_pairs(people: Path, recogniser: Pipeline) -> None:
    result = calibrate(recogniser, people)
    assert (result.people, result.pictures) == (PEOPLE, PEOPLE * PICTURES)
    assert len(result.mated) == PEOPLE * PICTURES * (PICTURES - 1) // 2
    assert len(result.other) == PICTURES**2 * PEOPLE * (PEOPLE - 1) // 2
    assert result.points
    for wanted, point in result.points:
        assert point.fmr == np.mean(result.other >= point.threshold) <= wanted
        assert point.fnmr == np.mean(result.mated < point.threshold)
        assert point.fmr_low <= point.fmr <= point.fmr_high
        assert point.fnmr_low <= point.fnmr <= point.fnmr_high
    assert np.median(result.mated) > np.median(result.other)


def test_what_was_left_out_is_told(people: Path, recogniser: Pipeline) -> None:
    left_out = calibrate(recogniser, people).left_out
    assert [Path(path).name for path, _ in left_out] == ["bad.jpg"]
    assert "not a picture" in left_out[0][1]


def test_rates_finer_than_one_comparison_are_left_out(people: Path, recogniser: Pipeline) -> None:
    result = calibrate(recogniser, people, rates=(1e-2, 1e-6))
    assert [wanted for wanted, _ in result.points] == [1e-2]


def test_too_few_people_is_a_clear_error(people: Path, recogniser: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(NothingToCalibrate, match="at least two persons"):
        calibrate(recogniser, tmp_path)
    for index, person in enumerate(sorted(people.iterdir())[:2]):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "0.jpg").write_bytes((person / "0.jpg").read_bytes())
    with pytest.raises(NothingToCalibrate, match="two usable pictures"):
        calibrate(recogniser, tmp_path)


def test_comparisons_name_the_persons() -> None:
    compared = compare_all(np.eye(4, dtype=np.float32), np.array(["b", "a", "b", "c"]))
    assert sorted(zip(compared.first.tolist(), compared.second.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 2),
    ]
    assert len(compared.mated) == 1


def test_the_command_prints_a_table_and_writes_the_curve(people: Path, tmp_path: Path) -> None:
    plot = tmp_path / "det.svg"
    command = [sys.executable, "-m", "mien", "calibrate", str(people), "--plot", str(plot), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["people"] == PEOPLE
    assert {"threshold", "fmr", "fmr_low", "fnmr"} <= set(result["points"][0])
    assert plot.read_text().startswith("<svg")
