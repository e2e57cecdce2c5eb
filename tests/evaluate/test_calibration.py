"""One temperature undoes what made probabilities too sure or too unsure, and changes no decision."""

from __future__ import annotations

import numpy as np
import pytest

from mien.evaluate.calibration import temperature
from mien.evaluate.metrics import Numbers, ece


def drawn(scale: float) -> tuple[Numbers, Numbers]:
    """Return classes drawn from probabilities, and those with their logits scaled."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (6000, 5))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = (chances.cumsum(axis=1) < random.random((6000, 1))).sum(axis=1)
    scaled = np.exp(scale * logits)
    return classes, scaled / scaled.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_is_what_logits_were_scaled_by(scale: float) -> None:
    assert temperature(*drawn(scale)) == pytest.approx(scale, rel=0.05)


def test_probabilities_mean_what_they_say_afterwards() -> None:
    classes, sure = drawn(3.0)
    found = temperature(classes, sure)
    logits = np.log(sure) / found
    calm = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert ece(classes, sure) > 0.1
    assert ece(classes, calm) < 0.02
    assert np.array_equal(sure.argmax(axis=1), calm.argmax(axis=1))
