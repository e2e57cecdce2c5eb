"""Settings of a training: the ones that all systems share, and overriding them by text."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from mien.core import strict
from mien.core.errors import CardError, MienError

AT_TEST = MappingProxyType({"at test": True})
"""Metadata of a setting that says only how a system is tested: `field(default=0.7, metadata=AT_TEST)`.

It must change neither training nor validation: arms that differ in nothing else share one run.
"""


class BadSetting(MienError):
    """A setting that does not exist, or a value of the wrong type."""


@dataclass(frozen=True)
class Settings:
    """What every training can be told; a system's `Config` adds its own.

    Attributes:
        rounds: passes over the training rows.
        batch: rows in a step of one process.
        accumulate: batches whose gradients are added up before a step.
        learning_rate: at its highest.
        weight_decay: of the optimiser.
        momentum: of SGD.
        optimiser: SGD (with Nesterov momentum where `momentum` is not 0), AdamW, RMSprop or Adagrad.
        schedule: of the learning rate, over all steps: down along a cosine to zero, constant, or down in
            steps, to a tenth after half and again after three quarters; or to a fifth after each two rounds
            without a better validation.
        warmup: rounds (may be a part of one) over which the learning rate rises from zero.
        clip: longest norm of the gradient; 0 does not clip.
        ema: decay of the moving average of the weights, which is what is validated and kept; 0 keeps none.
        patience: rounds without a better validation after which to stop; 0 never stops early.
        precision: of the arithmetic; halves only help where the device has them.
        rows: train on this many rows only, chosen by the seed; 0 takes all.
    """

    rounds: int = 10
    batch: int = 64
    accumulate: int = 1
    learning_rate: float = 0.05
    weight_decay: float = 1e-4
    momentum: float = 0.9
    optimiser: Literal["sgd", "adamw", "rmsprop", "adagrad"] = "sgd"
    schedule: Literal["cosine", "constant", "steps", "plateau"] = "cosine"
    warmup: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 0
    precision: Literal["32", "bf16", "16"] = "32"
    rows: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in 0..1, 1 excluded, not {self.ema}")


S = TypeVar("S", bound=Settings)


def of_training(settings: Settings) -> dict[str, Any]:
    """Return the settings that a training follows from, by name: all but those of `AT_TEST`."""
    left_out = {field.name for field in dataclasses.fields(settings) if "at test" in field.metadata}
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in left_out}


def override(settings: S, given: Iterable[str]) -> S:
    """Return settings with some changed by `key=value` texts.

    Raises:
        BadSetting: no such key, or a value that is none of its type.
    """
    hints = typing.get_type_hints(type(settings))
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in hints:
            raise BadSetting(f"{text!r}: give key=value, keys: {', '.join(hints)}")
        values[name] = _parsed(hints[name], value)
    try:
        return strict.read(type(settings), values, "settings")
    except CardError as error:
        raise BadSetting(str(error)) from error


def _parsed(hint: Any, text: str) -> Any:
    """Return a text as what its type reads it as; what cannot be read stays text, which the check refuses."""
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    for kind in (int, float):
        if hint is kind:
            try:
                return kind(text)
            except ValueError:
                return text
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_parsed(inner, part) for part in text.split(",") if part)
    return text
