"""Send transforms that hold at all times."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from .transform_broadcaster import as_list


class StaticTransformBroadcaster:
    """Publish to /tf_static, transient local: whoever comes later gets the last message too.

    That is the last one only, so each message carries everything sent so far.

    Args:
        node: The node that publishes.
        qos: By default reliable and transient local with a depth of 1.
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        if qos is None:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self._transforms: dict[str, TransformStamped] = {}  # by child frame

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Send one transform or several; one for a frame that has one already replaces it."""
        for each in as_list(transform):
            self._transforms[each.child_frame_id] = each
        self.pub_tf.publish(TFMessage(transforms=list(self._transforms.values())))
