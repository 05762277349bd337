"""One image with its measured pose, and the rules that every pose has to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESERVED_SCENE = "unknown"
SPLITS = ("train", "val", "test")
# A quaternion further than this from unit norm is a mistake, not rounding.
UNIT_NORM_TOLERANCE = 1e-3
MAX_STAMP_NS = 2**63 - 1


@dataclass(frozen=True)
class Frame:
    """Tell where a camera was when it took one image.

    Args:
        scene: Name of the place; each scene has its own map frame.
        split: `train`, `val`, `test`, or empty where the source does not say.
        sequence: Name of the recording within the scene.
        stamp_ns: Time of the exposure in nanoseconds.
        camera: Key into the dataset's cameras; empty where the intrinsics are not known.
        image: Absolute path of the image file.
        position: Camera centre in the map, metres (translation of `T_map_cam`).
        quat_xyzw: Rotation of `T_map_cam` (optical frame), unit norm, w >= 0.
    """

    scene: str
    split: str
    sequence: str
    stamp_ns: int
    camera: str
    image: Path
    position: tuple[float, float, float]
    quat_xyzw: tuple[float, float, float, float]


def pose_problem(position: Sequence[float], quat_xyzw: Sequence[float]) -> str:
    """Say what is wrong with a pose; empty when nothing is."""
    if not all(math.isfinite(value) for value in (*position, *quat_xyzw)):
        return "the pose holds a value that is not a finite number"
    norm = math.hypot(*quat_xyzw)
    if abs(norm - 1.0) > UNIT_NORM_TOLERANCE:
        return f"the quaternion's norm is {norm:.6g}, expected 1 within {UNIT_NORM_TOLERANCE:g}"
    return ""


def name_problem(scene: str, split: str) -> str:
    """Say what is wrong with the name of a scene or a split; empty when nothing is."""
    if not scene or scene != scene.strip():
        return f"scene name '{scene}' is empty or has space around it"
    if scene == RESERVED_SCENE:
        return f"scene name '{RESERVED_SCENE}' is reserved, choose another"
    if split and split not in SPLITS:
        return f"split '{split}' is none of {', '.join(SPLITS)} (or empty)"
    return ""


def unit_quat(quat_xyzw: Sequence[float]) -> tuple[float, float, float, float]:
    """Give the same rotation with unit norm and w >= 0."""
    x, y, z, w = quat_xyzw
    norm = math.hypot(x, y, z, w)
    scale = (-1.0 if w < 0.0 else 1.0) / norm
    return x * scale, y * scale, z * scale, w * scale
