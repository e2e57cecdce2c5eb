"""Takes what comes when it comes: who is slower than a camera misses frames, and never sees old ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# How often a wait for the next item asks whether it is to end, s.
_ASKS = 0.05
# How long the end waits for a thread that may be waiting for a camera that gives nothing, s.
_PATIENCE = 2.0


@dataclass
class _Slot(Generic[T]):
    """Holds the newest item, and what ended the items."""

    items: list[T] = field(default_factory=list)
    over: bool = False
    error: Exception | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, item: T) -> None:
        with self.changed:
            self.items[:] = [item]
            self.changed.notify()

    def end(self, error: Exception | None) -> None:
        with self.changed:
            self.over, self.error = True, error
            self.changed.notify()


def newest(items: Iterator[T], stop: threading.Event) -> Iterator[T]:
    """Yield of items that come by themselves always the newest, each at most once; others are left out.

    A thread of its own takes the items as fast as they come, so that none waits in a driver's buffers.

    Args:
        items: such as the frames of a camera.
        stop: ends the items when it is set, also while the next one is waited for.

    Raises:
        Exception: what the items raise, after the last of them.
    """
    slot = _Slot[T]()

    def take() -> None:
        try:
            for item in items:
                slot.put(item)
                if stop.is_set():
                    break
        except Exception as error:
            slot.end(error)
        else:
            slot.end(None)

    with _running(threading.Thread(target=take, name="mien-live", daemon=True), stop):
        while not stop.is_set():
            with slot.changed:
                slot.changed.wait_for(lambda: slot.items or slot.over, _ASKS)
                error, over = slot.error, slot.over
                taken = slot.items[:]
                slot.items.clear()
            yield from taken
            if over:
                if error is not None:
                    raise error
                return


@contextmanager
def _running(thread: threading.Thread, stop: threading.Event) -> Iterator[None]:
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_PATIENCE)
