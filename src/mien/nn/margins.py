"""Classifiers of identities on the unit sphere, with the margins that recognition is trained by."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Margin = Literal["softmax", "cosface", "arcface", "adaface"]


def cosines(embeddings: Tensor, centres: Tensor) -> Tensor:
    """Return (n, c) cosines of (n, d) embeddings and (c, d) centres, of any lengths."""
    return functional.linear(functional.normalize(embeddings), functional.normalize(centres))


class MarginSoftmax(nn.Module):
    """Cross-entropy over s cos(angle to each class's centre), where the right class is made harder.

    - softmax: no margin (NormFace, Wang et al. 2017, arXiv 1704.06369);
    - cosface: cos - m (Wang et al. 2018, arXiv 1801.09414, Eq. 4);
    - arcface: cos(angle + m) (Deng et al. 2019, arXiv 1801.07698, Eq. 3), and beyond pi - m the line
      cos - m sin(m) of the authors' code, so that it keeps falling;
    - adaface: a margin that follows the embedding's length, a sign of the picture's quality (Kim et al. 2022,
      arXiv 2204.00964, Eq. 8 to 12).

    Args:
        features: d, of an embedding.
        classes: c.
        margin: which.
        size: m; 0.35, 0.5 and 0.4 in the papers.
        scale: s; 64 in the papers.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, features: int, classes: int, margin: Margin = "arcface", size: float = 0.5, scale: float = 64.0
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(classes, features))
        nn.init.normal_(self.centres, std=0.01)
        self.margin, self.size, self.scale = margin, size, scale
        # Of the lengths of embeddings, over batches (AdaFace, Section 3.3).
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("deviation", torch.tensor(100.0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of (n, d) embeddings, not normalised, and their (n,) classes."""
        return functional.cross_entropy(self.logits(embeddings, labels), labels)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return (n, c) logits, the right classes' with their margin."""
        found = cosines(embeddings.float(), self.centres)
        if self.margin == "softmax":
            return self.scale * found
        right = labels[:, None]
        target = found.gather(1, right).clamp(-1 + 1e-7, 1 - 1e-7)
        if self.margin == "cosface":
            harder = target - self.size
        elif self.margin == "arcface":
            beyond = target - self.size * math.sin(self.size)
            angle = target.acos() + self.size
            harder = torch.where(target > math.cos(math.pi - self.size), angle.cos(), beyond)
        else:
            quality = self._quality(embeddings)[:, None]
            # Eq. 11 and 12: the angle's margin shrinks with quality, the cosine's grows.
            angle = (target.acos() - self.size * quality).clamp(1e-3, math.pi - 1e-3)
            harder = angle.cos() - (self.size * quality + self.size)
        return self.scale * found.scatter(1, right, harder)

    @torch.no_grad()
    def _quality(self, embeddings: Tensor) -> Tensor:
        """Return (n,) -1..1: how long embeddings are beside those of all batches (Eq. 8 and 9)."""
        lengths = embeddings.float().norm(dim=1).clamp(0.001, 100)
        if self.training and len(lengths) > 1:
            self.mean.lerp_(lengths.mean(), 0.01)
            self.deviation.lerp_(lengths.std(), 0.01)
        quality: Tensor = ((lengths - self.mean) / (self.deviation + 1e-3) * 0.333).clamp(-1, 1)
        return quality
