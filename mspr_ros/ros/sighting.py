"""What the image's way hands on to what needs TF at its stamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mspr_ros.geometry import Array


@dataclass(frozen=True)
class Sighting:
    """An accepted pose of the camera, for what needs TF at its stamp.

    Args:
        stamp: The image's, not zero.
        map_frame: The frame the pose is given in.
        camera_frame: The camera's optical frame.
        T_map_cam: (4, 4).
        covariance: (6, 6) at the camera.
    """

    stamp: Any
    map_frame: str
    camera_frame: str
    T_map_cam: Array
    covariance: Array
