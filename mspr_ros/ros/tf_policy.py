"""Decide which transform to publish, and never give a frame a second parent."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tf2_ros

from mspr_ros.ros.camera_infos import keep_newest
from mspr_ros.ros.conversions import ns_from_stamp

ECHOES = 2000  # own stamps remembered: how far behind /tf may be heard, at the highest rate
# Whoever has not told a link for so long, by ROS time, has gone: tf2 keeps transforms no longer.
FORGOTTEN_S = 10.0
MOST_FRAMES = 1000  # beyond, those that have gone are dropped: some number their frames for ever
# TF that never rests (a tracker that names a frame for each person) is not waited for longer than
# so many times the usual.
RESTLESS = 5.0


class ParentWatch:
    """Remember who stands above whom in TF, apart from what this node publishes itself.

    A buffer keeps one parent for a frame, the last one heard; here a second one is seen.

    Args:
        clock_s: Monotonic seconds; tests put in their own.
        ros_clock_s: Seconds of ROS time, which stands still with a simulation; else `clock_s`.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = time.monotonic,
        ros_clock_s: Callable[[], float] | None = None,
    ) -> None:
        self.clock_s = clock_s
        self._ros_clock_s = ros_clock_s or clock_s
        self._lock = threading.Lock()
        # By child and parent: when it was told last; infinity for a static link.
        self._parents: dict[str, dict[str, float]] = {}
        self._own: dict[tuple[str, str], deque[int]] = {}  # the stamps sent, in ns
        self._changed_s = clock_s()

    def _has_gone(self, told_s: float) -> bool:
        return self._ros_clock_s() - told_s > FORGOTTEN_S

    def note(
        self, parent: str, child: str, stamp_ns: int | None = None, *, is_static: bool = False
    ) -> None:
        """Take in a link heard on /tf or /tf_static.

        The link that this node publishes, with a stamp that it never gave, is somebody else's:
        AMCL calls its `map -> odom` by the same names.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        with self._lock:
            known = self._parents.setdefault(child, {})
            own_ns = self._own.get((parent, child))
            if own_ns is not None and (stamp_ns is None or stamp_ns in own_ns):
                return  # an echo
            if parent not in known:
                self._changed_s = self.clock_s()
            known[parent] = math.inf if is_static else self._ros_clock_s()
            if len(self._parents) > MOST_FRAMES:
                self._parents = {
                    each: links
                    for each, links in self._parents.items()
                    if not all(self._has_gone(told_s) for told_s in links.values())
                }

    def note_own(self, parent: str, child: str, stamp_ns: int | None = None) -> None:
        """Take in a link before this node publishes it: its echo is no second parent."""
        with self._lock:
            link = (parent.lstrip("/"), child.lstrip("/"))
            own_ns = self._own.setdefault(link, deque(maxlen=ECHOES))
            if stamp_ns is not None:
                own_ns.append(stamp_ns)

    def quiet_s(self) -> float:
        """Give the time since the last new link."""
        with self._lock:
            return self.clock_s() - self._changed_s

    def parents(self, frame: str) -> list[str]:
        """Give the frames that others put above a frame, normally none or one.

        One that nobody has told for `FORGOTTEN_S` no longer counts.
        """
        with self._lock:
            known = self._parents.get(frame.lstrip("/"), {})
            return [parent for parent, told_s in known.items() if not self._has_gone(told_s)]

    def ancestors(self, frame: str) -> list[str]:
        """Give the frames above a frame, nearest first, following the first parent heard."""
        found: list[str] = []
        frame = frame.lstrip("/")
        with self._lock:
            while self._parents.get(frame):
                frame = next(iter(self._parents[frame]))
                if frame in found:
                    break  # a loop in TF
                found.append(frame)
        return found


class WatchedBuffer(tf2_ros.Buffer):
    """A TF buffer that tells a `ParentWatch` of every link it is given."""

    def __init__(self, watch: ParentWatch) -> None:
        super().__init__()
        self._watch = watch

    def set_transform(self, transform: Any, authority: str) -> None:
        """Add a transform that holds at its stamp."""
        self._note(transform)
        super().set_transform(transform, authority)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Add a transform that always holds."""
        self._note(transform, is_static=True)
        super().set_transform_static(transform, authority)

    def _note(self, transform: Any, *, is_static: bool = False) -> None:
        header = transform.header
        stamp_ns = ns_from_stamp(header.stamp)
        self._watch.note(header.frame_id, transform.child_frame_id, stamp_ns, is_static=is_static)


