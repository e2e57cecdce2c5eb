"""The one table of adapters: a published model file's bytes in, a model in mien's standard form out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from mien.core.errors import ConversionError
from mien.core.fields import FIELDS
from mien.runtime.convert import describers, detectors, mediapipe
from mien.runtime.convert.graph import read_model

if TYPE_CHECKING:
    import onnx

Adapter = Callable[[bytes], "onnx.ModelProto"]
"""Turns a file into a model with the input `input` and outputs named by fields; raises `ConversionError`."""


def _of_onnx(name: str, adapt: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Adapter:
    def adapter(data: bytes) -> onnx.ModelProto:
        return adapt(read_model(data, name))

    return adapter


def _standard(data: bytes) -> onnx.ModelProto:
    """Return a model that is in the standard form already."""
    model = read_model(data, "none")
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    outputs = [value.name for value in model.graph.output]
    if inputs != ["input"]:
        raise ConversionError("none", f"expected one input 'input', found {', '.join(inputs) or 'none'}")
    if unknown := [name for name in outputs if name not in FIELDS]:
        raise ConversionError("none", f"expected outputs named by fields, found {', '.join(unknown)}")
    return model


def _of_tflite(name: str, adapt: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Adapter:
    def adapter(data: bytes) -> onnx.ModelProto:
        from mien.runtime.convert.tflite import convert_tflite

        return adapt(convert_tflite(data, name))

    return adapter


def _dlib(data: bytes) -> onnx.ModelProto:
    from mien.runtime.convert.dlib import convert_dlib

    return convert_dlib(data)


ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        "none": _standard,
        "centerface": _of_onnx("centerface", detectors.centerface),
        "yunet": _of_onnx("yunet", detectors.yunet),
        "scrfd": _of_onnx("scrfd", detectors.scrfd),
        "ultraface": _of_onnx("ultraface", detectors.ultraface),
        "mobilefacenet": _of_onnx("mobilefacenet", describers.mobilefacenet),
        "arcface": _of_onnx("arcface", describers.arcface),
        "sface": _of_onnx("sface", describers.sface),
        "minifasnet": _of_onnx("minifasnet", describers.minifasnet),
        "genderage": _of_onnx("genderage", describers.genderage),
        "landmarks68": _of_onnx("landmarks68", describers.landmarks68),
        "fer-mini-xception": _of_onnx("fer-mini-xception", describers.expression),
        "ferplus-vgg13": _of_onnx("ferplus-vgg13", describers.ferplus_vgg13),
        "dlib-resnet": _dlib,
        "blazeface-back": _of_tflite("blazeface-back", mediapipe.blazeface_back),
        "blazeface-short-range": _of_tflite("blazeface-short-range", mediapipe.blazeface_short_range),
        "blazeface-full-range": _of_tflite("blazeface-full-range", mediapipe.blazeface_full_range),
        "face-mesh": _of_tflite("face-mesh", mediapipe.face_mesh),
        "iris": _of_tflite("iris", mediapipe.iris),
    }
)
"""Every adapter by the name that cards and the asset table use."""
