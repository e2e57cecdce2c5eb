"""Adapts MediaPipe's face models: decoding of BlazeFace, five landmarks out of the mesh, irises.

Each adapter takes what `convert_tflite` makes of the published file and raises `ConversionError` when that is
another model than it says. Where MediaPipe speaks of left and right it means the subject's; outputs here are
in the order of `mien.core.fields.FIVE_POINTS`, which goes by the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mien.core.fields import Floats
from mien.runtime.convert.graph import Graph

if TYPE_CHECKING:
    import onnx

_LOWEST_SCORE = 0.1
"""Candidates below it are dropped in the graph; MediaPipe itself starts at 0.5."""

# Where the mouth corners lie seen from BlazeFace's middle of the mouth, in distances between the eyes:
# medians over 124 faces of LFW at three sizes and three files, measured with the mesh. Smiles lift them.
MOUTH_WIDTH = 0.84
MOUTH_LIFT = 0.045

# The subject's right eye, which is the picture's left one, then the other: its contour.
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
# Other models' nose tip lies between these two; either alone is 0.06 to 0.09 eye distances from SCRFD's
# and YuNet's.
NOSE_TIP = (1, 4)
LEFT_MOUTH, RIGHT_MOUTH = 61, 291
_VERTICES = 468


def ssd_anchors(size: int, strides: Sequence[int], per_cell: int) -> Floats:
    """Return the centres that BlazeFace's boxes are relative to, px.

    MediaPipe's SSD anchor rules with an offset of half a cell: neighbouring layers of one stride share a map,
    and each layer puts `per_cell` anchors (of one size: the box is not relative to it) into every cell.

    Args:
        size: the input's side, px.
        strides: of the layers, px.
        per_cell: anchors that one layer puts into a cell.

    Returns:
        (anchors, 2) x y, row by row.
    """
    maps = []
    for stride in sorted(set(strides)):
        cells = size // stride
        rows, columns = np.mgrid[:cells, :cells]
        centres = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2) + 0.5
        maps.append(np.repeat(centres * stride, per_cell * strides.count(stride), axis=1).reshape(-1, 2))
    return np.concatenate(maps).astype(np.float32)


def blazeface_back(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt BlazeFace for the back camera, 256 px (Bazarevsky et al., 2019, arXiv 1907.05047)."""
    return blazeface(model, 256, ssd_anchors(256, (16, 32, 32, 32), per_cell=2), "blazeface-back")


