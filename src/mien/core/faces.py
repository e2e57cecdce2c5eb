"""`Faces`: the one result across every border, arrays of equal length over the faces of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core.fields import FIELDS, Floats, Kind

if TYPE_CHECKING:
    import pandas
    import pyarrow
    from PIL import Image

    from mien.core.picture import Picture

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one picture (or of several, concatenated).

    Every field is either None (nobody asked for it) or full: an array whose first axis runs over the
    faces. What each field means, with its shape and unit, is in `mien.core.fields.FIELDS`. Coordinates are
    pixels of the upright picture at full size, with (0, 0) at the outer corner of the first pixel. Arrays
    are read-only.

    Attributes:
        boxes: (n, 4) x1 y1 x2 y2.
        scores: (n,) detector confidence, 0..1.
        keypoints: (n, 5, 2) the detector's own coarse points.
        landmarks: (n, 5, 2) eyes, nose tip, mouth corners; picture-left first.
        landmarks68: (n, 68, 2).
        mesh: (n, 468, 3) MediaPipe topology; depth in pixels too, smaller is nearer.
        irises: (n, 10, 2) centre and rim of the picture-left iris, then of the picture-right one.
        presence: (n,) 0..1.
        pose: (n, 3) yaw, pitch, roll in degrees. Yaw > 0: turned to the picture's right; pitch > 0: looking
            up; roll > 0: tilted clockwise as seen.
        quality: (n, c) 0..100 for each of `labels("quality")`.
        embeddings: (n, d) unit vectors.
        expression: (n, c) probabilities.
        affect: (n, 2) valence and arousal, -1..1.
        action_units: (n, c) intensities 0..5.
        age: (n,) years.
        age_interval: (n, 2) years, the 5 % and 95 % bounds.
        gender: (n, 2) probabilities of female and male appearance.
        attributes: (n, c) probabilities.
        liveness: (n,) 0..1.
        picture_size: (width, height) of the upright picture in pixels; (0, 0) when unknown.
        source: the picture's name.
        makers: for each field the model (name and version) that made it.
        label_names: for each field the names of its columns, where it has them.
    """

    boxes: Floats
    scores: Floats
    keypoints: Floats | None = None
    landmarks: Floats | None = None
    landmarks68: Floats | None = None
    mesh: Floats | None = None
    irises: Floats | None = None
    presence: Floats | None = None
    pose: Floats | None = None
    quality: Floats | None = None
    embeddings: Floats | None = None
    expression: Floats | None = None
    affect: Floats | None = None
    action_units: Floats | None = None
    age: Floats | None = None
    age_interval: Floats | None = None
    gender: Floats | None = None
    attributes: Floats | None = None
    liveness: Floats | None = None
    picture_size: tuple[int, int] = (0, 0)
    source: str = ""
    makers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)

    def __post_init__(self) -> None:
        count = len(self.boxes)
        for name in FIELDS:
            value = getattr(self, name)
            if value is None:
                continue
            array = np.ascontiguousarray(value, dtype=np.float32)
            if array is value:
                array = array.view()
            if len(array) != count:
                raise ValueError(f"{name} has {len(array)} rows for {count} faces")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be (n, 4), not {self.boxes.shape}")
        object.__setattr__(self, "makers", MappingProxyType(dict(self.makers)))
        object.__setattr__(self, "label_names", MappingProxyType(dict(self.label_names)))

    @classmethod
    def empty(cls, picture_size: tuple[int, int] = (0, 0), source: str = "") -> Faces:
        """Return the result of a picture without faces."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            picture_size=picture_size,
            source=source,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Faces]) -> Faces:
        """Join several results; a field must be full in all of them or None in all, empty parts left aside.

        `source` and `picture_size` are kept when they are the same in all parts.

        Raises:
            ValueError: fields, labels or makers differ between the parts.
        """
        full = [part for part in parts if len(part)]
        if not full:
            return parts[0] if parts else cls.empty()
        first = full[0]
        joined: dict[str, Any] = {}
        for name in FIELDS:
            values = [getattr(part, name) for part in full]
            if all(value is None for value in values):
                continue
            if any(value is None for value in values):
                raise ValueError(f"{name} is known in some of the parts only")
            joined[name] = np.concatenate(values)
        for part in full:
            if dict(part.label_names) != dict(first.label_names) or dict(part.makers) != dict(first.makers):
                raise ValueError("the parts come from different models")
        same_source = all(part.source == first.source for part in full)
        same_size = all(part.picture_size == first.picture_size for part in full)
        return cls(
            **joined,
            source=first.source if same_source else "",
            picture_size=first.picture_size if same_size else (0, 0),
            makers=first.makers,
            label_names=first.label_names,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Faces]:
        """Yield each face as a `Faces` of length one."""
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray[Any, np.dtype[Any]]) -> Faces:
        """Return the faces that an index, a slice, a list of indices or a boolean mask picks."""
        if isinstance(key, (int, np.integer)):
            index = int(key)
            if not -len(self) <= index < len(self):
                raise IndexError(f"face {index} of {len(self)}")
            index %= len(self)
            key = slice(index, index + 1)
        chosen = {name: getattr(self, name)[key] for name in self.known()}
        return replace(self, **chosen)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faces):
            return NotImplemented
        if self.known() != other.known():
            return False
        arrays = all(
            np.array_equal(getattr(self, n), getattr(other, n), equal_nan=True) for n in self.known()
        )
        rest = [f.name for f in fields(self) if f.name not in FIELDS]
        return arrays and all(getattr(self, name) == getattr(other, name) for name in rest)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Faces], tuple[dict[str, Any]]]:
        """Travel to another process; the read-only mappings cannot travel themselves."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"makers": dict(self.makers), "label_names": dict(self.label_names)}
        return _remade, (values,)

    def __repr__(self) -> str:
        known = ", ".join(self.known())
        return f"Faces({len(self)} in {self.source or 'a picture'} of {self.picture_size}; {known})"

    def known(self) -> tuple[str, ...]:
        """Return the names of the fields that are full, in the order of the table of fields."""
        return tuple(name for name in FIELDS if getattr(self, name) is not None)

    def with_fields(self, **values: Floats) -> Faces:
        """Return a copy with some fields set."""
        unknown = set(values) - set(FIELDS)
        if unknown:
            raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
        return replace(self, **values)  # type: ignore[arg-type]

    def labels(self, name: str) -> tuple[str, ...]:
        """Return the names of a field's columns in order, such as the classes of "expression".

        Raises:
            KeyError: no such field, or the field has no names.
        """
        if name in self.label_names:
            return self.label_names[name]
        if name not in FIELDS or not FIELDS[name].labels:
            raise KeyError(f"{name!r} has no labels here; fields with labels: {', '.join(self._labelled())}")
        return FIELDS[name].labels

    def _labelled(self) -> list[str]:
        return [name for name in self.known() if name in self.label_names or FIELDS[name].labels]

    def best(self, name: str) -> list[str]:
        """Return the most probable label of a field for each face, such as the expression's class."""
        if FIELDS[name].kind is not Kind.PROBABILITIES:
            raise ValueError(f"{name} is no field of probabilities")
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"{name} was not asked for")
        names = self.labels(name)
        return [names[i] for i in value.argmax(axis=1)]

    def scaled(self, factor: float, picture_size: tuple[int, int]) -> Faces:
        """Return the same faces in pixels of the picture at another size: coordinates times `factor`."""
        spatial = {
            name: np.asarray(getattr(self, name)) * np.float32(factor)
            for name in self.known()
            if FIELDS[name].kind in (Kind.BOX, Kind.POINTS)
        }
        return replace(self, picture_size=picture_size, **spatial)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and strings, ready for JSON; `from_dict` is the inverse."""
        return {
            "source": self.source,
            "picture_size": list(self.picture_size),
            "makers": dict(self.makers),
            "label_names": {name: list(names) for name, names in self.label_names.items()},
            **{name: getattr(self, name).tolist() for name in self.known()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Faces:
        """Make `Faces` from what `to_dict` gave."""
        arrays = {name: np.asarray(data[name], np.float32) for name in FIELDS if name in data}
        arrays["boxes"] = arrays["boxes"].reshape(-1, 4)
        width, height = data.get("picture_size", (0, 0))
        return cls(
            **arrays,
            picture_size=(int(width), int(height)),
            source=str(data.get("source", "")),
            makers=data.get("makers", {}),
            label_names={name: tuple(names) for name, names in data.get("label_names", {}).items()},
        )

    def to_arrow(self) -> pyarrow.Table:
        """Return a table of one row a face, with the columns of `mien.core.columns`. Needs `mien[tables]`."""
        from mien.core.columns import to_arrow

        return to_arrow([self])

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame of one row a face, columns as `to_arrow`. Needs `mien[tables]`."""
        return self.to_arrow().to_pandas()

    def draw(self, picture: Picture | Image.Image) -> Image.Image:
        """Return the picture with boxes, landmarks and short texts drawn on it."""
        from mien.core.drawing import draw

        return draw(picture, self)


def _remade(values: dict[str, Any]) -> Faces:
    return Faces(**values)
