"""MobileNet: layers of depthwise separable convolutions (Howard et al. 2017, arXiv 1704.04861)."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels at width 1 and stride of each layer behind the first convolution (Table 1).

The table's stride of the last one is 2, but its own next row has the same size: it is 1.
"""


def convolved(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size (but for its stride), its norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise separable convolution (Section 3.1, Figure 3 right).

    3 x 3 on each channel alone, then 1 x 1 over all of them, a norm and ReLU behind both: 1 / outputs + 1 / 9
    of the multiply-adds of a full 3 x 3 convolution.
    """
    return nn.Sequential(convolved(inputs, inputs, 3, stride, groups=inputs), convolved(inputs, outputs, 1))


class MobileNet(nn.Module):
    """The body of Table 1 and the mean over all places.

    Args:
        channels: of the pictures, 1 or 3.
        width: multiplier of every layer's channels (alpha, Section 3.3).
        full: every layer is one full 3 x 3 convolution instead ("Conv MobileNet", Table 4).
    """

    def __init__(self, channels: int = 3, width: float = 1.0, *, full: bool = False) -> None:
        super().__init__()

        def scaled(count: int) -> int:
            return max(1, round(width * count))

        inputs = scaled(32)
        layers: list[nn.Module] = [convolved(channels, inputs, 3, 2)]
        for count, stride in LAYERS:
            outputs = scaled(count)
            layers.append(
                convolved(inputs, outputs, 3, stride) if full else separable(inputs, outputs, stride)
            )
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.features = inputs
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, features) of (n, channels, H, W) pictures, 0..255, H and W of 32 or more."""
        features: Tensor = self.layers((pixels - 127.5) / 127.5).mean(dim=(2, 3))
        return features
