"""The ROS 2 node `bag_player`: a recorded camera instead of a real one.

Plays the images of a bag (sqlite3 or mcap), their camera_info, TF and ground_truth/* under the
names the localizer listens to. What `ros2 bag play` does, and more: it waits for its listeners, it
can wait for each answer, and it tells when each image was sent.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, TimeReference
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from mspr_ros.bags import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    TF_MESSAGE,
    Bag,
    BagMessage,
    BagTopic,
    find_topic,
)
from mspr_ros.bags.cameras import camera_info_topic
from mspr_ros.errors import DatasetError, ImageError
from mspr_ros.ros.conversions import (
    image_from_message,
    message_from_image,
    ns_from_stamp,
    stamp_from_ns,
)
from mspr_ros.ros.parameter_specs import NodeParameters, ParameterSpec
from mspr_ros.ros.running import WithoutQosEvents
from mspr_ros.ros.source import (
    SOURCE_PARAMETERS,
    Pace,
    Schedule,
    SourceThread,
    flush,
    image_qos,
    run_source,
    wait_for_listeners,
)

MESSAGE_CLASSES: dict[str, Any] = {
    IMAGE: Image,
    COMPRESSED_IMAGE: CompressedImage,
    CAMERA_INFO: CameraInfo,
    TF_MESSAGE: TFMessage,
    "geometry_msgs/msg/PoseStamped": PoseStamped,
    "nav_msgs/msg/Odometry": Odometry,
    "std_msgs/msg/String": String,
}
GROUND_TRUTH = "ground_truth/"
SENT_TOPIC = "replay/sent"
ANSWER_TIMEOUT_S = 10.0

PARAMETERS: tuple[ParameterSpec, ...] = (
    *SOURCE_PARAMETERS,
    ParameterSpec("bag", "", "Folder (or .mcap, .db3 file) of the bag.", read_only=True),
    ParameterSpec("image_topic", "", "In the bag; empty: the only one.", read_only=True),
    ParameterSpec(
        "camera_info_topic", "", "In the bag; empty: the only one, if any.", read_only=True
    ),
    ParameterSpec("decode", False, "Publish compressed images decoded, as `image`.", True),
    ParameterSpec("rate", 1.0, "Speed, 1 as recorded.", True, minimum=0.01, maximum=100.0),
    ParameterSpec("loop", False, "Start anew at the end.", True),
    ParameterSpec("start_offset_s", 0.0, "Leave out the start.", True, minimum=0.0, maximum=1e9),
    ParameterSpec("publish_clock", False, "Publish the bag's time on /clock.", True),
    ParameterSpec(
        "restamp", False, "Shift stamps so that the bag happens now; else they are kept.", True
    ),
    ParameterSpec(
        "pace",
        "bag",
        "bag: as recorded, times `rate`; answered: the next image follows the answer to the last.",
        read_only=True,
        choices=("bag", "answered"),
    ),
    ParameterSpec(
        "answer_topic", "localizer/scene", "Where `pace: answered` hears the answers.", True
    ),
    ParameterSpec(
        "max_rate_hz", 0.0, "At most so many images a second; 0: no limit.", True, (), 0.0, 1e4
    ),
)


class BagPlayer(WithoutQosEvents, Node):
    """Publish the camera of a bag.

    Raises:
        ConfigError: If a parameter is unknown or invalid.
        DatasetError: If the bag cannot be read or its image topic is not clear.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("bag_player", **node_arguments)
        self._settings = NodeParameters(self, PARAMETERS)
        with Bag(self._settings["bag"]) as bag:
            if bag.is_ros1:
                raise DatasetError(
                    f"{bag.path} is a ROS 1 bag, which ROS 2 cannot play; `mspr evaluate-bag` and "
                    "`mspr import bag` read it, `rosbags-convert` makes a ROS 2 bag of it"
                )
            self._names = published_names(
                bag.topics, self._settings["image_topic"], self._settings["camera_info_topic"]
            )
            kinds = {topic.name: topic.type_name for topic in bag.topics}
        self._image_topic = next(t for t, k in kinds.items() if self._is_image(t, k))
        self._decodes = self._settings["decode"] and kinds[self._image_topic] == COMPRESSED_IMAGE
        if self._decodes:
            self._names[self._image_topic], kinds[self._image_topic] = "image", IMAGE
        self._publishers_by_topic: dict[str, Publisher] = {
            topic: self.create_publisher(
                MESSAGE_CLASSES[kinds[topic]], name, self._qos(kinds[topic], topic)
            )
            for topic, name in self._names.items()
        }
        self._sent = self.create_publisher(TimeReference, SENT_TOPIC, QoSProfile(depth=100))
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", 10) if self._settings["publish_clock"] else None
        )
        self._answered = threading.Semaphore(0)
        if self._settings["pace"] == "answered":
            self.create_subscription(
                String, self._settings["answer_topic"], self._on_answer, QoSProfile(depth=50)
            )
        self._shift_ns: int | None = None
        self._num_sent = 0
        self._num_unanswered = 0
        self.thread = SourceThread(self, self._play)
        self.thread.start()

    def _is_image(self, topic: str, kind: str) -> bool:
        return topic in self._names and kind in (IMAGE, COMPRESSED_IMAGE)

    def _qos(self, kind: str, topic: str) -> QoSProfile:
        if topic.endswith("/tf_static"):
            return QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        if kind in (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO):
            return image_qos(self._settings["reliability"])
        return QoSProfile(depth=100)

    def _on_answer(self, message: String) -> None:
        self._answered.release()

    def _play(self) -> None:
        stopping = self.thread.stopping
        publishers = [*self._publishers_by_topic.values(), self._sent]
        wait_for_listeners(
            self,
            publishers,
            self._settings["wait_for"],
            self._settings["start_delay_s"],
            stopping,
        )
        while not stopping.is_set():
            self._play_once(stopping)
            if not self._settings["loop"]:
                break
        flush(publishers)
        unanswered = f", {self._num_unanswered} not answered" if self._num_unanswered else ""
        self.get_logger().info(f"sent {self._num_sent} images{unanswered}")

    def _play_once(self, stopping: threading.Event) -> None:
        self._shift_ns = None
        schedule, image_pace = Schedule(stopping, self._settings["rate"]), Pace(stopping)
        as_recorded = self._settings["pace"] == "bag"
        with Bag(self._settings["bag"]) as bag:
            start_ns = bag.start_ns + int(1e9 * self._settings["start_offset_s"])
            for message in bag.messages(self._names, start_ns):
                if stopping.is_set():
                    return
                if as_recorded:
                    schedule.wait(message.recorded_ns)
                if message.topic == self._image_topic and self._settings["max_rate_hz"] > 0:
                    image_pace.wait(1.0 / self._settings["max_rate_hz"])
                self._publish(message)

    def _publish(self, recorded: BagMessage) -> None:
        message = deserialize_message(recorded.data, MESSAGE_CLASSES[recorded.type_name])
        if self._shift_ns is None:
            restamp = self._settings["restamp"]
            now_ns = self.get_clock().now().nanoseconds
            self._shift_ns = now_ns - recorded.recorded_ns if restamp else 0
        _shift_stamps(message, self._shift_ns)
        if self._clock_publisher is not None:
            clock = Clock(clock=stamp_from_ns(recorded.recorded_ns + self._shift_ns))
            self._clock_publisher.publish(clock)
        if recorded.topic != self._image_topic:
            self._publishers_by_topic[recorded.topic].publish(message)
            return
        if self._decodes:
            try:
                pixels = image_from_message(message)
            except ImageError as error:
                self.get_logger().warning(f"an image is left out: {error}")
                return
            header, message = message.header, message_from_image(pixels)
            message.header = header
        sent = TimeReference(header=message.header, source="bag_player")
        sent.time_ref = self.get_clock().now().to_msg()
        self._sent.publish(sent)
        while self._answered.acquire(blocking=False):
            pass  # answers that came too late for their own images
        self._publishers_by_topic[recorded.topic].publish(message)
        self._num_sent += 1
        if self._settings["pace"] == "answered":
            self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        for _ in range(int(10 * ANSWER_TIMEOUT_S)):
            if self._answered.acquire(timeout=0.1) or self.thread.stopping.is_set():
                return
        self._num_unanswered += 1
        self.get_logger().warning(f"an image was not answered within {ANSWER_TIMEOUT_S:g} s")

    def leave(self) -> None:
        """Stop playing."""
        self.thread.stop()


