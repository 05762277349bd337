"""Keep `map -> odom` in TF: corrected by accepted poses, told again and again (REP-105)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node

from mspr_ros.fusion.state import FusionSettings
from mspr_ros.geometry import Array
from mspr_ros.ros.correction import IncreasingStamps, map_to_odom, planar_map_to_odom
from mspr_ros.ros.map_fusion import MapFusion
from mspr_ros.ros.sighting import Sighting
from mspr_ros.ros.tf_lookup import TfLookup
from mspr_ros.ros.tf_policy import ParentWatch


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
        fusion: Asked each time: how to fuse poses with odometry; None to take each as it is.
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
        fusion: Callable[[], FusionSettings | None] = lambda: None,
    ) -> None:
        self._node = node
        self._base_frame = base_frame
        self._lookup = lookup
        self._watch = watch
        self._send = send
        self._planar = planar
        self._tolerance_s = tolerance_s
        self._fusion = fusion
        self._fused = MapFusion(lookup, base_frame)
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
            self._fused.reset()

    def values(self) -> dict[str, str]:
        """Give what diagnostics tell of it."""
        values = {"map_to_odom_published": str(self.num_published)}
        last = self._last
        if last is not None:
            x, y, z = last.T_map_odom[:3, 3]
            link = f"{last.map_frame} -> {last.odom_frame}"
            values["map_to_odom"] = f"{link}: x {x:.3f} y {y:.3f} z {z:.3f} m"
        if self._fusion() is not None:
            with self._lock:
                values.update(self._fused.values())
        return values

    def correct(self, sighting: Sighting, odom_frame: str) -> None:
        """Take in an accepted pose, and publish at once.

        Raises:
            TfUnavailable: If TF does not know odometry at the image's stamp (yet).
            TiltError: If the base is to be planar and cannot be.
        """
        T_map_odom = self._corrected(sighting, odom_frame)
        if T_map_odom is None:
            return  # the filter waits for poses that agree
        with self._lock:
            self._last = Correction(sighting.map_frame, odom_frame, T_map_odom)
        self.publish(is_news=True)

    def _corrected(self, sighting: Sighting, odom_frame: str) -> Array | None:
        find, stamp, camera = self._lookup.T_target_source, sighting.stamp, sighting.camera_frame
        fusion = self._fusion()
        T_odom_cam = find(odom_frame, camera, stamp)
        T_map_cam = sighting.T_map_cam
        if fusion is not None:
            with self._lock:
                fused = self._fused.T_map_odom(sighting, odom_frame, fusion)
            if fused is None:
                return None
            T_map_cam = fused @ T_odom_cam
        if not self._planar():
            return map_to_odom(T_map_cam, T_odom_cam)
        T_map_base = T_map_cam @ find(camera, self._base_frame, stamp)
        return planar_map_to_odom(T_map_base, find(odom_frame, self._base_frame, stamp))

    def publish(self, *, is_news: bool = False) -> None:
        """Tell the last correction; again only with a later stamp."""
        now_ns = self._node.get_clock().now().nanoseconds
        with self._lock:
            if self._stamps.restarted(now_ns):  # a bag that starts again
                self._lookup.clear()
                self._last = None
                self._fused.reset()
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
