"""Draw with matplotlib what RViz would show: the node's own messages on a made-up drive.

    python test/draw_markers.py docs/images/rviz.png

RViz cannot run everywhere. The markers, covariance and frames are those that the node published
over DDS; only the poses are invented (a circle, doubtful on one side), so no bundle is needed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from ros_support import FakeLocalizer, harness, image_message, info_message, wait_until
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from visualization_msgs.msg import Marker, MarkerArray

from mspr_ros.bundle import SceneInfo
from mspr_ros.geometry import transform_from_pose
from mspr_ros.ros import outputs
from mspr_ros.ros.conversions import transform_from_pose_message
from mspr_ros.ros.live_run import live_environment
from mspr_ros.ros.localizer_node import LocalizerNode

NUM_POSES = 60
CAMERA_ABOVE_FLOOR_M = 1.2


def pose_on_circle(share: float) -> tuple[Any, float]:
    """Give T_map_cam, looking outward, and a confidence, for a share of the circle."""
    angle = 1.6 * np.pi * share
    position = (4.0 * np.cos(angle), 3.0 * np.sin(angle), CAMERA_ABOVE_FLOOR_M)
    # Optical axes of a camera that looks along the heading: x right, y down, z forward.
    optical = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    heading = Rotation.from_euler("z", angle)
    confidence = 0.55 + 0.4 * np.cos(angle)
    return transform_from_pose(position, (heading * optical).as_quat()), float(confidence)


def drive() -> dict[str, list[Any]]:
    """Run the node over the drive and give what it published, by topic."""
    fake = FakeLocalizer()
    low, high = (-5.0, -4.0, 0.8), (5.0, 4.0, 1.6)
    fake.metadata.scenes = (SceneInfo("kitchen", position_min=low, position_max=high),)
    with harness() as ros:
        values = {"bundle": "made_up", "tf_settle_s": 0.2}
        node = LocalizerNode(lambda *a, **o: fake, **ros.parameters(values))
        heard = {
            "pose": ros.collect(PoseStamped, "localizer/pose"),
            "covariance": ros.collect(PoseWithCovarianceStamped, "localizer/pose_with_covariance"),
            "markers": ros.collect(MarkerArray, "localizer/markers"),
            "map_markers": ros.collect(MarkerArray, "localizer/map_markers"),
        }
        ros.add(node)
        wait_until(lambda: node.state_label == "active")
        images = ros.publisher(Image, "image")
        ros.publisher(CameraInfo, "camera_info").publish(info_message())
        for publisher in ("_pose", "_covariance", "_markers", "_map_markers"):
            connected = getattr(node._outputs, publisher).get_subscription_count
            wait_until(lambda connected=connected: connected() > 0)
        for index in range(NUM_POSES):
            T_map_cam, confidence = pose_on_circle(index / NUM_POSES)
            spread = 0.02 + 0.3 * (1.0 - confidence)
            covariance = np.diag([spread**2, (2 * spread) ** 2, 0.01, 0.001, 0.001, 0.01])
            fake.answer.update(T_map_cam=T_map_cam, confidence=confidence, covariance=covariance)
            before = len(heard["pose"])
            images.publish(image_message(1_000_000_000 + index * 100_000_000))
            wait_until(lambda before=before: len(heard["pose"]) > before, "a pose")
        wait_until(lambda: all(heard.values()) and len(heard["markers"]) == NUM_POSES)
    return heard


def draw_marker(axes: Any, marker: Marker) -> None:
    """Draw a marker as RViz does: its points by its pose, by twos or as one line."""
    if marker.action != Marker.ADD:
        return
    T_map_marker = transform_from_pose_message(marker.pose)
    color = (marker.color.r, marker.color.g, marker.color.b, marker.color.a)
    if marker.type == Marker.TEXT_VIEW_FACING:
        axes.text(*T_map_marker[:3, 3], marker.text, color=color, ha="center")
        return
    points = np.array([[point.x, point.y, point.z] for point in marker.points])
    points = points @ T_map_marker[:3, :3].T + T_map_marker[:3, 3]
    step = 2 if marker.type == Marker.LINE_LIST else 1
    for index in range(0, len(points) - 1, step):
        if marker.colors:
            own = marker.colors[index]
            color = (own.r, own.g, own.b, own.a)
        axes.plot(*points[index : index + 2].T, color=color, linewidth=2.5 if step == 1 else 1.2)


def draw_covariance(axes: Any, message: PoseWithCovarianceStamped) -> None:
    """Draw the ellipse of one standard deviation in the plane, at the pose."""
    covariance = np.reshape(message.pose.covariance, (6, 6))[:2, :2]
    position = message.pose.pose.position
    circle = np.linspace(0.0, 2.0 * np.pi, 60)
    ellipse = np.linalg.cholesky(covariance) @ np.stack([np.cos(circle), np.sin(circle)])
    axes.plot(
        position.x + ellipse[0], position.y + ellipse[1], position.z, color="purple", alpha=0.6
    )


def draw(heard: dict[str, list[Any]], path: str) -> None:
    """Draw everything as it was at the end, with the camera at every twelfth image."""
    figure = plt.figure(figsize=(9, 7))
    axes = figure.add_subplot(projection="3d")
    for marker in heard["map_markers"][-1].markers:
        draw_marker(axes, marker)
    for index in range(0, NUM_POSES, 12):
        for marker in heard["markers"][index].markers:
            draw_marker(axes, marker)
        draw_covariance(axes, heard["covariance"][index])
    axes.set(xlabel="map x, m", ylabel="map y, m", zlabel="map z, m")
    axes.set_title("what RViz is told: way by confidence, cameras, 1-sigma, taught volume")
    axes.set_aspect("equal")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    outputs.PATH_INTERVAL_NS = 0  # the drive takes no time
    os.environ.update(live_environment())
    draw(drive(), sys.argv[1])


if __name__ == "__main__":
    main()
