"""The model card: what a model file says of itself, for the runtime to use it and people to trust it."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from mien.core import strict
from mien.core.crops import TEMPLATES, Crop
from mien.core.errors import CardError
from mien.core.fields import FIELDS, Kind

CARD_KEY = "mien.card"
"""The key of the card in an ONNX file's metadata."""


@dataclass(frozen=True)
class Output:
    """One thing that the model makes.

    Attributes:
        field: its name in `mien.core.fields.FIELDS`; the output tensor has the same name.
        labels: names of the columns, where the field leaves them to the model.
    """

    field: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """What the model takes: float32 0..255, RGB or grey, NCHW; any other normalisation is inside the graph.

    Attributes:
        width: px; 0 when a detector takes any size.
        height: px; 0 when a detector takes any size.
        stride: sizes must be multiples of this (detectors of any size).
        grey: one channel of luma instead of RGB.
    """

    width: int = 0
    height: int = 0
    stride: int = 32
    grey: bool = False


@dataclass(frozen=True)
class Confirm:
    """A second opinion on a detector's candidates, by whichever model here makes the field.

    Attributes:
        field: of one number a face, such as `presence`.
        least: candidates with less are dropped.
        score: candidates of this detector score and more are asked about, 0..1: lower than a detector could
            be trusted alone.
        sure: candidates of this detector score and more are kept whatever the second opinion; above 1 means
            that none is.
    """

    field: str
    least: float
    score: float
    sure: float = 2.0


@dataclass(frozen=True)
class Detector:
    """How a detector's candidates become faces.

    Attributes:
        score: candidates below this are dropped, 0..1; where `confirm` can be asked, its own score counts.
        overlap: of two candidates with a larger IoU the weaker one is dropped, 0..1.
        smallest: height in input pixels of the smallest face of which it finds four in five
            (benchmarks/detectors.py); decides the magnification.
        largest: height of the largest one in input pixels, for detectors of any size; pictures that could
            hold larger ones are looked at from further away, too. 0 means any.
        confirm: what else has to say that a candidate is a face, where a model for it is installed.
    """

    score: float
    overlap: float = 0.4
    smallest: float = 20.0
    largest: float = 0.0
    confirm: Confirm | None = None


@dataclass(frozen=True)
class Threshold:
    """A decision threshold with the error rates measured at it.

    Attributes:
        field: the field that it decides on.
        metric: how two values are compared; "cosine" of embeddings, or the "value" itself.
        value: same (or true) at this value and above.
        fmr: false match rate measured, 0..1.
        fmr_low: lower bound of its 95 % interval.
        fmr_high: upper bound of its 95 % interval.
        fnmr: false non-match rate measured, 0..1.
        data: on what it was measured.
        mirrored: it holds for embeddings to which the mirrored face was added, not for plain ones.
    """

    field: str
    metric: Literal["cosine", "value"]
    value: float
    fmr: float
    fmr_low: float
    fmr_high: float
    fnmr: float
    data: str
    mirrored: bool = False


