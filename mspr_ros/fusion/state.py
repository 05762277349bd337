"""What the filter believes, and how that moves with odometry.

The state is the pose of a body (the robot's base, or the camera) in the map at a stamp, with the
odometry's pose of the same stamp: together they are `T_map_odom`. Its error lives on SE(3), in the
convention of all covariances here: x y z of the body's origin, then rotation about the map's fixed
X Y Z. Three more numbers follow: by how much odometry is systematically wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from mspr_ros.geometry import Array, invert_transform, pose_difference, shifted, skew

# After this way, wheels may err otherwise than before: another floor, another load.
BIAS_LENGTH_M = 30.0


@dataclass(frozen=True)
class FusionSettings:
    """How odometry drifts, and how far a pose is to be trusted.

    Args:
        drift_per_m: Spread of odometry's error of length, metres per metre.
        yaw_drift_per_m: Spread of its error of heading, radians per metre.
        yaw_drift_per_rad: The same per radian turned.
        white_share: Share of the drifts, after one metre or radian, that has no lasting sign.
        gate: Squared Mahalanobis distance (6 degrees of freedom) up to which a pose is believed.
        tail: Degrees of freedom of the poses' errors (Student's t): how much less a pose far off
            counts than one near by; infinite for errors of a normal distribution.
        covariance_scale: Factor on the poses' covariances before anything was seen.
        is_scale_learned: Whether the innovations may correct that factor.
        correlation_m, correlation_rad, correlation_s: Poses of images taken nearer together than
            this err alike, and count as few; zero for none.
        start_poses: So many poses that agree with each other begin.
        restart_poses: So many in a row that contradict the filter and agree with each other begin
            anew: the robot was carried off.
    """

    drift_per_m: float = 0.02
    yaw_drift_per_m: float = math.radians(1.0)
    yaw_drift_per_rad: float = 0.02
    white_share: float = 0.2
    gate: float = 22.5
    tail: float = 4.0
    covariance_scale: float = 1.0
    is_scale_learned: bool = True
    correlation_m: float = 0.6
    correlation_rad: float = 0.6
    correlation_s: float = 5.0
    start_poses: int = 3
    restart_poses: int = 10

    def bias_variance(self) -> Array:
        """Give the (3,) variances of odometry's systematic errors."""
        drifts = (self.drift_per_m, self.yaw_drift_per_m, self.yaw_drift_per_rad)
        return np.array(drifts) ** 2


@dataclass(frozen=True)
class Motion:
    """What odometry says between two stamps; `way_m`, `turn_rad`, `duration_s` add up."""

    way_m: float = 0.0
    turn_rad: float = 0.0
    duration_s: float = 0.0

    def plus(self, other: Motion) -> Motion:
        """Add a motion that follows."""
        return Motion(
            self.way_m + other.way_m,
            self.turn_rad + other.turn_rad,
            self.duration_s + other.duration_s,
        )


STANDING = Motion()


@dataclass(frozen=True)
class Belief:
    """The state at a stamp.

    Args:
        stamp_ns: When.
        T_odom_body: (4, 4), odometry's.
        T_map_body: (4, 4).
        biases: (3,) relative error of length, rad of yaw per metre, rad of yaw per radian turned.
        covariance: (9, 9) of the pose's error and the biases.
        since_pose: Motion since a pose was last taken in.
    """

    stamp_ns: int
    T_odom_body: Array
    T_map_body: Array
    biases: Array
    covariance: Array
    since_pose: Motion = STANDING

    @property
    def T_map_odom(self) -> Array:
        """Where odometry's frame lies in the map, (4, 4)."""
        return np.asarray(self.T_map_body @ invert_transform(self.T_odom_body))


