"""Tell Nav2 or AMCL where the robot is: the base's planar pose on `initialpose`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mspr_ros.geometry import Array, carry_pose
from mspr_ros.ros.correction import LostWatch, planar_covariance, planar_transform
from mspr_ros.ros.sighting import Sighting
from mspr_ros.ros.tf_lookup import TfLookup, TfUnavailable

# After one that was sent because the robot seemed lost: AMCL needs a while to take it in.
LOST_PAUSE_S = 5.0


class InitialPose:
    """Decide when a pose goes to `initialpose`, and make it the base's.

    `once`: the first accepted pose after activation whose base TF knows. `on_request`: with each
    answer of `~/localize`. `when_lost`: TF's own `map -> base`, as AMCL or whoever else keeps it,
    has disagreed with several accepted poses in succession, or is not known; never while this node
    itself keeps that transform, with which it cannot disagree.

    Args:
        mode: Asked each time: `never`, `once`, `on_request`, `when_lost`.
        base_frame: The robot's.
        lookup: Reads TF.
        publish: Gets stamp, map frame, (4, 4) `T_map_base` and (6, 6) covariance.
        lost: Counts the disagreements.
        clock_s: Monotonic seconds; tests put in their own.
    """

    def __init__(
        self,
        *,
        mode: Callable[[], str],
        base_frame: str,
        lookup: TfLookup,
        publish: Callable[[Any, str, Array, Array], None],
        lost: LostWatch,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mode = mode
        self._base_frame = base_frame
        self._lookup = lookup
        self._publish = publish
        self._lost = lost
        self._clock_s = clock_s
        self._last_s = -float("inf")
        self._is_first = True
        self.num_published = 0

    def restart(self) -> None:
        """Begin anew, as after activation."""
        self._last_s = -float("inf")
        self._is_first = True
        self._lost.num_disagreeing = 0

    def is_wanted(self, asked_for: bool, publishes_tf: bool) -> bool:
        """Say whether an accepted pose is of interest.

        Args:
            asked_for: It answers `~/localize`.
            publishes_tf: This node itself keeps the transform above base or odometry.
        """
        mode = self._mode()
        if mode == "once":
            return self._is_first
        if mode == "when_lost":
            return not publishes_tf and self._clock_s() - self._last_s >= LOST_PAUSE_S
        return mode == "on_request" and asked_for

    def consider(self, sighting: Sighting, is_last: bool) -> bool:
        """Publish it, unless the robot is not lost, and say whether it was published.

        Args:
            sighting: An accepted pose.
            is_last: TF gets no more time: what it does not know now is not known.

        Raises:
            TfUnavailable: If TF does not know the base at the image's stamp (yet).
            TiltError: If the base is not level.
        """
        if not self.is_wanted(asked_for=True, publishes_tf=False):
            return False  # another one was published while this one waited for TF
        T_cam_base = self._lookup.T_target_source(
            sighting.camera_frame, self._base_frame, sighting.stamp
        )
        T_map_base, covariance = carry_pose(sighting.T_map_cam, sighting.covariance, T_cam_base)
        flat = planar_transform(T_map_base)
        if self._mode() == "when_lost" and not self._lost.is_lost(
            flat, self._T_map_base_tf(sighting, is_last)
        ):
            return False
        self._publish(
            sighting.stamp, sighting.map_frame, flat, planar_covariance(covariance, T_map_base)
        )
        self._is_first = False
        self.num_published += 1
        self._last_s = self._clock_s()
        return True

    def _T_map_base_tf(self, sighting: Sighting, is_last: bool) -> Array | None:
        try:
            return self._lookup.T_target_source(
                sighting.map_frame, self._base_frame, sighting.stamp
            )
        except TfUnavailable as error:
            # Nobody says where the robot is: lost. A transform that is merely late says nothing.
            if is_last and error.kind == "missing":
                return None
            raise
