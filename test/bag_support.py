"""Bags for tests: a camera that moves before a textured wall, its poses told in any way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from mspr_ros.bags import IMAGE, TF_MESSAGE, TYPES, BagWriter
from mspr_ros.bags import messages as build
from mspr_ros.bags.types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    ODOMETRY,
    PATH,
    POSE_STAMPED,
    POSE_WITH_COVARIANCE_STAMPED,
    TRANSFORM_STAMPED,
)
from mspr_ros.camera import CameraModel
from mspr_ros.geometry import invert_transform, quat_xyzw_from_rotation, transform_from_pose

CAMERA = CameraModel(64, 48, 60.0, 60.0, 31.5, 23.5)
START_NS = 1_700_000_000_000_000_000
MAP, ODOM, BASE, OPTICAL = "map", "odom", "base_link", "camera_optical"
# A camera that looks ahead on a robot: z forward in the optical frame is x of the base.
T_BASE_CAM = transform_from_pose((0.2, 0.03, 0.4), (-0.5, 0.5, -0.5, 0.5))
IMAGES = "/camera/image_raw"


def ns(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


def T_map_cam_at(seconds: float) -> np.ndarray:
    """A smooth drive with turns of changing speed, so that a time can be told from its pose."""
    yaw = 0.25 * np.sin(2.1 * seconds) + 0.1 * np.sin(5.3 * seconds)
    pitch = 0.05 * np.sin(3.7 * seconds)
    T_map_base = np.eye(4)
    T_map_base[:3, :3] = Rotation.from_euler("zy", [yaw, pitch]).as_matrix()
    T_map_base[:3, 3] = (0.3 * seconds, 0.1 * np.sin(seconds), 0.0)
    return T_map_base @ T_BASE_CAM


def quat_of(transform: np.ndarray) -> tuple[float, ...]:
    return tuple(quat_xyzw_from_rotation(transform[:3, :3]).tolist())


def picture(seconds: float) -> np.ndarray:
    """What the camera sees of things far away: its rotation alone moves them."""
    rng = np.random.default_rng(3)
    texture = cv2.resize(rng.integers(0, 255, (160, 200), dtype=np.uint8), (800, 640))
    R_map_cam = T_map_cam_at(seconds)[:3, :3]
    R_map_ahead = T_BASE_CAM[:3, :3]
    wall = np.array([[300.0, 0, 399.5], [0, 300.0, 319.5], [0, 0, 1]])
    homography = wall @ R_map_ahead.T @ R_map_cam @ np.linalg.inv(CAMERA.K)
    size = (CAMERA.width, CAMERA.height)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    grey = cv2.warpPerspective(texture, homography, size, flags=flags)
    return np.repeat(grey[..., None], 3, axis=2)


@dataclass
class Drive:
    """What to write into a bag.

    Args:
        seconds: When images were taken.
        late_s: How late their stamps are: the clocks' offset is minus this.
        pose_seconds: When poses were measured.
        pictures: What the images show.
    """

    seconds: Sequence[float]
    late_s: float = 0.0
    pose_seconds: Sequence[float] = ()
    pictures: Callable[[float], np.ndarray] = picture
    image_topic: str = IMAGES
    compressed: bool = False
    camera: CameraModel | None = CAMERA

    def events(self, truth: str):
        """Give (stamp, topic, type, message) in the order of time; `truth` is a kind of source."""
        events = list(self._images())
        for seconds in self.pose_seconds or self.seconds:
            events += TRUTHS[truth](seconds)
        if truth == "tf":
            events.append(_static_tf())
        if truth == "path":
            events.append(_path(self.pose_seconds or self.seconds))
        return sorted(events, key=lambda event: event[0])

    def _images(self):
        for seconds in self.seconds:
            stamp_ns = ns(seconds + self.late_s)
            header = build.header_message(stamp_ns, OPTICAL)
            pixels = self.pictures(seconds)
            if self.camera is not None:
                info = build.camera_info_message(header, self.camera)
                yield stamp_ns, "/camera/camera_info", CAMERA_INFO, info
            if self.compressed:
                data = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
                message = build.compressed_message(header, data, "jpeg")
                yield stamp_ns, f"{self.image_topic}/compressed", COMPRESSED_IMAGE, message
            else:
                yield stamp_ns, self.image_topic, IMAGE, build.image_message(header, pixels)


def _tf(seconds: float):
    """map -> odom drifts, odom -> base_link is what is left of the truth."""
    T_map_odom = np.eye(4)
    T_map_odom[:3, :3] = Rotation.from_euler("z", 0.3 + 0.01 * seconds).as_matrix()
    T_map_odom[:3, 3] = (1.0, -0.02 * seconds, 0.1)
    T_map_base = T_map_cam_at(seconds) @ invert_transform(T_BASE_CAM)
    T_odom_base = invert_transform(T_map_odom) @ T_map_base
    for parent, child, transform in ((MAP, ODOM, T_map_odom), (ODOM, BASE, T_odom_base)):
        yield (
            "/tf",
            TF_MESSAGE,
            ns(seconds),
            build.tf_message([_stamped(seconds, parent, child, transform)]),
        )


def _stamped(seconds: float, parent: str, child: str, transform: np.ndarray):
    header = build.header_message(ns(seconds), parent)
    return build.transform_message(header, child, transform[:3, 3], quat_of(transform))


def _tf_events(seconds: float):
    return [(stamp, topic, kind, message) for topic, kind, stamp, message in _tf(seconds)]


def _static_tf():
    message = build.tf_message([_stamped(0.0, BASE, OPTICAL, T_BASE_CAM)])
    return ns(-1.0), "/tf_static", TF_MESSAGE, message


def _odometry(seconds: float):
    T_map_base = T_map_cam_at(seconds) @ invert_transform(T_BASE_CAM)
    header = build.header_message(ns(seconds), MAP)
    message = build.odometry_message(header, BASE, T_map_base[:3, 3], quat_of(T_map_base))
    return [(ns(seconds), "/odom", ODOMETRY, message)]


def _pose(seconds: float):
    T = T_map_cam_at(seconds)
    header = build.header_message(ns(seconds), MAP)
    message = build.pose_stamped(header, T[:3, 3].tolist(), quat_of(T))
    return [(ns(seconds), "/pose", POSE_STAMPED, message)]


def _pose_with_covariance(seconds: float):
    ((stamp_ns, topic, _, stamped),) = _pose(seconds)
    with_covariance = TYPES.types["geometry_msgs/msg/PoseWithCovariance"](
        stamped.pose, np.zeros(36)
    )
    kind = POSE_WITH_COVARIANCE_STAMPED
    return [(stamp_ns, topic, kind, TYPES.types[kind](stamped.header, with_covariance))]


def _transform(seconds: float):
    message = _stamped(seconds, MAP, OPTICAL, T_map_cam_at(seconds))
    return [(ns(seconds), "/pose", TRANSFORM_STAMPED, message)]


def _path(pose_seconds: Sequence[float]):
    poses = [_pose(seconds)[0][3] for seconds in pose_seconds]
    stamp_ns = ns(pose_seconds[-1])
    message = TYPES.types[PATH](build.header_message(stamp_ns, MAP), poses)
    return stamp_ns, "/pose", PATH, message


TRUTHS: dict[str, Callable[[float], list]] = {
    "tf": _tf_events,
    "odometry": _odometry,
    "pose": _pose,
    "pose_with_covariance": _pose_with_covariance,
    "transform": _transform,
    "path": lambda seconds: [],
}


def write_bag(
    path: Path,
    events,
    storage: str = "mcap",
    compression: str = "none",
    files: int = 1,
) -> Path:
    """Write events into a ROS 2 bag, split evenly into files."""
    events = list(events)
    with BagWriter(path, storage, compression) as writer:
        for number, (stamp_ns, topic, kind, message) in enumerate(events):
            if number and number % -(-len(events) // files) == 0:
                writer.next_file()
            writer.put(topic, kind, stamp_ns, message)
    return path


def write_ros1_bag(path: Path, events, compression=None) -> Path:
    """Write events into a ROS 1 bag, with the names and fields that ROS 1 has."""
    from rosbags.rosbag1 import Writer

    from mspr_ros.bags.types import TYPES_ROS1

    noetic = get_typestore(Stores.ROS1_NOETIC)
    connections = {}
    writer = Writer(path)
    writer.chunk_threshold = 50_000  # several chunks in a small bag
    if compression is not None:
        writer.set_compression(compression)
    with writer:
        for stamp_ns, topic, kind, message in events:
            if topic not in connections:
                store = TYPES_ROS1 if kind == TF_MESSAGE else noetic
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            data = TYPES_ROS1.serialize_ros1(_as_ros1(message), kind)
            writer.write(connections[topic], stamp_ns, data)
    return path


def _as_ros1(message):
    """Rebuild a message of ROS 2 with the classes of ROS 1."""
    from mspr_ros.bags.types import TYPES_ROS1

    if isinstance(message, list):
        return [_as_ros1(item) for item in message]
    kind = getattr(message, "__msgtype__", None)
    if kind is None:
        return message
    made = TYPES_ROS1.types[kind]
    values = {}
    for name in made.__dataclass_fields__:
        if name == "__msgtype__":
            continue
        if name == "seq":
            values[name] = 0
        else:
            values[name] = _as_ros1(getattr(message, name, getattr(message, name.lower(), None)))
    return made(**values)
