"""Write what a localizer said of a bag as a bag of its own, to be replayed beside the images.

One `.mcap` file that RViz (through `ros2 bag play`) and Foxglove read: poses, TF and markers like
the node's, every message at its image's stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.bags.bag_writer import BagWriter
from mspr_ros.bags.messages import header_message, pose_message, tf_message, transform_message
from mspr_ros.bags.types import (
    POSE_STAMPED,
    POSE_WITH_COVARIANCE_STAMPED,
    STRING,
    TF_MESSAGE,
    TF_TOPIC,
    TYPES,
)
from mspr_ros.data.frame import RESERVED_SCENE
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
from mspr_ros.geometry import Array, as_float_tuple, quat_xyzw_from_rotation

MARKER_ARRAY = "visualization_msgs/msg/MarkerArray"
_MARKER = "visualization_msgs/msg/Marker"
# Numbers that the message's definition fixes.
_LINE_LIST, _TEXT_VIEW_FACING, _ADD, _DELETE = 5, 9, 0, 2


@dataclass(frozen=True)
class ResultPose:
    """One image's answer, ready to be written.

    Args:
        stamp_ns: The image's.
        prefix: Of the topics: `localizer`, as the node's are called.
        map_frame: The frame the pose is given in.
        camera_frame: What TF calls the camera that was found.
        T_map_cam: (4, 4); None where there is no accepted pose.
        covariance: (6, 6), row-major, at the camera's centre.
        scene: The recognised scene.
        confidence: 0 to 1.
        gt_T_map_cam: (4, 4) the true pose, where it is known.
    """

    stamp_ns: int
    prefix: str
    map_frame: str
    camera_frame: str
    T_map_cam: Array | None
    covariance: Array
    scene: str
    confidence: float
    gt_T_map_cam: Array | None = None


def write_result(path: Path, poses: Sequence[ResultPose]) -> None:
    """Write answers into one `.mcap` file, in order of time.

    Args:
        path: The file; must not exist.
        poses: At least one.
    """
    folder = path.with_name(path.name + ".bag")
    with BagWriter(folder, "mcap", "chunk") as writer:
        for pose in sorted(poses, key=lambda one: one.stamp_ns):
            _write(writer, pose)
    # The file alone is whole; metadata.yaml would only make a folder of it.
    (folder / f"{folder.name}.mcap").rename(path)
    (folder / "metadata.yaml").unlink()
    folder.rmdir()


def _write(writer: BagWriter, pose: ResultPose) -> None:
    stamp_ns, prefix = pose.stamp_ns, f"/{pose.prefix}"
    header = header_message(stamp_ns, pose.map_frame)
    if pose.gt_T_map_cam is not None:
        truth = _stamped(header, pose.gt_T_map_cam)
        writer.put("/ground_truth/pose", POSE_STAMPED, stamp_ns, truth)
    scene = pose.scene if pose.T_map_cam is not None else RESERVED_SCENE
    writer.put(f"{prefix}/scene", STRING, stamp_ns, TYPES.types[STRING](data=scene))
    drawn = TYPES.types[MARKER_ARRAY](markers=_markers(header, pose))
    writer.put(f"{prefix}/markers", MARKER_ARRAY, stamp_ns, drawn)
    if pose.T_map_cam is None:
        return
    position, quat = _position_quat(pose.T_map_cam)
    transform = transform_message(header, pose.camera_frame, position, quat)
    writer.put(TF_TOPIC, TF_MESSAGE, stamp_ns, tf_message([transform]))
    stamped = _stamped(header, pose.T_map_cam)
    writer.put(f"{prefix}/pose", POSE_STAMPED, stamp_ns, stamped)
    with_covariance = TYPES.types["geometry_msgs/msg/PoseWithCovariance"](
        stamped.pose, np.asarray(pose.covariance, dtype=np.float64).reshape(36)
    )
    kind = POSE_WITH_COVARIANCE_STAMPED
    message = TYPES.types[kind](header, with_covariance)
    writer.put(f"{prefix}/pose_with_covariance", kind, stamp_ns, message)


def _stamped(header: Any, T_map_cam: Array) -> Any:
    position, quat = _position_quat(T_map_cam)
    return TYPES.types[POSE_STAMPED](header, pose_message(position, quat))


def _position_quat(transform: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    quat = quat_xyzw_from_rotation(transform[:3, :3])
    return as_float_tuple(transform[:3, 3]), as_float_tuple(quat)


def _markers(header: Any, pose: ResultPose) -> list[Any]:
    """Draw the camera as a pyramid of lines with its scene beside it, as the node does."""
    if pose.T_map_cam is None:
        nowhere = pose_message((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        return [
            _marker(header, name, nowhere, action=_DELETE, text=RESERVED_SCENE)
            for name in (CAMERA_MARKER, SCENE_MARKER)
        ]
    point = TYPES.types["geometry_msgs/msg/Point"]
    color = TYPES.types["std_msgs/msg/ColorRGBA"](*confidence_color(pose.confidence))
    (x, y, z), quat = _position_quat(pose.T_map_cam)
    return [
        _marker(
            header, CAMERA_MARKER, pose_message((x, y, z), quat), color=color, kind=_LINE_LIST,
            scale=(LINE_WIDTH_M, 0.0, 0.0), points=[point(*each) for each in camera_lines()],
        ),
        _marker(
            header, SCENE_MARKER, pose_message((x, y, z + TEXT_ABOVE_M), quat), color=color,
            kind=_TEXT_VIEW_FACING, scale=(0.0, 0.0, TEXT_HEIGHT_M),
            text=scene_text(pose.scene, pose.confidence),
        ),
    ]  # fmt: skip


def _marker(
    header: Any,
    namespace: str,
    pose: Any,
    *,
    kind: int = 0,
    action: int = _ADD,
    color: Any = None,
    scale: tuple[float, float, float] = (0.0, 0.0, 0.0),
    points: Sequence[Any] = (),
    text: str = "",
) -> Any:
    """Build a Marker; rosbags' class wants every field, and has no default."""
    types = TYPES.types
    return types[_MARKER](
        header=header,
        ns=namespace,
        id=0,
        type=kind,
        action=action,
        pose=pose,
        scale=types["geometry_msgs/msg/Vector3"](*scale),
        color=color or types["std_msgs/msg/ColorRGBA"](0.0, 0.0, 0.0, 0.0),
        lifetime=types["builtin_interfaces/msg/Duration"](sec=LIFETIME_S, nanosec=0),
        frame_locked=False,
        points=list(points),
        colors=[],
        texture_resource="",
        texture=types["sensor_msgs/msg/CompressedImage"](
            header=header_message(0, ""), format="", data=np.zeros(0, dtype=np.uint8)
        ),
        uv_coordinates=[],
        text=text,
        mesh_resource="",
        mesh_file=types["visualization_msgs/msg/MeshFile"](
            filename="", data=np.zeros(0, dtype=np.uint8)
        ),
        mesh_use_embedded_materials=False,
    )
