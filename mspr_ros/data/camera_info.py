"""Read a CameraInfo message, wherever it comes from: a live topic, or a bag of ROS 1 or 2."""

from __future__ import annotations

import re
from typing import Any

from mspr_ros.camera import CameraModel
from mspr_ros.lens import lens


def is_rectified_topic(topic: str) -> bool:
    """Say whether a topic carries rectified images, by the last part of its name.

    `/camera/image_rect` and `image_rect_color` do; `/direct_cam/image_raw` does not.
    """
    last = topic.removesuffix("/compressed").rpartition("/")[2]
    return re.search(r"(^|_)rect(ified)?(_|$)", last) is not None


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
    model, distortion = ("none", ()) if rectified else lens(str(info.distortion_model), d)
    return CameraModel(
        width=width // bin_x,
        height=height // bin_y,
        fx=fx / bin_x,
        fy=fy / bin_y,
        # Pixel (0, 0) is a pixel's centre: half a pixel is not scaled.
        cx=(cx + 0.5) / bin_x - 0.5,
        cy=(cy + 0.5) / bin_y - 0.5,
        distortion_model=model,
        distortion=distortion,
    )
