"""Write a dataset's frames into a ROS 2 bag."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

from mspr_ros.bags.types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    POSE_STAMPED,
    STRING,
    TYPES,
)
from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.frame import Frame
from mspr_ros.data.images import read_image
from mspr_ros.errors import DatasetError

STORAGES = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}
IMAGE_FORMATS = ("raw", "compressed")
METADATA_VERSION: Literal[8] = 8  # read by all releases since Humble

IMAGE_TOPIC = "/image"
CAMERA_INFO_TOPIC = "/camera_info"
POSE_TOPIC = "/ground_truth/pose"
SCENE_TOPIC = "/ground_truth/scene"
# Between the last frame of one scene and the first of the next.
SCENE_GAP_NS = 2_000_000_000
# What a frame's optical frame is called where the dataset names no camera.
UNNAMED_CAMERA = "camera"
SHIFT_KEY = "mspr_ros.stamp_shift_ns."  # + scene/sequence, in the bag's custom data


@dataclass(frozen=True)
class BagSummary:
    """What was written: frames by scene, and how far stamps were shifted, by `scene/sequence`."""

    frames: dict[str, int]
    stamp_shifts_ns: dict[str, int]


def write_dataset_bag(
    dataset: Dataset, output: Path, storage: str = "mcap", image_format: str = "raw"
) -> BagSummary:
    """Write a dataset's frames into a bag: images, camera_info and the true poses and scenes.

    Scenes and sequences follow one another, their stamps shifted so that time only goes forward;
    the shifts stand in the bag's custom data, so original stamp = stamp - shift.

    Args:
        dataset: Its frames, in order.
        output: The bag's folder; must not exist.
        storage: `mcap` or `sqlite3`.
        image_format: `raw` (rgb8) or `compressed` (JPEG and PNG files as they are).

    Raises:
        DatasetError: If there are no frames, the output exists, or an image cannot be read.
    """
    if storage not in STORAGES or image_format not in IMAGE_FORMATS:
        raise DatasetError(f"unknown storage '{storage}' or image format '{image_format}'")
    if not dataset.frames:
        raise DatasetError(f"dataset {dataset.name} has no frames to write")
    if output.exists():
        raise DatasetError(f"{output} exists and is not overwritten; name another folder")
    stamps, shifts = increasing_stamps(dataset.frames)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    counts: dict[str, int] = {}
    try:
        writer = Writer(partial, version=METADATA_VERSION, storage_plugin=STORAGES[storage])
        for name, shift_ns in shifts.items():
            writer.set_custom_data(SHIFT_KEY + name, str(shift_ns))
        with writer:
            frames_writer = _FramesWriter(writer, image_format)
            for frame, stamp_ns in zip(dataset.frames, stamps, strict=True):
                frames_writer.write(frame, stamp_ns, dataset.camera_of(frame))
                counts[frame.scene] = counts.get(frame.scene, 0) + 1
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _rename_bag(partial, output)
    return BagSummary(counts, shifts)


def increasing_stamps(frames: Sequence[Frame]) -> tuple[list[int], dict[str, int]]:
    """Shift scenes and sequences in time so that one follows the other.

    Returns:
        The stamps, strictly increasing, and the shift of each `scene/sequence`. The first
        sequence is not shifted.

    Raises:
        DatasetError: If the stamps within one sequence do not increase.
    """
    stamps: list[int] = []
    shifts: dict[str, int] = {}
    for frame in frames:
        key = f"{frame.scene}/{frame.sequence}"
        if key not in shifts:
            shifts[key] = stamps[-1] + SCENE_GAP_NS - frame.stamp_ns if stamps else 0
        stamp_ns = frame.stamp_ns + shifts[key]
        if stamps and stamp_ns <= stamps[-1]:
            raise DatasetError(
                f"stamps of {key} do not increase at {frame.image.name} ({frame.stamp_ns} ns)"
            )
        stamps.append(stamp_ns)
    return stamps, shifts


def optical_frame(camera_name: str) -> str:
    """Name the optical frame of a dataset's camera."""
    return f"{camera_name or UNNAMED_CAMERA}_optical"


class _FramesWriter:
    """Write single frames into an open bag."""

    def __init__(self, writer: Writer, image_format: str) -> None:
        self._writer = writer
        self._compressed = image_format == "compressed"
        self._connections: dict[str, Connection] = {}

    def write(self, frame: Frame, stamp_ns: int, camera: CameraModel | None) -> None:
        """Write camera_info, truth and image, in this order: an image finds its camera known."""
        header = _header(stamp_ns, optical_frame(frame.camera))
        # Before camera_info, so that a frame that cannot be read leaves nothing behind.
        kind, topic, image = self._image(frame, header)
        if camera is not None:
            self._put(CAMERA_INFO_TOPIC, CAMERA_INFO, stamp_ns, _camera_info(camera, header))
        self._put(POSE_TOPIC, POSE_STAMPED, stamp_ns, _pose(frame, _header(stamp_ns, "map")))
        self._put(SCENE_TOPIC, STRING, stamp_ns, TYPES.types[STRING](data=frame.scene))
        self._put(topic, kind, stamp_ns, image)

    def _image(self, frame: Frame, header: Any) -> tuple[str, str, Any]:
        if self._compressed:
            message = TYPES.types[COMPRESSED_IMAGE](
                header=header,
                format="png" if frame.image.suffix.lower() == ".png" else "jpeg",
                data=np.frombuffer(_compressed_bytes(frame.image), dtype=np.uint8),
            )
            return COMPRESSED_IMAGE, f"{IMAGE_TOPIC}/compressed", message
        pixels = read_image(frame.image)
        message = TYPES.types[IMAGE](
            header=header,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding="rgb8",
            is_bigendian=0,
            step=3 * pixels.shape[1],
            data=np.ascontiguousarray(pixels).reshape(-1),
        )
        return IMAGE, IMAGE_TOPIC, message

    def _put(self, topic: str, kind: str, stamp_ns: int, message: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=TYPES)
        data = TYPES.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], stamp_ns, data)


def _compressed_bytes(path: Path) -> bytes:
    """Give a JPEG or PNG file as it is, anything else as PNG."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return path.read_bytes()
    bgr = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", bgr)[1].tobytes())


def _header(stamp_ns: int, frame_id: str) -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def _pose(frame: Frame, header: Any) -> Any:
    point = TYPES.types["geometry_msgs/msg/Point"](*frame.position)
    quaternion = TYPES.types["geometry_msgs/msg/Quaternion"](*frame.quat_xyzw)
    pose = TYPES.types["geometry_msgs/msg/Pose"](position=point, orientation=quaternion)
    return TYPES.types[POSE_STAMPED](header=header, pose=pose)


def _camera_info(camera: CameraModel, header: Any) -> Any:
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


def _rename_bag(partial: Path, output: Path) -> None:
    """Give a finished bag its name; the files inside carry the folder's name too."""
    metadata = partial / "metadata.yaml"
    text = metadata.read_text(encoding="utf-8")
    for file in list(partial.iterdir()):
        if file.name.startswith(partial.name):
            renamed = output.name + file.name[len(partial.name) :]
            text = text.replace(file.name, renamed)
            file.rename(partial / renamed)
    metadata.write_text(text, encoding="utf-8")
    partial.rename(output)
