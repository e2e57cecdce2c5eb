"""JSON into dataclasses: what fits is taken, and what does not is named by where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from mien.core import strict
from mien.core.errors import CardError


@dataclass(frozen=True)
class Inner:
    number: float
    pair: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["one", "two"]
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    words: tuple[str, ...] = ()
    flag: bool = False
    count: int = 0


GOOD: Mapping[str, Any] = {"name": "a", "kind": "one"}


def test_values_that_fit_are_taken() -> None:
    read = strict.read(
        Outer,
        {
            "name": "a",
            "kind": "two",
            "inner": {"number": 3, "pair": [1, 2]},
            "many": [{"number": 0.5}],
            "words": ["x", "ü"],
            "flag": True,
            "count": -(2**63),
        },
        "it",
    )
    inner = Inner(3.0, (1, 2))
    assert read == Outer("a", "two", inner, (Inner(0.5),), ("x", "ü"), True, -(2**63))
    assert isinstance(inner.number, float)
    assert strict.read(Outer, {**GOOD, "inner": None}, "it") == Outer("a", "one")


@pytest.mark.parametrize(
    ("changed", "where", "reason"),
    [
        ({"name": 5}, "it.name", "must be str, not int 5"),
        ({"name": None}, "it.name", "must be str, not NoneType None"),
        ({"name": "\ud800"}, "it.name", "text that UTF-8 can hold"),
        ({"kind": "three"}, "it.kind", "must be one of one, two, not str 'three'"),
        ({"kind": ["one"]}, "it.kind", "must be one of"),
        ({"inner": []}, "it.inner", "must be an object, not list"),
        ({"inner": {}}, "it.inner", "the key 'number' is missing"),
        ({"inner": {"number": True}}, "it.inner.number", "must be float, not bool"),
        ({"inner": {"number": "1"}}, "it.inner.number", "must be float, not str '1'"),
        ({"inner": {"number": float("nan")}}, "it.inner.number", "finite number, not nan"),
        ({"inner": {"number": float("-inf")}}, "it.inner.number", "finite number, not -inf"),
        ({"inner": {"number": 10**400}}, "it.inner.number", "finite number, not 1000"),
        ({"inner": {"number": 1, "pair": [1]}}, "it.inner.pair", "must have 2 items, not 1"),
        ({"inner": {"number": 1, "pair": [1, 2.5]}}, "it.inner.pair[1]", "must be int, not float 2.5"),
        ({"many": {"number": 1}}, "it.many", "must be a list, not dict"),
        ({"many": [{"number": 1}, 7]}, "it.many[1]", "must be an object, not int 7"),
        ({"words": ["a", None]}, "it.words[1]", "must be str"),
        ({"flag": 1}, "it.flag", "must be bool, not int 1"),
        ({"count": True}, "it.count", "must be int, not bool"),
        ({"count": 2**63}, "it.count", "at most 64 bits"),
        ({"colour": "red"}, "it", "unknown key colour; known: name, kind"),
        ({"a\nb\ud800": 1}, "it", r"unknown key a\nb\ud800; known"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], where: str, reason: str) -> None:
    with pytest.raises(CardError) as caught:
        strict.read(Outer, {**GOOD, **changed}, "it")
    assert caught.value.where == where
    assert reason in caught.value.reason
    str(caught.value).encode()


@pytest.mark.parametrize("value", [None, [], "text", 5, [{"name": "a"}]])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(CardError, match="must be an object"):
        strict.read(Outer, value, "it")


def test_errors_stay_short_however_long_the_value() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for value in ("x" * 10_000_000, list(range(1_000_000)), nested, {"y" * 10_000: 1}):
        with pytest.raises(CardError) as caught:
            strict.read(Outer, {**GOOD, "count": value}, "it")
        assert len(str(caught.value)) < 200
    with pytest.raises(CardError) as caught:
        strict.read(Outer, {**GOOD, "k" * 1_000_000: 1}, "it")
    assert len(str(caught.value)) < 200
    while nested:  # to delete it at once would go as deep as it is
        nested = nested[0]
