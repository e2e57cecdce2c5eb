"""ResNeSt: residual networks with split attention (Zhang et al. 2020, arXiv 2004.08955)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

_EXPANSION = 4


@dataclass(frozen=True)
class Splits:
    """How a block's convolution is split, written "2s1x64d" in the paper: radix 2, cardinality 1, width 64.

    Attributes:
        radix: R, splits that attention weighs against each other in each cardinal group; 1 is squeeze and
            excitation of each group, 0 a plain convolution.
        cardinality: K, cardinal groups.
        width: channels of a group in the first stage, where stages begin at 64; others in proportion.
    """

    radix: int = 2
    cardinality: int = 1
    width: int = 64

    def __post_init__(self) -> None:
        if self.radix < 0 or self.cardinality < 1:
            raise ValueError(f"radix is 0 or more, cardinality 1 or more: {self.radix}, {self.cardinality}")


class SplitAttention(nn.Module):
    """A 3 x 3 convolution into K groups of R splits, summed by weights that all of the picture decides.

    With U[k, r] the split r of group k, s[k] the mean over all places of the sum over r of U[k, r], and
    two small layers z[k] = W2[k] relu(norm(W1[k] s[k])) (Section 3.1): V[k] is the sum over r of
    a[k, r] U[k, r], where a is the softmax over r of z[k, r], or the sigmoid where R is 1. The groups V stand
    one behind the other.

    Args:
        channels: of input and output.
        radix: R.
        cardinality: K.
    """

    def __init__(self, channels: int, radix: int = 2, cardinality: int = 1) -> None:
        super().__init__()
        self.radix, self.cardinality = radix, cardinality
        hidden = max(32, channels * radix // 4)
        # Channels lie radix by radix, and group by group within: so each step is one grouped convolution
        # (Section 3.2).
        self.splits = nn.Sequential(
            nn.Conv2d(channels, channels * radix, 3, padding=1, groups=cardinality * radix, bias=False),
            nn.BatchNorm2d(channels * radix),
            nn.ReLU(),
        )
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, groups=cardinality),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels * radix, 1, groups=cardinality),
        )

    def weights(self, splits: Tensor) -> Tensor:
        """Return a as (n, R, channels, 1, 1), of the splits as (n, R, channels, h, w)."""
        seen: Tensor = self.weigh(splits.sum(dim=1).mean(dim=(2, 3), keepdim=True))
        if self.radix == 1:
            return seen.sigmoid()[:, None]
        # The grouped layer gives group by group.
        by_group = seen.reshape(len(seen), self.cardinality, self.radix, -1).softmax(dim=2)
        return by_group.transpose(1, 2).reshape(len(seen), self.radix, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, h, w) of (n, channels, h, w)."""
        splits: Tensor = self.splits(x).unflatten(1, (self.radix, -1))
        return (self.weights(splits) * splits).sum(dim=1)


class Bottleneck(nn.Module):
    """1 x 1 to fewer channels, split attention, 1 x 1 to four times the stage's, beside a shortcut.

    Where the picture halves, means do it, in the body and before the shortcut's 1 x 1 convolution (ResNet-D;
    Section 4.1, "Average Downsampling").

    Args:
        inputs: channels of the input.
        width: of the stage; the output has four times as many.
        stride: 1, or 2 to halve the picture.
        splits: of the convolution.
        first: of its stage: the body takes means over 3 x 3 even where it does not halve.
        early: means come before the convolution, which then costs a quarter ("fast").
    """

    def __init__(
        self, inputs: int, width: int, stride: int, splits: Splits, *, first: bool, early: bool
    ) -> None:
        super().__init__()
        inner = int(width * splits.width / 64) * splits.cardinality
        outputs = _EXPANSION * width
        mean: list[nn.Module] = [nn.AvgPool2d(3, stride, 1)] if stride > 1 or first else []
        convolution: list[nn.Module] = (
            [SplitAttention(inner, splits.radix, splits.cardinality)]
            if splits.radix
            else [
                nn.Conv2d(inner, inner, 3, padding=1, groups=splits.cardinality, bias=False),
                nn.BatchNorm2d(inner),
                nn.ReLU(),
            ]
        )
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            *(mean + convolution if early else convolution + mean),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 4 width, h / stride, w / stride), rounded up, of (n, inputs, h, w)."""
        y: Tensor = (self.body(x) + self.shortcut(x)).relu()
        return y


class ResNeSt(nn.Module):
    """A deep stem that quarters the picture, four stages that halve it from the second on, and the mean.

    Args:
        depths: blocks of each stage; ResNeSt-50 has 3, 4, 6 and 3.
        splits: of all convolutions.
        width: of the first stage, the later ones have 2, 4 and 8 times as many; ResNeSt-50 has 64.
        early: as in `Bottleneck`.
        channels: of the pictures.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        splits: Splits = Splits(),
        width: int = 64,
        *,
        early: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        # Three small convolutions instead of one of 7 x 7 (ResNet-D).
        half = width // 2
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((channels, half, 2), (half, half, 1), (half, width, 1)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        layers.append(nn.MaxPool2d(3, 2, 1))
        inputs = width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                layers.append(
                    Bottleneck(
                        inputs, width * 2**stage, stride, splits, first=bool(stage) and not block, early=early
                    )
                )
                inputs = _EXPANSION * width * 2**stage
        self.layers = nn.Sequential(*layers)
        self.features = inputs
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, features) of (n, channels, H, W) pictures of about -1..1, H and W of 32 or more."""
        features: Tensor = self.layers(x).mean(dim=(2, 3))
        return features
