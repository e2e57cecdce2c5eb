"""`Pipeline`: pictures in, `Faces` out, models chosen by the fields asked for; safe from many threads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from mien.core.card import Card, Confirm
from mien.core.errors import CardError, UnknownField, UnreadablePicture
from mien.core.faces import Faces
from mien.core.fields import FIELDS, Kind
from mien.core.picture import Limits, Picture, Pixels
from mien.runtime import assets
from mien.runtime.confirm import Confirmation
from mien.runtime.describe import Known
from mien.runtime.detect import Search, detect
from mien.runtime.model import Model
from mien.runtime.plan import ARITHMETIC, Arithmetic, Maker, Step, follow, plan

# Pictures are decoded at no more than they need: this many pixels on the longer side show every face that is
# looked for.
_LEAST_SIDE = 1920
# A face lower than this in the reduced picture is described from the picture at full size, px.
_FULL_DETAIL_BELOW = 120.0


@dataclass(frozen=True)
class Options:
    """What a pipeline is to do.

    Attributes:
        want: the fields; None means all that the default models on this machine make.
        models: names or .onnx paths of models that take the place of the default ones for what they make.
        terms: "permissive" keeps to models whose card allows commercial use.
        threads: threads that one call may use; 0 means all cores.
        search: how hard to look for faces.
        mirror: add the mirrored face's embedding: twice the time for the embedding, a little more accurate.
        limits: pictures above these are refused.
    """

    want: tuple[str, ...] | None = None
    models: tuple[str, ...] = ()
    terms: str = "any"
    threads: int = 0
    search: Search = Search()
    mirror: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.terms not in ("any", "permissive"):
            raise ValueError(f'terms must be "any" or "permissive", not {self.terms!r}')


class Pipeline:
    """Finds and describes faces.

    It holds its models; calls share them and are safe from many threads at once.

    Attributes:
        options: what it was told.
        fields: the fields that its results carry, in order.
        makers: for each field the name and version of what makes it.
    """

    def __init__(self, options: Options | None = None) -> None:
        """Choose and load the models.

        Raises:
            ModelMissing: there is no detector on this machine, or a named model is not here.
            CardError: a named model's terms are not the ones asked for.
            UnknownField: a wanted field does not exist, or nothing on this machine makes it.
        """
        self.options = options or Options()
        self._loaded: dict[str, Model] = {}
        named = [self._named(name) for name in self.options.models]
        others = assets.installed(terms=self.options.terms)
        defaults = [entry.card for entry in others if entry.default and not entry.shipped]
        extras = [entry.card for entry in others if not entry.default]
        shipped = [entry.card for entry in others if entry.default and entry.shipped]
        makers: list[Maker] = [*(model.card for model in named), *defaults]
        # What the user added makes a field before what ships with mien does.
        allowed = [*makers, *ARITHMETIC, *extras, *shipped]
        wanted = self._wanted(makers, allowed)
        rule = self._rule(allowed)
        self._steps = self._planned((*([rule.field] if rule else []), *wanted), allowed)
        made = {field: step.by.maker for step in self._steps for field in step.fields}
        self.fields = tuple(name for name in FIELDS if name in wanted)
        self.makers: Mapping[str, str] = MappingProxyType({name: made[name] for name in self.fields})
        for step in self._steps:
            if not isinstance(step.by, Arithmetic) and step.by.maker not in self._loaded:
                name = step.by.maker.rsplit(" ", 1)[0]
                self._loaded[step.by.maker] = Model.load(name, threads=self.options.threads)
        self._labels = {
            out.field: out.labels
            for model in reversed(list(self._loaded.values()))
            for out in model.card.makes
            if out.labels and out.field in self.fields and self.makers[out.field] == model.card.maker
        }
        self._detector = self._loaded[self._steps[0].by.maker]
        self._confirmation: Confirmation | None = None
        if rule:
            # The rule's field was planned first: what makes it are the first steps.
            last = next(i for i, step in enumerate(self._steps) if rule.field in step.fields)
            self._confirmation = Confirmation(rule, self._steps[1 : last + 1], self._loaded)

    def _rule(self, allowed: Sequence[Maker]) -> Confirm | None:
        """Return the second opinion that the detector's card asks for, if it is wanted and here."""
        detector = plan(("boxes",), allowed)[0].by
        rule = detector.detector.confirm if isinstance(detector, Card) and detector.detector else None
        if rule is None or not self.options.search.confirm:
            return None
        try:
            plan((rule.field,), allowed)
        except UnknownField:
            return None
        return rule

    def _named(self, name: str) -> Model:
        model = Model.load(name, threads=self.options.threads)
        licence = model.card.licence
        if self.options.terms == "permissive" and not licence.commercial:
            raise CardError(
                name, f"its terms are {licence.weights!r}, and only permissive ones were asked for"
            )
        self._loaded[model.card.maker] = model
        return model

    def _planned(self, wanted: Sequence[str], allowed: Sequence[Maker]) -> list[Step]:
        """Plan, or say which command brings what is missing."""
        try:
            return plan(wanted, allowed)
        except UnknownField as error:
            raise UnknownField(error.field, error.reason + self._remedy(error.field, allowed)) from None

    def _remedy(self, field: str, allowed: Sequence[Maker]) -> str:
        """Return what to do for a field that nothing here makes; "" when nothing helps."""
        here = assets.installed()
        names = {entry.card.name for entry in here}
        # Those that mien can get come before those whose file the user has to bring.
        rows = sorted(assets.table().values(), key=lambda asset: not asset.sources)
        absent = [asset.card for asset in rows if asset.name not in names]
        said = ""
        if self.options.terms == "permissive":
            refused = [entry.card for entry in here if not entry.card.licence.commercial]
            for card in _lacking(field, allowed, refused):
                said += f"; {card.maker} would, but not for commercial use: leave out --terms permissive"
            absent = [card for card in absent if card.licence.commercial]
        commands = [assets.command_for(card.name) for card in _lacking(field, allowed, absent)]
        if commands:
            said += "; run " + " and ".join(f"`{command}`" for command in dict.fromkeys(commands))
        return said

    def _wanted(self, makers: Sequence[Maker], allowed: Sequence[Maker]) -> tuple[str, ...]:
        if not any("boxes" in maker.fields for maker in allowed):
            assets.require_detector()
        if self.options.want is not None:
            unknown = [name for name in self.options.want if name not in FIELDS]
            if unknown:
                raise UnknownField(unknown[0], f"no such field; fields: {', '.join(FIELDS)}")
            return tuple(dict.fromkeys(("boxes", "scores", *self.options.want)))
        # What ships is usual even where the terms leave it out and the user has a model in its place.
        usual = {field for entry in assets.installed() if entry.default for field in entry.card.fields}
        usual |= {field for maker in makers for field in maker.fields} | {"landmarks", "pose", "quality"}
        made = {field for maker in allowed for field in maker.fields}
        return tuple(
            name for name in FIELDS if name in usual & made and name != "keypoints" and _agrees(name, allowed)
        )

    @property
    def contract(self) -> str:
        """A digest of everything that decides the results: fields, models and their versions, options.

        Results of pipelines with the same contract may be mixed; threads and limits do not count.
        """
        facts: dict[str, Any] = {
            "steps": [[step.by.maker, list(step.fields)] for step in self._steps],
            "fields": self.fields,
            "search": asdict(self.options.search),
            "mirror": self.options.mirror,
            "reading": [_LEAST_SIDE, _FULL_DETAIL_BELOW],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def models(self) -> list[Model]:
        """Return the models it runs, in order."""
        return [self._loaded[step.by.maker] for step in self._steps if not isinstance(step.by, Arithmetic)]

    def research_only(self) -> list[Card]:
        """Return the cards of the models it runs whose weights nobody allows to be used commercially."""
        return [model.card for model in self.models() if not model.card.licence.commercial]

    def left_out(self) -> list[Card]:
        """Return the cards of the models that would have been used by default, were it not for the terms."""
        if self.options.terms != "permissive" or self.options.want is not None:
            return []
        mine = set(self.fields)
        return [
            entry.card
            for entry in assets.installed()
            if entry.default and not entry.card.licence.commercial and not mine.issuperset(entry.card.fields)
        ]

    def model_for(self, field: str) -> Model | None:
        """Return the model that makes a field, or None when it is computed or not made."""
        return self._loaded.get(self.makers.get(field, ""))

    def read(self, source: Any) -> Picture:
        """Read a picture at the scale that this pipeline needs.

        Raises:
            UnreadablePicture: whatever is wrong with it.
        """
        return Picture.read(source, least_side=_LEAST_SIDE, limits=self.options.limits)

    def analyze(self, source: Any) -> Faces:
        """Find and describe the faces of one picture.

        Args:
            source: a path, bytes, a PIL image, an RGB array or a `Picture`.

        Raises:
            UnreadablePicture: the picture cannot be read.
        """
        result = self.analyze_many([source])[0]
        if isinstance(result, UnreadablePicture):
            raise result
        return result

    def analyze_many(
        self, sources: Sequence[Any], *, seen: Callable[[int, Picture, Faces], None] | None = None
    ) -> list[Faces | UnreadablePicture]:
        """Find and describe the faces of several pictures, in batches over all their faces.

        Args:
            sources: the pictures.
            seen: called with the index of each picture that was read, the picture as it was decoded and its
                faces, for who draws or cuts and does not want to read it again.

        Returns:
            For each picture its faces, or what is wrong with it.
        """
        results: list[Faces | UnreadablePicture | None] = [None] * len(sources)
        work: list[_Work] = []
        for index, source in enumerate(sources):
            try:
                picture = self.read(source)
                work.append(self._detect(index, source, picture))
            except UnreadablePicture as error:
                results[index] = error
        self._describe(work)
        for item in work:
            faces = self._finish(item)
            results[item.index] = faces
            if seen is not None:
                seen(item.index, item.picture, faces)
        return [result for result in results if result is not None]

    def _detect(self, index: int, source: Any, picture: Picture) -> _Work:
        pixels = picture.pixels
        found = detect(
            self._detector,
            pixels,
            self.options.search,
            may_turn=not picture.tagged,
            confirm=self._confirmation,
        )
        known: Known = {"boxes": found.boxes, "scores": found.scores, **found.values}
        # of a `Picture` that was decoded small, as `read` gives it, there is no more detail to be had
        more = picture.scale < 0.999 and not isinstance(source, Picture)
        if more and len(found) and len(self._steps) > 1:
            heights = found.boxes[:, 3] - found.boxes[:, 1]
            if float(heights.min()) < _FULL_DETAIL_BELOW:
                # Small faces are worth a second decoding at full size; their boxes grow with the picture.
                whole = Picture.read(source, limits=self.options.limits)
                factor = np.float32(1 / picture.scale)
                # What a second opinion made is made again from the picture at full size.
                known = {
                    name: known[name] * factor if _spatial(name) else known[name]
                    for name in self._detector.card.fields
                }
                return _Work(index, whole, whole.pixels, known)
        return _Work(index, picture, pixels, known)

    def _describe(self, work: Sequence[_Work]) -> None:
        pictures = [(item.pixels, item.known) for item in work]
        follow(self._steps[1:], self._loaded, pictures, mirror=self.options.mirror)

    def _finish(self, item: _Work) -> Faces:
        values = {name: item.known[name] for name in self.fields}
        faces = Faces(
            **values,
            picture_size=(item.pixels.shape[1], item.pixels.shape[0]),
            source=item.picture.source,
            makers=self.makers,
            label_names=self._labels,
        )
        if item.picture.scale > 0.999:
            return faces
        return faces.scaled(1 / item.picture.scale, item.picture.size)


@dataclass(frozen=True)
class _Work:
    """One picture on its way through the pipeline."""

    index: int
    picture: Picture
    pixels: Pixels
    known: Known


def _lacking(field: str, allowed: Sequence[Maker], offered: Sequence[Card]) -> list[Card]:
    """Return which of the models that are offered would have to join the others for a field to be made."""
    with contextlib.suppress(UnknownField):
        steps = plan((field,), [*allowed, *offered])
        return [card for card in offered if any(step.by is card for step in steps)]
    return []


def _agrees(field: str, allowed: Sequence[Maker]) -> bool:
    """Tell whether a field can come of the maker of what it goes with: an interval is that of its own age."""
    if not FIELDS[field].goes_with:
        return True
    with contextlib.suppress(UnknownField):
        return bool(plan((field,), allowed))
    return False


def _spatial(name: str) -> bool:
    return FIELDS[name].kind in (Kind.BOX, Kind.POINTS)


_LOCK = threading.Lock()
_READY: dict[Options, Pipeline] = {}
# A program asks for a few different things; more pipelines than this are not worth their memory.
_MOST_READY = 4


def ready(options: Options) -> Pipeline:
    """Return a pipeline with these options, made at most once: what `mien.analyze` calls.

    Raises:
        ModelMissing, UnknownField: as `Pipeline`.
    """
    with _LOCK:
        pipeline = _READY.pop(options, None)
        if pipeline is None:
            pipeline = Pipeline(options)
        _READY[options] = pipeline
        while len(_READY) > _MOST_READY:
            _READY.pop(next(iter(_READY)))
        return pipeline
