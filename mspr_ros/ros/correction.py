"""The mathematics of `map -> odom`: compose, flatten, stamp, and notice a lost robot. No ROS here.

Frames as everywhere: `T_map_odom` takes odometry coordinates to map coordinates. Odometry is never
touched; what it is wrong by goes into the one transform above it (REP-105).
"""

from __future__ import annotations

import math

import numpy as np

from mspr_ros.geometry import Array, ArrayLike, invert_transform

# A base that leans further than this is no robot on a floor: the pose, the extrinsics or the name
# of the base is wrong, and its heading would be arbitrary.
MAX_TILT_RAD = math.radians(45.0)
# Where a planar pose asserts zero (height, roll, pitch): filters need more than zero.
# Square metres or radians, (mm)^2 and (mrad)^2.
FLOOR_VARIANCE = 1e-6
PLANAR = (0, 1, 5)  # x, y, yaw among x y z and rotation about X Y Z
# A clock that goes back by more than this has been set anew (a bag that starts again); by less, it
# is being adjusted and will catch up.
JUMP_BACK_NS = 1_000_000_000


class TiltError(ValueError):
    """A pose that is no pose of a robot on a level floor."""


def map_to_odom(T_map_cam: ArrayLike, T_odom_cam: ArrayLike) -> Array:
    """Give `T_map_odom` with which TF shows the camera where it was seen.

    Args:
        T_map_cam: (4, 4), of an image.
        T_odom_cam: (4, 4), what TF said of the camera at that image's stamp.
    """
    T_cam_odom = invert_transform(T_odom_cam)
    return np.asarray(np.asarray(T_map_cam, dtype=np.float64) @ T_cam_odom)


def planar_map_to_odom(T_map_base: ArrayLike, T_odom_base: ArrayLike) -> Array:
    """Give `T_map_odom` with which TF shows the base level, at height zero, where it was seen.

    The base is flattened, not `T_map_odom`: with odometry that knows a ramp, or a base above the
    wheels' axle, `T_odom_base` is not planar itself, and the base would lean again.

    Raises:
        TiltError: If the base leans further than any wheeled robot does.
    """
    return map_to_odom(planar_transform(T_map_base), T_odom_base)


def planar_transform(T_map_base: ArrayLike) -> Array:
    """Keep x, y and yaw of a base: the heading of its x axis, level, at height zero.

    Raises:
        TiltError: If its z axis is more than `MAX_TILT_RAD` off the map's.
    """
    T = np.asarray(T_map_base, dtype=np.float64)
    tilt_rad = math.acos(min(1.0, max(-1.0, float(T[2, 2]))))
    if not tilt_rad <= MAX_TILT_RAD:
        raise TiltError(
            f"the base is tilted by {math.degrees(tilt_rad):.0f} deg: not a robot on a floor; "
            "check base_frame and its transform to the camera, or set planar: false"
        )
    yaw = yaw_rad(T)
    flat = np.eye(4)
    flat[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    flat[:2, 3] = T[:2, 3]
    return flat


def yaw_rad(T_map_base: ArrayLike) -> float:
    """Give the heading of a frame's x axis in the map, in (-pi, pi]."""
    T = np.asarray(T_map_base, dtype=np.float64)
    return math.atan2(float(T[1, 0]), float(T[0, 0]))


def planar_covariance(covariance: ArrayLike, T_map_base: ArrayLike) -> Array:
    """Give the covariance of the pose that `planar_transform` keeps.

    Args:
        covariance: (6, 6), x y z then rotation about the map's fixed axes, at the base's origin.
        T_map_base: (4, 4), before it is flattened: a turn about X or Y changes the heading of a
            base that leans.

    Returns:
        (6, 6): x, y, yaw by first-order propagation, `FLOOR_VARIANCE` for the rest.
    """
    x_axis = np.asarray(T_map_base, dtype=np.float64)[:3, 0]
    level = float(x_axis[0] ** 2 + x_axis[1] ** 2)
    jacobian = np.zeros((3, 6))
    jacobian[0, 0] = jacobian[1, 1] = jacobian[2, 5] = 1.0
    # d yaw, with d x_axis = rotation x x_axis and yaw = atan2(x_axis[1], x_axis[0])
    jacobian[2, 3:5] = -x_axis[2] * x_axis[:2] / level
    flat: Array = FLOOR_VARIANCE * np.eye(6)
    flat[np.ix_(PLANAR, PLANAR)] += jacobian @ np.asarray(covariance, np.float64) @ jacobian.T
    return flat


class IncreasingStamps:
    """Give stamps for a transform that is told again and again: never one twice, never backwards.

    TF ignores a stamp that it knows and one older than what it keeps, and warns of both.
    """

    def __init__(self) -> None:
        self._last_now_ns: int | None = None
        self._last_ns: int | None = None

    def restarted(self, now_ns: int) -> bool:
        """Say whether the clock was set back; stamps then start anew."""
        restarted = self._last_now_ns is not None and now_ns < self._last_now_ns - JUMP_BACK_NS
        if restarted:
            self._last_ns = None
        if restarted or self._last_now_ns is None or now_ns > self._last_now_ns:
            self._last_now_ns = now_ns
        return restarted

    def next_ns(self, now_ns: int, tolerance_ns: int, *, is_news: bool = False) -> int | None:
        """Give now + tolerance; None while that is no later than the last one given.

        A simulated clock may stand still, and before its first message it says zero. News do not
        wait for it: they get the nanosecond after the last stamp.
        """
        stamp_ns = now_ns + tolerance_ns
        if is_news and self._last_ns is not None:
            stamp_ns = max(stamp_ns, self._last_ns + 1)
        if now_ns == 0 or (self._last_ns is not None and stamp_ns <= self._last_ns):
            return None
        self._last_ns = stamp_ns
        return stamp_ns


class LostWatch:
    """Notice that TF has the robot elsewhere than the camera sees it, several times in a row.

    Args:
        num_poses: So many poses in succession make a lost robot.
        distance_m: Further apart in the plane than this is a disagreement,
        angle_rad: and so is a heading that differs by more.
    """

    def __init__(self, num_poses: int, distance_m: float, angle_rad: float) -> None:
        self._num_poses = num_poses
        self._distance_m = distance_m
        self._angle_rad = angle_rad
        self.num_disagreeing = 0

    def is_lost(self, T_map_base: Array, T_map_base_tf: Array | None) -> bool:
        """Take in one accepted pose, and what TF says (None: nothing); count anew once lost."""
        if T_map_base_tf is not None and self._agree(T_map_base, T_map_base_tf):
            self.num_disagreeing = 0
            return False
        self.num_disagreeing += 1
        if self.num_disagreeing < self._num_poses:
            return False
        self.num_disagreeing = 0
        return True

    def _agree(self, T_map_base: Array, T_map_base_tf: Array) -> bool:
        x, y = (T_map_base - T_map_base_tf)[:2, 3]
        turn = yaw_rad(T_map_base) - yaw_rad(T_map_base_tf)
        turn = math.remainder(turn, 2.0 * math.pi)
        return math.hypot(x, y) <= self._distance_m and abs(turn) <= self._angle_rad
