"""Drives: where the robot's camera is at every instant, and in which light."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from mspr_ros.errors import MsprError
from mspr_ros.geometry import Array, invert_transform
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.paths import STEP_S, Planner, smooth_noise
from mspr_ros.simulator.world import World

CAMERA_HEIGHT_M = 1.0
CAMERA_FORWARD_M = 0.1
CAMERA_PITCH_DEG = 2.0  # looking down
NS_PER_S = 1_000_000_000


def base_from_camera() -> Array:
    """Give T_base_cam, how the camera's optical frame sits on the robot (x forward, z up)."""
    pitch = np.deg2rad(CAMERA_PITCH_DEG)
    forward = np.array([np.cos(pitch), 0.0, -np.sin(pitch)])
    right = np.array([0.0, -1.0, 0.0])
    T_base_cam = np.eye(4)
    T_base_cam[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    T_base_cam[:3, 3] = (CAMERA_FORWARD_M, 0.0, CAMERA_HEIGHT_M)
    return T_base_cam


class DriveFrame(NamedTuple):
    """One instant of a drive; transforms are (4, 4), map axes z up, camera optical."""

    stamp_ns: int
    scene: str
    T_map_cam: Array
    light: Light
    T_map_base: Array


class Drive:
    """Visit scenes one after another; iterate to get a DriveFrame for every exposure.

    Args:
        world: The places.
        scenes: Which to visit, in this order; none for all.
        seed: Fixes the way, the light and nothing else. A scene's part does not depend on which
            other scenes are visited.
        rate_hz: Exposures a second.
        frames_per_scene: Exposures in each scene, or one number for each scene.
        start_ns: Stamp of the first.
        handheld: Whether the camera is carried instead of driven: it also sways, nods and rolls,
            and T_map_base, which follows it rigidly, leaves the floor.
        light: The light of all; none to draw one for every scene.

    Raises:
        MsprError: If a scene is unknown or a number is not positive.
    """

    T_base_cam = base_from_camera()

    def __init__(
        self,
        world: World,
        scenes: Sequence[str] | None = None,
        *,
        seed: int,
        rate_hz: float = 10.0,
        frames_per_scene: int | Sequence[int] = 100,
        start_ns: int = 0,
        handheld: bool = False,
        light: Light | None = None,
    ) -> None:
        self.world = world
        self.scenes = tuple(world.scenes if scenes is None else scenes)
        if isinstance(frames_per_scene, int):
            frames_per_scene = [frames_per_scene] * len(self.scenes)
        self.frames_per_scene = tuple(frames_per_scene)
        unknown = [scene for scene in self.scenes if not world.knows(scene)]
        if unknown or not self.scenes:
            raise MsprError(
                f"world '{world.name}' has the scenes {', '.join(world.scenes)}; "
                f"got {', '.join(unknown) or 'none'}"
            )
        if rate_hz <= 0.0 or seed < 0 or min(self.frames_per_scene) < 0:
            raise MsprError(
                "rate_hz must be positive, seed and numbers of frames not negative, got "
                f"{rate_hz}, {seed}, {min(self.frames_per_scene)}"
            )
        if len(self.frames_per_scene) != len(self.scenes):
            raise MsprError("frames_per_scene must have one number for each scene")
        self.seed = seed
        self.rate_hz = rate_hz
        self.start_ns = start_ns
        self.handheld = handheld
        self.light = light

    def __len__(self) -> int:
        return sum(self.frames_per_scene)

    def __iter__(self) -> Iterator[DriveFrame]:
        done = 0
        for scene, number in zip(self.scenes, self.frames_per_scene, strict=True):
            for index, (T_map_base, T_map_cam, light) in enumerate(self._visit(scene, number)):
                stamp_ns = self.start_ns + round((done + index) * NS_PER_S / self.rate_hz)
                yield DriveFrame(stamp_ns, scene, T_map_cam, light, T_map_base)
            done += number

    def _visit(self, scene: str, number: int) -> Iterator[tuple[Array, Array, Light]]:
        if number == 0:
            return
        rng = np.random.default_rng([self.seed, zlib.crc32(scene.encode())])
        light = Light.sample(rng)
        duration = (number - 1) / self.rate_hz
        track = planner(self.world, scene).track(duration, rng)
        sway = _Sway(duration, rng) if self.handheld else None
        for second in np.arange(number) / self.rate_hz:
            x, y = track.position(second)
            T_map_base = _planar(float(x), float(y), float(track.heading(second)))
            T_map_cam = T_map_base @ self.T_base_cam
            if sway is not None:
                T_map_cam = sway.apply(T_map_cam, float(second))
                T_map_base = T_map_cam @ invert_transform(self.T_base_cam)
            yield T_map_base, T_map_cam, self.light or light


class _Sway:
    """How a hand moves a camera: height, nod and roll, smooth in time."""

    spread = (0.07, np.deg2rad(7.0), np.deg2rad(3.0))

    def __init__(self, duration: float, rng: np.random.Generator) -> None:
        times = np.arange(0.0, duration + 2 * STEP_S, STEP_S)
        times = times if len(times) > 4 else STEP_S * np.arange(5)
        waves = [np.clip(smooth_noise(rng, len(times), 0.9), -3, 3) * s for s in self.spread]
        self._spline = CubicSpline(times, np.column_stack(waves))

    def apply(self, T_map_cam: Array, second: float) -> Array:
        """Raise the camera and turn it about its own x and z."""
        height, nod, roll = self._spline(second)
        c, s, cr, sr = np.cos(nod), np.sin(nod), np.cos(roll), np.sin(roll)
        turn = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ np.array(
            [[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]]
        )
        moved = T_map_cam.copy()
        moved[:3, :3] = T_map_cam[:3, :3] @ turn
        moved[2, 3] += height
        return moved


@functools.lru_cache(maxsize=32)
def planner(world: World, scene: str) -> Planner:
    """Give the planner of a scene; it is built once."""
    return Planner(world.scene(scene))


def _planar(x: float, y: float, yaw: float) -> Array:
    c, s = np.cos(yaw), np.sin(yaw)
    T_map_base = np.eye(4)
    T_map_base[:2, :2] = [[c, -s], [s, c]]
    T_map_base[:2, 3] = (x, y)
    return T_map_base
