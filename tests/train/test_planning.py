"""The plan counts what a classifier really keeps and sends."""

from __future__ import annotations

import pytest
import torch

from mien.nn.partial import PartialSoftmax, Shard
from mien.train.planning import Machine, Plan
from mien.train.rows import RowSGD


@pytest.mark.parametrize("ranks", [1, 3])
def test_bytes_between_steps_are_those_of_the_tables(ranks: int) -> None:
    head = PartialSoftmax(8, 100, sample=0.2)
    by = RowSGD(head.parameters(), lr=0.1, momentum=0.9)
    if ranks > 1:
        head.share(0, ranks)
        by = RowSGD(head.parameters(), lr=0.1, momentum=0.9)
        head.shard = Shard(head.shard.count)
    head(torch.randn(4, 8), torch.arange(4)).backward()
    by.step()
    tables = [head.centres, by.state[head.centres]["momentum_buffer"]]
    plan = Plan(100, 8, 4, ranks, 0.2)
    assert plan.kept_bytes == sum(table.numel() * table.element_size() for table in tables)
    assert head.centres.grad is not None
    assert plan.taken == len(head.centres.grad.coalesce().values())


def test_of_all_processes_the_tables_are_as_large_however_many_there_are() -> None:
    kept = {ranks: ranks * Plan(1_000_000, ranks=ranks).kept_bytes for ranks in (1, 2, 4, 8)}
    assert set(kept.values()) == {2 * 1_000_000 * 512 * 4}


def test_a_process_with_as_many_classes_needs_as_much_however_many_others_there_are() -> None:
    plans = [Plan(250_000 * ranks, ranks=ranks) for ranks in (1, 2, 4, 8)]
    assert len({(plan.kept_bytes, plan.step_bytes) for plan in plans}) == 1


def test_what_crosses_does_not_grow_with_the_classes() -> None:
    plans = [Plan(classes, batch=512, ranks=8) for classes in (10**6, 10**8)]
    assert plans[0].traffic_bytes == plans[1].traffic_bytes
    # Seven others get 64 embeddings and labels, and gradients of theirs; three numbers a face go round.
    assert plans[0].traffic_bytes == 7 * 64 * (512 * 4 + 8 + 512 * 4) + 2 * 7 * 512 * 3 * 4 // 8
    assert plans[1].copied_traffic_bytes == 100 * plans[0].copied_traffic_bytes
    assert Plan(10**6).traffic_bytes == 0


def test_a_tenth_of_the_classes_takes_a_tenth_of_the_time_but_for_drawing() -> None:
    here = Machine(arithmetic=5e10, reused=1e10, fresh=1e10, drawing=1e8, network=1e9)
    full, partial = (Plan(1_000_000, sample=sample).seconds(here) for sample in (1.0, 0.1))
    assert partial == pytest.approx(full / 10 + 0.01)
