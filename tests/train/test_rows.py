"""Rows step as SGD steps, and rest where they have no gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from mien.train.rows import RowSGD


def looked_up(table: Tensor, rows: Tensor, sparse: bool) -> Any:
    return (functional.embedding(rows, table, sparse=sparse) ** 3).sum()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_with_a_gradient_of_every_row_it_is_sgd(nesterov: bool, momentum: float) -> None:
    torch.manual_seed(0)
    first = torch.randn(6, 3)
    one, other = nn.Parameter(first.clone()), nn.Parameter(first.clone())
    settings: dict[str, Any] = {
        "lr": 0.05,
        "momentum": momentum,
        "nesterov": nesterov and momentum > 0,
        "weight_decay": 0.1,
    }
    by_rows, plain = RowSGD([one], **settings), SGD([other], **settings)
    for _ in range(4):
        rows = torch.randperm(6)
        for table, by, sparse in ((one, by_rows, True), (other, plain, False)):
            by.zero_grad()
            looked_up(table, rows, sparse).backward()
            by.step()
        torch.testing.assert_close(one, other)


def test_rows_without_a_gradient_keep_weights_and_momentum() -> None:
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(5, 3))
    by = RowSGD([table], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    kept = []
    for rows in ([0, 1, 2], [3, 3]):
        before = table.detach().clone()
        by.zero_grad()
        looked_up(table, torch.tensor(rows), True).backward()
        by.step()
        changed = (table.detach() != before).any(dim=1)
        assert changed.nonzero().squeeze(1).tolist() == sorted(set(rows))
        kept.append(by.state[table]["momentum_buffer"].clone())
    assert torch.equal(kept[0][:3], kept[1][:3])
    assert not kept[1][4].any()


def test_a_row_that_is_used_twice_has_the_sum_of_its_gradients() -> None:
    table = nn.Parameter(torch.ones(2, 1))
    by = RowSGD([table], lr=0.1)
    looked_up(table, torch.tensor([1, 1]), True).backward()
    by.step()
    assert table.detach().squeeze(1).tolist() == pytest.approx([1.0, 1.0 - 0.1 * 2 * 3])


def test_dense_weights_step_beside_rows_and_gradients_stay_readable() -> None:
    table, dense = nn.Parameter(torch.ones(2, 1)), nn.Parameter(torch.ones(1))
    by = RowSGD([table, dense], lr=0.1)
    (looked_up(table, torch.tensor([0]), True) + 2 * dense.sum()).backward()
    by.step()
    assert dense.item() == pytest.approx(0.8)
    assert table.grad is not None
    assert table.grad.is_sparse