@dataclass(frozen=True)
class TfDecision:
    """Say which frame the pose is given for, and whether its transform is published.

    Args:
        frame: The frame whose pose is published.
        publish: Whether TF gets it too.
        reason: One line for diagnostics.
        is_problem: Whether the user should be warned.
        odom_frame: If not empty, TF does not get `frame` but the odometry's frame above it, so
            that TF as a whole shows `frame` where it was seen.
    """

    frame: str
    publish: bool
    reason: str
    is_problem: bool = False
    odom_frame: str = ""

    @property
    def child(self) -> str:
        """The frame that gets a parent in TF."""
        return self.odom_frame or self.frame

    def without_tf(self, reason: str) -> TfDecision:
        """Give the same pose with nothing for TF, and a reason to warn of."""
        return TfDecision(self.frame, False, reason, is_problem=True)


class TfPolicy:
    """Turn `publish_tf` and what TF knows into a decision for each frame.

    Args:
        mode: `auto`, `none`, `map_to_camera`, `map_to_base` or `map_to_odom`; asked each time
            where it is a function, and a change decides anew.
        base_frame: The robot's frame.
        odom_frame: The odometry's frame.
        settle_s: Decides when TF has been quiet for this long, and after five times as long in any
            case. Before that, a frame may have a parent that has not been heard of yet.
        watch: What TF knows.
    """

    def __init__(
        self,
        mode: str | Callable[[], str],
        base_frame: str,
        odom_frame: str,
        settle_s: float,
        watch: ParentWatch,
    ) -> None:
        self._wanted_mode = mode if callable(mode) else lambda: mode
        self._mode = self._wanted_mode()
        self._base_frame = base_frame.lstrip("/")
        self._odom_frame = odom_frame.lstrip("/")
        self._settle_s = settle_s
        self._watch = watch
        self._last: dict[str, TfDecision] = {}  # by camera frame
        self._since_s: dict[
            str, float
        ] = {}  # by camera frame: of the last decision, or asked first

    def decide(self, camera_frame: str) -> TfDecision | None:
        """Decide for a camera's optical frame; None while TF has not settled yet.

        Once decided, a change in TF is followed when TF has settled again; a second parent is
        seen at once.
        """
        camera_frame = camera_frame.lstrip("/")
        mode = self._wanted_mode()
        if mode != self._mode:
            self._mode = mode
            self._last.clear()
        if self._mode == "none":
            return TfDecision(camera_frame, False, "publish_tf is none")
        now_s = self._watch.clock_s()
        waited_s = now_s - self._since_s.setdefault(camera_frame, now_s)
        if self._watch.quiet_s() >= self._settle_s or waited_s >= RESTLESS * self._settle_s:
            self._last[camera_frame] = self._decide(camera_frame)
            self._since_s[camera_frame] = now_s
            keep_newest(self._last)
        keep_newest(self._since_s)
        decision = self._last.get(camera_frame)
        return self._guarded(decision) if decision else None

    def odometry_above(self, frame: str) -> str:
        """Give the odometry's frame if it stands above another in TF, else an empty string."""
        return self._odom_frame if self._odom_frame in self._watch.ancestors(frame) else ""

    def _decide(self, camera_frame: str) -> TfDecision:
        if self._mode == "map_to_camera":
            return TfDecision(camera_frame, True, "publish_tf is map_to_camera")
        if self._mode == "map_to_base":
            return TfDecision(self._base_frame, True, "publish_tf is map_to_base")
        if self._mode == "map_to_odom":
            reason = "publish_tf is map_to_odom"
            return TfDecision(camera_frame, True, reason, odom_frame=self._odom_frame)
        return self._decide_auto(camera_frame)

    def _decide_auto(self, camera_frame: str) -> TfDecision:
        above = self._watch.ancestors(camera_frame)
        if self._odom_frame in above:
            return TfDecision(
                camera_frame,
                True,
                f"auto: map_to_odom, odometry ({self._odom_frame}) above the camera",
                odom_frame=self._odom_frame,
            )
        if self._base_frame in above or self._base_frame == camera_frame:
            return TfDecision(
                self._base_frame, True, f"auto: map_to_base, {self._base_frame} above the camera"
            )
        return TfDecision(camera_frame, True, "auto: map_to_camera, no base above the camera")

    def _guarded(self, decision: TfDecision) -> TfDecision:
        parents = self._watch.parents(decision.child)
        if not decision.publish or not parents:
            return decision
        remedy = (
            "stop whoever publishes it (AMCL: tf_broadcast: false), or set publish_tf: none"
            if decision.odom_frame
            else "base_frame names the frame that has none"
        )
        return decision.without_tf(
            f"{decision.child} already has the parent {', '.join(parents)} in TF, from somebody "
            f"else, and must not get a second: nothing is published on /tf; {remedy}"
        )
