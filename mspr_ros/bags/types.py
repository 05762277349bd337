"""The message types and names that bags are read and written with."""

from __future__ import annotations

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE_STAMPED = "geometry_msgs/msg/PoseWithCovarianceStamped"
TRANSFORM_STAMPED = "geometry_msgs/msg/TransformStamped"
ODOMETRY = "nav_msgs/msg/Odometry"
PATH = "nav_msgs/msg/Path"
STRING = "std_msgs/msg/String"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
OLD_TF_MESSAGE = "tf/msg/tfMessage"  # ROS 1 before tf2, and still from many of its nodes

TF_TOPIC, TF_STATIC_TOPIC = "/tf", "/tf_static"

# These messages are the same from Humble on.
TYPES = get_typestore(Stores.ROS2_HUMBLE)
TYPES_ROS1 = get_typestore(Stores.ROS1_NOETIC)
for _name in (TF_MESSAGE, OLD_TF_MESSAGE):
    TYPES_ROS1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", _name))
del _name
