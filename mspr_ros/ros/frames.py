"""What the pipeline is given: frames, settings, and something that localizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, Protocol

from sensor_msgs.msg import CompressedImage, Image

from mspr_ros.camera import CameraModel
from mspr_ros.localizer import PoseEstimate
from mspr_ros.preprocess import ImageU8


class LocalizerLike(Protocol):
    """What the node asks of a localizer."""

    metadata: Any
    device: Any
    content_hash: str
    min_confidence: float

    def localize(self, image_rgb_u8: ImageU8, camera: CameraModel | None = None) -> PoseEstimate:
        """Give the pose of one picture."""


@dataclass(frozen=True)
class Frame:
    """An image as it came in.

    Args:
        message: The message.
        received_s: Monotonic seconds of its arrival.
        reply: Gets (success, text) once it is done; for `~/localize`.
    """

    message: Image | CompressedImage
    received_s: float = field(default_factory=time.monotonic)
    reply: SimpleQueue[tuple[bool, str]] | None = None

    def instead_of(self, older: Frame) -> Frame:
        """Take over whoever waits for the answer to an older frame."""
        return replace(self, reply=self.reply or older.reply)


@dataclass(frozen=True)
class PipelineSettings:
    """The parameters that one image's way depends on; those that are called may change any time.

    Args:
        map_frame: Renames the bundle's default one.
        image_rotation_deg: 0, 90, 180 or 270.
        min_confidence: Answers below are rejected.
        planar: Keeps a base's pose level and at height zero.
        tf_timeout_s: How long a pose waits for the transform between camera and base.
    """

    map_frame: str
    image_rotation_deg: int
    min_confidence: Callable[[], float]
    planar: Callable[[], bool]
    tf_timeout_s: Callable[[], float]
