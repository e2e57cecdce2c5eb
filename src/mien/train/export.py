"""Exports a trained system as an ONNX file with its card, checked against the network that it came from."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.core.atomic import writing
from mien.core.card import CARD_KEY, Card
from mien.core.errors import MienError

if TYPE_CHECKING:
    import onnx

    from mien.train.lab import Lab

OPSET = 18
"""The operator set of exported files: the one that the light floor's own graphs have."""

TOLERANCE = 1e-4
"""Largest difference between the exported file and the network: of values up to 1 as they are, of larger ones
(years, degrees) as a part of the network's, since floats keep so many digits and no more."""

_IR_VERSION = 8
_BATCHES = (1, 2, 5)


class ExportError(MienError):
    """A network whose exported file does not give what the network gives."""


class _Ordered(nn.Module):
    """Gives a network's fields as a tuple in the card's order: what the exporter can name."""

    def __init__(self, network: nn.Module, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.fields = fields

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        made = self.network(pixels)
        return tuple(made[field] for field in self.fields)


def export(lab: Lab[Any], path: Path) -> float:
    """Write a system's ONNX file: any number of faces, decoding inside, the card in its metadata.

    Args:
        lab: a trained system that ships a model.
        path: the .onnx file; complete or absent.

    Returns:
        The largest difference to the network that was found, over batches of 1, 2 and 5 random crops.

    Raises:
        ExportError: a difference above `TOLERANCE`.
    """
    card = lab.card()
    lab.calibrate()
    network = _Ordered(lab.exported().eval().cpu(), card.fields).eval()
    model = _to_onnx(network, card)
    data = model.SerializeToString()
    difference = _compare(data, network, card)
    if difference > TOLERANCE:
        raise ExportError(f"{card.name}: the exported file differs from the network by {difference:.2g}")
    with writing(path) as file:
        file.write(data)
    return difference


def _shape(card: Card) -> tuple[int, int, int]:
    assert card.crop is not None
    return 1 if card.input.grey else 3, card.crop.height, card.crop.width


def _to_onnx(network: nn.Module, card: Card) -> onnx.ModelProto:
    example = torch.rand(2, *_shape(card)) * 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["input"],
            output_names=list(card.fields),
            dynamic_shapes={"pixels": {0: torch.export.Dim("n")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # Traces of how the exporter came to each node: half the size of small files, and paths of this machine.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.ir_version = _IR_VERSION
    model.metadata_props.add(key=CARD_KEY, value=card.to_json())
    return model


@torch.no_grad()
def _compare(data: bytes, network: nn.Module, card: Card) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    for count in _BATCHES:
        pixels = torch.rand(count, *_shape(card), generator=generator) * 255
        ours = session.run(list(card.fields), {"input": pixels.numpy()})
        for mine, theirs in zip(ours, network(pixels), strict=True):
            said = theirs.numpy()
            away = np.abs(mine - said) / np.maximum(1, np.abs(said))
            worst = max(worst, float(away.max(initial=0.0)))
    return worst
