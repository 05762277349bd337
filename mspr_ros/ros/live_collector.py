"""Listen to a running localizer and its camera, and keep what is needed to compare them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import tf2_ros
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, TimeReference
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from mspr_ros.geometry import Array
from mspr_ros.ros.bag_player_node import SENT_TOPIC
from mspr_ros.ros.conversions import (
    ns_from_stamp,
    transform_from_message,
    transform_from_pose_message,
)
from mspr_ros.ros.outputs import stamped_scenes

DEPTH = QoSProfile(depth=1000)
LOCALIZER = "localizer"


@dataclass
class LiveRecord:
    """Everything heard, by the image's stamp in nanoseconds where there is one.

    Args:
        gt_poses: `T_map_cam` from ground_truth/pose.
        gt_heard_ns: When each of these arrived here.
        gt_scenes: From ground_truth/scene, which has no stamp: (arrival, name), in order.
        sent_ns: When each image was published, from replay/sent.
        poses: (4, 4) of `~/pose`, whichever frame that is of.
        heard_ns: When each pose arrived here.
        scenes: From `~/markers`: the scene of each frame processed, `unknown` without a pose.
        transforms: (parent, child, T_parent_child) from /tf.
        camera_frames: Optical frames seen in camera_info.
        diagnostics: Key-value pairs of the newest status, with `message` and `level`.
        problems: Messages of all statuses worse than OK, in order.
    """

    gt_poses: dict[int, Array] = field(default_factory=dict)
    gt_heard_ns: dict[int, int] = field(default_factory=dict)
    gt_scenes: list[tuple[int, str]] = field(default_factory=list)
    sent_ns: dict[int, int] = field(default_factory=dict)
    poses: dict[int, Array] = field(default_factory=dict)
    heard_ns: dict[int, int] = field(default_factory=dict)
    scenes: dict[int, str] = field(default_factory=dict)
    transforms: dict[int, tuple[str, str, Array]] = field(default_factory=dict)
    camera_frames: set[str] = field(default_factory=set)
    diagnostics: dict[str, str] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)


class Collector:
    """Subscribe to everything that a live run is judged by.

    Args:
        node: Subscribes; whoever owns it spins it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.record = LiveRecord()
        self.num_diagnostics = 0
        self.last_heard_s = time.monotonic()
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        subscribe = node.create_subscription
        subscribe(PoseStamped, "ground_truth/pose", self._on_gt_pose, DEPTH)
        subscribe(String, "ground_truth/scene", self._on_gt_scene, DEPTH)
        subscribe(TimeReference, SENT_TOPIC, self._on_sent, DEPTH)
        subscribe(CameraInfo, "camera_info", self._on_camera_info, qos_profile_sensor_data)
        subscribe(PoseStamped, f"{LOCALIZER}/pose", self._on_pose, DEPTH)
        subscribe(MarkerArray, f"{LOCALIZER}/markers", self._on_markers, DEPTH)
        subscribe(TFMessage, "/tf", self._on_tf, DEPTH)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, DEPTH)

    def T_frame_cam(self, frame: str) -> Array | None:
        """Give where the camera is mounted in a frame; None where TF does not know.

        Raises:
            ValueError: If several cameras took turns, so that there is not one answer.
        """
        if frame in self.record.camera_frames or not self.record.camera_frames:
            return None
        if len(self.record.camera_frames) > 1:
            raise ValueError(f"several cameras {sorted(self.record.camera_frames)} in one base")
        (camera_frame,) = self.record.camera_frames
        try:
            found = self._buffer.lookup_transform(frame, camera_frame, Time())
        except tf2_ros.TransformException:
            return None
        return transform_from_message(found.transform)

    def _heard(self) -> int:
        self.last_heard_s = time.monotonic()
        return int(self._node.get_clock().now().nanoseconds)

    def _on_gt_pose(self, message: PoseStamped) -> None:
        heard_ns = self._heard()
        stamp_ns = ns_from_stamp(message.header.stamp)
        self.record.gt_heard_ns[stamp_ns] = heard_ns
        self.record.gt_poses[stamp_ns] = transform_from_pose_message(message.pose)

    def _on_gt_scene(self, message: String) -> None:
        self.record.gt_scenes.append((self._heard(), message.data))

    def _on_sent(self, message: TimeReference) -> None:
        self._heard()
        stamp_ns = ns_from_stamp(message.header.stamp)
        self.record.sent_ns[stamp_ns] = ns_from_stamp(message.time_ref)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self.record.camera_frames.add(message.header.frame_id)

    def _on_pose(self, message: PoseStamped) -> None:
        heard_ns = self._heard()
        stamp_ns = ns_from_stamp(message.header.stamp)
        self.record.heard_ns[stamp_ns] = heard_ns
        self.record.poses[stamp_ns] = transform_from_pose_message(message.pose)

    def _on_markers(self, message: MarkerArray) -> None:
        self._heard()
        self.record.scenes.update(stamped_scenes(message))

    def _on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            stamp_ns = ns_from_stamp(transform.header.stamp)
            self.record.transforms[stamp_ns] = (
                transform.header.frame_id,
                transform.child_frame_id,
                transform_from_message(transform.transform),
            )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(LOCALIZER):
                continue
            self.num_diagnostics += 1
            self.record.diagnostics = {
                **{pair.key: pair.value for pair in status.values},
                "message": status.message,
                "level": _level_name(status.level),
            }
            if status.level != DiagnosticStatus.OK:
                self.record.problems[status.message] = None


def _level_name(level: Any) -> str:
    names = {
        DiagnosticStatus.OK: "ok",
        DiagnosticStatus.WARN: "warning",
        DiagnosticStatus.ERROR: "error",
    }
    return names.get(level, "stale")
