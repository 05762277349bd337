"""What follows from an accepted pose once TF knows its stamp: `map -> odom` and `initialpose`."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue

from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.initial_pose import InitialPose
from mspr_ros.ros.map_to_odom import MapToOdom
from mspr_ros.ros.sighting import Sighting
from mspr_ros.ros.tf_policy import TfDecision
from mspr_ros.ros.tf_worker import TfJob, TfWorker

STOP_TIMEOUT_S = 1.0
REPLY_MARGIN_S = 1.0  # beyond tf_timeout_s, for a machine that is busy
CORRECTION, INITIAL_POSE = "correction", "initialpose"


class TfOutputs:
    """Wait for TF in a thread of its own, so that neither images nor poses wait.

    Args:
        map_to_odom: Corrects odometry.
        initial_pose: Tells AMCL.
        rate_hz: How often the last correction is told again; asked each time.
        timeout_s: How long one pose waits for TF; asked each time.
        statistics: Counts what TF could not give, and why.
        on_error: Gets what should not have happened.
    """

    def __init__(
        self,
        *,
        map_to_odom: MapToOdom,
        initial_pose: InitialPose,
        rate_hz: Callable[[], float],
        timeout_s: Callable[[], float],
        statistics: FrameStatistics,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._map_to_odom = map_to_odom
        self._initial_pose = initial_pose
        self._rate_hz = rate_hz
        self._timeout_s = timeout_s
        self._statistics = statistics
        self._on_error = on_error
        self._worker: TfWorker | None = None

    def start(self) -> None:
        """Begin anew, with no correction of before."""
        self._map_to_odom.forget()
        self._initial_pose.restart()
        self._worker = TfWorker(
            self._map_to_odom.publish, lambda: 1.0 / self._rate_hz(), self._on_error
        )

    def restart(self) -> None:
        """Begin anew while running: time did."""
        self._map_to_odom.forget()
        self._initial_pose.restart()

    def stop(self) -> None:
        """Publish nothing more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(STOP_TIMEOUT_S)
        self._map_to_odom.forget()

    def take(self, sighting: Sighting, decision: TfDecision, asked_for: bool) -> str:
        """Hand over an accepted pose.

        Args:
            sighting: The pose.
            decision: What TF gets.
            asked_for: It answers `~/localize`.

        Returns:
            What the answer adds about `initialpose`; only then is TF waited for here.
        """
        if not (decision.publish and decision.odom_frame):
            self._map_to_odom.forget()
        else:
            odom_frame = decision.odom_frame
            self._submit(CORRECTION, lambda is_last: self._correct(sighting, odom_frame))
        if not self._initial_pose.is_wanted(asked_for, decision.publish):
            return ""
        result: SimpleQueue[str] = SimpleQueue()
        self._submit(INITIAL_POSE, lambda is_last: self._tell(sighting, is_last, result), result)
        if not asked_for:
            return ""
        try:
            return "; " + result.get(timeout=self._timeout_s() + REPLY_MARGIN_S)
        except Empty:
            return "; initialpose not published: the node stopped, or the machine is too busy"

    def values(self) -> dict[str, str]:
        """Give what diagnostics tell of it."""
        return {
            **self._map_to_odom.values(),
            "initialpose_published": str(self._initial_pose.num_published),
        }

    def _submit(
        self, what: str, attempt: Callable[[bool], None], result: SimpleQueue[str] | None = None
    ) -> None:
        worker = self._worker  # once: deactivation may take it away meanwhile
        if worker is None:
            return

        def refuse(kind: str, error: Exception) -> None:
            self._statistics.tf_problem(kind, f"no {what}: {error}")
            if result is not None:
                result.put(f"initialpose not published: {error}")

        def attempt_or_refuse(is_last: bool) -> None:
            try:
                attempt(is_last)
            except ValueError as error:  # a base that is not level: waiting does not help
                refuse("tilted", error)

        worker.submit(
            TfJob(attempt_or_refuse, lambda error: refuse(error.kind, error), self._timeout_s())
        )

    def _correct(self, sighting: Sighting, odom_frame: str) -> None:
        self._map_to_odom.correct(sighting, odom_frame)
        self._statistics.tf_used(CORRECTION)

    def _tell(self, sighting: Sighting, is_last: bool, result: SimpleQueue[str]) -> None:
        published = self._initial_pose.consider(sighting, is_last)
        result.put("initialpose published" if published else "initialpose not needed")
