"""The ROS 2 node `camera_sim`: the simulator's camera, for those who have none yet.

Publishes what a robot's camera would, and the truth beside it: images, camera_info, the transform
from base to camera, odometry that drifts if asked for, and ground_truth/pose and /scene.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tf2_ros
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from mspr_ros.geometry import Array
from mspr_ros.ros.conversions import (
    compressed_from_image,
    info_from_camera,
    message_from_image,
    message_from_transform,
    pose_from_transform,
)
from mspr_ros.ros.odometry import DRIFT_PER_M, DRIFT_PER_RAD, OdometryMessages
from mspr_ros.ros.parameter_specs import NodeParameters, ParameterSpec
from mspr_ros.ros.running import WithoutQosEvents
from mspr_ros.ros.source import (
    SOURCE_PARAMETERS,
    Pace,
    SourceThread,
    flush,
    image_qos,
    run_source,
    wait_for_listeners,
)
from mspr_ros.simulator.drive import Drive, DriveFrame
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.odometry import OdometryDrift
from mspr_ros.simulator.recording import pinhole, shares
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World

MAP_FRAME = "map"
AHEAD = 8  # images rendered before they are due, so that a slow one does not break the rate
ENDLESS_FRAMES = 600  # of each drive when there is no end

PARAMETERS: tuple[ParameterSpec, ...] = (
    *SOURCE_PARAMETERS,
    ParameterSpec("world", "demo", "Fixes the places.", read_only=True),
    ParameterSpec("seed", 0, "Fixes drive, light and noise.", True, (), 0, 2**31 - 1),
    ParameterSpec("scenes", "", "Comma-separated, visited in turn; empty: all.", True),
    ParameterSpec("rate_hz", 10.0, "Images a second.", True, minimum=0.1, maximum=120.0),
    ParameterSpec(
        "frames",
        0,
        "End after so many images, shared among the scenes; 0: go on.",
        True,
        (),
        0,
        1e9,
    ),
    ParameterSpec("width", 640, "Pixels.", True, (), 16, 4096),
    ParameterSpec("height", 480, "Pixels.", True, (), 16, 4096),
    ParameterSpec("fov_deg", 70.0, "Horizontal field of view.", True, (), 10.0, 160.0),
    ParameterSpec("handheld", False, "Carry the camera instead of driving it.", True),
    ParameterSpec(
        "light",
        "drawn",
        "drawn: its own in each scene; even: daylight without flaws.",
        True,
        choices=("drawn", "even"),
    ),
    ParameterSpec(
        "image_transport", "raw", "raw or compressed (JPEG).", True, choices=("raw", "compressed")
    ),
    ParameterSpec("publish_odometry", False, "Odometry with drift, and odom above base.", True),
    ParameterSpec("base_frame", "base_link", "The robot's frame.", True),
    ParameterSpec("odom_frame", "odom", "The odometry's frame.", True),
    ParameterSpec("camera_frame", "camera_optical", "The optical frame.", True),
)


class Shot(NamedTuple):
    """A rendered image and the instant it shows."""

    pixels: Any
    frame: DriveFrame


class CameraSim(WithoutQosEvents, Node):
    """Publish the simulator's camera.

    Raises:
        MsprError: If a parameter is unknown or invalid, or the world has no such scene.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("camera_sim", **node_arguments)
        settings = self._settings = NodeParameters(self, PARAMETERS)
        self._world = World.build(settings["world"])
        names = [name.strip() for name in settings["scenes"].split(",") if name.strip()]
        self._scenes = names or list(self._world.scenes)
        self._camera = pinhole(settings["width"], settings["height"], settings["fov_deg"])
        self._drive(0, 1)  # refuses unknown scenes now, not in the thread
        self._create_publishers()
        self._drift = OdometryDrift(
            settings["seed"], drift_per_m=DRIFT_PER_M, drift_per_rad=DRIFT_PER_RAD
        )
        self._odometry_messages = OdometryMessages(
            settings["odom_frame"], settings["base_frame"], 1.0 / settings["rate_hz"]
        )
        self._shots: queue.Queue[Shot | None] = queue.Queue(maxsize=AHEAD)
        self.thread = SourceThread(self, self._publish_all)
        self._renderer = SourceThread(self, self._render_all)
        self.thread.start()
        self._renderer.start()

    def _create_publishers(self) -> None:
        compressed = self._settings["image_transport"] == "compressed"
        kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        qos = image_qos(self._settings["reliability"])
        self._image = self.create_publisher(kind, topic, qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)
        self._pose = self.create_publisher(PoseStamped, "ground_truth/pose", QoSProfile(depth=100))
        self._scene = self.create_publisher(String, "ground_truth/scene", QoSProfile(depth=100))
        self._odometry = self.create_publisher(Odometry, "odom", 10)
        self._broadcaster = tf2_ros.TransformBroadcaster(self)
        self._static_broadcaster = tf2_ros.StaticTransformBroadcaster(self)
        self._static_broadcaster.sendTransform(
            message_from_transform(
                Drive.T_base_cam,
                self._settings["base_frame"],
                self._settings["camera_frame"],
                self.get_clock().now().to_msg(),
            )
        )

    def _drive(self, number: int, frames: int) -> Drive:
        return Drive(
            self._world,
            self._scenes,
            seed=self._settings["seed"] + number,
            rate_hz=self._settings["rate_hz"],
            frames_per_scene=shares(frames, len(self._scenes)),
            handheld=self._settings["handheld"],
            light=Light() if self._settings["light"] == "even" else None,
        )

    def _frames(self) -> Iterator[DriveFrame]:
        frames = self._settings["frames"]
        if frames:
            yield from self._drive(0, frames)
            return
        number = 0
        while True:
            yield from self._drive(number, ENDLESS_FRAMES * len(self._scenes))
            number += 1

    def _render_all(self) -> None:
        renderer = Renderer(self._world, self._camera)
        rng = np.random.default_rng([self._settings["seed"], 1])
        stopping = self.thread.stopping
        try:
            for frame in self._frames():
                pixels = renderer.render(frame.scene, frame.T_map_cam, frame.light, rng)
                if not self._put(Shot(pixels, frame), stopping):
                    return
        finally:
            self._put(None, stopping)

    def _put(self, shot: Shot | None, stopping: threading.Event) -> bool:
        while not stopping.is_set():
            try:
                self._shots.put(shot, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _publish_all(self) -> None:
        stopping = self.thread.stopping
        publishers = [self._image, self._info, self._pose, self._scene]
        first = self._next(stopping)  # before the wait: building a scene takes a while
        wait_for_listeners(
            self, publishers, self._settings["wait_for"], self._settings["start_delay_s"], stopping
        )
        pace = Pace(stopping)
        count = 0
        shot = first
        while shot is not None and not stopping.is_set():
            pace.wait(1.0 / self._settings["rate_hz"])
            self._publish(shot)
            count += 1
            shot = self._next(stopping)
        if self._renderer.failure:
            raise RuntimeError(f"rendering ended: {self._renderer.failure}")
        flush(publishers)
        self.get_logger().info(f"sent {count} images")

    def _next(self, stopping: threading.Event) -> Shot | None:
        while not stopping.is_set():
            try:
                return self._shots.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _publish(self, shot: Shot) -> None:
        """Publish one instant; the image last, when all that explains it is under way."""
        stamp = self.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=self._settings["camera_frame"])
        truth = PoseStamped(
            header=Header(stamp=stamp, frame_id=MAP_FRAME),
            pose=pose_from_transform(shot.frame.T_map_cam),
        )
        info = info_from_camera(self._camera)
        info.header = header
        if self._settings["publish_odometry"]:
            self._publish_odometry(
                self._drift.update(shot.frame.scene, shot.frame.T_map_base), stamp
            )
        self._info.publish(info)
        self._pose.publish(truth)
        self._scene.publish(String(data=shot.frame.scene))
        compressed = self._settings["image_transport"] == "compressed"
        image = (compressed_from_image if compressed else message_from_image)(shot.pixels)
        image.header = header
        self._image.publish(image)

    def _publish_odometry(self, T_odom_base: Array, stamp: Any) -> None:
        self._odometry.publish(self._odometry_messages.message(T_odom_base, stamp))
        self._broadcaster.sendTransform(
            message_from_transform(
                T_odom_base, self._settings["odom_frame"], self._settings["base_frame"], stamp
            )
        )

    def leave(self) -> None:
        """Stop rendering and publishing."""
        self._renderer.stopping.set()
        self.thread.stop()
        self._renderer.stop()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node until a signal comes or all frames are sent."""
    run_source(CameraSim, arguments)


if __name__ == "__main__":
    main()
