"""Listen to a camera for `mspr doctor`: its topics, QoS, images and intrinsics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mspr_ros.camera import CameraModel
from mspr_ros.cli.doctor_checks import FAILED, OK, UNCHECKED, WARNING, Check
from mspr_ros.data.camera_info import camera_from_info, is_rectified_topic
from mspr_ros.errors import ImageError
from mspr_ros.ros.conversions import image_from_message, ns_from_stamp

IMAGE_TYPES: dict[str, Any] = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}
OLD_STAMP_S = 1.0  # an image that is older on arrival is of another clock, or comes slowly


@dataclass
class CameraProbe:
    """One camera, looked for and listened to.

    Args:
        node: Listens.
        image_topic: Given by the user; found where it is empty.
        info_topic: Given by the user; beside the images where it is empty.
        reliability: What the localizer would ask for.
    """

    node: Node
    image_topic: str
    info_topic: str
    reliability: str
    candidates: list[str] = field(default_factory=list)
    image_type: str = ""
    publishers: list[Any] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    infos: list[CameraInfo] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0
    num_images: int = 0

    @property
    def frame_id(self) -> str:
        """The frame of the last image; empty if none came."""
        return str(self.images[-1].header.frame_id) if self.images else ""

    def find(self, spin: Callable[[float], None], seconds: float) -> None:
        """Look for topics of images, for so long unless there is one at once."""
        wanted = self.node.resolve_topic_name(self.image_topic) if self.image_topic else ""
        deadline_s = time.monotonic() + seconds
        while True:
            spin(0.1)
            found = {
                topic: next(kind for kind in kinds if kind in IMAGE_TYPES)
                for topic, kinds in self.node.get_topic_names_and_types()
                if set(kinds) & set(IMAGE_TYPES) and self.node.count_publishers(topic)
            }
            raw = [topic for topic, kind in found.items() if kind.endswith("/Image")]
            self.candidates = [wanted] if wanted in found else raw or list(found)
            is_there = wanted in found if wanted else bool(found)
            if is_there or time.monotonic() > deadline_s:
                break
        if wanted:
            self.candidates = [wanted] if wanted in found else []
        if len(self.candidates) == 1:
            self.image_topic = self.candidates[0]
            self.image_type = found[self.image_topic]
            self.publishers = self.node.get_publishers_info_by_topic(self.image_topic)

    def listen(self, spin: Callable[[float], None], seconds: float) -> None:
        """Receive images and intrinsics for so long, with a QoS that hears everybody."""
        if not self.image_type:
            return
        base = self.image_topic.removesuffix("/compressed").rpartition("/")[0]
        self.info_topic = self.info_topic or f"{base}/camera_info"
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        create = self.node.create_subscription
        subscriptions = [
            create(IMAGE_TYPES[self.image_type], self.image_topic, self._on_image, qos),
            create(CameraInfo, self.info_topic, self.infos.append, qos),
        ]
        spin(seconds)
        for subscription in subscriptions:
            self.node.destroy_subscription(subscription)

    def _on_image(self, message: Any) -> None:
        now_ns = self.node.get_clock().now().nanoseconds
        self.ages_s.append((now_ns - ns_from_stamp(message.header.stamp)) / 1e9)
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s
        self.num_images += 1
        self.images = [message]  # the last is enough


def check_camera(probe: CameraProbe) -> tuple[Check, Any]:
    """Judge the images; give the last one as RGB too, None without one."""
    if not probe.image_type:
        return _no_camera(probe), None
    names = ", ".join(f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in probe.publishers)
    best_effort = [
        p for p in probe.publishers if p.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    ]
    offered = "best_effort" if best_effort else "reliable"
    text = f"{probe.image_topic} from {names}, {offered}"
    values: dict[str, Any] = {
        **{"topic": probe.image_topic, "publishers": names, "reliability": offered}
    }
    if best_effort and probe.reliability == "reliable":
        remedy = "the node would hear nothing: leave `reliability: best_effort`"
        return Check("camera", FAILED, f"{text}; reliable is wanted", remedy, values), None
    if not probe.images:
        remedy = "the topic is there but silent: see the driver's log; with best-effort images "
        return Check("camera", FAILED, f"{text}; no image", remedy + "see transport", values), None
    message = probe.images[-1]
    span_s = probe.last_s - probe.first_s
    rate_hz = (probe.num_images - 1) / span_s if span_s > 0 else 0.0
    try:
        image = image_from_message(message)
    except ImageError as error:
        remedy = "set the driver to rgb8, bgr8, mono8 or jpeg"
        return Check("camera", FAILED, f"{text}; {error}", remedy, values), None
    encoding = message.encoding if isinstance(message, Image) else message.format
    age_s = sorted(probe.ages_s)[len(probe.ages_s) // 2]
    text += (
        f"; {image.shape[1]}x{image.shape[0]} {encoding}, {rate_hz:.1f} Hz, frame "
        f"'{message.header.frame_id}', {1e3 * age_s:.0f} ms old on arrival"
    )
    values |= {"rate_hz": rate_hz, "age_s": age_s, "encoding": encoding}
    return _judged(text, values, message, age_s), image


def _no_camera(probe: CameraProbe) -> Check:
    if len(probe.candidates) > 1:
        remedy = "name one: --image TOPIC"
        return Check("camera", UNCHECKED, f"several: {', '.join(probe.candidates)}", remedy)
    if probe.image_topic:
        remedy = "start the driver; `ros2 topic list` shows names, ROS_DOMAIN_ID must be the same"
        return Check("camera", FAILED, f"nobody publishes {probe.image_topic}", remedy)
    remedy = "start the camera's driver, or name its topic: --image TOPIC"
    return Check("camera", UNCHECKED, "nobody publishes images", remedy)


def _judged(text: str, values: dict[str, Any], message: Any, age_s: float) -> Check:
    if not message.header.frame_id:
        remedy = "the driver must set frame_id: no TF without it"
        return Check("camera", WARNING, text, remedy, values)
    if ns_from_stamp(message.header.stamp) == 0:
        remedy = "the driver must stamp its images: no TF without it"
        return Check("camera", WARNING, f"{text}; no stamp", remedy, values)
    if not -0.1 <= age_s <= OLD_STAMP_S:
        remedy = "two clocks: chrony or ptp between machines, use_sim_time for recordings"
        return Check("camera", WARNING, text, remedy, values)
    return Check("camera", OK, text, values=values)


def check_camera_info(probe: CameraProbe) -> tuple[Check, CameraModel | None]:
    """Judge the intrinsics against the images; give the camera too, None without a usable one."""
    if not probe.images:
        return Check("camera_info", UNCHECKED, "no images to compare it with"), None
    calibrate = "calibrate (`ros2 run camera_calibration cameracalibrator`)"
    if not probe.infos:
        text = f"nothing on {probe.info_topic}: images are only resized, which costs accuracy"
        return Check("camera_info", WARNING, text, f"--camera-info TOPIC, or {calibrate}"), None
    info, message = probe.infos[-1], probe.images[-1]
    try:
        camera = camera_from_info(info, is_rectified_topic(probe.image_topic))
    except (ImageError, ValueError) as error:
        return Check("camera_info", FAILED, str(error), f"mend the driver, or {calibrate}"), None
    if camera is None:
        return Check("camera_info", WARNING, "not calibrated: focal length 0", calibrate), None
    text = f"{probe.info_topic}: {camera.width}x{camera.height}, fx {camera.fx:.1f}"
    problem = _problem(camera, info, message)
    if problem:
        remedy = f"camera_info must be of this camera and resolution: {calibrate}"
        return Check("camera_info", FAILED, f"{text}; {problem}", remedy), None
    return Check("camera_info", OK, f"{text}, {camera.distortion_model} distortion"), camera


def _problem(camera: CameraModel, info: CameraInfo, message: Any) -> str:
    if info.header.frame_id != message.header.frame_id:
        return f"frame '{info.header.frame_id}', the images '{message.header.frame_id}'"
    if isinstance(message, Image) and (camera.width, camera.height) != (
        message.width,
        message.height,
    ):
        return f"the images are {message.width}x{message.height}"
    if not (0 < camera.cx < camera.width and 0 < camera.cy < camera.height):
        return f"principal point {camera.cx:.0f} {camera.cy:.0f} is outside of the image"
    return ""
