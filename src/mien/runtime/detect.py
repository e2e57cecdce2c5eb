"""Finds faces: levels and tiles for every size of face, padding and quarter turns where none is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mien.core import crops, geometry
from mien.core.fields import FIELDS, Floats, Kind
from mien.core.picture import Pixels
from mien.runtime.describe import Known
from mien.runtime.model import Model

Confirmed = Callable[[Pixels, Known], Known]
"""Takes what is known of a picture's candidates and returns what is known of those that are faces."""

# Neighbouring tiles share this part of their side: a face on the border of one lies whole in the other.
_SHARED = 0.3
# Views with a longer side are looked at in tiles: CenterFace takes half a gigabyte for this one, px.
_LARGEST_VIEW = 1536
# A box that lies inside a better one by this much is a part of the same face.
_INSIDE = 0.8


@dataclass(frozen=True)
class Search:
    """How hard to look.

    Attributes:
        smallest: height in px (of the picture as analysed) of the smallest face looked for; 0 chooses by the
            picture's size: a sixtieth of its longer side, at least 27. Of faces as small as this about four
            in five are found, of those half as high again nearly all (benchmarks/detectors.py). Time grows
            with its inverse square; 27 keeps a 640 x 480 picture at 30 a second on two cores.
        score: candidates below this are dropped, 0..1; None takes the card's.
        turns: when nothing is surely found in a picture that does not say how it is oriented, try it on its
            sides and upside down.
        confirm: ask for the second opinion that the detector's card names, where a model here gives it.
    """

    smallest: float = 0.0
    score: float | None = None
    turns: bool = True
    confirm: bool = True

    def smallest_in(self, width: int, height: int) -> float:
        """Return the height of the smallest face to look for in a picture of this size, px."""
        return self.smallest or max(27.0, max(width, height) / 60)


@dataclass(frozen=True)
class Found:
    """What a detector found, in pixels of the picture that it was given.

    Attributes:
        boxes: (n, 4).
        scores: (n,).
        values: the other fields known of them: the detector's points, and what a second opinion made.
        turned: quarter turns (counter-clockwise) of the picture at which they were found.
    """

    boxes: Floats
    scores: Floats
    values: Known
    turned: int = 0

    def __len__(self) -> int:
        return len(self.boxes)


def detect(
    detector: Model,
    pixels: Pixels,
    search: Search,
    *,
    may_turn: bool = True,
    confirm: Confirmed | None = None,
) -> Found:
    """Find the faces of a picture.

    The picture is looked at whole, and then in tiles of growing magnification until the smallest face wanted
    is as high as the detector needs. Where that finds nothing, the picture is looked at from further away (a
    face that fills it has no border, and detectors want one). Where no face of at least the card's score is
    found, the other three quarter turns are tried as well and the one with most of them is taken.

    Args:
        detector: a model whose card has a `detector`.
        pixels: (H, W, 3) uint8.
        search: how hard to look.
        may_turn: whether quarter turns make sense (not for a picture whose orientation is known).
        confirm: a second opinion; candidates that it leaves out count as not found.

    Returns:
        The faces, best score first.
    """
    settings = detector.card.detector
    assert settings is not None
    found = _upright(detector, pixels, search, confirm)
    # Faces that lie on their side are seen too, at times, but neither surely nor with their points in place.
    sure = len(found) and found.scores[0] >= settings.score
    if sure or not (search.turns and may_turn):
        return found
    height, width = pixels.shape[:2]
    tries = [(float(found.scores.sum()), 0, found)]
    for turns in (1, 3, 2):
        candidate = _upright(detector, np.ascontiguousarray(np.rot90(pixels, turns)), search, confirm)
        tries.append((float(candidate.scores.sum()), turns, candidate))
    _, turns, best = max(tries, key=lambda item: item[0])
    if not turns:
        return found
    size = (height, width) if turns % 2 else (width, height)
    corners = geometry.rotate_quarter(best.boxes.reshape(-1, 2, 2), -turns, size)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    values = {name: _turned_back(name, value, turns, size) for name, value in best.values.items()}
    return Found(boxes, best.scores, values, turns)


