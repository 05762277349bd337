"""What else an image might mean, and how sure the answer is: for markers and diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from mspr_ros.calibration.hypotheses import PoseHypothesis
from mspr_ros.calibration.model import Calibration
from mspr_ros.drawing import LIFETIME_S, LINE_WIDTH_M, camera_lines
from mspr_ros.geometry import Array, invert_transform
from mspr_ros.localizer import PoseEstimate

HYPOTHESIS_MARKER = "hypotheses"  # namespace
# A reading that is hardly likely can still be seen, one that is likely is not taken for the pose.
ALPHA_LEAST, ALPHA_MOST = 0.1, 0.5


def hypotheses_marker(
    header: Header,
    hypotheses: Sequence[PoseHypothesis],
    T_map_cam: Array,
    map_frames: Mapping[str, str],
) -> Marker:
    """Draw the other ways to read an image as faint cameras, fainter the less likely they are.

    Args:
        header: Of the image's pose; its frame is the map of the first reading.
        hypotheses: The most likely first, which is the pose itself and is not drawn.
        T_map_cam: (4, 4) of the camera as it is mounted, by the first reading; the others are
            turned alike.
        map_frames: By scene. A reading in another scene's map cannot be drawn in this one.

    Returns:
        One marker; it takes the last drawing away where there is nothing to draw.
    """
    marker = Marker(header=header, ns=HYPOTHESIS_MARKER, id=0, type=Marker.LINE_LIST)
    marker.action = Marker.DELETE
    if len(hypotheses) < 2:
        return marker
    best = hypotheses[0]
    if not np.isfinite(best.T_map_cam).all():
        return marker
    T_cam_mounted = invert_transform(best.T_map_cam) @ T_map_cam
    lines = np.array([(*point, 1.0) for point in camera_lines()])
    for other in hypotheses[1:]:
        same_map = map_frames.get(other.scene) == map_frames.get(best.scene)
        if not same_map or not np.isfinite(other.T_map_cam).all():
            continue
        alpha = float(np.clip(other.probability, ALPHA_LEAST, ALPHA_MOST))
        for x, y, z, _ in lines @ (other.T_map_cam @ T_cam_mounted).T:
            marker.points.append(Point(x=float(x), y=float(y), z=float(z)))
            marker.colors.append(ColorRGBA(r=0.6, g=0.6, b=0.6, a=alpha))
    if marker.points:
        marker.action = Marker.ADD
        marker.pose.orientation.w = 1.0
        marker.scale.x = LINE_WIDTH_M
        marker.lifetime.sec = LIFETIME_S
    return marker


def no_hypotheses(header: Header) -> Marker:
    """Take the drawing away: the image of this header gave no pose."""
    return Marker(header=header, ns=HYPOTHESIS_MARKER, id=0, action=Marker.DELETE)


def estimate_values(estimate: PoseEstimate | None) -> dict[str, str]:
    """Tell of the last answer, accepted or not, how sure it is; for diagnostics."""
    if estimate is None:
        return {}
    readings = ", ".join(f"{each.scene} {each.probability:.2f}" for each in estimate.hypotheses)
    return {
        "confidence": f"{estimate.confidence:.2f}",
        "scene_probability": f"{estimate.scene_probability:.2f}",
        # "nan" where the bundle has no score for unknown places.
        "known_score": f"{estimate.known_score:.2f}",
        "hypotheses": readings,
    }


def calibration_text(calibration: Calibration | None) -> str:
    """Tell how a bundle was calibrated; `uncalibrated` where it was not."""
    if calibration is None:
        return "uncalibrated"
    text = (
        f"calibrated on {calibration.num_frames} frames in {calibration.num_blocks} blocks, "
        f"{calibration.date[:10]}"
    )
    for one in calibration.coverage:
        if one.level == calibration.level:
            text += (
                f"; {one.level:.0%} regions covered {one.position:.1%} of positions, "
                f"{one.orientation:.1%} of orientations"
            )
    return text
