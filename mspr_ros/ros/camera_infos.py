"""Know the camera behind each image: CameraInfo kept by frame, waited for at the start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import CameraInfo

from mspr_ros.camera import CameraModel
from mspr_ros.data.camera_info import camera_from_info
from mspr_ros.errors import ImageError


def keep_newest(table: dict[str, Any], most: int = 64) -> None:
    """Drop the oldest entries of a table by frame_id: messages name as many as they like."""
    while len(table) > most:
        del table[next(iter(table))]


class CameraInfos:
    """Keep the newest CameraInfo of each optical frame.

    Several cameras may take turns on one topic: image and CameraInfo meet by `frame_id`, since
    DDS does not order two topics among each other.

    Args:
        rectified: The images are rectified: take P and no distortion.
        wanted: Whether the bundle in use makes use of intrinsics at all; asked each time.
        grace_s: How long the first image of a frame waits for its CameraInfo.
        warn: Called once a frame when it is used without intrinsics.
        clock_s: Monotonic seconds; tests put in their own.
    """

    def __init__(
        self,
        rectified: bool,
        wanted: Callable[[], bool],
        grace_s: float,
        warn: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rectified = rectified
        self._wanted = wanted
        self._grace_s = grace_s
        self._warn = warn
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._cameras: dict[str, CameraModel | None] = {}
        self._first_asked_s: dict[str, float] = {}
        self._warned: dict[str, None] = {}

    def take(self, info: CameraInfo) -> None:
        """Take in a message.

        Raises:
            ImageError: If it describes no camera that is known here; the frame's earlier one is
                forgotten.
        """
        camera: CameraModel | None = None
        try:
            camera = camera_from_info(info, self._rectified)
        finally:
            with self._lock:
                self._cameras[info.header.frame_id] = camera
                keep_newest(self._cameras)

    def is_ready(self, frame_id: str) -> bool:
        """Say whether an image of this frame may be used now, with or without intrinsics."""
        with self._lock:
            if not self._wanted() or frame_id in self._cameras:
                return True
            now = self._clock_s()
            waited_s = now - self._first_asked_s.setdefault(frame_id, now)
            keep_newest(self._first_asked_s)
            return waited_s >= self._grace_s

    def camera_for(self, frame_id: str, width: int, height: int) -> CameraModel | None:
        """Give the camera of an image.

        Returns:
            None if none is known, or none wanted.

        Raises:
            ImageError: If the camera is known but of another size than the image.
        """
        if not self._wanted():
            return None
        with self._lock:
            camera = self._cameras.get(frame_id)
            is_new = frame_id not in self._warned
            if camera is None:
                self._warned[frame_id] = None
                keep_newest(self._warned)
        if camera is None:
            if is_new:
                self._warn(
                    f"no usable camera_info for frame '{frame_id}': images are only resized, not "
                    "warped to the bundle's camera, which costs accuracy"
                )
            return None
        if (camera.width, camera.height) != (width, height):
            raise ImageError(
                f"camera_info is {camera.width}x{camera.height} but the image {width}x{height}; "
                "are both of the same camera and resolution?"
            )
        return camera
