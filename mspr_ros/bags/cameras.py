"""Know the camera behind the images of a bag, from its CameraInfo messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mspr_ros.bags.reading import BagTopic
from mspr_ros.bags.types import CAMERA_INFO
from mspr_ros.camera import CameraModel
from mspr_ros.data.camera_info import camera_from_info
from mspr_ros.errors import DatasetError, ImageError


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