def first_belief(
    stamp_ns: int,
    T_odom_body: Array,
    T_map_body: Array,
    covariance: Array,
    settings: FusionSettings,
) -> Belief:
    """Begin with one pose and its (6, 6) covariance; of odometry nothing is known yet."""
    whole = np.zeros((9, 9))
    whole[:6, :6] = covariance
    whole[6:, 6:] = np.diag(settings.bias_variance())
    return Belief(stamp_ns, T_odom_body, T_map_body, np.zeros(3), whole)


def moved(
    belief: Belief, stamp_ns: int, T_odom_body: Array, settings: FusionSettings
) -> tuple[Belief, Motion]:
    """Carry a belief along with odometry to a later stamp."""
    T_last_now = invert_transform(belief.T_odom_body) @ T_odom_body
    turn = Rotation.from_matrix(T_last_now[:3, :3]).as_rotvec()
    way_m = float(np.linalg.norm(T_last_now[:3, 3]))
    # Yaw is about odometry's z axis, wherever the body's axes point.
    axis_odom_in_map = (belief.T_map_body[:3, :3] @ belief.T_odom_body[:3, :3].T)[:, 2]
    turn_map = belief.T_map_body[:3, :3] @ turn
    yaw_rad = float(turn_map @ axis_odom_in_map)
    scale, yaw_per_m, yaw_per_rad = belief.biases
    step_map = belief.T_map_body[:3, :3] @ T_last_now[:3, 3]
    correction = Rotation.from_rotvec(
        -(yaw_per_m * way_m + yaw_per_rad * yaw_rad) * axis_odom_in_map
    ).as_matrix()
    T_map_body = np.eye(4)
    T_map_body[:3, :3] = correction @ belief.T_map_body[:3, :3] @ T_last_now[:3, :3]
    T_map_body[:3, 3] = belief.T_map_body[:3, 3] + (1.0 - scale) * step_map
    keep = math.exp(-way_m / BIAS_LENGTH_M)
    F = np.eye(9)
    F[:3, 3:6] = -skew((1.0 - scale) * step_map)
    F[:3, 6] = -step_map
    F[3:6, 7] = -way_m * axis_odom_in_map
    F[3:6, 8] = -yaw_rad * axis_odom_in_map
    F[6:, 6:] *= keep
    motion = Motion(way_m, float(np.linalg.norm(turn)), (stamp_ns - belief.stamp_ns) / 1e9)
    covariance = F @ belief.covariance @ F.T
    covariance[range(9), range(9)] += _noise(motion, keep, settings)
    now = replace(
        belief,
        stamp_ns=stamp_ns,
        T_odom_body=T_odom_body,
        T_map_body=T_map_body,
        biases=keep * belief.biases,
        covariance=covariance,
        since_pose=belief.since_pose.plus(motion),
    )
    return now, motion


def _noise(motion: Motion, keep: float, settings: FusionSettings) -> Array:
    """Give the (9,) variances that a motion adds: of any direction, of no lasting sign."""
    white = settings.white_share**2
    position = white * settings.drift_per_m**2 * motion.way_m
    rotation = white * (
        settings.yaw_drift_per_m**2 * motion.way_m
        + settings.yaw_drift_per_rad**2 * motion.turn_rad
    )
    biases = (1.0 - keep**2) * settings.bias_variance()
    return np.array([*(3 * [position]), *(3 * [rotation]), *biases])


def corrected(belief: Belief, seen: Array, noise: Array) -> Belief:
    """Take in a pose (4, 4) with the (6, 6) covariance of its noise: one Kalman update."""
    P = belief.covariance
    gain = np.linalg.solve(P[:6, :6] + noise, P[:6]).T  # (9, 6)
    error = gain @ pose_difference(seen, belief.T_map_body)
    keep = np.eye(9)
    keep[:, :6] -= gain
    # Joseph's form stays symmetric and positive.
    covariance = keep @ P @ keep.T + gain @ noise @ gain.T
    return replace(
        belief,
        T_map_body=shifted(belief.T_map_body, error),
        biases=belief.biases + error[6:],
        covariance=0.5 * (covariance + covariance.T),
        since_pose=STANDING,
    )
