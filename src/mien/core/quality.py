"""How fit the picture of a face is: components in 0..100 named after ISO/IEC 29794-5 where it has a name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core import crops, geometry
from mien.core.fields import QUALITY, Floats
from mien.core.picture import Pixels

_SIDE = 112
_MARGIN = 0.0
# The part of the aligned crop that is skin, eyes and mouth on every head: x1, y1, x2, y2.
_INNER = (24, 32, 88, 104)
# Sharpness that counts as none and as full, and the px between the eyes at which a crop is not enlarged.
_BLURRED, _SHARP, _WHOLE_EYES = 0.6, 5.0, 35.0


def assess(
    pixels: Pixels,
    boxes: Floats,
    landmarks: Floats,
    pose: Floats,
    keypoints: Floats | None = None,
) -> Floats:
    """Measure the quality of faces.

    Each component is a number of our own, mapped to 0..100 so that 100 is best and about 50 is where
    recognition begins to suffer; the names follow ISO/IEC 29794-5:2025, the numbers are not the standard's.

    Args:
        pixels: (H, W, 3) uint8, the picture.
        boxes: (n, 4) px of `pixels`.
        landmarks: (n, 5, 2) px of `pixels`.
        pose: (n, 3) degrees.
        keypoints: (n, 5, 2) a second opinion on the landmarks, for their agreement; None means full
            agreement.

    Returns:
        (n, 12) in the order of `mien.core.fields.QUALITY`.
    """
    rows = [
        _one(pixels, box, points, turn, None if keypoints is None else keypoints[i])
        for i, (box, points, turn) in enumerate(zip(boxes, landmarks, pose, strict=True))
    ]
    return np.asarray(rows, np.float32).reshape(-1, len(QUALITY))


def sharpness_at_own_size(component: float, eyes: float) -> float:
    """Take out of a face's Sharpness what only its small size took away: a small face can be in focus.

    Args:
        component: Sharpness, 0..100.
        eyes: px between the eyes.

    Returns:
        0 for a blurred face to 100 and more for one in focus.
    """
    if component >= 100:
        return 100.0
    raw = (_BLURRED + component / 100 * (_SHARP - _BLURRED)) / min(1.0, eyes / _WHOLE_EYES)
    return 100 * (raw - _BLURRED) / (_SHARP - _BLURRED)


def _one(pixels: Pixels, box: Floats, landmarks: Floats, pose: Floats, second: Floats | None) -> list[float]:
    target = crops.TEMPLATES["arcface"].points * _SIDE
    matrix = geometry.similarity(landmarks, target)
    crop = crops.cut(pixels, matrix, _SIDE, _SIDE, "edge")
    # ITU-R BT.601 luma
    luma = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    inner = luma[_INNER[1] : _INNER[3], _INNER[0] : _INNER[2]]
    eyes = float(np.hypot(*(landmarks[1] - landmarks[0])))
    middle = inner.shape[1] // 2
    dark, bright = float((inner < 30).mean()), float((inner > 245).mean())
    low, high = np.percentile(inner, (2, 98))
    left, right = float(inner[:, :middle].mean()), float(inner[:, middle:].mean())
    components = {
        "Sharpness": _rising(_sharpness(inner, eyes), _BLURRED, _SHARP),
        "UnderExposurePrevention": 100 * (1 - min(1.0, dark / 0.5)),
        "OverExposurePrevention": 100 * (1 - min(1.0, bright / 0.3)),
        "IlluminationUniformity": 100 * min(left, right) / max(left, right, 1.0),
        "DynamicRange": _rising(float(high - low), 10, 120),
        "InterEyeDistance": _rising(eyes, 6, 60),
        "HeadPoseYaw": _cosine(float(pose[0])),
        "HeadPosePitch": _cosine(float(pose[1])),
        "HeadPoseRoll": _cosine(float(pose[2])),
        "FaceInsidePicture": 100 * _inside(box, pixels.shape[1], pixels.shape[0]),
        "LandmarksAgreement": 100 * (1.0 if second is None else _agreement(landmarks, second, eyes)),
    }
    # One bad component spoils a picture however good the others are: the geometric mean says so, the plain
    # one hides it. In-plane turn is left out: alignment undoes it.
    weighed = [max(value, 1.0) for name, value in components.items() if name != "HeadPoseRoll"]
    unified = float(np.exp(np.mean(np.log(weighed))))
    return [unified, *(min(max(components[name], 0.0), 100.0) for name in QUALITY[1:])]


def _sharpness(inner: npt.NDArray[np.float32], eyes: float) -> float:
    """Return the mean gradient over contrast, less where the crop was enlarged."""
    across = np.abs(np.diff(inner, axis=1)).mean()
    along = np.abs(np.diff(inner, axis=0)).mean()
    contrast = max(float(inner.std()), 4.0)
    enlarged = min(1.0, eyes / _WHOLE_EYES)
    return 100 * float(across + along) / 2 / contrast / 4.0 * enlarged


def _rising(value: float, none: float, full: float) -> float:
    return 100 * min(max((value - none) / (full - none), 0.0), 1.0)


def _cosine(degrees: float) -> float:
    return 100 * max(0.0, float(np.cos(np.radians(degrees)))) ** 2


def _inside(box: Floats, width: int, height: int) -> float:
    shown = np.array([max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)], np.float32)
    area = max(float((box[2] - box[0]) * (box[3] - box[1])), 1e-6)
    return max(0.0, float(shown[2] - shown[0])) * max(0.0, float(shown[3] - shown[1])) / area


def _agreement(landmarks: Floats, second: Floats, eyes: float) -> float:
    gap = float(np.hypot(*(landmarks - second).T).mean()) / max(eyes, 1e-6)
    return 1 - min(max((gap - 0.05) / 0.45, 0.0), 1.0)
