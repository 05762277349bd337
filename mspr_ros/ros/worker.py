"""A worker thread that takes the newest frame: a slow network drops frames, never queues."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class WorkerCounts:
    """What became of the items: received = processed + dropped + failed + those in work."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    failed: int = 0


class NewestFrameWorker(Generic[Item]):
    """Process items one at a time in a thread of its own.

    Args:
        process: Called in the worker's thread with each item taken.
        on_error: Called there with an exception that `process` raised; the worker lives on.
        is_ready: Asked before an item is taken; while it says no, the newest item waits.
        interval_s: Shortest time between two starts, asked each time; 0 for none.
        merge: Makes the item that waits from the one dropped and the newer one.
        split: Makes of the item that waited what is processed, and what waits on, if anything;
            the rest of it is dropped.
        size: How much an item counts for: its number of images.
    """

    poll_s = 0.05  # how often `is_ready` is asked again

    def __init__(
        self,
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        is_ready: Callable[[Item], bool] = lambda item: True,
        interval_s: Callable[[], float] = lambda: 0.0,
        merge: Callable[[Item, Item], Item] = lambda older, newer: newer,
        split: Callable[[Item], tuple[Item, Item | None]] = lambda item: (item, None),
        size: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self._process = process
        self._on_error = on_error
        self._is_ready = is_ready
        self._interval_s = interval_s
        self._merge = merge
        self._split = split
        self._size = size
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._urgent = False
        self._stopping = False
        self._counts = WorkerCounts()
        self._last_start = -1e9
        self._thread = threading.Thread(target=self._run, name="localizer-worker", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> WorkerCounts:
        """What became of the items so far."""
        with self._changed:
            return self._counts

    def submit(self, item: Item, urgent: bool = False) -> None:
        """Hand over an item; the one that still waits is dropped.

        Args:
            item: What to process.
            urgent: Do not wait for `interval_s` to pass.
        """
        with self._changed:
            received, dropped = self._size(item), 0
            if self._waiting is not None:
                both = self._size(self._waiting) + received
                item = self._merge(self._waiting, item)
                dropped = both - self._size(item)
            self._counts = replace(
                self._counts,
                received=self._counts.received + received,
                dropped=self._counts.dropped + dropped,
            )
            self._waiting = item
            self._urgent = self._urgent or urgent
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after the item in work; the one that waits is dropped.

        Returns:
            Whether the thread ended in time.
        """
        with self._changed:
            self._stopping = True
            if self._waiting is not None:
                self._drop(self._size(self._waiting))
                self._waiting = None
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            item = self._take()
            if item is None:
                return
            size, failed = self._size(item), 0
            try:
                self._process(item)
            except Exception as error:  # reported; one bad frame must not end the node
                failed = size
                with contextlib.suppress(Exception):  # nor must a report that fails
                    self._on_error(error)
            with self._changed:
                self._counts = replace(
                    self._counts,
                    processed=self._counts.processed + size - failed,
                    failed=self._counts.failed + failed,
                )

    def _take(self) -> Item | None:
        """Wait for an item that may start now; None when stopped."""
        with self._changed:
            while not self._stopping:
                if self._waiting is None:
                    self._changed.wait()
                    continue
                pause_s = 0.0 if self._urgent else self._pause_s()
                if pause_s <= 0.0 and not self._is_ready(self._waiting):
                    pause_s = self.poll_s
                if pause_s > 0.0:
                    self._changed.wait(pause_s)
                    continue
                item, rest = self._split(self._waiting)
                kept = self._size(item) + (self._size(rest) if rest is not None else 0)
                self._drop(self._size(self._waiting) - kept)
                self._waiting, self._urgent = rest, False
                self._last_start = time.monotonic()
                return item
            return None

    def _drop(self, count: int) -> None:
        self._counts = replace(self._counts, dropped=self._counts.dropped + count)

    def _pause_s(self) -> float:
        return self._last_start + self._interval_s() - time.monotonic()
