"""Makes the int8 variant of an exported model: eight bits, with the ranges that train rows show."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from mien.core.atomic import writing
from mien.core.card import CARD_KEY

ROWS = 512
"""How many train rows decide on the ranges of activations."""

# What costs time. All else (normalising pixels, the softmax) stays as it is: it costs nothing, and eight bits
# of a probability are few.
_OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "GlobalAveragePool", "ReduceMean")


def quantise(path: Path, output: Path, rows: Dataset[Any], *, count: int = ROWS) -> None:
    """Write the int8 variant of a model by onnxruntime's static quantisation; its card is the model's own.

    Args:
        path: an exported .onnx file.
        output: the .onnx file to write; complete or absent.
        rows: the train rows of its system: (pixels, ...) of each.
        count: how many of them to look at.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = _batches(rows, count)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "made.onnx")
        logging.disable(logging.WARNING)
        try:
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                made,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_edges(onnx.load(prepared)),
            )
        finally:
            logging.disable(logging.NOTSET)
        model = onnx.load(made)
        card = next(entry.value for entry in onnx.load(path).metadata_props if entry.key == CARD_KEY)
        del model.metadata_props[:]
        model.metadata_props.add(key=CARD_KEY, value=card)
        with writing(output) as file:
            file.write(model.SerializeToString())


def _batches(rows: Dataset[Any], count: int) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    seen = 0
    for batch in DataLoader(rows, 64):
        if seen >= count:
            return
        pixels = batch[0][: count - seen].numpy().astype(np.float32)
        seen += len(pixels)
        yield {"input": pixels}


def _edges(model: Any) -> list[str]:
    """Return the nodes before the first layer with weights and behind the last: pixels in, fields out."""
    layers = [i for i, node in enumerate(model.graph.node) if node.op_type in ("Conv", "Gemm", "MatMul")]
    nodes = list(model.graph.node)
    return [node.name for node in (*nodes[: layers[0]], *nodes[layers[-1] + 1 :])]
