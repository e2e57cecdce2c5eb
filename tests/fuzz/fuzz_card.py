"""Fuzz the card parser: any bytes are a card or a `CardError`, and a card survives being written and read."""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["mien"]):
    from mien.core.card import Card
    from mien.core.errors import CardError


_CARDS = [
    json.loads(entry.read_bytes())
    for entry in sorted(resources.files("mien").joinpath("models", "cards").iterdir(), key=str)
]


def one(data: bytes) -> None:
    """Read one input: bytes as they are, or one of our cards with some of its values changed."""
    text = data if data[:1] in b"{[" else json.dumps(_changed(atheris.FuzzedDataProvider(data)))
    try:
        card = Card.from_json(text)
    except CardError as error:
        assert error.reason
        str(error).encode()
    else:
        assert Card.from_json(card.to_json().encode()) == card


def _changed(choices: Any) -> Any:
    card = copy.deepcopy(choices.PickValueInList(_CARDS))
    for _ in range(choices.ConsumeIntInRange(1, 4)):
        place = card
        while isinstance(place, (dict, list)) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = choices.PickValueInList(keys)
            if not isinstance(place[key], (dict, list)) or choices.ConsumeProbability() < 0.3:
                place[key] = _value(choices, 0)
                break
            place = place[key]
    return card


def _value(choices: Any, depth: int) -> Any:
    kind = choices.ConsumeIntInRange(0, 8 if depth < 3 else 6)
    if kind == 7:
        return [_value(choices, depth + 1) for _ in range(choices.ConsumeIntInRange(0, 3))]
    if kind == 8:
        return {choices.ConsumeUnicode(5): _value(choices, depth + 1)}
    return (
        None,
        choices.ConsumeBool(),
        choices.ConsumeInt(8),
        choices.ConsumeInt(300),
        choices.ConsumeFloat(),
        choices.ConsumeUnicode(20),
        choices.PickValueInList(
            ["", "boxes", "scores", "embeddings", "template", "box", "regions", "arcface", -1, 0, 1]
        ),
    )[kind]


def main() -> None:
    """Run libFuzzer."""
    with tempfile.TemporaryDirectory() as made:
        for index, card in enumerate(_CARDS):
            Path(made, f"{index}.json").write_text(json.dumps(card))
        atheris.Setup([*sys.argv, made], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
