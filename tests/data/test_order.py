"""The order of rows is a function of seed and epoch."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mien.data.order import Balanced, Shuffled


def test_every_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    orders = [Shuffled(1000, 7).order(epoch) for epoch in range(5)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(1000))
    assert len({order.tobytes() for order in orders}) == 5


def test_an_order_is_the_same_for_ever() -> None:
    # written down once: a later NumPy, another machine or another word size must give the same
    order = Shuffled(1000, 7).order(3)
    assert order[:8].tolist() == [899, 840, 953, 481, 427, 979, 330, 710]
    assert hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()[:16] == "158cd891ddfebf4b"


def test_seeds_and_epochs_are_not_interchangeable() -> None:
    assert not np.array_equal(Shuffled(100, 1).order(2), Shuffled(100, 2).order(1))


def test_orders_are_uniform() -> None:
    # every row is as often in the first half as in the second
    first = np.zeros(20)
    for epoch in range(2000):
        first[Shuffled(20, 0).order(epoch)[:10]] += 1
    assert np.abs(first / 2000 - 0.5).max() < 0.05


@pytest.mark.parametrize(("n", "processes"), [(12, 4), (13, 4), (3, 4), (1, 3), (0, 2)])
def test_processes_share_an_epoch_evenly_and_miss_nothing(n: int, processes: int) -> None:
    shuffled = Shuffled(n, 5)
    shares = [shuffled.share(2, rank, processes) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    together = np.stack(shares, axis=1).ravel()[:n]
    assert together.tolist() == shuffled.order(2).tolist()


def test_ranks_and_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="process 2 of 2"):
        Shuffled(5, 0).share(0, 2, 2)
    with pytest.raises(ValueError, match="0 or more"):
        Shuffled(5, -1)


def test_balanced_batches_have_p_people_with_k_pictures() -> None:
    person = np.repeat([3, 5, 8, 9, 12], [7, 4, 1, 20, 3])
    order = Balanced(person, people=2, pictures=4, seed=1)
    rows = order.order(0)
    assert len(rows) == len(order)
    for batch in rows.reshape(-1, 8):
        whose = person[batch].reshape(2, 4)
        assert (whose == whose[:, :1]).all()
        assert whose[0, 0] != whose[1, 0]
        for who, own in zip(whose[:, 0], batch.reshape(2, 4), strict=True):
            assert len(set(own.tolist())) == min(4, int((person == who).sum()))
    assert not np.array_equal(rows, order.order(1))
    np.testing.assert_array_equal(rows, Balanced(person, 2, 4, 1).order(0))


def test_balanced_epochs_treat_people_alike_whatever_they_have() -> None:
    person = np.repeat(np.arange(6), [2, 4, 8, 16, 32, 64])
    order = Balanced(person, people=4, pictures=2, seed=0, passes=1)
    counts = np.zeros(6)
    for epoch in range(300):
        counts += np.bincount(person[order.order(epoch)], minlength=6)
    assert counts / counts.sum() == pytest.approx(np.full(6, 1 / 6), abs=0.02)


def test_processes_share_balanced_batches() -> None:
    person = np.repeat(np.arange(7), 4)
    order = Balanced(person, people=2, pictures=2, seed=0)
    whole = {tuple(batch) for batch in order.order(2).reshape(-1, 4).tolist()}
    parts = [order.share(2, rank, 2).reshape(-1, 4).tolist() for rank in range(2)]
    assert len(parts[0]) == len(parts[1])
    found = [tuple(batch) for part in parts for batch in part]
    assert len(set(found)) == len(found)
    assert set(found) <= whole


def test_more_people_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="3 people a batch of only 2"):
        Balanced(np.array([1, 1, 2]), people=3, pictures=2, seed=0)
