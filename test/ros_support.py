"""Run nodes over real DDS in a test: private context and executor, a random domain, no sleeps."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from mspr_ros.bundle import SceneInfo
from mspr_ros.camera import CameraModel
from mspr_ros.geometry import transform_from_pose
from mspr_ros.localizer import PoseEstimate
from mspr_ros.ros.conversions import (
    info_from_camera,
    message_from_image,
    message_from_transform,
    stamp_from_ns,
)
from mspr_ros.ros.running import WithoutQosEvents, make_executor

TIMEOUT_S = 20.0
CAMERA = CameraModel(width=64, height=48, fx=50.0, fy=50.0, cx=31.5, cy=23.5)
T_MAP_CAM = transform_from_pose((1.0, 2.0, 3.0), (0.1, -0.2, 0.3, 0.9))
COVARIANCE = np.diag([0.01, 0.02, 0.03, 0.001, 0.002, 0.003])


class FakeLocalizer:
    """Answer at once with a fixed pose; remembers what it was asked."""

    def __init__(self, **answer: Any) -> None:
        self.metadata = SimpleNamespace(
            preprocess=SimpleNamespace(width=32, height=32, virtual_camera=object()),
            network=SimpleNamespace(backbone="fake"),
            scene_names=("kitchen", "office"),
            scenes=(
                SceneInfo("kitchen", position_min=(-9.0, -9.0, 0.0), position_max=(9.0, 9.0, 4.0)),
                SceneInfo("office"),
            ),
            calibration=None,
        )
        self.device, self.backend, self.precision = "cpu", "fake", "fp32"
        self.content_hash = "0123456789ab"
        self.min_confidence = 0.0
        self.answer = answer
        self.asked: list[tuple[Any, CameraModel | None]] = []
        self.gate = threading.Event()  # closed: localize waits, as a slow network does
        self.gate.set()

    def localize(self, image: Any, camera: CameraModel | None = None) -> PoseEstimate:
        self.asked.append((image.copy(), camera))
        self.gate.wait(TIMEOUT_S)
        values: dict[str, Any] = dict(
            T_map_cam=T_MAP_CAM,
            scene="kitchen",
            scene_probability=0.9,
            covariance=COVARIANCE,
            confidence=0.8,
            accepted=True,
            rejection="",
            hypotheses=(),
            timings={"preprocess_ms": 1.0, "network_ms": 2.0, "postprocess_ms": 0.5},
            map_frame="map",
            calibrated=False,
        )
        values.update(self.answer)
        if values["confidence"] < self.min_confidence:
            values.update(accepted=False, scene="unknown", rejection="confidence is too low")
        return PoseEstimate(**values)


class Tester(WithoutQosEvents, Node):
    """Talks to the nodes under test."""


class Harness:
    """Nodes spun in a background thread, and a tester node to talk to them."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 100))
        self.executor = make_executor(self.context)
        self.tester = Tester("tester", context=self.context)
        self.executor.add_node(self.tester)
        self.nodes: list[Node] = [self.tester]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            # Not `spin`: that of the executor for events keeps Python's lock.
            while not self._stopping.is_set():
                self.executor.spin_once(timeout_sec=0.1)

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self.executor.add_node(node)

    def parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        return {"context": self.context, "parameter_overrides": overrides}

    def collect(self, kind: Any, topic: str, *, latched: bool = False) -> list[Any]:
        """Gather a topic's messages; `latched` also those of publishers not yet discovered."""
        received: list[Any] = []
        durability = (
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.SYSTEM_DEFAULT
        )
        qos = QoSProfile(depth=100, durability=durability)
        self.tester.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind: Any, topic: str, qos: Any = 10) -> Any:
        """Create a publisher and wait until somebody listens."""
        publisher = self.tester.create_publisher(kind, topic, qos)
        wait_until(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        return publisher

    def call(self, kind: Any, name: str, request: Any = None, timeout_s: float = TIMEOUT_S) -> Any:
        client = self.tester.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=timeout_s), f"no service {name}"
        future = client.call_async(request if request is not None else kind.Request())
        wait_until(future.done, f"the answer of {name}", timeout_s)
        self.tester.destroy_client(client)
        return future.result()

    def send_static_tf(self, *links: tuple[str, str], T: Any = None) -> None:
        qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = self.publisher(TFMessage, "/tf_static", qos)
        stamp = stamp_from_ns(0)
        T = np.eye(4) if T is None else T
        self._static.publish(
            TFMessage(
                transforms=[
                    message_from_transform(T, parent, child, stamp) for parent, child in links
                ]
            )
        )

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(5.0)
        for node in self.nodes:
            self.executor.remove_node(node)
        self.executor.shutdown(timeout_sec=5.0)
        for node in self.nodes:
            if hasattr(node, "leave"):
                node.leave()
            node.destroy_node()
        self.context.try_shutdown()
        self.nodes.clear()
        del self.executor
        gc.collect()  # a node of the same name logs through the one that is left over


@contextmanager
def harness() -> Iterator[Harness]:
    ros = Harness()
    try:
        yield ros
    finally:
        ros.close()


def wait_until(
    condition: Callable[[], Any], what: str = "the condition", timeout_s: float = TIMEOUT_S
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.005)


def header(stamp_ns: int, frame_id: str = "camera_optical") -> Header:
    return Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id)


def image_message(stamp_ns: int, frame_id: str = "camera_optical", seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(
        0, 255, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8
    )
    message = message_from_image(pixels)
    message.header = header(stamp_ns, frame_id)
    return message


def info_message(camera: CameraModel = CAMERA, frame_id: str = "camera_optical") -> CameraInfo:
    message = info_from_camera(camera)
    message.header = header(1, frame_id)
    return message


def diagnostic_values(messages: Sequence[Any]) -> dict[str, str]:
    """Give the key-value pairs of the newest status, with its message and level."""
    if not messages:
        return {}
    status = messages[-1].status[0]
    values = {pair.key: pair.value for pair in status.values}
    return {**values, "message": status.message, "level": str(ord(status.level))}
