"""Calibration: makes probabilities mean what they say, by one temperature fitted on validation rows."""

from __future__ import annotations

import numpy as np

from mien.evaluate.metrics import Numbers


def temperature(targets: Numbers, probabilities: Numbers) -> float:
    """Return the temperature that makes probabilities most likely.

    Temperature scaling, Guo et al. 2017 (arXiv 1706.04599), Section 4.2.

    Args:
        targets: (n,) classes of validation rows.
        probabilities: (n, c) of them, at temperature 1.

    Returns:
        T > 0, by which logits are to be divided: above 1 for a network that is too sure of itself.
    """
    from scipy.optimize import minimize_scalar

    logits = np.log(np.clip(np.asarray(probabilities, np.float64), 1e-12, 1))
    rows = np.arange(len(logits))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        likelihood = scaled[rows, targets] - np.log(np.exp(scaled).sum(axis=1))
        return -float(likelihood.mean())

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(found.x))
