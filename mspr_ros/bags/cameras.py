"""Know the camera behind the images of a bag, from its CameraInfo messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mspr_ros.bags.reading import BagTopic
from mspr_ros.bags.types import CAMERA_INFO
from mspr_ros.camera import CameraModel
from mspr_ros.errors import DatasetError, ImageError

# Names that drivers use for the distortion models of mspr_ros.camera.
DISTORTION_NAMES = {"": "plumb_bob", "fisheye": "equidistant", "none": "none"}


def is_rectified_topic(topic: str) -> bool:
    """Say whether a topic carries rectified images, by the last part of its name.

    `/camera/image_rect` and `image_rect_color` do; `/direct_cam/image_raw` does not.
    """
    last = topic.removesuffix("/compressed").rpartition("/")[2]
    return re.search(r"(^|_)rect(ified)?(_|$)", last) is not None


def camera_info_topic(topics: Sequence[BagTopic], image_topic: str, wanted: str = "") -> str:
    """Find the CameraInfo that belongs to an image topic: the one beside it, or the only one.

    Returns:
        Its name, empty if the bag has none that is sure to belong to the images.

    Raises:
        DatasetError: If the topic wanted is not there.
    """
    names = [topic.name for topic in topics if topic.type_name == CAMERA_INFO and topic.count]
    if wanted:
        if wanted not in names:
            known = ", ".join(names) or "none"
            raise DatasetError(
                f"the bag has no topic {wanted} of type {CAMERA_INFO}, only: {known}"
            )
        return wanted
    beside = image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    if beside in names:
        return beside
    return names[0] if len(names) == 1 else ""


def camera_from_info(info: Any, rectified: bool) -> CameraModel | None:
    """Give the camera that a CameraInfo describes, region of interest and binning applied.

    Args:
        info: A message of ROS 2 (`k`, `d`, `p`) or ROS 1 (`K`, `D`, `P`).
        rectified: The image is rectified already: take P and no distortion.

    Returns:
        None if the camera is not calibrated (focal length zero).

    Raises:
        ImageError: If the values describe no camera that is known here.
    """
    d, k, p = (
        [float(value) for value in getattr(info, name, getattr(info, name.upper(), ()))]
        for name in ("d", "k", "p")
    )
    if rectified and p[0] != 0.0:
        fx, cx, fy, cy = p[0], p[2], p[5], p[6]
    else:
        fx, cx, fy, cy = k[0], k[2], k[4], k[5]
    if fx == 0.0 and fy == 0.0:
        return None
    width, height, roi = int(info.width), int(info.height), info.roi
    if roi.width and roi.height:
        width, height = int(roi.width), int(roi.height)
        cx, cy = cx - roi.x_offset, cy - roi.y_offset
    bin_x, bin_y = max(1, int(info.binning_x)), max(1, int(info.binning_y))
    distorted = not rectified and any(d)
    model = DISTORTION_NAMES.get(info.distortion_model, str(info.distortion_model))
    return CameraModel(
        width=width // bin_x,
        height=height // bin_y,
        fx=fx / bin_x,
        fy=fy / bin_y,
        # Pixel (0, 0) is a pixel's centre: half a pixel is not scaled.
        cx=(cx + 0.5) / bin_x - 0.5,
        cy=(cy + 0.5) / bin_y - 0.5,
        distortion_model=model if distorted else "none",
        distortion=tuple(d) if distorted else (),
    )


class BagCameras:
    """Keep the first usable camera of each optical frame of a bag.

    Args:
        rectified: The images are rectified: take P and no distortion.
    """

    def __init__(self, rectified: bool) -> None:
        self._rectified = rectified
        self._cameras: dict[str, CameraModel] = {}
        self.changed = 0
        self.unusable: dict[str, int] = {}

    def take(self, info: Any) -> None:
        """Take in a CameraInfo message; what is wrong with it is counted by reason."""
        frame_id = str(info.header.frame_id)
        try:
            camera = camera_from_info(info, self._rectified)
        except ImageError as error:
            self.unusable[str(error)] = self.unusable.get(str(error), 0) + 1
            return
        if camera is None:
            reason = "the camera is not calibrated (focal length 0)"
            self.unusable[reason] = self.unusable.get(reason, 0) + 1
        elif self._cameras.setdefault(frame_id, camera) != camera:
            self.changed += 1

    @property
    def known(self) -> bool:
        """Whether there is any usable camera."""
        return bool(self._cameras)

    def of(self, frame_id: str) -> CameraModel | None:
        """Give the camera of an image by its frame; one camera alone is that of all images."""
        if len(self._cameras) == 1:
            return next(iter(self._cameras.values()))
        return self._cameras.get(frame_id)

    def notes(self) -> list[str]:
        """Say what is odd about the messages."""
        notes = [f"{count} camera_info: {why}" for why, count in self.unusable.items()]
        if self.changed:
            notes.append(
                f"{self.changed} camera_info differ from the first of their frame; the first holds"
            )
        return notes
