"""The buffer a node uses: lookups that may wait, and a clock that may jump."""

from __future__ import annotations

import threading
import time as wall_time
from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from tf2_msgs.srv import FrameGraph

from .core import BufferCore
from .exceptions import TransformException

NO_WAIT = Duration()


class Buffer(BufferCore):
    """Keep the transforms of the last seconds.

    Args:
        cache_time: How far back transforms are kept; 10 s by default.
        node: Its clock is watched, and it offers the service `tf2_frames`.

    A clock that is switched, or that jumps back by more than a second (a bag that starts anew),
    empties the buffer.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        super().__init__(cache_time)
        self._callbacks: list[Callable[[], None]] = []
        self._callbacks_lock = threading.RLock()
        self.clock = node.get_clock() if node is not None else Clock()
        if node is not None:
            self.srv = node.create_service(FrameGraph, "tf2_frames", self._serve_frames)
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
        )
        self.jump_handle = self.clock.create_jump_callback(
            threshold, post_callback=self.time_jump_callback
        )

    def time_jump_callback(self, time_jump: Any) -> None:
        """Forget what was known: the stamps belong to another time."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at its stamp, and tell whoever waits."""
        super().set_transform(transform, authority)
        self._tell_waiters()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at all times, and tell whoever waits."""
        super().set_transform_static(transform, authority)
        self._tell_waiters()

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time | TimeMsg,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """Give the transform that takes source coordinates to target coordinates.

        Args:
            target_frame: Frame the result maps into.
            source_frame: Frame the result maps from.
            time: When; Time() asks for the latest common time.
            timeout: How long to wait (by the wall clock) for it to become possible. Someone else
                must spin the node meanwhile.

        Raises:
            TransformException: One of its kinds says why.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time | TimeMsg,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Say whether a lookup would succeed, after waiting up to `timeout` for it.

        Returns:
            Whether it would; with `return_debug_tuple` also the reason why not.
        """
        deadline = wall_time.monotonic() + timeout.nanoseconds / 1e9
        with self._changed:
            answer = self.can_transform_core(target_frame, source_frame, time)
            while not answer[0]:
                left_s = deadline - wall_time.monotonic()
                if left_s <= 0.0:
                    break
                self._changed.wait(left_s)
                answer = self.can_transform_core(target_frame, source_frame, time)
        return answer if return_debug_tuple else answer[0]

    def wait_for_transform_async(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> Future:
        """Give a future whose result is the transform, as soon as it is known."""
        future = Future()

        def try_now() -> None:
            if future.done():
                return
            try:
                if self.can_transform_core(target_frame, source_frame, time)[0]:
                    future.set_result(self.lookup_transform_core(target_frame, source_frame, time))
            except TransformException as error:
                future.set_exception(error)

        with self._callbacks_lock:
            try_now()
            if not future.done():
                self._callbacks.append(try_now)
                future.add_done_callback(lambda _: self._forget(try_now))
        return future

    def _tell_waiters(self) -> None:
        with self._callbacks_lock:
            for callback in list(self._callbacks):
                callback()

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._callbacks_lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def _serve_frames(
        self, request: FrameGraph.Request, response: FrameGraph.Response
    ) -> FrameGraph.Response:
        response.frame_yaml = self.all_frames_as_yaml()
        return response
