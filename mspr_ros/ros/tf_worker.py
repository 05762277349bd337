"""A thread for what waits for TF: images and the network never wait with it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mspr_ros.ros.tf_lookup import TfUnavailable

POLL_S = 0.01  # how often a job that waits for TF is tried again
MAX_WAITING = 64  # jobs; more than a camera delivers in the longest wait that makes sense


@dataclass(frozen=True)
class TfJob:
    """Something to do as soon as TF knows enough.

    Args:
        attempt: Tried until it no longer raises TfUnavailable, with whether it is the last time.
        give_up: Called with the last TfUnavailable when the time is over.
        timeout_s: How long it may wait.
    """

    attempt: Callable[[bool], None]
    give_up: Callable[[TfUnavailable], None]
    timeout_s: float


class TfWorker:
    """Run jobs that wait for TF, and a tick at a rate, in one thread.

    Args:
        tick: Called once an interval.
        interval_s: Asked before each wait.
        on_error: Called with what a job or tick raised otherwise; the thread lives on.
    """

    def __init__(
        self,
        tick: Callable[[], None],
        interval_s: Callable[[], float],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._tick = tick
        self._interval_s = interval_s
        self._on_error = on_error
        self._changed = threading.Condition()
        self._new: deque[tuple[TfJob, float]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="localizer-tf", daemon=True)
        self._thread.start()

    def submit(self, job: TfJob) -> None:
        """Hand over a job; it is tried at once, in the thread."""
        with self._changed:
            self._new.append((job, time.monotonic() + job.timeout_s))
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; jobs that still wait are dropped without a word.

        Returns:
            Whether it ended in time.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        waiting: list[tuple[TfJob, float]] = []
        next_tick_s = time.monotonic()
        while True:
            with self._changed:
                pause_s = max(0.0, next_tick_s - time.monotonic())
                if not self._new and not self._stopping:
                    self._changed.wait(min(pause_s, POLL_S) if waiting else pause_s)
                if self._stopping:
                    return
                waiting.extend(self._new)
                self._new.clear()
            num_over = max(0, len(waiting) - MAX_WAITING)
            waiting = [
                (job, deadline_s)
                for number, (job, deadline_s) in enumerate(waiting)
                if not self._is_done(job, deadline_s if number >= num_over else 0.0)
            ]
            if time.monotonic() >= next_tick_s:
                self._guarded(self._tick)
                # After a pause of the machine there is nothing to catch up with.
                next_tick_s = max(next_tick_s + self._interval_s(), time.monotonic())

    def _is_done(self, job: TfJob, deadline_s: float) -> bool:
        is_last = time.monotonic() >= deadline_s
        try:
            job.attempt(is_last)
        except TfUnavailable as error:
            if is_last:
                unavailable = error  # `error` ends with this block
                self._guarded(lambda: job.give_up(unavailable))
            return is_last
        except Exception as error:
            self._on_error(error)
        return True

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a mistake of ours, or a context that is gone
            self._on_error(error)
