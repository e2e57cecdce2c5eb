"""The decades of age by which errors are told apart: those of metrics, plots, groups and cards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_LAST = 9


def decades(ages: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the decade of (n,) ages in years: 0 for those below 10, and so on, 9 for 90 and more."""
    return np.clip(np.asarray(ages, np.float64) // 10, 0, _LAST).astype(np.int64)


def decade_name(decade: int) -> str:
    """Return a decade as people read it: "20-29"; the last is "90+"."""
    return f"{10 * decade}+" if decade == _LAST else f"{10 * decade}-{10 * decade + 9}"
