"""Build the messages that bags are written with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mspr_ros.bags.types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    POSE_STAMPED,
    TF_MESSAGE,
    TRANSFORM_STAMPED,
    TYPES,
)
from mspr_ros.camera import CameraModel
from mspr_ros.geometry import ArrayLike, as_float_tuple


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """Build a Header."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def image_message(header: Any, pixels: npt.NDArray[np.uint8]) -> Any:
    """Build an rgb8 Image of (height, width, 3) pixels."""
    return TYPES.types[IMAGE](
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding="rgb8",
        is_bigendian=0,
        step=3 * pixels.shape[1],
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def compressed_message(header: Any, data: bytes, kind: str) -> Any:
    """Build a CompressedImage of a file's bytes; `kind` is `jpeg` or `png`."""
    values = np.frombuffer(data, dtype=np.uint8)
    return TYPES.types[COMPRESSED_IMAGE](header=header, format=kind, data=values)


def pose_message(position: Sequence[float], quat_xyzw: Sequence[float]) -> Any:
    """Build a Pose."""
    point = TYPES.types["geometry_msgs/msg/Point"](*position)
    quaternion = TYPES.types["geometry_msgs/msg/Quaternion"](*quat_xyzw)
    return TYPES.types["geometry_msgs/msg/Pose"](position=point, orientation=quaternion)


def pose_stamped(header: Any, position: Sequence[float], quat_xyzw: Sequence[float]) -> Any:
    """Build a PoseStamped."""
    return TYPES.types[POSE_STAMPED](header=header, pose=pose_message(position, quat_xyzw))


def odometry_message(
    header: Any, child_frame: str, position: ArrayLike, quat_xyzw: ArrayLike
) -> Any:
    """Build an Odometry without twist and with zero covariances (unknown)."""
    types = TYPES.types
    pose = pose_message(as_float_tuple(position), as_float_tuple(quat_xyzw))
    zero = types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    twist = types["geometry_msgs/msg/Twist"](zero, zero)
    return types[ODOMETRY](
        header=header,
        child_frame_id=child_frame,
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose, np.zeros(36)),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](twist, np.zeros(36)),
    )


def transform_message(
    header: Any, child_frame: str, position: ArrayLike, quat_xyzw: ArrayLike
) -> Any:
    """Build a TransformStamped from the header's frame to a child."""
    types = TYPES.types
    transform = types["geometry_msgs/msg/Transform"](
        types["geometry_msgs/msg/Vector3"](*as_float_tuple(position)),
        types["geometry_msgs/msg/Quaternion"](*as_float_tuple(quat_xyzw)),
    )
    return types[TRANSFORM_STAMPED](header, child_frame, transform)


def tf_message(transforms: Sequence[Any]) -> Any:
    """Build the message of /tf and /tf_static."""
    return TYPES.types[TF_MESSAGE](transforms=list(transforms))


def camera_info_message(header: Any, camera: CameraModel) -> Any:
    """Build the CameraInfo of a camera, without rectification."""
    k = camera.K
    p = np.hstack([k, np.zeros((3, 1))])
    distorted = camera.distortion_model != "none"
    return TYPES.types[CAMERA_INFO](
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model if distorted else "plumb_bob",
        d=np.array(camera.distortion if distorted else [0.0] * 5, dtype=np.float64),
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=p.reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=TYPES.types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )
