"""What the pipeline is given: frames, settings, and something that localizes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from sensor_msgs.msg import CompressedImage, Image

from mspr_ros.camera import CameraModel
from mspr_ros.localizer import PoseEstimate
from mspr_ros.preprocess import ImageU8


class LocalizerLike(Protocol):
    """What the node asks of a localizer."""

    metadata: Any
    device: Any
    backend: str
    precision: str
    content_hash: str
    min_confidence: float

    def localize(self, image_rgb_u8: ImageU8, camera: CameraModel | None = None) -> PoseEstimate:
        """Give the pose of one picture."""

    def localize_batch(
        self, images: Sequence[ImageU8], cameras: Sequence[CameraModel | None] | None = None
    ) -> list[PoseEstimate]:
        """Give the poses of several pictures."""


@dataclass(frozen=True)
class Frame:
    """An image as it came in.

    Args:
        message: The message.
        received_s: Monotonic seconds of its arrival.
        reply: Gets (success, text) once it is done; for `~/localize`.
        camera: The camera's name; empty for the only one.
        beside: Images of other cameras, of about the same time.
    """

    message: Image | CompressedImage
    received_s: float = field(default_factory=time.monotonic)
    reply: SimpleQueue[tuple[bool, str]] | None = None
    camera: str = ""
    beside: tuple[Frame, ...] = ()

    def instead_of(self, older: Frame) -> Frame:
        """Take over whoever waits for the answer to an older frame."""
        return replace(self, reply=self.reply or older.reply)


class OneShot:
    """Ask for the next image's answer: one at a time asks and waits, the image's way answers."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[tuple[bool, str]] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for an image."""
        with self._lock:
            return self._waiting is not None

    def take(self) -> SimpleQueue[tuple[bool, str]] | None:
        """Give what the image at hand is to be answered to, if anybody asked."""
        with self._lock:
            reply, self._waiting = self._waiting, None
            return reply

    def ask(
        self, timeout_s: float, still_asked: Callable[[], bool], topic: str
    ) -> tuple[bool, str]:
        """Wait for the answer to the next image.

        Args:
            timeout_s: The longest wait.
            still_asked: Ends the wait when it says no.
            topic: Of the images, for the message.

        Returns:
            Whether there is a pose, and the pose in words or the reason.
        """
        with self._turn:
            return self._ask(timeout_s, still_asked, topic)

    def _ask(
        self, timeout_s: float, still_asked: Callable[[], bool], topic: str
    ) -> tuple[bool, str]:
        reply: SimpleQueue[tuple[bool, str]] = SimpleQueue()
        with self._lock:
            self._waiting = reply
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and still_asked():
            try:
                return reply.get(timeout=0.1)
            except Empty:
                continue
        if self.take() is not None:
            return False, f"no image came on {topic} within {timeout_s:g} s"
        return False, "not answered: the node stopped, or the network takes too long"


@dataclass(frozen=True)
class PipelineSettings:
    """The parameters that one image's way depends on; those that are called may change any time.

    Args:
        map_frame: Renames the bundle's default one.
        min_confidence: Answers below are rejected.
        planar: Keeps a base's pose level and at height zero.
        tf_timeout_s: How long a pose waits for the transform between camera and base.
    """

    map_frame: str
    min_confidence: Callable[[], float]
    planar: Callable[[], bool]
    tf_timeout_s: Callable[[], float]
