"""Choose the frames of a recording that are worth keeping: sharp, and not where one is already."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mspr_ros.geometry import Array, rotation_angle_rad

# Frames on each side that a frame's sharpness is compared with.
NEIGHBOURS = 5
# Sharpness is measured at about this width: noise and compression blocks count less there.
SHARPNESS_WIDTH_PX = 320


@dataclass(frozen=True)
class Selection:
    """Say which frames to keep.

    Args:
        min_translation_m: A frame nearer than this to the last one kept falls out, unless ...
        min_rotation_deg: ... it is turned by this much. Zero: that motion alone never suffices;
            both zero keep all frames.
        min_sharpness: A frame whose sharpness is below this share of its neighbours' median falls
            out; zero keeps all.
        max_frames: At most so many, evenly over the recording; zero for all.
    """

    min_translation_m: float = 0.0
    min_rotation_deg: float = 0.0
    min_sharpness: float = 0.0
    max_frames: int = 0


def sharpness(grey: npt.NDArray[np.uint8]) -> float:
    """Measure how sharp a grey image (height, width) is: the variance of its Laplacian."""
    factor = max(1, grey.shape[1] // SHARPNESS_WIDTH_PX)
    small = grey
    if factor > 1:
        size = (grey.shape[1] // factor, max(1, grey.shape[0] // factor))
        small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return float(cv2.Laplacian(small, cv2.CV_32F).var())


def select(
    selection: Selection,
    positions: Array,
    quats_xyzw: Array,
    sharpnesses: Array | None,
    left_out: dict[str, int],
) -> npt.NDArray[np.int64]:
    """Choose among the frames of one recording, in order of time.

    Blurred frames go first, so that a sharp one takes their place; then those that hardly moved;
    then as many as are too many.

    Args:
        selection: What to keep.
        positions: (N, 3) metres.
        quats_xyzw: (N, 4).
        sharpnesses: (N,), where `selection.min_sharpness` asks for them.
        left_out: Takes the number of frames that fall out, by reason.

    Returns:
        The indices of the frames to keep, in order.
    """
    chosen = np.arange(len(positions), dtype=np.int64)
    if selection.min_sharpness > 0.0 and sharpnesses is not None:
        sharp = relative_sharpness(sharpnesses) >= selection.min_sharpness
        _count(left_out, "blurred", int(np.count_nonzero(~sharp)))
        chosen = chosen[sharp]
    if selection.min_translation_m > 0.0 or selection.min_rotation_deg > 0.0:
        moved = _moved(selection, positions[chosen], quats_xyzw[chosen])
        _count(left_out, "hardly moved since the frame before", len(chosen) - len(moved))
        chosen = chosen[moved]
    if 0 < selection.max_frames < len(chosen):
        _count(left_out, "more than --max-frames", len(chosen) - selection.max_frames)
        places = np.linspace(0, len(chosen) - 1, selection.max_frames)
        chosen = chosen[np.round(places).astype(np.int64)]
    return chosen


def relative_sharpness(sharpnesses: Array) -> Array:
    """Divide each frame's sharpness by the median of its neighbours', without itself."""
    values = np.asarray(sharpnesses, dtype=np.float64)
    relative = np.ones(len(values))
    for index, value in enumerate(values):
        around = values[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        others = np.delete(around, min(index, NEIGHBOURS))
        median = float(np.median(others)) if len(others) else 0.0
        relative[index] = value / median if median > 0.0 else 1.0
    return relative


def _moved(selection: Selection, positions: Array, quats_xyzw: Array) -> npt.NDArray[np.int64]:
    """Walk along the frames, keeping each that moved enough since the last one kept."""
    kept: list[int] = []
    for index in range(len(positions)):
        if kept:
            distance = float(np.linalg.norm(positions[index] - positions[kept[-1]]))
            angle = float(rotation_angle_rad(quats_xyzw[index], quats_xyzw[kept[-1]]))
            far = 0.0 < selection.min_translation_m <= distance
            turned = 0.0 < selection.min_rotation_deg <= np.degrees(angle)
            if not (far or turned):
                continue
        kept.append(index)
    return np.array(kept, dtype=np.int64)


def _count(left_out: dict[str, int], reason: str, count: int) -> None:
    if count:
        left_out[reason] = left_out.get(reason, 0) + count
