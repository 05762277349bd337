"""Keep `map -> odom` in TF: corrected by each accepted pose, told again and again (REP-105)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from mspr_ros.geometry import Array
from mspr_ros.ros.correction import IncreasingStamps, map_to_odom, planar_map_to_odom
from mspr_ros.ros.tf_lookup import TfLookup
from mspr_ros.ros.tf_policy import ParentWatch


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


@dataclass(frozen=True)
class Correction:
    """What odometry is wrong by, as last seen."""

    map_frame: str
    odom_frame: str
    T_map_odom: Array


class MapToOdom:
    """Compute the correction at the image's stamp and publish it at ROS time now + tolerance.

    The stamps lie a little ahead, so that whoever asks TF between two of them finds it there. A
    frame without an accepted pose leaves the last correction as it is: odometry carries on.

    Args:
        node: Its clock stamps.
        base_frame: What `planar` keeps level.
        lookup: Reads TF.
        watch: Knows who else gives the odometry's frame a parent.
        send: Publishes (4, 4), parent, child, stamp in ns on /tf.
        planar: Asked each time.
        tolerance_s: Asked each time.
    """

    def __init__(
        self,
        *,
        node: Node,
        base_frame: str,
        lookup: TfLookup,
        watch: ParentWatch,
        send: Callable[[Array, str, str, int], None],
        planar: Callable[[], bool],
        tolerance_s: Callable[[], float],
    ) -> None:
        self._node = node
        self._base_frame = base_frame
        self._lookup = lookup
        self._watch = watch
        self._send = send
        self._planar = planar
        self._tolerance_s = tolerance_s
        self._stamps = IncreasingStamps()
        self._lock = threading.Lock()  # the worker forgets, the TF thread corrects and publishes
        self._last: Correction | None = None
        self.num_published = 0

    @property
    def last(self) -> Correction | None:
        """The correction that is being published; None before the first one."""
        return self._last

    def forget(self) -> None:
        """Publish nothing until the next correction."""
        with self._lock:
            self._last = None

    def correct(self, sighting: Sighting, odom_frame: str) -> None:
        """Take in an accepted pose, and publish at once.

        Raises:
            TfUnavailable: If TF does not know odometry at the image's stamp (yet).
            TiltError: If the base is to be planar and cannot be.
        """
        find, stamp, camera = self._lookup.T_target_source, sighting.stamp, sighting.camera_frame
        if self._planar():
            T_map_base = sighting.T_map_cam @ find(camera, self._base_frame, stamp)
            T_map_odom = planar_map_to_odom(T_map_base, find(odom_frame, self._base_frame, stamp))
        else:
            T_map_odom = map_to_odom(sighting.T_map_cam, find(odom_frame, camera, stamp))
        with self._lock:
            self._last = Correction(sighting.map_frame, odom_frame, T_map_odom)
        self.publish(is_news=True)

    def publish(self, *, is_news: bool = False) -> None:
        """Tell the last correction; again only with a later stamp."""
        now_ns = self._node.get_clock().now().nanoseconds
        with self._lock:
            if self._stamps.restarted(now_ns):  # a bag that starts again
                self._lookup.clear()
                self._last = None
            if self._last is not None and self._watch.parents(self._last.odom_frame):
                self._last = None  # somebody else publishes it; the policy says so
            if self._last is None:
                return
            stamp_ns = self._stamps.next_ns(
                now_ns, int(1e9 * self._tolerance_s()), is_news=is_news
            )
            if stamp_ns is None:
                return
            correction = self._last
            self._send(
                correction.T_map_odom, correction.map_frame, correction.odom_frame, stamp_ns
            )
            self.num_published += 1
