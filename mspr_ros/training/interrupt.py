"""Ctrl-C and `kill` between two steps, never in the middle of one."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

from mspr_ros.errors import MsprError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# torchrun hands on a Ctrl-C that the terminal has already sent to every process.
_SAME_WISH_S = 1.0


class Interrupted(MsprError):
    """Tell that a run was stopped by hand, saved, and how to go on."""


class GentleInterrupt:
    """Remember SIGINT or SIGTERM until it suits; a second one breaks off at once.

    Outside the main thread, where no signal handler can be set, it never asks to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> GentleInterrupt:
        if self._in_main_thread:
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self._requested_at > _SAME_WISH_S:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._requested_at = True, time.monotonic()
