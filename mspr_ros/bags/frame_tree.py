"""Collect poses and transforms from a bag, and compose chains of frames at any time."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mspr_ros.data.frame import pose_problem
from mspr_ros.data.tum import Trajectory
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array, invert_transform, transform_from_pose

# Messages of several publishers overtake each other by less; a clock that was set back, or a
# simulation that began anew, jumps further.
BACKWARDS_NS = 1_000_000_000

Edge = tuple[str, str]  # parent, child


class PoseSamples:
    """Collect stamped poses, in little memory: 64 bytes each.

    What is no pose, and what comes after time ran backwards until it catches up, is left out and
    counted.
    """

    def __init__(self) -> None:
        self._stamps = array("q")
        self._numbers = array("d")
        self._latest_ns = -(2**63)
        self._track: Trajectory | None = None  # made when first asked for
        self.backwards = 0
        self.broken = 0

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, position: Sequence[float], quat_xyzw: Sequence[float]) -> None:
        """Take in a pose."""
        if pose_problem(position, quat_xyzw):
            self.broken += 1
        elif stamp_ns < self._latest_ns - BACKWARDS_NS:
            self.backwards += 1
        else:
            self._latest_ns = max(stamp_ns, self._latest_ns)
            self._track = None
            self._stamps.append(stamp_ns)
            self._numbers.extend((*position, *quat_xyzw))

    def trajectory(self) -> Trajectory:
        """Give the poses by time; of several at one time the last."""
        if self._track is not None:
            return self._track
        stamps = np.array(self._stamps, dtype=np.int64)
        table = np.array(self._numbers, dtype=np.float64).reshape(-1, 7)
        unique, from_end = np.unique(stamps[::-1], return_index=True)
        chosen = len(stamps) - 1 - from_end
        self._track = Trajectory(unique, table[chosen, :3], table[chosen, 3:])
        return self._track


@dataclass(frozen=True)
class _Link:
    """One step of a chain: an edge, walked from parent to child or up again."""

    edge: Edge
    downwards: bool


class FrameTree:
    """Hold the transforms of `/tf` and `/tf_static`, as far as they are asked for.

    Args:
        wanted: The chains (from, to) that will be asked for; once all links of them are known,
            transforms off the way are no longer kept.
    """

    def __init__(self, wanted: Iterable[Edge]) -> None:
        self._wanted = list(wanted)
        self._static: dict[Edge, Array] = {}
        self._moving: dict[Edge, PoseSamples] = {}
        self._neighbours: dict[str, dict[str, _Link]] = {}
        # Of the chains wanted, once all are known. A shorter one may come later, without samples.
        self._ways: dict[Edge, list[_Link]] = {}
        self._kept: set[Edge] = set()  # the transforms on them

    @property
    def backwards(self) -> int:
        """How many transforms were left out because time ran backwards."""
        return sum(samples.backwards for samples in self._moving.values())

    def add(
        self,
        edge: Edge,
        stamp_ns: int,
        position: Sequence[float],
        quat_xyzw: Sequence[float],
        static: bool,
    ) -> None:
        """Take in a transform `T_parent_child`."""
        parent, child = edge
        if child not in self._neighbours.setdefault(parent, {}):
            self._neighbours[parent][child] = _Link(edge, True)
            self._neighbours.setdefault(child, {})[parent] = _Link(edge, False)
            self._keep_what_is_needed()
        if self._ways and edge not in self._kept:
            return
        if static:
            if not pose_problem(position, quat_xyzw):
                self._static[edge] = transform_from_pose(position, quat_xyzw)
        else:
            self._moving.setdefault(edge, PoseSamples()).add(stamp_ns, position, quat_xyzw)

    def _keep_what_is_needed(self) -> None:
        """In a tree there is one way between two frames: once known, it stays."""
        if self._ways:
            return
        found = {ends: self._way(*ends) for ends in self._wanted}
        ways = {ends: way for ends, way in found.items() if way is not None}
        if len(ways) == len(found):
            self._ways = ways
            self._kept = {link.edge for way in ways.values() for link in way}
            for edge in set(self._moving) - self._kept:
                del self._moving[edge]

    def _way(self, start: str, end: str) -> list[_Link] | None:
        """Find the way between two frames, both up and down the tree."""
        came_from: dict[str, tuple[str, _Link] | None] = {start: None}
        queue = deque([start])
        while queue and end not in came_from:
            frame = queue.popleft()
            for other, link in self._neighbours.get(frame, {}).items():
                if other not in came_from:
                    came_from[other] = (frame, link)
                    queue.append(other)
        if end not in came_from:
            return None
        links: list[_Link] = []
        while (step := came_from[end]) is not None:
            end, link = step
            links.append(link)
        return links[::-1]

    def at(
        self, start: str, end: str, stamps_ns: npt.NDArray[np.int64], max_gap_s: float
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Compose a chain at given times: static links as they are, moving ones interpolated.

        A link on `/tf` whose transforms are all the same counts as static, if another one moves:
        nodes of ROS 1 send static transforms that way, stamped ahead and irregularly.

        Args:
            start: The frame to express things in.
            end: The frame whose pose is asked for.
            stamps_ns: (N,) times.
            max_gap_s: No interpolation across a gap longer than this.

        Returns:
            `T_start_end` (N, 4, 4) and which could be answered (N,).

        Raises:
            DatasetError: If the transforms do not connect the frames.
        """
        way = self._ways.get((start, end)) or self._way(start, end)
        if way is None:
            known = ", ".join(sorted(self._neighbours)) or "none"
            raise DatasetError(
                f"/tf and /tf_static do not connect {start} to {end}; known frames: {known}"
            )
        tracks = {
            link.edge: self._moving[link.edge].trajectory()
            for link in way
            if len(self._moving.get(link.edge, ())) > 0
        }
        moves = {edge: _moves(track) for edge, track in tracks.items()}
        result = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
        valid = np.ones(len(stamps_ns), dtype=bool)
        for link in way:
            if link.edge in tracks and (moves[link.edge] or not any(moves.values())):
                positions, quats, known_at = tracks[link.edge].at(stamps_ns, max_gap_s)
                valid &= known_at
                T_parent_child = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
                T_parent_child[known_at] = transform_from_pose(
                    positions[known_at], quats[known_at]
                )
            elif link.edge in tracks:
                track = tracks[link.edge]
                T_parent_child = transform_from_pose(track.positions[0], track.quats_xyzw[0])
            elif link.edge in self._static:
                T_parent_child = self._static[link.edge]
            else:
                raise DatasetError(
                    f"no usable transform from {link.edge[0]} to {link.edge[1]} in the bag"
                )
            result = result @ (
                T_parent_child if link.downwards else invert_transform(T_parent_child)
            )
        return result, valid


def _moves(track: Trajectory) -> bool:
    table = np.hstack([track.positions, track.quats_xyzw])
    return bool(np.any(table != table[0]))
