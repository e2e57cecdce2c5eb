"""Stand-ins for the models that ship with mien: tiny graphs in a copy of the package, made in a moment."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.core.card import CARD_KEY, Card, Input, Licence, Output
from mien.core.crops import Crop
from mien.core.labels import FERPLUS_EXPRESSIONS

LIMITS = "A stand-in of the tests: it only sees how bright a face is."
_SIDE = 32


def expression_card(name: str = "expression", version: str = "1", *, commercial: bool = False) -> Card:
    """Return the card of a stand-in for an expression model."""
    return _card(name, version, commercial, Output("expression", FERPLUS_EXPRESSIONS))


def age_card(name: str = "age-gender", *, commercial: bool = False) -> Card:
    """Return the card of a stand-in for a model of age, its interval and gender."""
    return _card(name, "1", commercial, Output("age"), Output("age_interval"), Output("gender"))


def _card(name: str, version: str, commercial: bool, *makes: Output) -> Card:
    return Card(
        card=1,
        name=name,
        version=version,
        title="a stand-in",
        makes=makes,
        licence=Licence("Apache-2.0", commercial, "Pictures that nobody has licensed."),
        training_data="nothing",
        source="the tests",
        input=Input(grey=True),
        crop=Crop("template", _SIDE, _SIDE, template="arcface"),
        limits=LIMITS,
    )


def graph(card: Card, *, certain: float = 1.0) -> bytes:
    """Return an ONNX file with a card: what it makes follows the mean of a face's pixels.

    Args:
        card: what it is to make.
        certain: how far the probabilities are from equal ones.
    """
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    nodes += [
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Div", ["column", "full"], ["light"]),
    ]
    weights: dict[str, Any] = {"one": np.array([1], np.int64), "full": np.array(255, np.float32)}
    outputs = []
    for field, labels in ((output.field, output.labels) for output in card.makes):
        if field == "age":
            weights["years"] = np.array(60, np.float32)
            nodes.append(helper.make_node("Mul", ["mean_light", "years"], ["age"]))
            nodes.insert(-1, helper.make_node("Squeeze", ["light", "one"], ["mean_light"]))
            outputs.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n"]))
            continue
        count = len(labels) or 2
        slope = np.linspace(-1, 1, count, dtype=np.float32)[None] * np.float32(6 * certain)
        bend = -0.4 * slope[0]
        if field == "age_interval":
            slope, bend = np.full((1, 2), 60, np.float32), np.array([-7, 9], np.float32)
        weights |= {f"{field}.slope": slope, f"{field}.bend": bend}
        last = field if field == "age_interval" else f"{field}.logits"
        nodes.append(helper.make_node("Gemm", ["light", f"{field}.slope", f"{field}.bend"], [last]))
        if last != field:
            nodes.append(helper.make_node("Softmax", [last], [field], axis=1))
        outputs.append(helper.make_tensor_value_info(field, TensorProto.FLOAT, ["n", count]))
    made = helper.make_model(
        helper.make_graph(
            nodes,
            card.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, _SIDE, _SIDE])],
            outputs,
            [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    made.metadata_props.add(key=CARD_KEY, value=card.to_json())
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


def package(folder: Path, *cards: Card) -> Path:
    """Make a package of mien that ships stand-ins of these cards, and nothing else of its own.

    Returns:
        The folder `mien`: what is beside it goes into PYTHONPATH for a program, or itself in the place of
        `mien.runtime.assets.package()`.
    """
    real = Path(__file__).parents[1] / "src" / "mien"
    whole = folder / "mien"
    for path in (whole, whole / "runtime", whole / "models", whole / "models" / "cards"):
        path.mkdir(parents=True)
        for entry in (real / path.relative_to(whole)).iterdir():
            if entry.name not in ("runtime", "models", "cards", "assets.toml") and entry.suffix != ".onnx":
                (path / entry.name).symlink_to(entry)
    rows = tomllib.loads((real / "runtime" / "assets.toml").read_text("utf-8"))
    names = {card.name for card in cards}
    kept = {
        name: row
        for name, row in rows.items()
        if name not in names and not any(source.startswith("package:") for source in row.get("sources", ()))
    }
    for card in cards:
        data = graph(card)
        (whole / "models" / f"{card.name}.onnx").write_bytes(data)
        beside = whole / "models" / "cards" / f"{card.name}.json"
        beside.unlink(missing_ok=True)
        beside.write_text(card.to_json(), "utf-8")
        kept[card.name] = {
            "sources": [f"package:models/{card.name}.onnx"],
            "sha256": hashlib.sha256(data).hexdigest(),
            "default": True,
        }
    # what JSON calls a string, a list of strings and a truth value, TOML does too
    lines = (
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items())
        for name, row in kept.items()
    )
    (whole / "runtime" / "assets.toml").write_text("\n".join(lines), "utf-8")
    return whole
