"""EdgeNeXt: depthwise convolutions, and attention between channels (Maaz et al. 2022, arXiv 2206.10589).

With the low-rank linear layers of EdgeFace (George et al. 2023, arXiv 2307.01838), where they are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Sizes:
    """Sizes of an EdgeNeXt (Table 1 of its paper).

    Attributes:
        widths: channels of each of the four stages.
        depths: blocks of each; the last block of all stages but the first is the transpose attention.
        heads: of each attention.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...] = (3, 3, 9, 3)
    heads: int = 4

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or len(self.depths) != 4:
            raise ValueError(f"four stages, not widths {self.widths} and depths {self.depths}")
        if any(width % self.heads for width in self.widths[1:]):
            raise ValueError(f"{self.heads} heads cannot share {self.widths[1:]} channels")


EXTRA_EXTRA_SMALL = Sizes((24, 48, 88, 168), (2, 2, 6, 2))
EXTRA_SMALL = Sizes((32, 64, 100, 192))
SMALL = Sizes((48, 96, 160, 304), heads=8)

# Of each stage: side of the convolutions, and parts that the attention's encoder splits channels into.
_KERNELS = (3, 5, 7, 9)
_SPLITS = (2, 2, 3, 4)


class LowRankLinear(nn.Module):
    """LoRaLin: y = W2 W1 x + b, a linear layer of rank r = max(2, gamma min(inputs, outputs)) (Section 3.2).

    It has r (inputs + outputs) weights instead of inputs x outputs.

    Args:
        inputs: of x.
        outputs: of y.
        gamma: the part of the full rank that is kept, 0..1.
    """

    def __init__(self, inputs: int, outputs: int, gamma: float) -> None:
        super().__init__()
        rank = max(2, int(gamma * min(inputs, outputs)))
        self.first = nn.Linear(inputs, rank, bias=False)
        self.second = nn.Linear(rank, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) of (..., inputs)."""
        y: Tensor = self.second(self.first(x))
        return y


def linear(inputs: int, outputs: int, gamma: float) -> nn.Module:
    """Return a low-rank linear layer, or a plain one where gamma is 1."""
    return LowRankLinear(inputs, outputs, gamma) if gamma < 1 else nn.Linear(inputs, outputs)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place, (n, c, h, w) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, c, h, w)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Bottleneck(nn.Module):
    """Norm, four times as many channels, GELU, and back, at each place alone; scaled channel by channel.

    Args:
        channels: of the input.
        gamma: of the linear layers.
        scale: of each channel at the start.
    """

    def __init__(self, channels: int, gamma: float, scale: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(channels, eps=1e-6),
            linear(channels, 4 * channels, gamma),
            nn.GELU(),
            linear(4 * channels, channels, gamma),
        )
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., channels) of (..., channels)."""
        y: Tensor = self.scale * self.layers(x)
        return y


class ConvolutionEncoder(nn.Module):
    """A depthwise convolution and the bottleneck, beside the input (Eq. 1).

    Args:
        channels: of the input.
        kernel: side of the convolution; it grows from stage to stage.
        gamma: of the linear layers.
        scale: of the bottleneck's channels at the start.
    """

    def __init__(self, channels: int, kernel: int, gamma: float, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.bottleneck = Bottleneck(channels, gamma, scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, c, h, w)."""
        y: Tensor = self.bottleneck(self.depthwise(x).permute(0, 2, 3, 1))
        return x + y.permute(0, 3, 1, 2)


class Places(nn.Module):
    """Tells where each place of a map is: sines of its row and column, and a linear layer over them.

    Row i of h (from 1) and column j likewise give sin and cos of 2 pi i / h over 10000^(k / 16), k = 0..15.

    Args:
        channels: of what it gives.
    """

    rates: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("rates", 10000 ** (-torch.arange(16) / 16), persistent=False)
        self.projection = nn.Conv2d(64, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (1, channels, h, w) for a map (n, c, h, w)."""
        height, width = x.shape[-2:]
        rows, columns = self._waves(height, x), self._waves(width, x)
        both = [rows[:, :, None].expand(-1, -1, width), columns[:, None].expand(-1, height, -1)]
        y: Tensor = self.projection(torch.cat(both)[None])
        return y

    def _waves(self, count: int, like: Tensor) -> Tensor:
        """Return (32, count): sine and cosine of each rate in turn."""
        turns = torch.arange(1, count + 1, device=like.device, dtype=like.dtype) * (2 * math.pi / count)
        angles = self.rates[:, None] * turns
        return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)


