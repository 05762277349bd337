"""What the nodes that stand in for a camera share: waiting for listeners, steady pace, QoS."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy

from mspr_ros.ros.parameter_specs import ParameterSpec
from mspr_ros.ros.running import end_process, run_node

MOST_LATE_S = 1.0  # later than this, a recording is played on from where it is

SOURCE_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "reliability",
        "reliable",
        "QoS of the images; reliable serves best-effort listeners too.",
        read_only=True,
        choices=("reliable", "best_effort"),
    ),
    ParameterSpec(
        "wait_for",
        "image",
        "Publish nothing before each of these topics (comma-separated) has a listener, as many "
        "as it is named times; empty: start at once.",
        read_only=True,
    ),
    ParameterSpec(
        "start_delay_s",
        0.5,
        "Pause between the last listener found and the first image.",
        read_only=True,
        minimum=0.0,
        maximum=60.0,
    ),
)


def image_qos(reliability: str) -> QoSProfile:
    """Give the QoS that images are published with."""
    # A depth of a few images: a listener that is busy for a moment still gets them all.
    reliable = reliability == "reliable"
    return QoSProfile(
        depth=10,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


class SourceThread:
    """Run the publishing of a source node in a thread of its own.

    Args:
        node: The node; says in its log when something fails.
        publish_all: Publishes everything, and looks at `stopping` often.
    """

    def __init__(self, node: Node, publish_all: Callable[[], None]) -> None:
        self._node = node
        self._publish_all = publish_all
        self.stopping = threading.Event()
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        """Start publishing."""
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether everything was published, or it failed."""
        return not self._thread.is_alive()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread."""
        self.stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._publish_all()
        except Exception as error:
            if not self.stopping.is_set():  # else: ROS went away first
                self.failure = f"{type(error).__name__}: {error}"
                self._node.get_logger().error(f"publishing ended: {self.failure}")


def wait_for_listeners(
    node: Node,
    publishers: Sequence[Publisher],
    wait_for: str,
    start_delay_s: float,
    stopping: threading.Event,
) -> None:
    """Wait until the publishers that `wait_for` names have listeners, then a moment more.

    Args:
        node: Says what is waited for.
        publishers: The node's.
        wait_for: Comma-separated names, relative to the node's namespace; see `missing_listeners`.
        start_delay_s: How long to wait after that.
        stopping: Ends the wait.
    """
    names = [node.resolve_topic_name(name.strip()) for name in wait_for.split(",") if name.strip()]
    node.get_logger().info(f"waiting for listeners of {', '.join(sorted(names)) or 'nothing'}")
    while missing_listeners(publishers, names) and not stopping.is_set():
        stopping.wait(0.02)
    stopping.wait(start_delay_s)


def missing_listeners(publishers: Sequence[Publisher], names: Sequence[str]) -> list[str]:
    """Name the topics that too few listen to yet.

    Args:
        publishers: Those of the node; names of other topics are not waited for.
        names: Topics waited for. One that two nodes shall hear stands there twice: with the first
            alone, the start could be lost to the second.
    """
    wanted = Counter(names)
    return [
        publisher.topic_name
        for publisher in publishers
        if publisher.get_subscription_count() < wanted[publisher.topic_name]
    ]


def flush(publishers: Sequence[Publisher], timeout_s: float = 3.0) -> None:
    """Wait until reliable listeners have everything: leaving at once would lose the last."""
    deadline_s = time.monotonic() + timeout_s
    for publisher in publishers:
        left_s = max(0.0, deadline_s - time.monotonic())
        publisher.wait_for_all_acked(Duration(nanoseconds=int(1e9 * left_s)))


class Pace:
    """Keep a steady rate: `wait` returns when the next frame is due.

    Args:
        stopping: Ends a wait.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._last_s = -1e9

    def wait(self, interval_s: float) -> None:
        """Wait until `interval_s` after the last frame was due; a late frame is not caught up."""
        due_s = self._last_s + interval_s
        while (left_s := due_s - time.monotonic()) > 0 and not self._stopping.is_set():
            self._stopping.wait(left_s)
        # Steady as long as the source keeps up.
        self._last_s = due_s if time.monotonic() - due_s < interval_s else time.monotonic()


class Schedule:
    """Keep a recording's own times.

    Args:
        stopping: Ends a wait.
        rate: Speed, 1 as recorded.
    """

    def __init__(self, stopping: threading.Event, rate: float) -> None:
        self._stopping = stopping
        self._rate = rate
        self._origin: tuple[float, int] | None = None  # monotonic seconds, recorded nanoseconds

    def wait(self, recorded_ns: int) -> None:
        """Wait until a message is due; what is a little late does not make the next ones late."""
        now_s = time.monotonic()
        start_s, first_ns = self._origin = self._origin or (now_s, recorded_ns)
        due_s = start_s + (recorded_ns - first_ns) / 1e9 / self._rate
        if now_s - due_s > MOST_LATE_S:
            self._origin = now_s, recorded_ns  # too slow, or stopped: not made up for in a rush
        while (left_s := due_s - time.monotonic()) > 0 and not self._stopping.is_set():
            self._stopping.wait(left_s)


def run_source(create: Callable[[], Any], arguments: Sequence[str] | None) -> NoReturn:
    """Run a source as a process, until a signal comes or all is sent.

    Args:
        create: Makes the node, which has a `SourceThread` as `thread` and a method `leave`.
        arguments: Command line, with `--ros-args`; None for the process's own.
    """
    failed = False

    def is_done(node: Any) -> bool:
        nonlocal failed
        failed = bool(node.thread.failure)
        return bool(node.thread.is_done)

    status = run_node(create, arguments, leave=lambda node: node.leave(), is_done=is_done)
    end_process(status or int(failed))
