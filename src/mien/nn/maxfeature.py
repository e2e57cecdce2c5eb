"""Max-Feature-Map: maps compete place by place, and the winners go on (Wu et al. 2018, arXiv 1511.02683)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def max_feature_map(x: Tensor, parts: Literal[2, 3] = 2) -> Tensor:
    """Let each channel compete with those at its place in the other parts.

    - 2/1 (Eq. 1): channel k is max(x_k, x_{k+n}): half of the channels are left;
    - 3/2 (Eq. 3): channel k is max(x_k, x_{k+n}, x_{k+2n}), channel k + n their median: two thirds are left.

    Unlike ReLU it has no threshold: what is passed on depends on the competitor, and every place passes a
    gradient to the winner.

    Args:
        x: (n, c, ...) with c a multiple of `parts`.
        parts: 2 or 3.

    Returns:
        (n, c / 2, ...) or (n, 2 c / 3, ...).
    """
    if x.shape[1] % parts:
        raise ValueError(f"{x.shape[1]} channels cannot compete in {parts} equal parts")
    if parts == 2:
        first, second = x.chunk(2, dim=1)
        return torch.maximum(first, second)
    first, second, third = x.chunk(3, dim=1)
    higher, lower = torch.maximum(first, second), torch.minimum(first, second)
    median = torch.maximum(lower, torch.minimum(higher, third))
    return torch.cat([torch.maximum(higher, third), median], dim=1)


class MaxFeatureMap(nn.Module):
    """`max_feature_map` as a layer.

    Args:
        parts: 2 for MFM 2/1, 3 for MFM 3/2.
    """

    def __init__(self, parts: Literal[2, 3] = 2) -> None:
        super().__init__()
        self.parts: Literal[2, 3] = parts

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c / 2, ...) or (n, 2 c / 3, ...) of (n, c, ...)."""
        return max_feature_map(x, self.parts)
