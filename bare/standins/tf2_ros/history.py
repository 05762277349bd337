"""What one frame's transform to its parent has been over the last seconds."""

from __future__ import annotations

import bisect
from typing import NamedTuple

from .exceptions import ExtrapolationException
from .rigid import Rigid, interpolate


class Link(NamedTuple):
    """A frame's transform to its parent at one time."""

    stamp_ns: int
    parent: str
    T_parent_child: Rigid


class StaticHistory:
    """A transform that holds at all times: the newest one counts."""

    is_static = True

    def __init__(self) -> None:
        self._link: Link | None = None

    def insert(self, link: Link) -> bool:
        """Keep the link; it replaces the one before."""
        self._link = link
        return True

    def at(self, stamp_ns: int) -> Link:
        """Give the link, whatever the time."""
        assert self._link is not None
        return self._link._replace(stamp_ns=stamp_ns)

    def latest(self) -> Link | None:
        """Give the link with stamp 0, which means: no bound on the time."""
        return None if self._link is None else self._link._replace(stamp_ns=0)

    def bounds_ns(self) -> tuple[int, int]:
        """Give the first and last stamp: none."""
        return 0, 0

    def clear(self) -> None:
        """Keep the link: a jump in time does not touch what holds at all times."""


class TimedHistory:
    """Transforms with stamps, in order, as far back as `keep_ns` behind the newest."""

    is_static = False

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._stamps_ns: list[int] = []
        self._links: list[Link] = []

    def insert(self, link: Link) -> bool:
        """Keep the link, unless it is older than the cache reaches (False then)."""
        if self._stamps_ns and link.stamp_ns < self._stamps_ns[-1] - self._keep_ns:
            return False
        # To the right of equal stamps: of two transforms with one stamp, the newer counts.
        index = bisect.bisect_right(self._stamps_ns, link.stamp_ns)
        self._stamps_ns.insert(index, link.stamp_ns)
        self._links.insert(index, link)
        oldest = bisect.bisect_left(self._stamps_ns, self._stamps_ns[-1] - self._keep_ns)
        del self._stamps_ns[:oldest], self._links[:oldest]
        return True

    def at(self, stamp_ns: int) -> Link:
        """Give the link at a time, interpolated between its neighbours.

        Args:
            stamp_ns: The time; 0 asks for the newest.

        Raises:
            ExtrapolationException: The time lies outside of what is known.
        """
        if not self._stamps_ns:
            raise ExtrapolationException("no data is in the buffer")
        if stamp_ns == 0:
            return self._links[-1]
        first_ns, last_ns = self._stamps_ns[0], self._stamps_ns[-1]
        if not first_ns <= stamp_ns <= last_ns:
            where = "future" if stamp_ns > last_ns else "past"
            known = f"latest data is at time {_seconds(last_ns)}"
            if where == "past":
                known = f"earliest data is at time {_seconds(first_ns)}"
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {where}.  "
                f"Requested time {_seconds(stamp_ns)} but the {known}"
            )
        index = bisect.bisect_right(self._stamps_ns, stamp_ns)
        earlier = self._links[index - 1]
        if earlier.stamp_ns == stamp_ns:
            return earlier
        later = self._links[index]
        if earlier.parent != later.parent:  # the frame moved to another parent in between
            return earlier._replace(stamp_ns=stamp_ns)
        ratio = (stamp_ns - earlier.stamp_ns) / (later.stamp_ns - earlier.stamp_ns)
        between = interpolate(earlier.T_parent_child, later.T_parent_child, ratio)
        return Link(stamp_ns, earlier.parent, between)

    def latest(self) -> Link | None:
        """Give the newest link, None when there is none."""
        return self._links[-1] if self._links else None

    def bounds_ns(self) -> tuple[int, int]:
        """Give the first and the last stamp (0, 0 when empty)."""
        return (self._stamps_ns[0], self._stamps_ns[-1]) if self._stamps_ns else (0, 0)

    def clear(self) -> None:
        """Forget everything."""
        self._stamps_ns.clear()
        self._links.clear()


History = StaticHistory | TimedHistory


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
