"""What processes of a spread classifier do in tests: three that train together, then two, then one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as processes
from torch import Tensor

from mien.nn.margins import Margin
from mien.nn.partial import PartialSoftmax, Shard
from mien.train.rows import RowSGD
from mien.train.shards import load_shards, save_shards

CLASSES, FEATURES, FACES, STEPS = 50, 16, 12, 4
RANKS = (3, 2, 1)


@dataclass(frozen=True)
class Case:
    """One classifier; all that a process found is written under its name."""

    name: str
    sample: float
    margin: Margin


# Of 50 classes 0.99 of each process's part rounds to all of them, by way of rows.
CASES = (
    Case("whole", 1.0, "arcface"),
    Case("every-row", 0.99, "adaface"),
    Case("a-fifth", 0.2, "cosface"),
)


def faces(step: int = 0) -> tuple[Tensor, Tensor]:
    """Return (12, 16) embeddings and their classes."""
    random = torch.Generator().manual_seed(step)
    made = torch.randn(FACES, FEATURES, generator=random) * 3
    return made, torch.randint(0, CLASSES, (FACES,), generator=random)


def head(case: Case, shard: Shard) -> PartialSoftmax:
    """Return a classifier whose first centres are the same for any number of processes."""
    torch.manual_seed(7)
    return PartialSoftmax(FEATURES, CLASSES, case.sample, case.margin, 0.3, 20.0, shard)


def optimiser(weights: Any) -> RowSGD:
    return RowSGD(weights, lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.01)


def momentum(by: RowSGD, head: PartialSoftmax) -> Tensor:
    found: Tensor = by.state[head.centres]["momentum_buffer"]
    return found


def step(head: PartialSoftmax, by: RowSGD, number: int) -> Tensor:
    """Make a step on this process's part of the faces; return their gradient."""
    shard = head.shard
    embeddings, labels = (part.chunk(shard.ranks)[shard.rank].clone() for part in faces(number))
    embeddings.requires_grad_()
    by.zero_grad()
    head(embeddings, labels).backward()
    by.step()
    assert embeddings.grad is not None
    return embeddings.grad


def work(rank: int, folder: str) -> None:
    """Go through all numbers of processes in which this one has a part."""
    for ranks in (count for count in RANKS if rank < count):
        processes.init_process_group(
            "gloo", init_method=f"file://{folder}/meet{ranks}", rank=rank, world_size=ranks
        )
        shard = Shard(CLASSES, rank, ranks)
        for case in CASES:
            torch.save(measured(case, shard), f"{folder}/{case.name}-{ranks}-{rank}.pt")
        trained(Path(folder), shard)
        processes.barrier()
        processes.destroy_process_group()


def measured(case: Case, shard: Shard) -> dict[str, Tensor]:
    """Return loss and gradients of one step, and which classes it took."""
    made = head(case, shard)
    taken = []
    draw = made.taken
    made.taken = lambda positives: taken.append(draw(positives)) or taken[-1]  # type: ignore[method-assign, func-returns-value]
    embeddings, labels = (part.chunk(shard.ranks)[shard.rank].clone() for part in faces())
    embeddings.requires_grad_()
    torch.manual_seed(100 + shard.rank)
    loss = made(embeddings, labels)
    loss.backward()
    assert embeddings.grad is not None
    assert made.centres.grad is not None
    return {
        "loss": loss.detach(),
        "embeddings": embeddings.grad,
        "centres": shard.whole(made.centres.grad.to_dense()),
        "first": shard.whole(made.centres.detach()),
        "taken": taken[0] + shard.first if taken else torch.arange(shard.count) + shard.first,
        "sparse": torch.tensor(made.centres.grad.is_sparse),
    }


def trained(folder: Path, shard: Shard) -> None:
    """Three processes make four steps and stop; any number of them goes on for four more."""
    made = head(CASES[1], shard)
    by = optimiser(made.parameters())
    if shard.ranks == max(RANKS):
        for number in range(STEPS):
            step(made, by, number)
        save_shards(folder / "stopped", {"centres": made.centres, "momentum": momentum(by, made)}, shard)
    with torch.no_grad():
        made.centres.zero_()
    by.state[made.centres]["momentum_buffer"] = torch.zeros_like(made.centres)
    load_shards(folder / "stopped", {"centres": made.centres, "momentum": momentum(by, made)}, shard)
    for number in range(STEPS, 2 * STEPS):
        step(made, by, number)
    torch.save(shard.whole(made.centres.detach()), folder / f"end-{shard.ranks}-{shard.rank}.pt")
