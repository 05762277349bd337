"""The tree of frames over time: which transform holds between two frames, and when."""

from __future__ import annotations

import math
import threading

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .history import History, Link, StaticHistory, TimedHistory
from .rigid import IDENTITY, Rigid, compose, invert, normalized

DEFAULT_CACHE_TIME = Duration(seconds=10)
QUATERNION_TOLERANCE = 10e-3  # of the squared norm, as tf2 has it
MAX_DEPTH = 1000  # a longer chain is a loop


class BufferCore:
    """Keep transforms and answer for any pair of frames; safe to use from several threads."""

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._keep_ns = int((cache_time or DEFAULT_CACHE_TIME).nanoseconds)
        self._histories: dict[str, History] = {}  # by child frame
        self._authorities: dict[str, str] = {}
        self._frames: set[str] = set()
        # Waiters sleep on this condition; who adds a transform wakes them.
        self._changed = threading.Condition(threading.RLock())

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at its stamp; an invalid one is logged and left out."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at all times; an invalid one is logged and left out."""
        self._insert(transform, authority, static=True)

    def lookup_transform_core(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> TransformStamped:
        """Give the transform that takes source coordinates to target coordinates.

        Args:
            target_frame: Frame the result maps into (the result's header.frame_id).
            source_frame: Frame the result maps from (the result's child_frame_id).
            time: When; Time() asks for the latest time at which all links are known.

        Raises:
            InvalidArgumentException: A name is empty or starts with a slash.
            LookupException: A frame is unknown.
            ConnectivityException: Nothing connects the frames.
            ExtrapolationException: They are connected, but not at that time.
        """
        stamp_ns = _nanoseconds(time)
        with self._changed:
            self._check_frame(target_frame, "target_frame")
            self._check_frame(source_frame, "source_frame")
            if stamp_ns == 0:
                stamp_ns = self._latest_common_ns(target_frame, source_frame)
            T_target_source = self._lookup(target_frame, source_frame, stamp_ns)
        return _to_message(target_frame, source_frame, stamp_ns, T_target_source)

    def can_transform_core(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> tuple[bool, str]:
        """Say whether the lookup would succeed, and if not, why."""
        try:
            self.lookup_transform_core(target_frame, source_frame, time)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Give the latest time at which every link between two frames is known."""
        with self._changed:
            self._check_frame(target_frame, "target_frame")
            self._check_frame(source_frame, "source_frame")
            return Time(nanoseconds=self._latest_common_ns(target_frame, source_frame))

    def clear(self) -> None:
        """Forget all transforms that have a stamp; static ones stay."""
        with self._changed:
            for history in self._histories.values():
                history.clear()

    def all_frames_as_yaml(self) -> str:
        """Describe every frame that has a parent, as a YAML mapping."""
        with self._changed:
            lines = []
            for frame, history in sorted(self._histories.items()):
                latest = history.latest()
                if latest is None:
                    continue
                first_ns, last_ns = history.bounds_ns()
                lines.append(
                    f"{frame}: \n"
                    f"  parent: '{latest.parent}'\n"
                    f"  broadcaster: '{self._authorities[frame]}'\n"
                    f"  oldest_transform: {first_ns / 1e9:.6f}\n"
                    f"  most_recent_transform: {last_ns / 1e9:.6f}\n"
                    f"  buffer_length: {(last_ns - first_ns) / 1e9:.3f}\n"
                )
            return "".join(lines) or "{}"

    def all_frames_as_string(self) -> str:
        """Describe every frame that has a parent, one line each."""
        with self._changed:
            latest = {frame: history.latest() for frame, history in self._histories.items()}
            return "".join(
                f"Frame {frame} exists with parent {link.parent}.\n"
                for frame, link in sorted(latest.items())
                if link is not None
            )

    def _frameExists(self, frame_id: str) -> bool:
        with self._changed:
            return frame_id in self._frames

    def _getFrameStrings(self) -> list[str]:
        with self._changed:
            return sorted(self._frames)

    def _insert(self, transform: TransformStamped, authority: str, *, static: bool) -> None:
        parent = transform.header.frame_id.removeprefix("/")
        child = transform.child_frame_id.removeprefix("/")
        t, q = transform.transform.translation, transform.transform.rotation
        problem = _find_problem(parent, child, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        if problem:
            get_logger("tf2_buffer").error(f"Ignoring transform from {authority}: {problem}")
            return
        T_parent_child = Rigid((t.x, t.y, t.z), normalized((q.x, q.y, q.z, q.w)))
        link = Link(_nanoseconds(transform.header.stamp), parent, T_parent_child)
        with self._changed:
            history = self._histories.get(child)
            if history is None or history.is_static != static:
                history = StaticHistory() if static else TimedHistory(self._keep_ns)
                self._histories[child] = history
            if not history.insert(link):
                get_logger("tf2_buffer").warning(
                    f"TF_OLD_DATA ignoring data from the past for frame {child} "
                    f"at {link.stamp_ns / 1e9:.6f} s according to {authority}",
                    throttle_duration_sec=5.0,
                )
                return
            self._authorities[child] = authority
            self._frames.update((parent, child))
            self._changed.notify_all()

    def _check_frame(self, frame: str, argument: str) -> None:
        if not frame or frame.startswith("/"):
            wrong = "start with a '/'" if frame else "be empty"
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to lookupTransform argument {argument} '
                f"- in tf2 frame_ids cannot {wrong}"
            )
        if frame not in self._frames:
            raise LookupException(
                f'"{frame}" passed to lookupTransform argument {argument} does not exist. '
            )

    def _latest_common_ns(self, target: str, source: str) -> int:
        """Give the latest time all links between two frames know (0: all of them static)."""
        if target == source:
            history = self._histories.get(source)
            latest = history.latest() if history else None
            return latest.stamp_ns if latest else 0
        above_source = self._stamps_upwards(source)
        above_target = self._stamps_upwards(target)
        common = next((frame for frame in above_source if frame in above_target), None)
        if common is None:
            raise _not_connected(target, source)
        bounds_ns = [ns for ns in (above_source[common], above_target[common]) if ns]
        return min(bounds_ns, default=0)

    def _stamps_upwards(self, frame: str) -> dict[str, int]:
        """Give each ancestor with the oldest of the newest stamps on the way up to it."""
        stamps_ns = {frame: 0}
        bound_ns = 0
        for _ in range(MAX_DEPTH):
            history = self._histories.get(frame)
            link = history.latest() if history else None
            if link is None:
                return stamps_ns
            if link.stamp_ns:
                bound_ns = min(bound_ns, link.stamp_ns) if bound_ns else link.stamp_ns
            frame = link.parent
            stamps_ns[frame] = bound_ns
        raise LookupException(f"The tf tree is invalid because it contains a loop at {frame}.")

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Rigid:
        if target == source:
            return IDENTITY
        above_source, source_end = self._transforms_upwards(source, stamp_ns)
        above_target, target_end = self._transforms_upwards(target, stamp_ns)
        for ancestor, T_ancestor_source in above_source.items():
            if ancestor in above_target:
                return compose(invert(above_target[ancestor]), T_ancestor_source)
        ended_early = source_end or target_end
        if ended_early is not None:
            raise ExtrapolationException(
                f"{ended_early}, when looking up transform from frame [{source}] "
                f"to frame [{target}]"
            )
        raise _not_connected(target, source)

    def _transforms_upwards(
        self, frame: str, stamp_ns: int
    ) -> tuple[dict[str, Rigid], ExtrapolationException | None]:
        """Give T_ancestor_frame for each ancestor at a time, and why the climb ended early."""
        T_ancestor_frame = IDENTITY
        transforms = {frame: T_ancestor_frame}
        for _ in range(MAX_DEPTH):
            history = self._histories.get(frame)
            if history is None:
                return transforms, None
            try:
                link = history.at(stamp_ns)
            except ExtrapolationException as error:
                return transforms, error
            T_ancestor_frame = compose(link.T_parent_child, T_ancestor_frame)
            frame = link.parent
            transforms[frame] = T_ancestor_frame
        raise LookupException(f"The tf tree is invalid because it contains a loop at {frame}.")


def _find_problem(
    parent: str, child: str, translation: tuple[float, ...], quat_xyzw: tuple[float, ...]
) -> str:
    """Say what is wrong with a transform; empty when nothing is."""
    if not child:
        return "child_frame_id is not set"
    if not parent:
        return f"frame_id of child {child} is not set"
    if parent == child:
        return f"frame_id and child_frame_id are both {child}"
    if any(math.isnan(value) for value in (*translation, *quat_xyzw)):
        return f"a nan value in the transform of {child}: {translation} {quat_xyzw}"
    if abs(sum(value * value for value in quat_xyzw) - 1.0) >= QUATERNION_TOLERANCE:
        return f"the quaternion of {child} is not of unit length: {quat_xyzw}"
    return ""


def _nanoseconds(time: Time | TimeMsg) -> int:
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    if hasattr(time, "nanosec"):
        return int(time.sec) * 10**9 + int(time.nanosec)
    raise TypeError(f"time must be an rclpy Time or a builtin_interfaces Time, not {time!r}")


def _not_connected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(
        f"Could not find a connection between '{target}' and '{source}' because they are not "
        "part of the same tree. Tf has two or more unconnected trees."
    )


def _to_message(target: str, source: str, stamp_ns: int, T: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = TimeMsg(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    message.header.frame_id = target
    message.child_frame_id = source
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = T.translation
    rotation.x, rotation.y, rotation.z, rotation.w = T.quat_xyzw
    return message
