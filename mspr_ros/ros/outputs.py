"""Publish what the localizer found: pose, covariance, scene, path, markers and TF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tf2_ros
from geometry_msgs.msg import Point, Pose, PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from mspr_ros.bundle import UNKNOWN_SCENE
from mspr_ros.calibration.hypotheses import PoseHypothesis
from mspr_ros.drawing import (
    CAMERA_MARKER,
    LIFETIME_S,
    LINE_WIDTH_M,
    SCENE_MARKER,
    TEXT_ABOVE_M,
    TEXT_HEIGHT_M,
    camera_lines,
    confidence_color,
    scene_text,
)
from mspr_ros.geometry import Array
from mspr_ros.ros.conversions import (
    message_from_pose,
    ns_from_stamp,
    pose_from_transform,
    stamp_from_ns,
)
from mspr_ros.ros.readings import hypotheses_marker, no_hypotheses
from mspr_ros.ros.tf_policy import ParentWatch
from mspr_ros.ros.trail import Bounds, Trail

# Reliable: a pose is small and precious. The depth covers a subscriber that is busy for a while.
POSE_QOS = QoSProfile(depth=50)
PATH_INTERVAL_NS = 500_000_000  # a path grows; sending all of it with each frame would not scale


@dataclass(frozen=True)
class Answer:
    """A pose ready to be published.

    Args:
        stamp: The image's.
        map_frame: The frame the pose is given in.
        frame: The frame whose pose it is.
        T_map_frame: (4, 4).
        T_map_cam: (4, 4), for the drawing.
        covariance: (6, 6) at the frame's origin.
        scene: The recognised scene.
        confidence: 0 to 1.
        publish_tf: Whether TF gets it as it is; a correction of odometry goes its own way.
        hypotheses: Ways to read the image, the most likely, which is the pose, first.
        map_frames: Of the bundle's scenes, by name.
    """

    stamp: Any
    map_frame: str
    frame: str
    T_map_frame: Array
    T_map_cam: Array
    covariance: Array
    scene: str
    confidence: float
    publish_tf: bool
    hypotheses: tuple[PoseHypothesis, ...] = ()
    map_frames: Mapping[str, str] = field(default_factory=dict)


class PoseOutputs:
    """The localizer's publishers; created at configure, destroyed at cleanup.

    Args:
        node: Owns them; they are silent while it is not active.
        watch: Told of what goes to TF before it goes, so that its echo is known.
    """

    def __init__(self, node: LifecycleNode, watch: ParentWatch) -> None:
        self._node = node
        self._watch = watch
        create = node.create_lifecycle_publisher
        self._pose = create(PoseStamped, "~/pose", POSE_QOS)
        self._covariance = create(PoseWithCovarianceStamped, "~/pose_with_covariance", POSE_QOS)
        self._scene = create(String, "~/scene", POSE_QOS)
        self._path = create(Path, "~/path", QoSProfile(depth=1))
        self._markers = create(MarkerArray, "~/markers", POSE_QOS)  # the scene, with a stamp
        # Who looks on later shall see it, too.
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._map_markers = create(MarkerArray, "~/map_markers", latched)
        self._initialpose = create(PoseWithCovarianceStamped, "initialpose", QoSProfile(depth=1))
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._taught: dict[str, Bounds] = {}
        self._trail = Trail()
        self._trail_sent_ns = 0
        self._tf_stamps_ns: dict[str, int] = {}  # of the last transform, by frame
        self._shows_hypotheses = False

    def release(self) -> None:
        """Destroy the publishers."""
        for publisher in (
            self._pose,
            self._covariance,
            self._scene,
            self._path,
            self._markers,
            self._map_markers,
            self._initialpose,
        ):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def forget(self) -> None:
        """Begin a new path; stamps may repeat."""
        self._trail = Trail()
        self._trail_sent_ns = 0
        self._tf_stamps_ns = {}

    def set_taught(self, taught: dict[str, Bounds]) -> None:
        """Draw these bounds of each scene's positions from now on."""
        self._taught = taught

    def publish_nothing_known(self, header: Header) -> None:
        """Say of an image, by its header, that it gave no pose: an unknown scene, no markers."""
        self._scene.publish(String(data=UNKNOWN_SCENE))
        if self._markers.get_subscription_count() > 0:
            drawing = no_markers(header)
            if self._shows_hypotheses:
                drawing.markers.append(no_hypotheses(header))
                self._shows_hypotheses = False
            self._markers.publish(drawing)

    def publish(self, answer: Answer) -> None:
        """Publish a pose everywhere, TF first: who gets the pose may look TF up at once."""
        header = Header(stamp=answer.stamp, frame_id=answer.map_frame)
        pose = pose_from_transform(answer.T_map_frame)
        if answer.publish_tf and self._is_new_on_tf(answer):
            self._send_pose(pose, answer.map_frame, answer.frame, ns_from_stamp(answer.stamp))
        self._scene.publish(String(data=answer.scene))
        stamped = PoseStamped(header=header, pose=pose)
        self._pose.publish(stamped)
        self._covariance.publish(pose_with_covariance(stamped, answer.covariance))
        self._extend_path(answer, stamped)
        if self._markers.get_subscription_count() > 0:
            self._markers.publish(self._drawing(header, answer))

    def _drawing(self, header: Header, answer: Answer) -> MarkerArray:
        """Draw the pose, and faintly what else the image might mean; or take that away again."""
        drawing = markers(header, answer)
        others = hypotheses_marker(header, answer.hypotheses, answer.T_map_cam, answer.map_frames)
        if others.points or self._shows_hypotheses:
            drawing.markers.append(others)
        self._shows_hypotheses = bool(others.points)
        return drawing

    def send_transform(self, T: Array, parent: str, child: str, stamp_ns: int) -> None:
        """Publish a (4, 4) transform on /tf; its echo will be known for one."""
        self._send_pose(pose_from_transform(T), parent, child, stamp_ns)

    def _send_pose(self, pose: Pose, parent: str, child: str, stamp_ns: int) -> None:
        self._watch.note_own(parent, child, stamp_ns)
        message = message_from_pose(pose, parent, child, stamp_from_ns(stamp_ns))
        self._broadcaster.sendTransform(message)

    def publish_initialpose(
        self, stamp: Any, map_frame: str, T_map_base: Array, covariance: Array
    ) -> None:
        """Tell AMCL or Nav2 where the robot's base is: (4, 4), with its (6, 6) covariance."""
        header = Header(stamp=stamp, frame_id=map_frame)
        stamped = PoseStamped(header=header, pose=pose_from_transform(T_map_base))
        self._initialpose.publish(pose_with_covariance(stamped, covariance))

    def _is_new_on_tf(self, answer: Answer) -> bool:
        """Say whether TF lacks this stamp: `~/localize` may ask for an image a second time."""
        stamp_ns = ns_from_stamp(answer.stamp)
        is_new = self._tf_stamps_ns.get(answer.frame) != stamp_ns
        self._tf_stamps_ns[answer.frame] = stamp_ns
        return is_new

    def _extend_path(self, answer: Answer, stamped: PoseStamped) -> None:
        self._trail.extend(answer.scene, stamped, answer.confidence)
        now_ns = self._node.get_clock().now().nanoseconds
        if abs(now_ns - self._trail_sent_ns) < PATH_INTERVAL_NS:
            return
        self._trail_sent_ns = now_ns
        if self._path.get_subscription_count() > 0:
            self._path.publish(self._trail.path())
        if self._map_markers.get_subscription_count() > 0:
            self._map_markers.publish(self._trail.markers(self._taught.get(answer.scene)))


