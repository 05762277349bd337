"""Plan smooth ways through a scene's free floor.

A way is a chain of straight pieces over passable cells, driven at constant speed and smoothed in
time: corners become curves, and turning back becomes slowing down, stopping and leaving again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.interpolate import CubicSpline
from scipy.sparse import csgraph

from mspr_ros.geometry import Array
from mspr_ros.simulator.scene import (
    CELL_M,
    CLEARANCE_M,
    FreeSpace,
    Scene,
    free_space,
    largest_region,
)

STEP_S = 0.1  # between knots of the splines
NODE_CELLS = 4  # the planner's grid is this many times coarser than the free space's
POSITION_BLUR_S = 0.5
HEADING_BLUR_S = 1.3
GAZE_BLUR_S = 1.6
CANDIDATES = 12


@dataclass(frozen=True, eq=False)
class Track:
    """Hold a drive as functions of time in seconds, each twice continuously differentiable.

    Args:
        position: Seconds to map x, y of the base.
        heading: Seconds to the base's yaw, unwrapped radians.
        duration: Seconds for which it is defined, from 0.
    """

    position: Callable[[npt.ArrayLike], Array]
    heading: Callable[[npt.ArrayLike], Array]
    duration: float


class Planner:
    """Find ways between points of a scene's free floor.

    Args:
        scene: Where to drive.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.space: FreeSpace = free_space(scene.outline, scene.solids)
        region = largest_region(self.space)
        cells = np.argwhere(region)
        self._cells = cells[(cells % NODE_CELLS == 0).all(axis=1)]
        self.nodes = self.space.to_map(self._cells)
        self._graph = self._connect()
        # Passable cells that the coarser grid leaves alone, or cuts off, are no goals.
        _, labels = csgraph.connected_components(self._graph, directed=False)
        self._goals = np.flatnonzero(labels == np.argmax(np.bincount(labels)))

    def _connect(self) -> sparse.csr_matrix:
        number = -np.ones(np.array(self.space.distance.shape) // NODE_CELLS + 2, dtype=np.int64)
        rows, columns = (self._cells // NODE_CELLS).T
        number[rows, columns] = np.arange(len(rows))
        starts, ends, costs = [], [], []
        for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
            neighbour = number[rows + step[0], columns + step[1]]
            linked = np.flatnonzero(neighbour >= 0)
            starts.append(linked)
            ends.append(neighbour[linked])
            costs.append(np.full(len(linked), np.hypot(*step) * NODE_CELLS * CELL_M))
        size = len(rows)
        return sparse.csr_matrix(
            (np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))), (size, size)
        )

    def polyline(self, length: float, rng: np.random.Generator) -> Array:
        """Chain ways to goals until they are `length` metres long; gives (n, 2) map points."""
        here = int(rng.choice(self._goals))
        points = [self.nodes[here]]
        total, ahead = 0.0, float(rng.choice([-1.0, 1.0]))
        while total < length:
            if self.scene.style.eccentric:
                goal, ahead = self._goal_along(here, ahead, rng)
            else:
                goal = self._goal_unseen(np.array(points), rng)
            way = self._way(here, goal)
            total += float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())
            points.extend(way[1:])
            here = goal
        return np.array(points)

    def _goal_unseen(self, visited: Array, rng: np.random.Generator) -> int:
        """Draw some goals and take the one furthest from all that was visited."""
        drawn = rng.choice(self._goals, size=CANDIDATES)
        recent = visited[-2000:]
        gaps = np.linalg.norm(self.nodes[drawn][:, None] - recent, axis=2).min(axis=1)
        # Some are taken by chance, lest every drive does the same tour.
        gaps = gaps + rng.exponential(0.5, size=len(drawn))
        return int(drawn[np.argmax(gaps)])

    def _goal_along(self, here: int, ahead: float, rng: np.random.Generator) -> tuple[int, float]:
        """Go on along the street, somewhere across it; turn back where it ends."""
        x = self.nodes[self._goals, 0]
        for direction in (ahead, -ahead):
            gap = direction * (x - self.nodes[here, 0])
            reachable = self._goals[(gap > 8.0) & (gap < 14.0)]
            if len(reachable):
                return int(rng.choice(reachable)), direction
        return int(rng.choice(self._goals)), ahead

    def _way(self, start: int, goal: int) -> Array:
        _, before = csgraph.dijkstra(
            self._graph, directed=False, indices=goal, return_predecessors=True
        )
        chain = [start]
        while chain[-1] != goal:
            chain.append(int(before[chain[-1]]))
        return np.asarray(self.nodes[chain])

    def clearance(self, points: Array) -> Array:
        """Look up how far (n, 2) map points are from whatever stands there, metres."""
        cells = (points - self.space.origin) / CELL_M
        return np.asarray(
            ndimage.map_coordinates(self.space.distance, cells[:, ::-1].T, order=1, mode="nearest")
        )

    def track(self, duration: float, rng: np.random.Generator) -> Track:
        """Plan a drive of this many seconds; other draws of `rng` give other drives."""
        style = self.scene.style
        margin = 4.0 * HEADING_BLUR_S
        times = np.arange(0.0, duration + 2 * margin + STEP_S, STEP_S)
        chain = self.polyline(style.speed * times[-1] + 1.0, rng)
        along = np.concatenate([[0.0], np.linalg.norm(np.diff(chain, axis=0), axis=1).cumsum()])
        raw = np.column_stack(
            [np.interp(style.speed * times, along, chain[:, axis]) for axis in (0, 1)]
        )
        smooth = self._smoothed(raw)
        steps = (round(1.0 / STEP_S), round(0.3 / STEP_S))
        travel = np.roll(smooth, -steps[0], axis=0) - np.roll(smooth, steps[1], axis=0)
        course = np.unwrap(np.arctan2(travel[:, 1], travel[:, 0]))
        course = ndimage.gaussian_filter1d(course, HEADING_BLUR_S / STEP_S, mode="nearest")
        heading = course + style.look_around * smooth_noise(rng, len(times), GAZE_BLUR_S)
        # The ends, where the blurs see less, are cut off.
        kept = (times > margin - 2 * STEP_S) & (times < times[-1] - margin + 2 * STEP_S)
        clock = times[kept] - margin
        return Track(CubicSpline(clock, smooth[kept]), CubicSpline(clock, heading[kept]), duration)

    def _smoothed(self, raw: Array) -> Array:
        """Blur a drive in time as far as it stays clear of things."""
        blur = POSITION_BLUR_S / STEP_S
        weight = np.ones(len(raw))
        smooth = ndimage.gaussian_filter1d(raw, blur, axis=0, mode="nearest")
        gentle = ndimage.gaussian_filter1d(raw, 0.5 * blur, axis=0, mode="nearest")
        near = self.clearance(smooth) < CLEARANCE_M + 0.05
        if near.any():
            # Close to things blur less; the change-over is blurred itself to remain smooth.
            spread = ndimage.binary_dilation(near, iterations=round(1.5 / STEP_S))
            weight = ndimage.gaussian_filter1d(1.0 - spread, 0.5 / STEP_S, mode="nearest")
        return np.asarray(gentle + weight[:, None] * (smooth - gentle))


def smooth_noise(rng: np.random.Generator, size: int, blur_s: float) -> Array:
    """Give noise of unit spread that changes over about `blur_s` seconds, at STEP_S."""
    blur = blur_s / STEP_S
    white = ndimage.gaussian_filter1d(rng.standard_normal(size), blur, mode="reflect")
    # The sum of squares of a Gaussian kernel: what blurring leaves of the variance.
    return np.asarray(white * np.sqrt(2.0 * np.sqrt(np.pi) * blur))
