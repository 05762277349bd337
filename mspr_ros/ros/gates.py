"""Gates: which of the network's answers are not to be believed, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mspr_ros.geometry import Array, invert_transform
from mspr_ros.localizer import PoseEstimate

# Odometry errs by this share of its way at most; so much further may a pose lie from it.
ODOMETRY_SHARE = 0.1


class Rejected(Exception):
    """A frame that was understood but whose pose is not to be published.

    Args:
        kind: The gate; diagnostics count by it.
        reason: One line.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class GateSettings:
    """The gates' parameters; asked for each frame, for they may change any time.

    Args:
        min_scene_probability: Of the recognised scene.
        bounds_margin_m: How far outside of the taught positions a camera may be.
        jump_distance_m: How far a pose may lie from where odometry leads from the last one; 0
            for no such gate.
        jump_angle_rad: The same for its orientation.
        scene_switch_frames: So many images in a row must show another scene.
    """

    min_scene_probability: float
    bounds_margin_m: float
    jump_distance_m: float
    jump_angle_rad: float
    scene_switch_frames: int


@dataclass(frozen=True)
class Candidate:
    """An answer to be judged.

    Args:
        estimate: The localizer's.
        T_map_frame: (4, 4), of the frame whose pose it is: camera or base.
        T_map_cam: (4, 4), of the camera.
        stamp_ns: The image's; 0 if it has none.
        T_odom_frame: (4, 4) at the image's stamp; None where TF knows no odometry.
        count: Images in a row that agree, this one included.
    """

    estimate: PoseEstimate
    T_map_frame: Array
    T_map_cam: Array
    stamp_ns: int
    T_odom_frame: Array | None
    count: int = 1


class Gates:
    """Let a pose pass, or raise with the reason; remembers what it let pass.

    A pose in another scene, and one where odometry cannot have led, is held until others agree
    with it: a robot may have been carried, but a network that errs seldom errs twice alike.

    Args:
        settings: Asked for each frame.
    """

    def __init__(self, settings: Callable[[], GateSettings]) -> None:
        self._settings = settings
        self._last: Candidate | None = None  # passed
        self._held: Candidate | None = None

    def reset(self) -> None:
        """Begin anew: other places, another time."""
        self._last = self._held = None

    def check(self, candidate: Candidate, scenes: Sequence[Any]) -> None:
        """Judge one answer.

        Args:
            candidate: The answer.
            scenes: What the bundle knows of its scenes (`SceneInfo`).

        Raises:
            Rejected: If the pose is not to be published.
        """
        settings = self._settings()
        _check_answer(candidate, settings)
        _check_bounds(candidate, scenes, settings.bounds_margin_m)
        self._check_sequence(candidate, settings)
        self._last, self._held = candidate, None

    def _check_sequence(self, now: Candidate, settings: GateSettings) -> None:
        last = self._last
        if last is None:
            return
        scene, scene_before = now.estimate.scene, last.estimate.scene
        if scene != scene_before:
            kind, wanted = "scene_switch", settings.scene_switch_frames
            reason = f"scene {scene} after {scene_before}"
        else:
            kind, wanted = "jump", 2
            reason = implausible(last, now, settings)
        if not reason or wanted <= 1:
            return
        self._held = now = self._with_held(now, settings)
        if now.count < wanted:
            raise Rejected(
                kind, f"{reason}: held until {wanted} images in a row agree ({now.count})"
            )

    def _with_held(self, now: Candidate, settings: GateSettings) -> Candidate:
        """Count an answer with those held that agree; an image asked again is no other one."""
        held = self._held
        if held is None or held.estimate.scene != now.estimate.scene:
            return now
        if implausible(held, now, settings):
            return now
        is_other = now.stamp_ns == 0 or now.stamp_ns != held.stamp_ns
        return replace(now, count=held.count + int(is_other))


def implausible(before: Candidate, now: Candidate, settings: GateSettings) -> str:
    """Say why odometry cannot have led from one pose to another; empty if it can.

    Where TF knows no odometry, or the maps differ, nothing can be said.
    """
    if before.T_odom_frame is None or now.T_odom_frame is None:
        return ""
    if before.estimate.map_frame != now.estimate.map_frame:
        return ""
    motion = invert_transform(before.T_odom_frame) @ now.T_odom_frame
    expected = before.T_map_frame @ motion
    apart_m = float(np.linalg.norm(now.T_map_frame[:3, 3] - expected[:3, 3]))
    angle_rad = _angle_rad(now.T_map_frame[:3, :3], expected[:3, :3])
    way_m = float(np.linalg.norm(motion[:3, 3]))
    if 0.0 < settings.jump_distance_m < apart_m - ODOMETRY_SHARE * way_m:
        return f"{apart_m:.2f} m from where odometry leads from the last pose"
    if 0.0 < settings.jump_angle_rad < angle_rad:
        return f"{math.degrees(angle_rad):.0f} deg off where odometry leads from the last pose"
    return ""


def _check_answer(candidate: Candidate, settings: GateSettings) -> None:
    estimate = candidate.estimate
    if not estimate.accepted:
        is_finite = bool(np.isfinite(candidate.T_map_frame).all())
        raise Rejected("confidence" if is_finite else "not_finite", estimate.rejection)
    if estimate.scene_probability < settings.min_scene_probability:
        raise Rejected(
            "scene_probability",
            f"scene {estimate.scene} with probability {estimate.scene_probability:.2f}, below "
            f"{settings.min_scene_probability:.2f}",
        )


def _check_bounds(candidate: Candidate, scenes: Sequence[Any], margin_m: float) -> None:
    scene = candidate.estimate.scene
    info = next((each for each in scenes if each.name == scene), None)
    if info is None or info.position_min is None or info.position_max is None:
        return
    position = candidate.T_map_cam[:3, 3]
    outside = np.maximum(info.position_min - position, position - np.array(info.position_max))
    axis = int(np.argmax(outside))
    if outside[axis] > margin_m:
        raise Rejected(
            "bounds",
            f"{'xyz'[axis]} {position[axis]:.2f} m is {outside[axis]:.2f} m outside of what was "
            f"taught of {scene}",
        )


def _angle_rad(rotation: Array, other: Array) -> float:
    turn = rotation @ other.T
    sine = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return math.atan2(float(np.linalg.norm(sine)), float(np.trace(turn)) - 1.0)