class TransposeAttention(nn.Module):
    """Attention of channels to channels: linear in the number of places (Eq. 3).

    For each head, with queries, keys and values (d, places) whose rows have length 1 in q and k:
    softmax(t q k^T) v, t being learned.

    Args:
        channels: of the input.
        heads: parts of the channels that attend each to itself.
        gamma: of the linear layers.
    """

    def __init__(self, channels: int, heads: int, gamma: float) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.asked = linear(channels, 3 * channels, gamma)
        self.projection = linear(channels, channels, gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, places, channels) of (n, places, channels)."""
        count, places, channels = x.shape
        shape = (count, places, 3, self.heads, channels // self.heads)
        queries, keys, values = self.asked(x).reshape(shape).permute(2, 0, 3, 4, 1)
        alike = functional.normalize(queries, dim=-1) @ functional.normalize(keys, dim=-1).mT
        seen = (self.temperature * alike).softmax(dim=-1) @ values
        y: Tensor = self.projection(seen.permute(0, 3, 1, 2).reshape(count, places, channels))
        return y


class SplitEncoder(nn.Module):
    """The split depthwise transpose attention (SDTA) encoder (Section 3.1, Eq. 2 to 4).

    Channels are split; each part but the last is convolved depthwise after the convolved part before it was
    added, so that later parts see more of the picture. Then come attention between channels and the
    bottleneck, beside the input.

    Args:
        channels: of the input.
        splits: number of parts.
        heads: of the attention.
        gamma: of the linear layers.
        scale: of both branches' channels at the start.
        places: add to each place where it is.
    """

    def __init__(
        self, channels: int, splits: int, heads: int, gamma: float, scale: float, *, places: bool
    ) -> None:
        super().__init__()
        width = -(-channels // splits)
        self.splits = splits
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(splits - 1)
        )
        self.places = Places(channels) if places else None
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.attention = TransposeAttention(channels, heads, gamma)
        self.scale = nn.Parameter(torch.full((channels,), scale))
        self.bottleneck = Bottleneck(channels, gamma, scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, c, h, w)."""
        parts = x.chunk(self.splits, dim=1)
        made: list[Tensor] = []
        for part, convolution in zip(parts, self.convolutions, strict=False):
            made.append(convolution(made[-1] + part if made else part))
        y = torch.cat([*made, parts[-1]], dim=1)
        if self.places is not None:
            y = y + self.places(y)
        y = y.flatten(2).mT
        y = y + self.scale * self.attention(self.norm(y))
        told: Tensor = self.bottleneck(y)
        return x + told.mT.reshape(x.shape)


class EdgeNeXt(nn.Module):
    """A stem that quarters the picture, four stages that halve it from the second on, the mean, and a layer.

    Args:
        outputs: of the last layer, of any size; EdgeFace's embedding has 512.
        sizes: of the stages.
        gamma: rank of all linear layers, as `LowRankLinear`; 1 is EdgeNeXt itself.
        scale: of every residual branch's channels at the start.
        channels: of the pictures.
    """

    def __init__(
        self, outputs: int, sizes: Sizes, gamma: float = 1.0, scale: float = 1e-6, channels: int = 3
    ) -> None:
        super().__init__()
        widths = sizes.widths
        self.downs = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(channels, widths[0], 4, 4), ChannelNorm(widths[0]))]
        )
        for before, after in pairwise(widths):
            self.downs.append(nn.Sequential(ChannelNorm(before), nn.Conv2d(before, after, 2, 2)))
        self.stages = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(widths, sizes.depths, strict=True)):
            blocks: list[nn.Module] = [
                ConvolutionEncoder(width, _KERNELS[stage], gamma, scale)
                for _ in range(depth - 1 if stage else depth)
            ]
            if stage:
                # The paper tells places in the first of the three encoders alone (Table 5).
                encoder = SplitEncoder(width, _SPLITS[stage], sizes.heads, gamma, scale, places=stage == 1)
                blocks.append(encoder)
            self.stages.append(nn.Sequential(*blocks))
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = linear(widths[-1], outputs, gamma)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs) of (n, channels, H, W) pictures of about -1..1, H and W of 32 or more."""
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
        y: Tensor = self.head(self.norm(x.mean(dim=(2, 3))))
        return y
