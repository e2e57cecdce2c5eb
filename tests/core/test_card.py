"""The model card: what it accepts, what it refuses and why; writing and reading it changes nothing."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from mien.core.card import CARD_KEY, Card, from_metadata
from mien.core.errors import CardError
from mien.core.fields import FIELDS

CARDS = {
    entry.name.removesuffix(".json"): entry.read_text("utf-8")
    for entry in resources.files("mien").joinpath("models", "cards").iterdir()
}

DESCRIBER: dict[str, Any] = {
    "card": 1,
    "name": "my-model",
    "version": "1.0",
    "title": "a model",
    "makes": [{"field": "embeddings"}],
    "licence": {"weights": "MIT", "commercial": True},
    "training_data": "none",
    "source": "a test",
    "crop": {"kind": "template", "width": 112, "height": 112, "template": "arcface"},
}
DETECTOR: dict[str, Any] = {
    **{key: value for key, value in DESCRIBER.items() if key != "crop"},
    "makes": [{"field": "boxes"}, {"field": "scores"}],
    "detector": {"score": 0.5},
}


def test_minimal_cards_are_read() -> None:
    card = Card.from_json(json.dumps(DESCRIBER))
    assert card.fields == ("embeddings",)
    assert card.maker == "my-model 1.0"
    assert card.all_needs
    assert set(card.all_needs) <= set(FIELDS)
    assert Card.from_json(json.dumps(DETECTOR)).all_needs == ()


@pytest.mark.parametrize("name", sorted(CARDS))
def test_our_cards_survive_being_written_and_read(name: str) -> None:
    card = Card.from_json(CARDS[name])
    assert card.name == name
    assert Card.from_json(card.to_json()) == card
    assert from_metadata({CARD_KEY: card.to_json()}, "file") == card
    for threshold in card.thresholds:
        assert threshold.field in card.fields
        assert 0 <= threshold.fmr_low <= threshold.fmr <= threshold.fmr_high <= 1
        assert card.threshold(threshold.field) is not None


@pytest.mark.parametrize(
    ("base", "changed", "reason"),
    [
        (DESCRIBER, {"card": 2}, "must be one of 1, not int 2"),
        (DESCRIBER, {"card": True}, "must be one of 1, not bool True"),
        (DESCRIBER, {"name": "../evil"}, "use lower case letters"),
        (DESCRIBER, {"name": ""}, "use lower case letters"),
        (DESCRIBER, {"name": "a\n"}, "use lower case letters"),
        (DESCRIBER, {"name": "x" * 65}, "use lower case letters"),
        (DESCRIBER, {"makes": []}, "makes is empty"),
        (DESCRIBER, {"makes": [{"field": "beauty"}]}, "unknown field 'beauty'"),
        (DESCRIBER, {"needs": ["beauty"]}, "unknown field 'beauty'"),
        (DESCRIBER, {"crop": None}, "give either `crop`"),
        (DESCRIBER, {"detector": {"score": 0.5}}, "give either `crop`"),
        (DETECTOR, {"makes": [{"field": "boxes"}]}, "a detector makes boxes and scores"),
        (DETECTOR, {"detector": {}}, "the key 'score' is missing"),
        (DETECTOR, {"makes": [{"field": "boxes"}, {"field": "scores"}, {"field": "boxes"}]}, "a field twice"),
        (DETECTOR, {"input": {"width": -8}}, "use 0 (any size) to 4096"),
        (DETECTOR, {"input": {"height": 2**40}}, "use 0 (any size) to 4096"),
        (DETECTOR, {"input": {"stride": 0}}, "input.stride of 0 px"),
        (DETECTOR, {"detector": {"score": 1.5}}, "must be in 0..1"),
        (DETECTOR, {"licence": {"weights": "MIT"}}, "the key 'commercial' is missing"),
    ],
)
def test_a_wrong_card_is_refused_with_the_reason(
    base: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CardError) as caught:
        Card.from_json(json.dumps({**base, **changed}), "card.json")
    assert reason in caught.value.reason
    assert caught.value.where.startswith("card.json")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"template": "none"}, "crop.template 'none' is unknown"),
        ({"kind": "circle"}, "must be one of"),
        ({"kind": "regions"}, "crop.regions is empty"),
        ({"width": 0}, "use 1..4096"),
        ({"height": 5000}, "use 1..4096"),
        ({"margin": -0.5}, "crop.margin must be"),
        ({"margin": 1e300}, "crop.margin must be"),
        ({"kind": "regions", "regions": [{"start": -1, "end": 3}]}, "counted from 0"),
        ({"shift": [1e9, 0]}, "crop.shift"),
        ({"scale": 0}, "crop.scale in 0..100"),
        ({"size": 3}, "unknown key size"),
    ],
)
def test_a_wrong_crop_is_refused_with_the_reason(changed: dict[str, Any], reason: str) -> None:
    card = {**DESCRIBER, "crop": {**DESCRIBER["crop"], **changed}}
    with pytest.raises(CardError) as caught:
        Card.from_json(json.dumps(card))
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "5", b"\xff\xfe", "\ufeff{}", '{"card": 1e999}', "1" * 5000]
)
def test_what_is_no_card_is_refused(text: str | bytes) -> None:
    with pytest.raises(CardError):
        Card.from_json(text)


def test_a_file_without_a_card_says_how_to_add_one() -> None:
    with pytest.raises(CardError, match="mien models add FILE --card CARD"):
        from_metadata({}, "x.onnx")
