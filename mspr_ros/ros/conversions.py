"""Between ROS messages and arrays, cameras and poses."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mspr_ros.camera import CameraModel
from mspr_ros.data.image_messages import (
    ENCODINGS,
    ImageU8,
    is_compressed,
    is_empty,
    rgb_from_message,
)
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array, quat_xyzw_from_rotation, transform_from_pose


def image_from_message(message: Image | CompressedImage) -> ImageU8:
    """Give the pixels of an Image or CompressedImage as (height, width, 3) RGB uint8.

    rgb8 is a view of the message's own bytes, whatever its step; others are converted once.

    Raises:
        ImageError: If the image is empty or damaged, its size, step and data disagree, or its
            encoding cannot be turned into RGB.
    """
    if is_compressed(message) or message.encoding in ("", *ENCODINGS) or is_empty(message):
        return rgb_from_message(message)
    return _image_through_cv_bridge(message)


def _image_through_cv_bridge(message: Image) -> ImageU8:
    from cv_bridge import CvBridge  # only here: its NumPy may not be ours on some robots

    try:
        pixels = CvBridge().imgmsg_to_cv2(message, "rgb8")
    except Exception as error:  # cv_bridge raises several kinds, from C++ too
        raise ImageError(
            f"encoding '{message.encoding}' cannot be turned into RGB: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ImageError(f"encoding '{message.encoding}' is not a colour or grey image")
    return np.asarray(pixels, dtype=np.uint8)


def info_from_camera(camera: CameraModel) -> CameraInfo:
    """Build the CameraInfo of a camera; its header is left to the caller."""
    k = camera.K
    p = np.hstack([k, np.zeros((3, 1))])
    return CameraInfo(
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob"
        if camera.distortion_model == "none"
        else camera.distortion_model,
        d=list(camera.distortion) or [0.0] * 5,
        k=k.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=p.ravel().tolist(),
    )


def message_from_image(image_rgb_u8: ImageU8) -> Image:
    """Build an rgb8 Image of (height, width, 3) pixels; its header is left to the caller."""
    height, width = image_rgb_u8.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(np.ascontiguousarray(image_rgb_u8).data.cast("B"))
    return message


def compressed_from_image(image_rgb_u8: ImageU8, quality: int = 95) -> CompressedImage:
    """Build a JPEG CompressedImage of (height, width, 3) pixels; the header is the caller's."""
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.data.frombytes(jpeg_from_image(image_rgb_u8, quality))
    return message


def jpeg_from_image(image_rgb_u8: ImageU8, quality: int = 95) -> bytes:
    """Encode (height, width, 3) RGB pixels as JPEG."""
    bgr = cv2.cvtColor(image_rgb_u8, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError("OpenCV could not encode the image as JPEG")
    return bytes(encoded.tobytes())


def pose_from_transform(T_map_frame: Array) -> Pose:
    """Write a (4, 4) transform as a Pose."""
    x, y, z = T_map_frame[:3, 3].tolist()
    qx, qy, qz, qw = quat_xyzw_from_rotation(T_map_frame[:3, :3]).tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def transform_from_pose_message(pose: Pose) -> Array:
    """Read a Pose as a (4, 4) transform.

    Raises:
        ValueError: If its quaternion has no direction.
    """
    p, q = pose.position, pose.orientation
    return transform_from_pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def transform_from_message(transform: Transform) -> Array:
    """Read a Transform as a (4, 4) transform: `T_parent_child`."""
    t, q = transform.translation, transform.rotation
    return transform_from_pose((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def message_from_transform(
    T_parent_child: Array, parent: str, child: str, stamp: Any
) -> TransformStamped:
    """Write a (4, 4) transform as a TransformStamped."""
    return message_from_pose(pose_from_transform(T_parent_child), parent, child, stamp)


def message_from_pose(pose: Pose, parent: str, child: str, stamp: Any) -> TransformStamped:
    """Write the pose of a frame in its parent as a TransformStamped."""
    message = TransformStamped(child_frame_id=child)
    message.header.stamp = stamp
    message.header.frame_id = parent
    t, p = message.transform.translation, pose.position
    t.x, t.y, t.z = p.x, p.y, p.z
    message.transform.rotation = pose.orientation
    return message


def ns_from_stamp(stamp: TimeMsg) -> int:
    """Give a stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> TimeMsg:
    """Give nanoseconds as a stamp."""
    return TimeMsg(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
