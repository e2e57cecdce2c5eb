"""Settings are changed by text, with their types kept."""

from __future__ import annotations

import pytest

from mien.train.settings import BadSetting, Settings, override


def test_values_are_read_as_their_type() -> None:
    changed = override(Settings(), ["rounds=3", "learning_rate=1e-3", "optimiser=adamw"])
    assert (changed.rounds, changed.learning_rate, changed.optimiser) == (3, 1e-3, "adamw")
    assert changed.batch == Settings().batch


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rounds", "key=value"),
        ("round=3", "keys: rounds"),
        ("rounds=three", "rounds.*must be int"),
        ("rounds=0", "1 or more"),
        ("learning_rate=nan", "finite"),
        ("optimiser=lion", "one of sgd, adamw"),
        ("ema=1", "0..1"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        override(Settings(), [text])
