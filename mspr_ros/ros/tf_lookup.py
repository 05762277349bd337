"""Look transforms up at a stamp, and say plainly why one cannot be had."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf2_ros
from rclpy.duration import Duration
from rclpy.time import Time

from mspr_ros.geometry import Array
from mspr_ros.ros.conversions import ns_from_stamp, transform_from_message

NEAR_NS = 500_000_000  # how late odometry may be to tell a jump from a drive
REMEDIES = {
    "missing": "nobody publishes it; check the frame names and who is running",
    "late": "it has not reached the image's stamp in tf_timeout_s; its publisher is slow, or "
    "stamps come from two clocks",
    "too_old": "TF has forgotten, or never knew, the time of the image; stamps come from two "
    "clocks, or the network takes longer than TF's memory",
    "invalid": "its quaternion has no direction",
}


class TfUnavailable(Exception):
    """A transform that TF cannot give (yet).

    Args:
        kind: `missing` (no such chain), `late` (not yet that far), `too_old` or `invalid`.
        reason: One line with the remedy.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class TfLookup:
    """Read a TF buffer.

    Args:
        buffer: Whoever spins the node fills it.
    """

    def __init__(self, buffer: tf2_ros.Buffer) -> None:
        self._buffer = buffer

    def clear(self) -> None:
        """Forget what has a stamp: the clock was set back, and what comes would count as old."""
        self._buffer.clear()

    def T_target_source(
        self, target: str, source: str, stamp: Any, timeout_s: float = 0.0
    ) -> Array:
        """Give the (4, 4) transform that takes source coordinates to target ones at a stamp.

        Raises:
            TfUnavailable: If TF does not know it within the time.
        """
        if target == source:  # TF need not have heard of it
            return np.eye(4)
        try:
            found = self._buffer.lookup_transform(
                target, source, Time.from_msg(stamp), Duration(nanoseconds=int(1e9 * timeout_s))
            )
            return transform_from_message(found.transform)
        except tf2_ros.ExtrapolationException as error:
            kind = "too_old" if "past" in str(error) else "late"
            raise _unavailable(kind, target, source, error) from None
        except tf2_ros.TransformException as error:
            raise _unavailable("missing", target, source, error) from None
        except ValueError as error:
            raise _unavailable("invalid", target, source, error) from None

    def T_target_source_near(self, target: str, source: str, stamp: Any) -> Array:
        """Give it at a stamp, or as it is last known if TF has not come that far; never waits.

        Raises:
            TfUnavailable: If the last one known is older than `NEAR_NS` too.
        """
        try:
            return self.T_target_source(target, source, stamp)
        except TfUnavailable as error:
            if error.kind != "late":
                raise
            try:
                latest = self._buffer.lookup_transform(target, source, Time())
            except tf2_ros.TransformException:
                raise error from None
            if abs(ns_from_stamp(stamp) - ns_from_stamp(latest.header.stamp)) > NEAR_NS:
                raise
            return transform_from_message(latest.transform)


def _unavailable(kind: str, target: str, source: str, error: Exception) -> TfUnavailable:
    detail = " ".join(str(error).split())
    return TfUnavailable(
        kind,
        f"no transform from {source} to {target} at the image, {kind.replace('_', ' ')}: "
        f"{REMEDIES[kind]} ({detail})",
    )
