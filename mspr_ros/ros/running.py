"""Run a node as a process: spin until SIGINT or SIGTERM, leave in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, NoReturn

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.context import Context
from rclpy.executors import Executor, MultiThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.waitable import Waitable

from mspr_ros.errors import MsprError

try:
    from rclpy.event_handler import EventHandler
except ImportError:  # Humble
    from rclpy.qos_event import QoSEventHandler as EventHandler

SPIN_S = 0.1  # how soon a signal is noticed
# From the signal on. Callbacks get the first part of it; whoever still loads a bundle then, or
# waits for a GPU, is not waited for.
LEAVE_S, CALLBACKS_S = 1.0, 0.3
# How long a thread that computes in Python keeps the others waiting. A network gives the lock away
# and wants it back some hundred times: with Python's 5 ms a reload would stop the poses.
SWITCH_S = 1e-4


class WithoutQosEvents:
    """For a node, named before its other base: executors hear of no QoS event of its topics.

    Whoever sets a callback for such an event, or takes one, holds a lock of rmw_fastrtps (before
    mid 2026) and asks for one of Fast DDS; what discovers peers holds that and asks for the first.
    rclpy's own executors do not survive an event handler that is destroyed while they look.
    """

    @property
    def waitables(self) -> Iterator[Waitable[Any]]:
        """Everything else that an executor waits for."""
        everything: Iterator[Waitable[Any]] = super().waitables  # type: ignore[misc]
        return (one for one in everything if not isinstance(one, EventHandler))


class TransitionsRefused:
    """For a lifecycle node, named before its base: a request that its state forbids is refused.

    So it is in rclpy since Kilted; before, such a request raises in the service, which ends the
    process: a second `configure` beside `autostart` would take the localizer down.
    """

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        try:
            result: TransitionCallbackReturn
            result = super()._LifecycleNodeMixin__change_state(  # type: ignore[misc]
                transition_id
            )
        except RCLError as error:
            self.get_logger().error(f"transition refused: {error}")  # type: ignore[attr-defined]
            return TransitionCallbackReturn.ERROR
        return result


def run_node(
    create: Callable[[], Node],
    arguments: Sequence[str] | None,
    leave: Callable[[Node], None] = lambda node: None,
    is_done: Callable[[Node], bool] = lambda node: False,
) -> int:
    """Create a node and spin it until a signal comes or it is done.

    Args:
        create: Makes the node; called with rclpy initialised.
        arguments: Command line, with `--ros-args`; None for the process's own.
        leave: Called with the node before it is destroyed, while ROS still works: rclpy's own
            signal handlers would shut its context down first.
        is_done: Asked now and then; ends the process.

    Returns:
        Exit status: 0, or 1 after a known error told in one line.
    """
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            watchdog = threading.Timer(LEAVE_S, _end_anyway)
            watchdog.daemon = True
            watchdog.start()
        stopped = True

    sys.setswitchinterval(SWITCH_S)
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    previous = [signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        node = create()
        executor = make_executor()
        executor.add_node(node)
        while not stopped and rclpy.ok() and not is_done(node):
            executor.spin_once(timeout_sec=SPIN_S)
        executor.shutdown(timeout_sec=CALLBACKS_S)
        leave(node)
        node.destroy_node()
        return 0
    except MsprError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), previous, strict=True):
            signal.signal(number, handler)


def make_executor(context: Context | None = None) -> Executor:
    """Make the executor that costs least: the others ask every entity anew at each message.

    Where rclpy has none driven by events (before Kilted), one of two threads.

    Args:
        context: The default one where there is none.
    """
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return MultiThreadedExecutor(num_threads=2, context=context)
    return EventsExecutor(context=context)


def in_thread(node: Node, pool: ThreadPoolExecutor, function: Callable[[], Any]) -> Future:
    """Run what takes long beside a node's executor, which goes on; a coroutine awaits its result.

    Args:
        node: Whose executor wakes the coroutine.
        pool: Has the threads. They are kept: each new one would have memory of its own.
        function: Its result, or what it raises, is the future's.
    """
    future = Future(executor=node.executor)

    def run() -> None:
        try:
            future.set_result(function())
        except Exception as error:  # raised where it is awaited
            future.set_exception(error)

    pool.submit(run)
    return future


def _end_anyway() -> None:
    print("something is still in work and is abandoned", file=sys.stderr)
    end_process(0)


def end_process(status: int) -> NoReturn:
    """End the process now that everything is released.

    Unloading torch and its libraries takes the interpreter seconds on a small machine, and nothing
    of it is needed: whoever stops a robot should not wait for that.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
