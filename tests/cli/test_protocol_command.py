"""`mien evaluate --protocol lfw` judges a network that mien has never seen, by real pairs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow.compute
import pyarrow.parquet as parquet
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from mien.cli.app import app
from mien.core.card import CARD_KEY, Card, Licence, Output
from mien.core.crops import Crop

CARD = Card(
    card=1,
    name="coarse",
    version="1",
    title="a stand-in for a network that somebody else made",
    makes=(Output("embeddings"),),
    licence=Licence("Apache-2.0", commercial=True),
    training_data="none",
    source="tests",
    crop=Crop("template", 112, 112, template="arcface"),
)


def recogniser(file: Path) -> Path:
    """Write a network whose embedding is the face at 7 x 7 pixels without its mean."""
    nodes = [
        helper.make_node("AveragePool", ["input"], ["coarse"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("ReduceMean", ["coarse"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Sub", ["coarse", "mean"], ["centred"]),
        helper.make_node("Reshape", ["centred", "shape"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "coarse",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 147])],
        [numpy_helper.from_array(np.array([-1, 147], np.int64), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key=CARD_KEY, value=CARD.to_json())
    onnx.save(model, file)
    return file


@pytest.fixture
def few_pairs(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which `lfw_pairs` are five pairs of each kind of two of the folds."""
    with (shared_data / "lfw_pairs" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = [
        row
        for fold in "01"
        for same in "01"
        for row in [row for row in rows if (row["fold"], row["same"]) == (fold, same)][:5]
    ]
    names = sorted({row[name] for row in chosen for name in ("name_a", "name_b")})
    folder = tmp_path / "data" / "lfw_pairs"
    folder.mkdir(parents=True)
    table = parquet.read_table(shared_data / "lfw_pairs" / "images.parquet")
    there = pyarrow.compute.is_in(table["name"], value_set=pyarrow.array(names))
    parquet.write_table(table.filter(there), folder / "images.parquet")
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    monkeypatch.setenv("MIEN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_a_network_that_mien_has_never_seen_is_judged(few_pairs: Path) -> None:
    model = recogniser(few_pairs / "coarse.onnx")
    told = json.loads(run("--model", str(model), "--protocol", "lfw", "--plot", "det.svg", "--json"))
    assert told["model"] == "coarse 1"
    assert told["protocol"] == told["used"]["name"].removesuffix("_pairs") == "lfw"
    assert (told["mated_comparisons"], told["other_comparisons"]) == (10, 10)
    assert told["pictures_without_a_found_face"] == 0
    assert told["auc"] > 0.55
    assert 0.5 <= told["accuracy"] <= 1
    # one comparison of ten is a tenth; a hundredth cannot be shown
    assert [point["wanted_fmr"] for point in told["points"]] == [0.1]
    assert told["points"][0]["fmr"] == 0.1
    assert Path("det.svg").read_text().startswith("<?xml")


def test_the_command_says_what_goes_with_what(few_pairs: Path) -> None:
    assert "no protocol 'ijb'" in run("--protocol", "ijb", code=2)
    assert "name a system, or a --protocol" in run(code=2)
    assert "and no system" in run("ferplus", "--protocol", "lfw", code=2)
    assert "go with --protocol" in run("ferplus", "--mirror", code=2)
    assert "no such file" in run("--model", "none.onnx", "--protocol", "lfw", code=2)
    assert "makes no embeddings" in run("--model", "face-mesh", "--protocol", "lfw", code=2)