def blazeface_short_range(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt BlazeFace short range, 128 px: faces within two metres or so of a phone."""
    return blazeface(model, 128, ssd_anchors(128, (8, 16, 16, 16), per_cell=2), "blazeface-short-range")


def blazeface_full_range(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt BlazeFace full range, 192 px: faces within five metres or so."""
    return blazeface(model, 192, ssd_anchors(192, (4,), per_cell=1), "blazeface-full-range")


def blazeface(model: onnx.ModelProto, size: int, anchors: Floats, name: str) -> onnx.ModelProto:
    """Put the decoding into a BlazeFace: `boxes`, `scores` and `keypoints` in pixels of the input.

    The file's 16 numbers for each anchor are in pixels: the box's centre from the anchor, its width and
    height, then six points from the anchor: the eyes (picture-left first), nose tip, middle of the mouth and
    two tragions. The mouth corners are not among them; they are put beside the middle of the mouth, parallel
    to the eyes and a little above. All of that is linear, so it is one product with a matrix for the anchors
    that pass.

    Boxes are MediaPipe's: from the brows to the chin, tighter than other detectors' boxes.

    Args:
        model: of two outputs, boxes (n, anchors, 16) and scores (n, anchors, 1), for values of -1..1.
        size: the input's side, px.
        anchors: (anchors, 2) px, see `ssd_anchors`.
        name: the model's name in errors.
    """
    graph = Graph(model, name)
    graph.expect_input((None, 3, size, size))
    count = len(anchors)
    raw, logits = graph.expect_outputs([("boxes", (None, count, 16)), ("scores", (None, count, 1))])
    graph.take_rgb((1, 3, size, size), mean=(127.5,), deviation=(127.5,))
    logits = graph.add("Reshape", logits, graph.indices(-1))
    lowest = float(np.log(_LOWEST_SCORE / (1 - _LOWEST_SCORE)))
    passed = graph.add("GreaterOrEqual", logits, graph.constant(lowest))

    def passing(tensor: str) -> str:
        return graph.add("Compress", tensor, passed, attributes={"axis": 0})

    rows = passing(graph.add("Reshape", raw, graph.indices(-1, 16)))
    decoded = graph.add("MatMul", rows, graph.constant(_decoding()))
    # Every x and y of the result counts from the anchor.
    origin = graph.add("Tile", passing(graph.constant(anchors)), graph.indices(1, 7))
    decoded = graph.add("Add", decoded, origin)
    boxes, points = graph.add_many("Split", decoded, graph.indices(4, 10), outputs=2, attributes={"axis": 1})
    scores = graph.add("Sigmoid", passing(logits))
    keypoints = graph.add("Reshape", points, graph.indices(-1, 5, 2))
    return graph.finish(
        {
            "boxes": (boxes, ("faces", 4)),
            "scores": (scores, ("faces",)),
            "keypoints": (keypoints, ("faces", 5, 2)),
        }
    )


def _decoding() -> Floats:
    """Return the (16, 14) matrix from BlazeFace's numbers to box corners and five points, from the anchor."""
    # (16, 2) each: which of the numbers its x is made of, and its y.
    centre, extent, left_eye, right_eye, nose, mouth = np.eye(16).reshape(16, 8, 2).transpose(1, 0, 2)[:6]
    across = right_eye - left_eye
    up = np.stack([across[:, 1], -across[:, 0]], axis=1)
    lips = mouth + MOUTH_LIFT * up
    points = [
        centre - extent / 2,
        centre + extent / 2,
        left_eye,
        right_eye,
        nose,
        lips - MOUTH_WIDTH / 2 * across,
        lips + MOUTH_WIDTH / 2 * across,
    ]
    return np.concatenate(points, axis=1).astype(np.float32)


def face_mesh(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt MediaPipe's Face Mesh (Kartynnik et al., 2019, arXiv 1907.06724), 192 px.

    Outputs, for a crop 1.5 times the box and turned so that the eyes lie level: `mesh` (n, 468, 3) in crop
    pixels (depth in the same scale, smaller is nearer), `presence` (n,) probability that there is a face, and
    `landmarks` (n, 5, 2) from the mesh: the eyes are the means of their contours.
    """
    size = 192
    graph = Graph(model, "face-mesh")
    graph.expect_input((None, 3, size, size))
    mesh, flag = graph.expect_outputs([("mesh", (None, 1, 1, 3 * _VERTICES)), ("presence", (None, 1, 1, 1))])
    graph.take_rgb(("n", 3, size, size), deviation=(255.0,))
    mesh = graph.add("Reshape", mesh, graph.indices(-1, _VERTICES, 3))
    presence = graph.add("Sigmoid", graph.add("Reshape", flag, graph.indices(-1)))
    flat = graph.add("Slice", mesh, graph.indices(0), graph.indices(2), graph.indices(2))
    chosen = [LEFT_EYE, RIGHT_EYE, NOSE_TIP, (LEFT_MOUTH,), (RIGHT_MOUTH,)]
    means = np.zeros((5, _VERTICES), np.float32)
    for row, vertices in zip(means, chosen, strict=True):
        row[list(vertices)] = 1 / len(vertices)
    landmarks = graph.add("MatMul", graph.constant(means), flat)
    return graph.finish(
        {
            "mesh": (mesh, ("n", _VERTICES, 3)),
            "presence": (presence, ("n",)),
            "landmarks": (landmarks, ("n", 5, 2)),
        }
    )


def iris(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adapt MediaPipe's Iris (Ablavatski et al., 2020, arXiv 2006.11341), 64 px.

    The crop is a square 2.3 times as wide as the eye between its corners, of an eye at the picture's right;
    the other eye has to be cut as in a mirror. The output `irises` (n, 5, 2) in crop pixels is the centre and
    four points of the rim (outer, upper, inner, lower); the file's contour of the eye (n, 71, 3) is left out.
    """
    size, contour_points, iris_points = 64, 71, 5
    graph = Graph(model, "iris")
    graph.expect_input((None, 3, size, size))
    _, irises = graph.expect_outputs(
        [("eye contour", (None, 3 * contour_points)), ("iris", (None, 3 * iris_points))]
    )
    graph.take_rgb(("n", 3, size, size), deviation=(255.0,))
    irises = graph.add("Reshape", irises, graph.indices(-1, iris_points, 3))
    irises = graph.add("Slice", irises, graph.indices(0), graph.indices(2), graph.indices(2))
    return graph.finish({"irises": (irises, ("n", iris_points, 2))})
