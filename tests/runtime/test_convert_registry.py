"""The table of adapters turns bytes into standard models and refuses what is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mien.core.errors import ConversionError
from mien.runtime.assets import source_bytes
from mien.runtime.convert.registry import ADAPTERS

FILES = {
    "yunet": "face_detection_yunet_2023mar",
    "scrfd": "det_500m",
    "ultraface": "version-RFB-320",
    "mobilefacenet": "mobilefacenet_foamliu",
    "minifasnet": "2.7_80x80_MiniFASNetV2",
    "genderage": "genderage_v1",
    "landmarks68": "peppa_slim_160",
    "fer-mini-xception": "fer_mini_xception",
}


# Those that come from the package index, not from the folder of weights.
FETCHED = [
    "centerface",
    "dlib-resnet",
    "blazeface-back",
    "blazeface-full-range",
    "blazeface-short-range",
    "face-mesh",
    "iris",
]


def published(name: str, shared_data: Path) -> bytes:
    if name in FETCHED:
        return source_bytes(name)
    return (shared_data / "weights" / f"{FILES[name]}.onnx").read_bytes()


def model_named(source: str, target: str) -> bytes:
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Relu", [source], [target])],
        "small",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, shape)],
    )
    return bytes(helper.make_model(graph, ir_version=8).SerializeToString())


@pytest.mark.parametrize("name", [*FILES, *FETCHED])
def test_what_an_adapter_makes_is_already_standard(name: str, shared_data: Path) -> None:
    data = published(name, shared_data)
    adapted = ADAPTERS[name](data)
    again = ADAPTERS["none"](adapted.SerializeToString())
    assert [output.name for output in again.graph.output] == [output.name for output in adapted.graph.output]


@pytest.mark.parametrize("name", [*FILES, *FETCHED])
def test_an_adapter_makes_the_same_bytes_each_time(name: str, shared_data: Path) -> None:
    data = published(name, shared_data)
    first, second = (ADAPTERS[name](data).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x08\x07", bytes(1000)])
def test_bytes_that_are_no_model_are_refused(name: str, data: bytes) -> None:
    with pytest.raises(ConversionError):
        ADAPTERS[name](data)


def test_a_truncated_file_is_refused(shared_data: Path) -> None:
    data = (shared_data / "weights" / "det_500m.onnx").read_bytes()
    for tenth in range(10):
        with pytest.raises(ConversionError):
            ADAPTERS["scrfd"](data[: len(data) * tenth // 10])


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("picture", "embeddings", "expected one input 'input', found picture"),
        ("input", "fc1", "expected outputs named by fields, found fc1"),
    ],
)
def test_a_model_that_is_not_standard_is_refused_naming_the_tensor(
    source: str, target: str, reason: str
) -> None:
    with pytest.raises(ConversionError, match=reason):
        ADAPTERS["none"](model_named(source, target))


def test_every_adapter_is_tried_here_or_has_no_file_at_hand() -> None:
    not_at_hand = {"arcface", "sface", "ferplus-vgg13"}
    assert {*FILES, *FETCHED, "none"} | not_at_hand == set(ADAPTERS)


def test_a_standard_model_passes_unchanged() -> None:
    data = model_named("input", "embeddings")
    assert ADAPTERS["none"](data) == onnx.load_model_from_string(data)


def test_the_table_is_read_without_importing_onnx() -> None:
    code = (
        "import sys, mien.runtime.convert.registry; print([m for m in sys.modules if m.startswith('onnx')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