def pose_with_covariance(stamped: PoseStamped, covariance: Array) -> PoseWithCovarianceStamped:
    """Put a pose and its (6, 6) covariance into one message."""
    message = PoseWithCovarianceStamped(header=stamped.header)
    message.pose.pose = stamped.pose
    message.pose.covariance = covariance.ravel().tolist()
    return message


def markers(header: Header, answer: Answer) -> MarkerArray:
    """Draw the camera as a pyramid of lines and write scene and confidence beside it."""
    red, green, blue, alpha = confidence_color(answer.confidence)
    color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    pose = pose_from_transform(answer.T_map_cam)
    pyramid = Marker(
        header=header, ns=CAMERA_MARKER, id=0, type=Marker.LINE_LIST, pose=pose, color=color
    )
    pyramid.scale.x = LINE_WIDTH_M
    pyramid.points = [Point(x=x, y=y, z=z) for x, y, z in camera_lines()]
    text = Marker(
        header=header,
        ns=SCENE_MARKER,
        id=0,
        type=Marker.TEXT_VIEW_FACING,
        color=color,
        text=scene_text(answer.scene, answer.confidence),
    )
    text.scale.z = TEXT_HEIGHT_M
    text.pose.orientation = pose.orientation
    above = text.pose.position
    above.x, above.y, above.z = pose.position.x, pose.position.y, pose.position.z + TEXT_ABOVE_M
    for marker in (pyramid, text):
        marker.lifetime.sec = LIFETIME_S
    return MarkerArray(markers=[pyramid, text])


def no_markers(header: Header) -> MarkerArray:
    """Take the drawing away: the image of this header gave no pose."""
    return MarkerArray(
        markers=[
            Marker(header=header, ns=name, id=0, action=Marker.DELETE, text=UNKNOWN_SCENE)
            for name in (CAMERA_MARKER, SCENE_MARKER)
        ]
    )


def stamped_scenes(message: MarkerArray) -> dict[int, str]:
    """Read from `~/markers` which scene the image of a stamp (ns) was recognised as."""
    return {
        ns_from_stamp(marker.header.stamp): marker.text.partition("\n")[0]
        for marker in message.markers
        if marker.ns == SCENE_MARKER
    }


def is_stamped(stamp: Any) -> bool:
    """Say whether a message carries a stamp at all."""
    return ns_from_stamp(stamp) != 0
