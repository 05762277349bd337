"""Write a dataset's frames into a ROS 2 bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from mspr_ros.bags.bag_writer import STORAGES, BagWriter
from mspr_ros.bags.messages import (
    camera_info_message,
    compressed_message,
    header_message,
    image_message,
    pose_stamped,
)
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

IMAGE_FORMATS = ("raw", "compressed")

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
    stamps, shifts = increasing_stamps(dataset.frames)
    counts: dict[str, int] = {}
    custom_data = {SHIFT_KEY + name: str(shift_ns) for name, shift_ns in shifts.items()}
    with BagWriter(output, storage, custom_data=custom_data) as writer:
        frames_writer = _FramesWriter(writer, image_format)
        for frame, stamp_ns in zip(dataset.frames, stamps, strict=True):
            frames_writer.write(frame, stamp_ns, dataset.camera_of(frame))
            counts[frame.scene] = counts.get(frame.scene, 0) + 1
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

    def __init__(self, writer: BagWriter, image_format: str) -> None:
        self._writer = writer
        self._compressed = image_format == "compressed"

    def write(self, frame: Frame, stamp_ns: int, camera: CameraModel | None) -> None:
        """Write camera_info, truth and image, in this order: an image finds its camera known."""
        header = header_message(stamp_ns, optical_frame(frame.camera))
        # Before camera_info, so that a frame that cannot be read leaves nothing behind.
        kind, topic, image = self._image(frame, header)
        put = self._writer.put
        if camera is not None:
            put(CAMERA_INFO_TOPIC, CAMERA_INFO, stamp_ns, camera_info_message(header, camera))
        truth = pose_stamped(header_message(stamp_ns, "map"), frame.position, frame.quat_xyzw)
        put(POSE_TOPIC, POSE_STAMPED, stamp_ns, truth)
        put(SCENE_TOPIC, STRING, stamp_ns, TYPES.types[STRING](data=frame.scene))
        put(topic, kind, stamp_ns, image)

    def _image(self, frame: Frame, header: Any) -> tuple[str, str, Any]:
        if self._compressed:
            kind = "png" if frame.image.suffix.lower() == ".png" else "jpeg"
            message = compressed_message(header, _compressed_bytes(frame.image), kind)
            return COMPRESSED_IMAGE, f"{IMAGE_TOPIC}/compressed", message
        return IMAGE, IMAGE_TOPIC, image_message(header, read_image(frame.image))


def _compressed_bytes(path: Path) -> bytes:
    """Give a JPEG or PNG file as it is, anything else as PNG."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return path.read_bytes()
    bgr = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", bgr)[1].tobytes())