@dataclass(frozen=True)
class Licence:
    """The terms.

    Attributes:
        weights: the licence of the weights, by SPDX name where it has one.
        commercial: whether the makers allow commercial use of the weights.
        note: what else a user should know, such as the terms of the training data.
    """

    weights: str
    commercial: bool
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A model's card.

    Attributes:
        card: version of this schema, 1.
        name: lower case letters, digits and dashes.
        version: of the weights together with this card.
        title: one line for people.
        makes: what it makes.
        licence: the terms of the weights.
        training_data: what it was trained on, as far as is known.
        source: where it comes from (paper, project).
        needs: the fields that it needs besides those of its crop.
        input: what it takes.
        crop: how faces are cut for it; None for a detector, which takes whole pictures.
        detector: a detector's settings; None for the others.
        thresholds: decision thresholds with their error rates.
        adapter: the converter that puts its decoding into the graph; "none" when it is there already.
        system: the id of the system in this repository that made it; empty for others' models.
        evidence: where its measurements are (paths in results/ or docs/), with what they say.
        limits: where it is known to fail, and what it must not be used for.
        run_here: whether we have run this very file; False means: written from public documentation.
    """

    card: Literal[1]
    name: str
    version: str
    title: str
    makes: tuple[Output, ...]
    licence: Licence
    training_data: str
    source: str
    needs: tuple[str, ...] = ()
    input: Input = Input()
    crop: Crop | None = None
    detector: Detector | None = None
    thresholds: tuple[Threshold, ...] = ()
    adapter: str = "none"
    system: str = ""
    evidence: str = ""
    limits: str = ""
    run_here: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", self.name):
            raise ValueError(f"name {self.name!r}: use lower case letters, digits, dots and dashes")
        if not self.makes:
            raise ValueError("makes is empty: a model must make something")
        for output in self.makes:
            if output.field not in FIELDS:
                raise ValueError(f"makes an unknown field {output.field!r}; known: {', '.join(FIELDS)}")
            kind = FIELDS[output.field]
            if kind.kind is Kind.PROBABILITIES and not (output.labels or kind.labels):
                raise ValueError(f"{output.field} needs its labels")
        for need in self.needs:
            if need not in FIELDS:
                raise ValueError(f"needs an unknown field {need!r}; known: {', '.join(FIELDS)}")
        if (self.crop is None) == (self.detector is None):
            raise ValueError("give either `crop` (a model of faces) or `detector` (a model of pictures)")
        made = {output.field for output in self.makes}
        if len(made) < len(self.makes):
            raise ValueError("makes a field twice")
        if not (0 <= self.input.width <= 4096 and 0 <= self.input.height <= 4096):
            raise ValueError(
                f"input of {self.input.width} x {self.input.height} px: use 0 (any size) to 4096"
            )
        if not 1 <= self.input.stride <= 1024:
            raise ValueError(f"input.stride of {self.input.stride} px: use 1..1024")
        if self.detector and not {"boxes", "scores"} <= made:
            raise ValueError("a detector makes boxes and scores")
        if self.detector:
            self._check_detector(self.detector)
        if self.crop:
            self._check_crop(self.crop)

    def _check_detector(self, detector: Detector) -> None:
        if not 0 < detector.smallest <= 4096 or detector.largest < 0:
            raise ValueError("detector.smallest must be in 0..4096 px and detector.largest 0 or more")
        if not 0 <= detector.score <= 1 or not 0 <= detector.overlap <= 1:
            raise ValueError("detector.score and detector.overlap must be in 0..1")
        confirm = detector.confirm
        if confirm and (confirm.field not in FIELDS or FIELDS[confirm.field].kind is not Kind.SCALAR):
            raise ValueError(f"detector.confirm.field {confirm.field!r} must be a field of one number a face")
        if confirm and not 0 <= confirm.score <= confirm.sure:
            raise ValueError("detector.confirm.score must be 0 or more and not above its `sure`")

    def _check_crop(self, crop: Crop) -> None:
        if crop.kind == "template" and crop.template not in TEMPLATES:
            raise ValueError(f"crop.template {crop.template!r} is unknown; known: {', '.join(TEMPLATES)}")
        if crop.kind == "regions" and not crop.regions:
            raise ValueError("crop.regions is empty")
        if any(min(region.start, region.end) < 0 for region in crop.regions):
            raise ValueError("crop.regions: points of the mesh are counted from 0")
        if max(map(abs, crop.shift)) > 100:
            raise ValueError("crop.shift must be in -100..100")
        if crop.width < 1 or crop.height < 1 or crop.width > 4096 or crop.height > 4096:
            raise ValueError(f"crop of {crop.width} x {crop.height} px: use 1..4096")
        if not -0.4 < crop.margin < 10 or not 0 < crop.scale < 100:
            raise ValueError("crop.margin must be in -0.4..10 and crop.scale in 0..100")
        if crop.kind != "box" and (crop.upright or crop.stretched or crop.inside):
            raise ValueError('crop.upright, crop.stretched and crop.inside go with kind "box"')
        if crop.upright and crop.inside:
            raise ValueError("crop.inside keeps the picture's axes: it cannot go with crop.upright")

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that it makes."""
        return tuple(output.field for output in self.makes)

    @property
    def all_needs(self) -> tuple[str, ...]:
        """Every field it needs, those of its crop included."""
        return tuple(dict.fromkeys((*(self.crop.needs if self.crop else ()), *self.needs)))

    @property
    def maker(self) -> str:
        """Name and version, as results quote it."""
        return f"{self.name} {self.version}"

    def threshold(self, field: str, *, mirrored: bool = False) -> Threshold | None:
        """Return the first threshold for a field: the one a decision takes unless told otherwise.

        Args:
            field: what the decision is about.
            mirrored: for embeddings to which the mirrored face was added.
        """
        fit = (t for t in self.thresholds if t.field == field and t.mirrored == mirrored)
        return next(fit, None)

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "card") -> Card:
        """Read a card.

        Raises:
            CardError: names the key that is wrong and why.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CardError(where, f"is no JSON: {error}") from error
        return strict.read(cls, data, where)

    def to_json(self) -> str:
        """Return the card as JSON, without the keys that keep their defaults."""
        return json.dumps(_plain(self), indent=1, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.default is dataclasses.MISSING or item != field.default:
                kept[field.name] = _plain(item)
        return kept
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def from_metadata(metadata: dict[str, str], where: str) -> Card:
    """Read the card out of an ONNX file's metadata.

    Raises:
        CardError: there is none, or it is wrong.
    """
    if CARD_KEY not in metadata:
        raise CardError(
            where, f"has no card (metadata key {CARD_KEY!r}): add one with `mien models add FILE --card CARD`"
        )
    return Card.from_json(metadata[CARD_KEY], where)
