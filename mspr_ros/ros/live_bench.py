"""Measure the way of an image from the camera's stamp to the pose received, over DDS.

Two processes: the localizer, and this one, which is camera and listener. Its images are rendered
before the first is sent, so that it takes as little from the localizer as a camera does.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from mspr_ros.camera import CameraModel
from mspr_ros.errors import MsprError
from mspr_ros.ros.conversions import info_from_camera, message_from_image, ns_from_stamp
from mspr_ros.ros.live_run import (
    START_TIMEOUT_S,
    LiveNode,
    live_environment,
    own_node,
    running,
    with_image_profile,
)
from mspr_ros.ros.source import Pace, image_qos

WARM_UP = 0.2  # of the images: the first ones are not judged
SETTLE_S = 3.0  # from the first listener on: discovery, and TF's `tf_settle_s`
LEAST_ANSWERS = 10
# From the node's own diagnostics; `age_at_arrival` is from the stamp to the node's callback.
PARTS = (
    "age_at_arrival",
    *(f"latency_{stage}" for stage in ("wait", "decode", "preprocess")),
    *(f"latency_{stage}" for stage in ("network", "postprocess", "publish")),
)


def measure_live(
    bundle: Path,
    images: Sequence[np.ndarray[Any, Any]],
    camera: CameraModel,
    *,
    rate_hz: float,
    num_images: int,
    device: str,
    num_threads: int,
) -> dict[str, Any]:
    """Send images to a localizer and tell where their time went.

    Args:
        bundle: Folder.
        images: (H, W, 3) RGB, sent to and fro until there were enough.
        camera: That took them.
        rate_hz: Images a second.
        num_images: How many.
        device: For the network; the backend is the fastest that the folder has.
        num_threads: For the network; 0 for all.

    Returns:
        Milliseconds by part (p50, p99), counts, the ratio of stamp-to-pose to the bare network
        call of the same run, and the processor time an image.

    Raises:
        MsprError: If the localizer fails, or too few poses came.
    """
    environment = with_image_profile(live_environment())
    with (
        tempfile.TemporaryDirectory(prefix="bench_") as folder,
        own_node("bench_camera", environment) as (node, spin),
    ):
        parameters = {
            "bundle": str(bundle.resolve()),
            "device": device,
            "backend": "auto",
            "num_threads": num_threads,
            "reliability": "reliable",
            # Random weights take as long as trained ones, but their answers would be rejected.
            "min_scene_probability": 0.0,
            "bounds_margin_m": 1e6,
        }
        log = Path(folder) / "localizer.log"
        localizer = LiveNode("mspr_ros.ros.localizer_node", parameters, log)
        bench = _LiveBench(node, images, camera, rate_hz, num_images)
        with running(localizer, environment) as process:
            deadline_s = time.monotonic() + START_TIMEOUT_S
            while not bench.is_done:
                spin()
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise MsprError(f"the localizer failed{localizer.last_lines()}")
                if bench.is_heard and not bench.is_started:
                    bench.start()
                    deadline_s += SETTLE_S + num_images / rate_hz
        return bench.result()


class _LiveBench:
    """Camera and listener."""

    def __init__(
        self,
        node: Node,
        images: Sequence[np.ndarray[Any, Any]],
        camera: CameraModel,
        rate_hz: float,
        num_images: int,
    ) -> None:
        self._node, self._rate_hz, self._num_images = node, rate_hz, num_images
        self._messages = [message_from_image(image) for image in images]
        self._info = info_from_camera(camera)
        self._images = node.create_publisher(Image, "image", image_qos("reliable"))
        self._infos = node.create_publisher(CameraInfo, "camera_info", image_qos("reliable"))
        self._latencies_ms: dict[int, float] = {}  # by stamp
        self._diagnostics: dict[str, str] = {}
        self._processor: list[tuple[int, float]] = []  # images worked on, processor time in s
        node.create_subscription(PoseStamped, "localizer/pose", self._on_pose, 100)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.is_started = False

    @property
    def is_heard(self) -> bool:
        """Whether the localizer is active and listens."""
        is_active = self._diagnostics.get("state") == "active"
        return is_active and self._images.get_subscription_count() > 0

    @property
    def is_done(self) -> bool:
        """Whether all images were sent, and time was given for the last ones."""
        return self.is_started and not self._thread.is_alive()

    def start(self) -> None:
        """Send the images from a thread of their own."""
        self.is_started = True
        self._thread.start()

    def _send(self) -> None:
        time.sleep(SETTLE_S)
        pace = Pace(threading.Event())
        to_and_fro = itertools.cycle([*self._messages, *self._messages[-2:0:-1]])
        for message in itertools.islice(to_and_fro, self._num_images):
            pace.wait(1.0 / self._rate_hz)
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.header.frame_id = "camera"
            self._info.header = message.header
            self._infos.publish(self._info)
            self._images.publish(message)
        time.sleep(SETTLE_S)  # for the last answers, and a last status

    def _on_pose(self, message: PoseStamped) -> None:
        stamp_ns = ns_from_stamp(message.header.stamp)
        now_ns = self._node.get_clock().now().nanoseconds
        self._latencies_ms[stamp_ns] = (now_ns - stamp_ns) / 1e6

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._diagnostics = {pair.key: pair.value for pair in status.values}
        count = int(self._diagnostics.get("processed", 0))
        is_news = not self._processor or count > self._processor[-1][0]
        if count >= WARM_UP * self._num_images and is_news:
            self._processor.append((count, float(self._diagnostics["processor_time_s"])))

    def result(self) -> dict[str, Any]:
        """Give the figures.

        Raises:
            MsprError: If too few images were answered.
        """
        answered = list(self._latencies_ms.values())
        if len(answered) < LEAST_ANSWERS or len(self._processor) < 2:
            why = self._diagnostics.get("last_rejection", "no rejection was told")
            raise MsprError(f"only {len(answered)} images were answered ({why})")
        parts = {"stamp_to_pose": _percentiles(answered[round(WARM_UP * len(answered)) :])}
        for name in PARTS:
            parts[name.removeprefix("latency_")] = {
                percentile: float(self._diagnostics[f"{name}_{percentile}_ms"])
                for percentile in ("p50", "p99")
            }
        (first, before_s), (last, after_s) = self._processor[0], self._processor[-1]
        whole, network = parts["stamp_to_pose"], parts["network"]
        result = {
            "rate_hz": self._rate_hz,
            "backend": self._diagnostics.get("backend", ""),
            "load_at_end": os.getloadavg()[0],
            "sent": self._num_images,
            **{name: int(self._diagnostics[name]) for name in ("received", "answered", "dropped")},
            "parts_ms": parts,
            "times_network": {each: whole[each] / network[each] for each in whole},
            "processor_ms_an_image": 1e3 * (after_s - before_s) / (last - first),
        }
        return {**result, "text": _text(result)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": float(p50), "p99": float(p99)}


def _text(result: dict[str, Any]) -> str:
    times = result["times_network"]
    return "\n".join(
        [
            f"two processes over DDS at {result['rate_hz']:.1f} Hz, {result['backend']}, "
            f"{result['answered']} of {result['sent']} images answered; ms at p50, p99:",
            *(
                f"  {name.replace('_', ' '):<60}{part['p50']:>8.1f}{part['p99']:>8.1f}"
                for name, part in result["parts_ms"].items()
            ),
            f"  stamp to pose is {times['p50']:.2f} times the network's p50 and {times['p99']:.2f}"
            f" times its p99; {result['processor_ms_an_image']:.1f} ms of processor an image",
        ]
    )
