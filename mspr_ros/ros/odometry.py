"""Fill nav_msgs/Odometry: pose, velocity, and how far both may be off."""

from __future__ import annotations

from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from mspr_ros.geometry import Array, invert_transform
from mspr_ros.ros.conversions import pose_from_transform
from mspr_ros.ros.correction import FLOOR_VARIANCE, PLANAR

# The simulator's wheels; see OdometryDrift.
DRIFT_PER_M = 0.02
DRIFT_PER_RAD = 0.02
SKEW_SHARE = 0.3  # of drift_per_m, in yaw
WHITE_SHARE = 0.1  # of drift_per_m, for the square root of a metre


class OdometryMessages:
    """Make messages of odometry that drifts as `OdometryDrift` does.

    The pose's covariance is carried along to first order: errors of one sign that add up (wheel
    size, skew, turning) are part of the state, white ones are added at each step.

    Args:
        odom_frame: The odometry's frame.
        base_frame: The robot's.
        interval_s: Between two updates.
    """

    def __init__(self, odom_frame: str, base_frame: str, interval_s: float) -> None:
        self._odom_frame = odom_frame
        self._base_frame = base_frame
        self._interval_s = interval_s
        self._T_odom_base: Array | None = None
        # x, y, yaw in the odometry's frame; scale, skew, turn scale.
        self._state = np.diag(
            [0.0, 0.0, 0.0, DRIFT_PER_M**2, (SKEW_SHARE * DRIFT_PER_M) ** 2, DRIFT_PER_RAD**2]
        )

    def message(self, T_odom_base: Array, stamp: Any) -> Odometry:
        """Give the message of the next pose (4, 4)."""
        last = T_odom_base if self._T_odom_base is None else self._T_odom_base
        motion = invert_transform(last) @ T_odom_base
        self._advance(motion, T_odom_base[:3, 3] - last[:3, 3])
        self._T_odom_base = np.array(T_odom_base)
        message = Odometry(
            header=Header(stamp=stamp, frame_id=self._odom_frame), child_frame_id=self._base_frame
        )
        message.pose.pose = pose_from_transform(T_odom_base)
        message.pose.covariance = _spatial(self._state[:3, :3]).ravel().tolist()
        velocity = motion[:3, 3] / self._interval_s
        turning = Rotation.from_matrix(motion[:3, :3]).as_rotvec() / self._interval_s
        linear, angular = message.twist.twist.linear, message.twist.twist.angular
        linear.x, linear.y, linear.z = map(float, velocity)
        angular.x, angular.y, angular.z = map(float, turning)
        message.twist.covariance = self._twist_covariance(motion).ravel().tolist()
        return message

    def _advance(self, motion: Array, step_odom: Array) -> None:
        """Carry the covariance over one motion, given in the frame that it started from."""
        way, turn = _way_and_turn(motion)
        F = np.eye(6)
        F[:2, 2] = (-step_odom[1], step_odom[0])  # a wrong heading turns the way that follows
        F[:2, 3] = step_odom[:2]
        F[2, 4], F[2, 5] = way, turn
        self._state = F @ self._state @ F.T
        self._state[range(3), range(3)] += _white_variance(way)

    def _twist_covariance(self, motion: Array) -> Array:
        way, turn = _way_and_turn(motion)
        white = _white_variance(way)
        along = np.outer(motion[:2, 3], motion[:2, 3]) * DRIFT_PER_M**2
        covariance = np.zeros((3, 3))
        covariance[:2, :2] = along + white * np.eye(2)
        covariance[2, 2] = (
            (SKEW_SHARE * DRIFT_PER_M * way) ** 2 + (DRIFT_PER_RAD * turn) ** 2 + white
        )
        return _spatial(covariance / self._interval_s**2)


def _way_and_turn(motion: Array) -> tuple[float, float]:
    way = float(np.hypot(motion[0, 3], motion[1, 3]))
    return way, float(np.arctan2(motion[1, 0], motion[0, 0]))


def _white_variance(way: float) -> float:
    return way * (WHITE_SHARE * DRIFT_PER_M) ** 2


def _spatial(planar: Array) -> Array:
    """Put the (3, 3) covariance of x, y, yaw into a (6, 6) one, nowhere zero on the diagonal.

    The model knows no error of height, roll and pitch, nor any of a robot that stands.
    """
    covariance: Array = FLOOR_VARIANCE * np.eye(6)
    covariance[np.ix_(PLANAR, PLANAR)] += planar
    return covariance
