"""`RowSGD`: SGD that touches only those rows of a table which a step has gradients of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD


class RowSGD(SGD):
    """torch's SGD, whose weights with sparse gradients step in those rows alone.

    What a row has not got in a step leaves it as it is: its weights, its momentum, its decay (the sampled
    classes of An et al. 2020, arXiv 2010.05222, Section 4). Where every row has a gradient in every step it
    is SGD. Momentum is a table as large as the weights, of zeros before the first step.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step; return what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None and weights.grad.is_sparse:
                    sparse.append((weights, weights.grad))
                    self._step_rows(weights, group)
                    weights.grad = None
        super().step()
        for weights, gradient in sparse:
            weights.grad = gradient
        return loss

    def _step_rows(self, weights: Tensor, group: dict[str, Any]) -> None:
        gradient = weights.grad
        assert gradient is not None
        gradient = gradient.coalesce()
        rows, change = gradient.indices()[0], gradient.values()
        if group["weight_decay"]:
            change = change.add(weights.index_select(0, rows), alpha=group["weight_decay"])
        if group["momentum"]:
            state = self.state[weights]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(weights)
            moving = state["momentum_buffer"].index_select(0, rows).mul_(group["momentum"])
            moving.add_(change, alpha=1 - group["dampening"])
            state["momentum_buffer"].index_copy_(0, rows, moving)
            change = change.add(moving, alpha=group["momentum"]) if group["nesterov"] else moving
        weights.index_add_(0, rows, change, alpha=group["lr"] if group["maximize"] else -group["lr"])
