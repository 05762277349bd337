"""Wheel odometry: the true motion, measured a little wrong."""

from __future__ import annotations

import numpy as np

from mspr_ros.geometry import Array, invert_transform


class OdometryDrift:
    """Integrate the base's motion with errors that grow with the way and with turning.

    Args:
        seed: Fixes the errors.
        drift_per_m: Spread of the error of position (metres) and of yaw (radians) per metre.
        drift_per_rad: Spread of the error of yaw per radian turned.
        systematic: The errors of one sign, instead of drawn ones: of length (share of the way), of
            yaw per metre and of yaw per radian turned (radians).
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        drift_per_m: float = 0.02,
        drift_per_rad: float = 0.02,
        systematic: tuple[float, float, float] | None = None,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._drift_per_m = drift_per_m
        self._drift_per_rad = drift_per_rad
        # Wheels are a little too large or unequal: errors of one sign that add up.
        self._scale, self._skew = drift_per_m * self._rng.standard_normal(2) * (1.0, 0.3)
        self._turn_scale = drift_per_rad * float(self._rng.standard_normal())
        if systematic is not None:
            self._scale, self._skew, self._turn_scale = systematic
        self._scene: str | None = None
        self._T_map_base = np.eye(4)
        self.T_odom_base: Array = np.eye(4)

    def update(self, scene: str, T_map_base: Array) -> Array:
        """Add the motion since the last call; gives T_odom_base (4, 4).

        Odometry starts at the identity. In another scene the robot was carried there: wheels
        notice nothing, so odometry stays where it was.
        """
        if scene == self._scene:
            motion = invert_transform(self._T_map_base) @ T_map_base
            self.T_odom_base = self.T_odom_base @ motion @ self._error(motion)
        self._scene, self._T_map_base = scene, np.array(T_map_base)
        return self.T_odom_base.copy()

    def _error(self, motion: Array) -> Array:
        """Draw the error made over one motion, as a planar transform at its end."""
        way = float(np.linalg.norm(motion[:2, 3]))
        turn = float(np.arctan2(motion[1, 0], motion[0, 0]))
        white = self._rng.standard_normal(3) * np.sqrt(way) * 0.1 * self._drift_per_m
        yaw = self._skew * way + self._turn_scale * turn + white[2]
        error = np.eye(4)
        error[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        # The motion is given in the frame it started from, the error in the one it ends in.
        error[:2, 3] = motion[:2, :2].T @ (self._scale * motion[:2, 3] + white[:2])
        return error