def _turned_back(name: str, value: Floats, turns: int, size: tuple[int, int]) -> Floats:
    """Return a field of a turned picture as that of the picture before its turn; depth stays."""
    if FIELDS[name].kind is not Kind.POINTS:
        return value
    flat = geometry.rotate_quarter(value[..., :2], -turns, size)
    return np.concatenate([flat, value[..., 2:]], axis=-1).astype(np.float32)


def _upright(detector: Model, pixels: Pixels, search: Search, confirm: Confirmed | None) -> Found:
    settings = detector.card.detector
    assert settings is not None
    asked = settings.confirm.score if settings.confirm and confirm else settings.score
    least = asked if search.score is None else search.score
    height, width = pixels.shape[:2]
    smallest = search.smallest_in(width, height)
    found = _faces(detector, pixels, windows(detector, width, height, smallest), least, confirm)
    if not len(found):
        away = _further_away(detector, width, height)
        found = _faces(detector, pixels, [away], least, confirm)
    return found


def _faces(
    detector: Model, pixels: Pixels, views: Iterable[Window], least: float, confirm: Confirmed | None
) -> Found:
    """Look through windows; return the confirmed faces, each once."""
    found = _merge(detector, [_look(detector, pixels, window, least) for window in views])
    if confirm is None or not len(found):
        return found
    known = confirm(pixels, {"boxes": found.boxes, "scores": found.scores, **found.values})
    others = {name: value for name, value in known.items() if name not in ("boxes", "scores")}
    return Found(known["boxes"], known["scores"], others)


@dataclass(frozen=True)
class Window:
    """A part of the picture as a detector sees it.

    Attributes:
        left: px of the picture; may lie outside it.
        top: px.
        zoom: detector pixels for one picture pixel.
        width: of the detector's input, px.
        height: of the detector's input, px.
        whole: it shows the whole picture, so that no face is cut by its border.
    """

    left: float
    top: float
    zoom: float
    width: int
    height: int
    whole: bool


def windows(detector: Model, width: int, height: int, smallest: float) -> Iterator[Window]:
    """Yield the windows through which a detector must look to find faces from `smallest` px up.

    Args:
        detector: the model.
        width: of the picture, px.
        height: of the picture, px.
        smallest: height of the smallest face wanted, px.
    """
    card = detector.card
    assert card.detector is not None
    target = card.detector.smallest / smallest
    if card.input.width == 0:
        yield from _levels(detector, width, height, target)
        return
    side_x, side_y = card.input.width, card.input.height
    zoom = min(side_x / width, side_y / height)
    yield _centred(width, height, zoom, side_x, side_y)
    # A level sees faces from `smallest` up to the tiles' shared border; the next one begins where that ends.
    reach = max(1.5, _SHARED * min(side_x, side_y) / card.detector.smallest)
    while zoom * 1.15 < target:
        zoom = min(zoom * reach, target)
        yield from _tiles(width, height, zoom, side_x, side_y)


def _levels(detector: Model, width: int, height: int, target: float) -> Iterator[Window]:
    """Yield levels of the picture for a detector of any size, the finest first; too large ones in tiles."""
    card = detector.card
    assert card.detector is not None
    stride = card.input.stride
    zoom = min(max(target, 64 / max(width, height)), 2.0)
    while True:
        wide, high = (max(1, math.ceil(size * zoom / stride)) * stride for size in (width, height))
        whole = max(wide, high) <= _LARGEST_VIEW
        if whole:
            yield Window(0, 0, zoom, wide, high, True)
        else:
            side = _LARGEST_VIEW // stride * stride
            yield from _tiles(width, height, zoom, min(wide, side), min(high, side))
        # Faces larger than the detector sees, or than what tiles share, are looked for from further away.
        largest = card.detector.largest
        if whole and (not largest or max(width, height) * zoom <= largest * 1.2):
            return
        zoom /= 2.5


def _tiles(width: int, height: int, zoom: float, side_x: int, side_y: int) -> Iterator[Window]:
    starts_x = _starts(width * zoom, side_x)
    starts_y = _starts(height * zoom, side_y)
    for top in starts_y:
        for left in starts_x:
            yield Window(left / zoom, top / zoom, zoom, side_x, side_y, False)


