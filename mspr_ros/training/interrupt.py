"""Ctrl-C between two steps, never in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class GentleInterrupt:
    """Remember a Ctrl-C until it suits; the second one breaks off at once.

    Outside the main thread, where no signal handler can be set, it never asks to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self._previous: object = None

    def __enter__(self) -> GentleInterrupt:
        if self._in_main_thread:
            self._previous = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
