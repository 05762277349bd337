"""Bring images of several cameras together by their stamps, without waiting for a dead one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from mspr_ros.ros.conversions import ns_from_stamp
from mspr_ros.ros.frames import Frame

KEPT = 4  # images of each camera that wait for the others': how far one may lag behind


class FrameSets:
    """Decide which images are one set; what waits is one `Frame` with the others beside it.

    Args:
        names: Of the cameras.
        near_s: Images whose stamps differ by no more than this are one set; asked each time.
        wait_s: How long an image waits for the others of its set; asked each time.
        is_live: Whether a camera is worth waiting for.
        clock_s: Monotonic seconds; tests put in their own.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        near_s: Callable[[], float],
        wait_s: Callable[[], float],
        is_live: Callable[[str], bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = names
        self._near_s = near_s
        self._wait_s = wait_s
        self._is_live = is_live
        self._clock_s = clock_s

    def merged(self, older: Frame, newer: Frame) -> Frame:
        """Let an image wait together with those that wait already."""
        if len(self._names) < 2:
            return newer.instead_of(older)
        arrived = [*older.beside, older]  # the oldest first
        kept: list[Frame] = []
        for name in self._names:
            kept += [frame for frame in arrived if frame.camera == name][-KEPT:]
        kept.sort(key=lambda frame: frame.received_s)
        others = [replace(frame, beside=(), reply=None) for frame in kept]
        return replace(newer, beside=tuple(others)).instead_of(older)

    def is_complete(self, waiting: Frame) -> bool:
        """Say whether a set is complete, or has waited for long enough."""
        if len(self._names) < 2:
            return True
        cameras = {frame.camera for frame in frames_of(self.chosen(waiting))}
        if all(name in cameras or not self._is_live(name) for name in self._names):
            return True
        first_s = min(frame.received_s for frame in frames_of(waiting))
        return self._clock_s() - first_s >= self._wait_s()

    def split(self, waiting: Frame) -> tuple[Frame, Frame | None]:
        """Give the best set, and what waits on since it is newer."""
        chosen = self.chosen(waiting)
        newer = [
            replace(frame, beside=(), reply=None)
            for frame in frames_of(waiting)
            if _stamp_ns(frame) > _stamp_ns(chosen)
        ]
        newer.sort(key=lambda frame: frame.received_s)
        rest = replace(newer[-1], beside=tuple(newer[:-1])) if newer else None
        return chosen, rest

    def chosen(self, waiting: Frame) -> Frame:
        """Give the best set among what waits: the most cameras, then the newest.

        Returns:
            Its newest image, with the others beside it.
        """
        if not waiting.beside:
            return waiting
        sets = [self._set_of(frame, waiting) for frame in frames_of(waiting)]
        best = max(sets, key=lambda frames: (len(frames), _stamp_ns(frames[0])))
        return replace(best[0], beside=tuple(best[1:]), reply=waiting.reply)

    def _set_of(self, newest: Frame, waiting: Frame) -> list[Frame]:
        """Give an image and, of each other camera, the nearest one that is no newer."""
        found = {newest.camera: replace(newest, beside=())}
        near_ns = round(1e9 * self._near_s())
        for frame in frames_of(waiting):
            behind_ns = _stamp_ns(newest) - _stamp_ns(frame)
            if frame.camera == newest.camera or not 0 <= behind_ns <= near_ns:
                continue
            other = found.get(frame.camera)
            if other is None or _stamp_ns(frame) > _stamp_ns(other):
                found[frame.camera] = replace(frame, beside=())
        return list(found.values())


def frames_of(frame: Frame) -> Iterator[Frame]:
    """Go through an image and those beside it."""
    yield frame
    yield from frame.beside


def num_frames(frame: Frame) -> int:
    """Count an image and those beside it."""
    return 1 + len(frame.beside)


def _stamp_ns(frame: Frame) -> int:
    return ns_from_stamp(frame.message.header.stamp)
