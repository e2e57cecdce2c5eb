"""What a network costs: its parameters, and the multiply-adds of one pass."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What papers compare networks by.

    Attributes:
        parameters: numbers that are learned.
        multiply_adds: of convolutions and matrix products over one input; papers that write "FLOPs" mean
            these or twice as many. Norms, activations and pooling count nothing, as in most of them.
    """

    parameters: int
    multiply_adds: int


def cost(net: nn.Module, *shape: int) -> Cost:
    """Count what a network costs without computing anything; it is left as it is.

    Args:
        net: takes one tensor.
        shape: of one input, such as 3, 112, 112; without the batch.
    """
    kept = {name: value.to("meta") for name, value in chain(net.named_parameters(), net.named_buffers())}
    trained = net.training
    net.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(net, kept, torch.empty(1, *shape, device="meta"))
    finally:
        net.train(trained)
    learned = sum(value.numel() for value in net.parameters() if value.requires_grad)
    return Cost(learned, counter.get_total_flops() // 2)
