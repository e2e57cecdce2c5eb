"""dlib's face network, converted from the published file, gives the embeddings that dlib itself gives."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

from mien.core.errors import ConversionError
from mien.runtime.assets import source_bytes
from mien.runtime.convert.dlib import convert_dlib

Floats = npt.NDArray[np.float32]

CHIPS = 20


@pytest.fixture(scope="module")
def dlib_weights() -> bytes:
    return source_bytes("dlib-resnet")


@pytest.fixture(scope="module")
def model(dlib_weights: bytes) -> onnx.ModelProto:
    return convert_dlib(dlib_weights)


@pytest.fixture(scope="module")
def chips(shared_data: Path) -> npt.NDArray[np.uint8]:
    """Return (20, 150, 150, 3) faces of 20 pictures, spread over the people of the set."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(shared_data / "identities" / "valid.parquet", columns=["image"])
    places = np.linspace(0, rows.num_rows - 1, CHIPS).astype(int).tolist()
    pictures = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows.take(places).to_pylist()]
    return np.stack([np.asarray(picture.convert("RGB").resize((150, 150))) for picture in pictures])


def as_input(chips: npt.NDArray[np.uint8]) -> Floats:
    return chips.transpose(0, 3, 1, 2).astype(np.float32)


def run(model: onnx.ModelProto, pictures: Floats) -> Floats:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    (embeddings,) = session.run(["embeddings"], {"input": pictures})
    return np.asarray(embeddings, np.float32)


def test_embeddings_equal_those_of_dlib(
    dlib_weights: bytes, model: onnx.ModelProto, chips: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    import dlib

    file = tmp_path / "network.dat"
    file.write_bytes(dlib_weights)
    describer = dlib.face_recognition_model_v1(str(file))
    expected = np.array([np.array(describer.compute_face_descriptor(chip)) for chip in chips])
    found = run(model, as_input(chips))
    assert found.shape == (CHIPS, 128)
    assert np.ptp(expected, axis=0).min() > 0.01
    assert np.abs(found - expected).max() < 1e-5


def test_a_face_has_the_same_embedding_alone_and_in_a_batch(
    model: onnx.ModelProto, chips: npt.NDArray[np.uint8]
) -> None:
    pictures = as_input(chips[:5])
    alone = np.concatenate([run(model, picture[None]) for picture in pictures])
    np.testing.assert_allclose(run(model, pictures), alone, atol=1e-5)


def test_the_graph_promises_what_the_runtime_expects(model: onnx.ModelProto) -> None:
    def shape(value: onnx.ValueInfoProto) -> list[int | str]:
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    assert [(v.name, shape(v)) for v in model.graph.input] == [("input", ["n", 3, 150, 150])]
    assert [(v.name, shape(v)) for v in model.graph.output] == [("embeddings", ["n", 128])]
    assert model.ir_version <= 10
    operators = [node.op_type for node in model.graph.node]
    # One multiplication is left, that of the input: every affine layer went into its convolution.
    assert (operators.count("Conv"), operators.count("Mul")) == (29, 1)


@pytest.mark.parametrize("tenth", range(10))
def test_the_published_file_cut_at_a_tenth_is_refused(dlib_weights: bytes, tenth: int) -> None:
    with pytest.raises(ConversionError, match=r"at byte \d+: expected .+ found the end at byte \d+"):
        convert_dlib(dlib_weights[: len(dlib_weights) * tenth // 10])
