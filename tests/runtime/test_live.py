"""What comes by itself: the newest is taken, nothing waits, and the end is an end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from mien.runtime.live import newest


def paced(count: int, step: float = 0.01) -> Iterator[int]:
    for number in range(count):
        time.sleep(step)
        yield number


def living() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "mien-live"]


def test_who_is_slow_gets_the_newest_and_the_last() -> None:
    taken, late = [], []
    begin = time.monotonic()
    for number in newest(paced(60), threading.Event()):
        late.append(time.monotonic() - begin - 0.01 * (number + 1))
        taken.append(number)
        time.sleep(0.05)
    assert taken == sorted(set(taken))
    assert taken[-1] == 59
    assert len(taken) < 30
    # one that had waited in a line behind the others would be older with each of them
    assert sorted(late)[len(late) // 2] < 0.3
    assert late[-1] < 0.3


def test_who_is_fast_gets_all() -> None:
    assert list(newest(paced(8, 0.06), threading.Event())) == list(range(8))


def test_an_event_ends_the_wait_for_what_does_not_come() -> None:
    stop, never = threading.Event(), threading.Event()

    def silent() -> Iterator[int]:
        yield 1
        never.wait(20)

    items = newest(silent(), stop)
    assert next(items) == 1
    threading.Timer(0.1, stop.set).start()
    threading.Timer(0.1, never.set).start()
    begin = time.monotonic()
    assert list(items) == []
    assert time.monotonic() - begin < 1.5
    assert living() == []


def test_closing_ends_the_thread_that_takes() -> None:
    items = newest(itertools.count(), threading.Event())
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert living() == []


def test_an_error_comes_after_the_last_item() -> None:
    def torn() -> Iterator[int]:
        yield 1
        raise OSError("torn out")

    items = newest(torn(), threading.Event())
    assert next(items) == 1
    with pytest.raises(OSError, match="torn out"):
        next(items)