def _starts(length: float, side: int) -> list[float]:
    """Return where tiles begin along one axis: evenly spread, sharing at least `_SHARED` of their side."""
    if length <= side:
        return [(length - side) / 2]
    count = math.ceil((length - side) / (side * (1 - _SHARED))) + 1
    return [i * (length - side) / (count - 1) for i in range(count)]


def _centred(width: int, height: int, zoom: float, side_x: int, side_y: int) -> Window:
    return Window((width - side_x / zoom) / 2, (height - side_y / zoom) / 2, zoom, side_x, side_y, True)


def _further_away(detector: Model, width: int, height: int) -> Window:
    """Return the window that shows the picture at half its side within a border."""
    card = detector.card
    side_x, side_y = card.input.width or 320, card.input.height or 320
    return _centred(width, height, 0.5 * min(side_x / width, side_y / height), side_x, side_y)


def _look(detector: Model, pixels: Pixels, window: Window, least: float) -> Found:
    matrix = np.array(
        [[window.zoom, 0, -window.left * window.zoom], [0, window.zoom, -window.top * window.zoom]]
    )
    view = _view(pixels, window, matrix)
    values = detector.run(crops.batch([view]))
    scores = values["scores"].reshape(-1)
    keep = (scores >= least) & np.isfinite(values["boxes"]).all(axis=1)
    back = geometry.invert(matrix)
    boxes = geometry.apply(back, values["boxes"][keep].reshape(-1, 2, 2)).reshape(-1, 4)
    if not window.whole:
        keep_whole = _not_cut(boxes, window, pixels.shape[1], pixels.shape[0])
        keep[np.flatnonzero(keep)[~keep_whole]] = False
        boxes = boxes[keep_whole]
    points = {
        name: geometry.apply(back, values[name][keep]).astype(np.float32)
        for name in detector.card.fields
        if name not in ("boxes", "scores")
    }
    return Found(boxes.astype(np.float32), scores[keep], points)


def _view(pixels: Pixels, window: Window, matrix: geometry.Matrix) -> Pixels:
    """Return what the window shows; whole levels are resized, which is quicker than a warp."""
    height, width = pixels.shape[:2]
    wide, high = round(width * window.zoom), round(height * window.zoom)
    left, top = round(-window.left * window.zoom), round(-window.top * window.zoom)
    fits = left >= 0 and top >= 0 and left + wide <= window.width and top + high <= window.height
    if not (window.whole and fits and wide and high):
        return crops.cut(pixels, matrix, window.width, window.height)
    image = Image.fromarray(pixels)
    if (wide, high) != (width, height):
        image = image.resize((wide, high), Image.Resampling.BILINEAR, reducing_gap=2.0)
    view = np.zeros((window.height, window.width, 3), np.uint8)
    view[top : top + high, left : left + wide] = np.asarray(image)
    return view


def _not_cut(boxes: np.ndarray, window: Window, width: int, height: int) -> np.ndarray:
    """Tell which boxes do not touch a border of the tile, other than where the picture ends there."""
    near = 2.0 / window.zoom
    right, bottom = window.left + window.width / window.zoom, window.top + window.height / window.zoom
    cut = (boxes[:, 0] < window.left + near) & (window.left > 0)
    cut |= (boxes[:, 1] < window.top + near) & (window.top > 0)
    cut |= (boxes[:, 2] > right - near) & (right < width)
    cut |= (boxes[:, 3] > bottom - near) & (bottom < height)
    return np.asarray(~cut)


def _merge(detector: Model, parts: list[Found]) -> Found:
    settings = detector.card.detector
    assert settings is not None
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    names = [name for name in detector.card.fields if name not in ("boxes", "scores")]
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in names}
    candidates = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    kept = candidates[
        geometry.suppress(boxes[candidates], scores[candidates], threshold=settings.overlap, inside=_INSIDE)
    ]
    return Found(boxes[kept], scores[kept], {name: value[kept] for name, value in values.items()})
