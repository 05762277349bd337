"""Feed the filter of `map -> odom` from TF: odometry between two images, and at the image."""

from __future__ import annotations

import math
from collections import Counter

from mspr_ros.fusion.filter import BELIEVED, HELD, RESTARTED, STARTED, Event, FusionFilter
from mspr_ros.fusion.state import FusionSettings
from mspr_ros.geometry import Array, carry_pose
from mspr_ros.ros.conversions import ns_from_stamp, stamp_from_ns
from mspr_ros.ros.sighting import Sighting
from mspr_ros.ros.tf_lookup import TfLookup, TfUnavailable

# Odometry is read this often between two images, so that a curve counts as the way it is.
SAMPLE_NS = 100_000_000
MAX_SAMPLES = 100  # TF remembers about ten seconds

VERDICTS = (STARTED, BELIEVED, HELD, RESTARTED)


class MapFusion:
    """Keep one filter for one map and one chain of frames.

    The filter follows the robot's base if TF knows it, so that the camera may turn on it; else
    the camera.

    Args:
        lookup: Reads TF.
        base_frame: The robot's.
    """

    def __init__(self, lookup: TfLookup, base_frame: str) -> None:
        self._lookup = lookup
        self._base_frame = base_frame
        self._filter = FusionFilter()
        self._frames: tuple[str, ...] = ()
        self.counts: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget what is believed; the counts stay."""
        self._filter.reset()

    def T_map_odom(
        self, sighting: Sighting, odom_frame: str, settings: FusionSettings
    ) -> Array | None:
        """Take in a pose.

        Returns:
            (4, 4), what is believed now; None while too few poses agree.

        Raises:
            TfUnavailable: If TF does not know odometry at the image's stamp (yet).
        """
        body, T_map_body, covariance = self._of_body(sighting)
        T_odom_body = self._lookup.T_target_source(odom_frame, body, sighting.stamp)
        frames = (sighting.map_frame, odom_frame, body)
        if frames != self._frames or settings != self._filter.settings:
            self._filter, self._frames = FusionFilter(settings), frames
        stamp_ns = ns_from_stamp(sighting.stamp)
        self._follow_odometry(odom_frame, body, stamp_ns)
        try:
            verdict = self._filter.take(Event(stamp_ns, T_odom_body, T_map_body, covariance))
        except ValueError as error:  # later than any network takes
            raise TfUnavailable("too_old", str(error)) from None
        self.counts[verdict] += 1
        belief = self._filter.belief
        return None if belief is None else belief.T_map_odom

    def values(self) -> dict[str, str]:
        """Give what diagnostics tell of it."""
        values = {f"fusion_{verdict}": str(self.counts[verdict]) for verdict in VERDICTS}
        belief = self._filter.belief
        if belief is None:
            return {**values, "fusion": "waiting for poses that agree"}
        spread = [math.sqrt(max(value, 0.0)) for value in belief.covariance.diagonal()]
        values["fusion"] = (
            f"spread x {spread[0]:.3f} y {spread[1]:.3f} m yaw {math.degrees(spread[5]):.2f} deg"
        )
        values["fusion_covariance_scale"] = f"{self._filter.covariance_scale():.2f}"
        return values

    def _of_body(self, sighting: Sighting) -> tuple[str, Array, Array]:
        """Give the body followed, its pose and the covariance there."""
        camera, stamp = sighting.camera_frame, sighting.stamp
        try:
            T_cam_base = self._lookup.T_target_source(camera, self._base_frame, stamp)
        except TfUnavailable as error:
            if error.kind != "missing":
                raise
            return camera, sighting.T_map_cam, sighting.covariance
        return (
            self._base_frame,
            *carry_pose(sighting.T_map_cam, sighting.covariance, T_cam_base),
        )

    def _follow_odometry(self, odom_frame: str, body: str, until_ns: int) -> None:
        """Show the filter the way odometry took since the last image."""
        since_ns = self._filter.stamp_ns
        if since_ns is None or until_ns <= since_ns:
            return
        interval_ns = max(SAMPLE_NS, (until_ns - since_ns) // MAX_SAMPLES)
        for stamp_ns in range(since_ns + interval_ns, until_ns, interval_ns):
            try:
                T = self._lookup.T_target_source(odom_frame, body, stamp_from_ns(stamp_ns))
            except TfUnavailable:
                continue  # forgotten, or never known: the next one goes on from before
            self._filter.take(Event(stamp_ns, T))
