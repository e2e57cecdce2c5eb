"""Strict reading of JSON into dataclasses: every fault is named by where it stands."""

from __future__ import annotations

import dataclasses
import re
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from mien.core.errors import CardError, printable

T = TypeVar("T")

_LARGEST = sys.float_info.max
# Halves of pairs in UTF-16, which JSON can spell and UTF-8 cannot.
_SURROGATES = re.compile("[\ud800-\udfff]")


def read(kind: type[T], value: Any, where: str) -> T:
    """Turn JSON values into a dataclass, checking names and types.

    Args:
        kind: the dataclass. Its fields may be str, int, float, bool, Literal, tuples, mappings of strings,
            optional ones and dataclasses.
        value: what `json.loads` gave.
        where: name of the place, for errors.

    Raises:
        CardError: names the place and what is wrong: an unknown or missing key, a wrong type, a number that
            is not finite, text that UTF-8 cannot hold.
    """
    if not isinstance(value, Mapping):
        raise CardError(where, f"must be an object, not {_said(value)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in value if key not in fields)
    if unknown:
        raise CardError(where, f"unknown key {', '.join(map(_short, unknown))}; known: {', '.join(fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _value(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise CardError(where, f"the key {name!r} is missing")
    try:
        return kind(**arguments)
    except ValueError as error:
        raise CardError(where, str(error)) from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value not in inner or isinstance(value, bool) != isinstance(inner[0], bool):
            raise CardError(where, f"must be one of {', '.join(map(str, inner))}, not {_said(value)}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _value(next(part for part in inner if part is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise CardError(where, f"must be a list, not {_said(value)}")
        if inner[-1] is Ellipsis:
            return tuple(_value(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) != len(inner):
            raise CardError(where, f"must have {len(inner)} items, not {len(value)}")
        return tuple(
            _value(part, item, f"{where}[{i}]")
            for i, (part, item) in enumerate(zip(inner, value, strict=True))
        )
    if dataclasses.is_dataclass(hint):
        return read(typing.cast(type[Any], hint), value, where)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not -_LARGEST <= value <= _LARGEST:  # false for NaN too
            raise CardError(where, f"must be a finite number, not {_short(str(value))}")
        return float(value)
    if hint is str and isinstance(value, str):
        if _SURROGATES.search(value):
            raise CardError(where, f"must be text that UTF-8 can hold, not {_said(value)}")
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        if not -(1 << 63) <= value < 1 << 63:
            raise CardError(where, "must be a whole number of at most 64 bits")
        return value
    raise CardError(where, f"must be {getattr(hint, '__name__', hint)}, not {_said(value)}")


def _said(value: Any) -> str:
    # Not `repr`, which goes as deep and gets as long as the value does.
    return f"{type(value).__name__} {_short(reprlib.repr(value))}"


def _short(text: str) -> str:
    safe = printable(text)
    return safe if len(safe) <= 60 else safe[:57] + "..."