def published_names(
    topics: Sequence[BagTopic], image_topic: str = "", wanted_info: str = ""
) -> dict[str, str]:
    """Say which topics of a bag are played, and under which names.

    Args:
        topics: The bag's.
        image_topic: The user's choice, or empty.
        wanted_info: The user's choice of the CameraInfo; see `camera_info_topic`.

    Raises:
        DatasetError: If the image topic is not clear.
    """
    image = find_topic(topics, (IMAGE, COMPRESSED_IMAGE), image_topic)
    kinds = {topic.name: topic.type_name for topic in topics if topic.count}
    names = {image: "image" if kinds[image] == IMAGE else "image/compressed"}
    info = camera_info_topic(topics, image, wanted_info)
    if info:
        names[info] = "camera_info"
    for name, kind in kinds.items():
        if kind == TF_MESSAGE and name in ("/tf", "/tf_static"):
            names[name] = name
        elif GROUND_TRUTH in name and kind in MESSAGE_CLASSES:
            names[name] = GROUND_TRUTH + name.rpartition(GROUND_TRUTH)[2]
    return names


def _shift_stamps(message: Any, shift_ns: int) -> None:
    """Shift the stamps of a message and of the transforms in it."""
    if shift_ns == 0:
        return
    for part in [message, *getattr(message, "transforms", [])]:
        header = getattr(part, "header", None)
        if header is not None and ns_from_stamp(header.stamp) != 0:
            header.stamp = stamp_from_ns(ns_from_stamp(header.stamp) + shift_ns)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node until the bag is at its end."""
    run_source(BagPlayer, arguments)


if __name__ == "__main__":
    main()
