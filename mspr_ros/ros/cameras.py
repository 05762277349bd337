"""The topics of one or several cameras: subscriptions, and a watch over what arrives on each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mspr_ros.data.camera_info import is_rectified_topic
from mspr_ros.errors import ConfigError
from mspr_ros.ros.conversions import ns_from_stamp
from mspr_ros.ros.stream_watch import StreamWatch

SILENCE_WARNED_S = 3.0  # without an image for this long an active node warns
DEAD_AFTER_S = 1.0  # and for this long, other cameras no longer wait for one


def camera_qos(reliability: str, depth: int) -> QoSProfile:
    """Give the QoS of the camera's topics.

    Sensor data: the newest counts, a lost one is not worth waiting for. Reliable only where the
    user asks for it, since it hears no best-effort publisher.
    """
    reliable = reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


@dataclass(frozen=True)
class CameraTopics:
    """What one camera is listened to on.

    Args:
        name: As in the parameter `cameras`; empty for the only one.
        image: Fully qualified, remapped.
        is_rectified: By its name, the images are rectified already.
        watch: What has arrived.
    """

    name: str
    image: str
    is_rectified: bool
    watch: StreamWatch

    @property
    def label(self) -> str:
        """What it is called in a message."""
        return f"camera {self.name} on {self.image}" if self.name else self.image

    def since(self, silence_s: float) -> str:
        """Say which camera is silent and for how long."""
        return f": camera {self.name} is silent for {silence_s:.0f} s" if self.name else ""


class CameraSubscriptions:
    """Listen to the cameras; created at configure, released at cleanup.

    Args:
        node: Owns the subscriptions.
        names: As in the parameter `cameras`; empty for one camera on `image`.
        compressed: Listen to `image/compressed`.
        qos: Of all topics; `qos_overrides` of the image topics win.
        on_image: Gets a camera's name and its message.
        on_info: The same for CameraInfo.
        warn: Logs a line, the same kind not too often.
    """

    def __init__(
        self,
        *,
        node: Node,
        names: Sequence[str],
        compressed: bool,
        qos: Callable[[], QoSProfile],
        on_image: Callable[[str, Any], None],
        on_info: Callable[[str, CameraInfo], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._compressed = compressed
        self._qos = qos
        self._on_image = on_image
        self._on_info = on_info
        self._warn = warn
        self._subscriptions: list[Any] = []
        # Watches first: an image may come before the last subscription stands.
        self._watches = {name: StreamWatch() for name in names or ("",)}
        self.topics = {name: self._listen(name) for name in self._watches}

    def is_live(self, name: str) -> bool:
        """Say whether a camera is worth waiting for."""
        return self._watches[name].silence_s() < DEAD_AFTER_S

    def restart(self) -> None:
        """Begin to watch anew, as after activation."""
        for watch in self._watches.values():
            watch.restart()

    def warnings(self) -> list[str]:
        """Tell what is wrong with each camera's stream, with the remedy."""
        found = self.incompatible()
        for text in found:
            self._warn(text, text)
        for topics in self.topics.values():
            silence_s = topics.watch.silence_s()
            if silence_s > SILENCE_WARNED_S:
                found.append(f"no images on {topics.image}" + topics.since(silence_s))
            elif loss := topics.watch.loss(topics.label):
                found.append(loss)
        return found

    def values(self) -> dict[str, str]:
        """Give what diagnostics tell of each camera."""
        values = {}
        for name, topics in self.topics.items():
            prefix = f"camera_{name}_" if name else "camera_"
            values[prefix + "rate_hz"] = f"{topics.watch.rate_hz():.1f}"
            values[prefix + "received"] = str(topics.watch.num_received)
            values[prefix + "lost_percent"] = f"{100 * topics.watch.lost_share():.1f}"
        return values

    def release(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def incompatible(self) -> list[str]:
        """Name each publisher that offers less than is asked of it here, with the remedy."""
        found = []
        for subscription in self._subscriptions:
            found += incompatible_publishers(
                self._node, subscription.topic_name, subscription.qos_profile
            )
        return found

    def _listen(self, name: str) -> CameraTopics:
        prefix = f"{name}/" if name else ""
        kind, topic = (
            (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        )
        image = self._subscribe(kind, prefix + topic, lambda message: self._take(name, message))
        self._subscribe(
            CameraInfo, prefix + "camera_info", lambda message: self._on_info(name, message)
        )
        resolved = image.topic_name
        return CameraTopics(name, resolved, is_rectified_topic(resolved), self._watches[name])

    def _take(self, name: str, message: Any) -> None:
        self._watches[name].note(ns_from_stamp(message.header.stamp))
        self._on_image(name, message)

    def _subscribe(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> Any:
        subscription = self._node.create_subscription(
            kind,
            topic,
            callback,
            self._qos(),  # each its own: overrides are written into it
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscriptions.append(subscription)
        return subscription


def camera_names(names: Sequence[str]) -> tuple[str, ...]:
    """Check the parameter `cameras`.

    Returns:
        The names; one empty one where none is given.

    Raises:
        ConfigError: If a name stands there twice, or is no name of a namespace.
    """
    bad = [name for name in names if not name.replace("_", "a").isalnum() or name[0].isdigit()]
    if bad or len(set(names)) != len(names):
        raise ConfigError(
            "parameter 'cameras' must be different names of letters, digits and _, such as "
            f"[front, rear]; got {list(names)}"
        )
    return tuple(names) or ("",)


def incompatible_publishers(node: Node, topic: str, wanted: QoSProfile) -> list[str]:
    """Name the publishers of a topic that DDS does not connect to a subscription.

    Args:
        node: Knows the graph.
        topic: Fully qualified.
        wanted: QoS of the subscription.
    """
    found = []
    for info in node.get_publishers_info_by_topic(topic):
        compatibility, reason = qos_check_compatible(info.qos_profile, wanted)
        if compatibility != QoSCompatibility.ERROR:
            continue
        publisher = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        offered = info.qos_profile.reliability
        if (
            wanted.reliability == ReliabilityPolicy.RELIABLE
            and offered == ReliabilityPolicy.BEST_EFFORT
        ):
            found.append(
                f"no images can come from {publisher}: it offers {topic} best effort, reliable is "
                "asked for; set reliability: best_effort here, or make the driver publish reliably"
            )
        else:
            found.append(
                f"no messages can come from {publisher} on {topic}: {reason.strip(' ;')}; change "
                f"qos_overrides.{topic}.subscription here, or the driver's QoS"
            )
    return found
