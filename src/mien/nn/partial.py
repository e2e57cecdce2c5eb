"""A classifier of very many identities: centres spread over processes, a sample of them in each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as processes
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.func import functional_call
from torch.nn import functional

from mien.nn.margins import Margin, MarginSoftmax, cosines

# Rows that one generator draws: first centres do not depend on the number of processes.
_DRAWN = 1024


@dataclass(frozen=True)
class Shard:
    """The rows of a table that one process holds: as many each, the last ones fewer (`torch.chunk`'s parts).

    Attributes:
        rows: of the whole table.
        rank: of the process.
        ranks: number of processes.
    """

    rows: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"process {self.rank} of {self.ranks}: ranks go from 0 to {self.ranks - 1}")
        if self._each * (self.ranks - 1) >= self.rows:
            raise ValueError(f"{self.rows} rows leave one of {self.ranks} processes without any: take fewer")

    @property
    def _each(self) -> int:
        return -(-self.rows // self.ranks)

    @property
    def first(self) -> int:
        """The first row's number in the whole table."""
        return self._each * self.rank

    @property
    def count(self) -> int:
        """How many rows are held."""
        return min(self._each, self.rows - self.first)

    def part(self, table: Tensor) -> Tensor:
        """Return the (count, ...) rows of the whole (rows, ...) table: a view."""
        return table[self.first : self.first + self.count]

    def whole(self, part: Tensor) -> Tensor:
        """Return the whole (rows, ...) table of every process's (count, ...) rows; all of them must call."""
        if self.ranks == 1:
            return part
        padded = part.new_zeros(self._each, *part.shape[1:])
        padded[: self.count] = part
        return _all(padded, self.ranks)[: self.rows]


class PartialSoftmax(nn.Module):
    """Margin softmax over each step's persons and a sample of the others (An et al. 2020, arXiv 2010.05222).

    Each process holds a shard of the classes' centres. In a step it takes the centres of those classes that
    are in the batch of any process, and others drawn at random, until a part `sample` of its shard is taken
    ("positive plus randomly negative"). Embeddings of all processes are compared with the taken centres of
    all processes; what crosses between them are embeddings, their gradients, and of each embedding the
    highest logit, the sum of exponents and the right class's logit.

    The gradient of `centres` is sparse: those rows that were taken (`RowSGD` steps on them alone); with all
    classes taken it is dense, and the layer is `MarginSoftmax` by model parallelism.

    Embeddings get as many times the gradient of the mean loss as there are processes, since
    DistributedDataParallel takes the mean of their weights' gradients; `centres` must be left out of that.

    Args:
        features: d, of an embedding.
        classes: c, of all processes.
        sample: part of the classes that a step takes, 0..1; more where the batch has more.
        margin: of the right class (see `MarginSoftmax`).
        size: of the margin.
        scale: of the cosines.
        shard: of the c classes, which this process holds; None holds all of them.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        sample: float = 0.1,
        margin: Margin = "cosface",
        size: float = 0.4,
        scale: float = 64.0,
        shard: Shard | None = None,
    ) -> None:
        super().__init__()
        if not 0 < sample <= 1:
            raise ValueError(f"the sampled part of the classes must be above 0 and at most 1, not {sample}")
        self.shard = shard or Shard(classes)
        if self.shard.rows != classes:
            raise ValueError(f"a shard of {self.shard.rows} rows for {classes} classes")
        self.sample = sample
        self.centres = nn.Parameter(_drawn(self.shard, features))
        self.margins = _Margins(margin, size, scale)

    def share(self, rank: int, ranks: int) -> None:
        """Keep this process's part of the centres; before, every process holds all of them."""
        self.shard = Shard(self.shard.rows, rank, ranks)
        self.centres = nn.Parameter(self.shard.part(self.centres.detach()).clone())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over all processes' rows, the same in each.

        Args:
            embeddings: (n, d) of this process, not normalised; n is the same in every process.
            labels: (n,) their classes, 0..c - 1.
        """
        everyone, persons = self._gathered(embeddings, labels)
        own = persons - self.shard.first
        here = (own >= 0) & (own < self.shard.count)
        if self.sample < 1:
            taken = self.taken(own[here].unique())  # type: ignore[no-untyped-call]
            centres = functional.embedding(taken, self.centres, sparse=True)
            own = torch.searchsorted(taken, own)
        else:
            centres = self.centres
        # Classes of other processes have no margin here, though the margin wants a class of each row.
        logits = functional_call(
            self.margins, {"centres": centres}, (everyone, torch.where(here, own, torch.zeros_like(own)))
        )
        if not here.all():
            logits[~here, 0] = self.margins.scale * cosines(everyone[~here].float(), centres[:1])[:, 0]
        columns = torch.where(here, own, -1)
        losses: Tensor = _SpreadCrossEntropy.apply(logits, columns, self.shard.ranks)  # type: ignore[no-untyped-call]
        return losses.mean()

    @torch.no_grad()
    def taken(self, positives: Tensor) -> Tensor:
        """Draw the rows of a step: (m,) sorted, with the (p,) sorted `positives` among them.

        m is the sampled part of the shard, or p if that is more. Others are equally likely.
        """
        rest = self.shard.count - len(positives)
        wanted = max(round(self.sample * self.shard.count) - len(positives), 0)
        negatives = torch.randperm(rest, device=positives.device)[:wanted].sort().values
        # Number x among the others is x behind as many positives as come before it.
        before = positives - torch.arange(len(positives), device=positives.device)
        negatives += torch.searchsorted(before, negatives, right=True)
        return torch.cat([positives, negatives]).sort().values

    def _gathered(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        ranks = self.shard.ranks
        if ranks == 1:
            return embeddings, labels
        everyone: Tensor = _Gathered.apply(embeddings, ranks)  # type: ignore[no-untyped-call]
        return everyone, _all(labels, ranks)


class _Margins(MarginSoftmax):
    """The margins alone: `functional_call` brings the centres."""

    def __init__(self, margin: Margin, size: float, scale: float) -> None:
        super().__init__(1, 1, margin, size, scale)
        del self.centres

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return (n, m) logits."""
        return self.logits(embeddings, labels)


class _Gathered(Function):
    """Every process's rows, (k n, d) of each one's (n, d).

    The gradient is the sum of what all processes have for a row, times k (see `PartialSoftmax`).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: int) -> Tensor:
        ctx.ranks = ranks
        return _all(rows, ranks)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = gradient.new_empty(len(gradient) // ctx.ranks, *gradient.shape[1:])
        processes.reduce_scatter_single(own, gradient.contiguous())
        return own.mul_(ctx.ranks), None


class _SpreadCrossEntropy(Function):
    """The cross-entropy of logits whose classes are spread over processes.

    loss_i = log sum_j exp(z_ij) - z_iy, the sum over the classes of all processes. Every process gets the
    same losses; each takes the gradient of its own logits, softmax - 1[j = y].
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, labels: Tensor, ranks: int) -> Tensor:
        """Return (n,) losses of (n, m) logits and (n,) columns of the right classes, -1 where not here."""
        highest = logits.amax(dim=1)
        if ranks > 1:
            processes.all_reduce(highest, processes.ReduceOp.MAX)
        shifted = logits - highest[:, None]
        here = (labels >= 0).nonzero().squeeze(1)
        right = torch.zeros_like(highest)
        right[here] = shifted[here, labels[here]]
        sums = torch.stack([shifted.exp_().sum(dim=1), right])
        if ranks > 1:
            processes.all_reduce(sums)
        ctx.save_for_backward(shifted.div_(sums[0][:, None]), labels, here)
        return sums[0].log() - sums[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        softmax, labels, here = ctx.saved_tensors
        made = softmax * gradient[:, None]
        made[here, labels[here]] -= gradient[here]
        return made, None, None


def _all(part: Tensor, ranks: int) -> Tensor:
    """Return (k n, ...) every process's (n, ...), in the order of their ranks."""
    made = part.new_empty(ranks * len(part), *part.shape[1:])
    processes.all_gather_single(made, part.contiguous())
    return made


def _drawn(shard: Shard, features: int) -> Tensor:
    """Return a shard's first (count, d) centres: from torch's state, the same for any number of processes."""
    seed = int(torch.randint(2**62, ()))
    made = torch.empty(shard.count, features)
    end = shard.first + shard.count
    for block in range(shard.first // _DRAWN, -(-end // _DRAWN)):
        start = block * _DRAWN
        drawn = torch.randn(_DRAWN, features, generator=torch.Generator().manual_seed(seed + block))
        first, last = max(start, shard.first), min(start + _DRAWN, end)
        made[first - shard.first : last - shard.first] = drawn[first - start : last - start]
    # The deviation of the authors' code.
    return made.mul_(0.01)
