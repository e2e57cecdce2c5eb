"""Sampling of classes, their parts, and the softmax over them, in one process."""

from __future__ import annotations

import pytest
import torch

from mien.nn.margins import MarginSoftmax
from mien.nn.partial import PartialSoftmax, Shard


@pytest.mark.parametrize(("rows", "ranks"), [(10, 1), (10, 3), (9, 3), (11, 4), (2, 2)])
def test_parts_are_those_of_torchs_chunks(rows: int, ranks: int) -> None:
    table = torch.arange(rows)
    parts = [Shard(rows, rank, ranks).part(table).tolist() for rank in range(ranks)]
    assert parts == [chunk.tolist() for chunk in table.chunk(ranks)]
    assert [Shard(rows, rank, ranks).count for rank in range(ranks)] == [len(part) for part in parts]


@pytest.mark.parametrize(("rows", "rank", "ranks"), [(5, 0, 4), (5, 3, 3), (5, -1, 2)])
def test_parts_that_cannot_be_are_refused(rows: int, rank: int, ranks: int) -> None:
    with pytest.raises(ValueError, match=r"processes|ranks go from"):
        Shard(rows, rank, ranks)


def test_the_batchs_classes_are_always_taken_and_others_alike() -> None:
    torch.manual_seed(0)
    head = PartialSoftmax(4, 40, sample=0.25)
    positives = torch.tensor([0, 7, 8, 39])
    times = torch.zeros(40)
    for _ in range(3000):
        taken = head.taken(positives)
        assert len(taken) == 10
        assert (taken.diff() > 0).all()
        times[taken] += 1
    assert (times[positives] == 3000).all()
    others = times[torch.isin(torch.arange(40), positives, invert=True)] / 3000
    torch.testing.assert_close(others, torch.full((36,), 6 / 36), atol=0.035, rtol=0)


def test_a_batch_of_more_classes_than_the_sample_takes_them_all() -> None:
    head = PartialSoftmax(4, 40, sample=0.05)
    positives = torch.tensor([1, 5, 6, 20])
    assert torch.equal(head.taken(positives), positives)


def test_a_step_draws_by_torchs_state() -> None:
    head = PartialSoftmax(4, 400, sample=0.1)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(head.taken(torch.tensor([3])))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_only_taken_classes_have_gradients() -> None:
    torch.manual_seed(0)
    head = PartialSoftmax(8, 100, sample=0.1)
    head(torch.randn(4, 8), torch.tensor([3, 3, 50, 99])).backward()
    gradient = head.centres.grad
    assert gradient is not None
    assert gradient.is_sparse
    rows = gradient.coalesce().indices()[0]
    assert len(rows) == 10
    assert {3, 50, 99} <= set(rows.tolist())


def test_the_expected_pull_of_a_sampled_class_is_smaller_than_with_all_but_points_the_same_way() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 5])
    head = PartialSoftmax(8, 200, sample=0.25, scale=8.0)
    full = MarginSoftmax(8, 200, "cosface", 0.4, 8.0)
    full.centres.data = head.centres.data.clone()
    pulls = []
    for made, times in ((head, 300), (full, 1)):
        moved = embeddings.clone().requires_grad_()
        for _ in range(times):
            (made(moved, labels) / times).backward()
        assert moved.grad is not None
        pulls.append(moved.grad)
    alike = torch.nn.functional.cosine_similarity(pulls[0].flatten(), pulls[1].flatten(), dim=0)
    assert alike > 0.95


def test_wrong_samples_and_parts_are_refused() -> None:
    for sample in (0.0, 1.5):
        with pytest.raises(ValueError, match="sampled part"):
            PartialSoftmax(4, 10, sample=sample)
    with pytest.raises(ValueError, match="a shard of 9 rows for 10 classes"):
        PartialSoftmax(4, 10, shard=Shard(9))


def test_sharing_keeps_this_processs_rows() -> None:
    head = PartialSoftmax(4, 10)
    whole = head.centres.detach().clone()
    head.share(1, 3)
    assert torch.equal(head.centres.detach(), whole[4:8])
    assert head.shard == Shard(10, 1, 3)
