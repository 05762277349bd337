"""Compare two backends on real pictures: agreement, and accuracy where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mspr_ros.backends.answer import Backend, NetworkAnswer, named_tensors
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.errors import MsprError
from mspr_ros.geometry import Array, rotation_angle_rad

Ask = Callable[[Tensor, Tensor | None], NetworkAnswer]
# In fp32: of the value where it is larger than one.
TOLERANCE = 1e-4
# The sizes of batch tried in turns, to show that it is free.
BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class Truth:
    """What is known of pictures.

    Args:
        positions: (B, 3) camera centres, metres.
        quats_xyzw: (B, 4) map_from_cam.
        scenes: (B,) the network's scene ids; their poses are asked for by scene, so that a
            misread scene does not hide what a precision does to poses.
    """

    positions: Array
    quats_xyzw: Array
    scenes: npt.NDArray[np.int64]


def compare_backends(
    original: TorchBackend,
    other: Backend,
    images: Tensor,
    truth: Truth | None = None,
    *,
    exact: bool,
    max_rise: float = 0.02,
) -> dict[str, Any]:
    """Run both on pictures and refuse the other where it is not the same function.

    Numbers are compared as each gives them, poses as the localizer has them: from what the other
    saw, answered by torch's own heads.

    Args:
        original: The network in torch.
        other: What is checked.
        images: (B, 3, H, W).
        truth: Of the pictures.
        exact: Every number must agree; else the median errors may rise by `max_rise`.
        max_rise: A share.

    Returns:
        The largest difference or the shift of poses (median, 99th percentile, metres and
        degrees), agreement on the scene, and with the truth the median errors of both.

    Raises:
        MsprError: If the answers differ more.
    """

    def localize(images: Tensor, scene: Tensor | None) -> NetworkAnswer:
        seen = other.look(images)
        decoded = (seen.position_out, seen.orientation_out)
        return NetworkAnswer(original.prepared.answer(*decoded, scene=scene), seen.descriptor)

    first = run_in_batches(original, images)
    largest, name = largest_difference(first, run_in_batches(other, images))
    result: dict[str, Any] = {"images": len(images), "largest_difference": largest}
    result.update(pose_shift(first, run_in_batches(localize, images)))
    if exact and not largest <= TOLERANCE:
        raise MsprError(
            f"the exported network does not answer like torch: {name} differs by {largest:.2g} "
            f"(relative to values above 1), {TOLERANCE:g} is allowed; nothing was written"
        )
    if truth is not None:
        errors = {
            side: median_errors(run_in_batches(ask, images, truth.scenes), truth)
            for side, ask in (("torch", original), ("exported", localize))
        }
        rise = max(new / old - 1.0 for new, old in zip(*reversed(errors.values()), strict=True))
        result["median_errors_m_deg"] = {side: list(pair) for side, pair in errors.items()}
        result["rise"] = rise
        if not exact and not rise <= max_rise:
            old, new = errors["torch"], errors["exported"]
            raise MsprError(
                f"in {other.precision} the median errors rise by {100 * rise:.1f} % (from "
                f"{old[0]:.3f} m, {old[1]:.2f} deg to {new[0]:.3f} m, {new[1]:.2f} deg), "
                f"{100 * max_rise:g} % are allowed; nothing was written"
            )
    return result


@torch.inference_mode()
def run_in_batches(
    ask: Ask, images: Tensor, scenes: npt.NDArray[np.int64] | None = None
) -> dict[str, Tensor]:
    """Answer pictures in batches of several sizes, and give the tensors by name."""
    parts: list[dict[str, Tensor]] = []
    start, turn = 0, 0
    while start < len(images):
        stop = start + BATCH_SIZES[turn % len(BATCH_SIZES)]
        scene = None if scenes is None else torch.from_numpy(scenes[start:stop])
        parts.append(_named(ask(images[start:stop], scene)))
        start, turn = stop, turn + 1
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _named(answer: NetworkAnswer) -> dict[str, Tensor]:
    return {**named_tensors(answer.output), "descriptor": answer.descriptor}


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, str]:
    """Give the largest difference, relative to values above 1, and the tensor it is in."""
    worst, where = 0.0, ""
    for name, expected in first.items():
        found = second[name].double()
        difference = (found - expected.double()).abs() / expected.double().abs().clamp(min=1.0)
        largest = float(difference.max())
        if not largest <= worst:  # NaN too
            worst, where = largest, name
            if largest != largest:
                break
    return worst, where


def pose_shift(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Any]:
    """Tell by how much each picture's pose moves, and how often the scene is another."""
    same = (first["selection.scene"] == second["selection.scene"]).double().mean()
    metres = (first["position"] - second["position"]).double().norm(dim=1).numpy()
    degrees = _angles_deg(first, second["orientation"].double().numpy())
    return {
        "scene_agreement": float(same),
        "shift_m": {"median": float(np.median(metres)), "p99": float(np.percentile(metres, 99))},
        "shift_deg": {
            "median": float(np.median(degrees)),
            "p99": float(np.percentile(degrees, 99)),
        },
    }


def median_errors(named: dict[str, Tensor], truth: Truth) -> tuple[float, float]:
    """Give the median errors of position (m) and orientation (deg)."""
    positions = named["position"].double().numpy()
    metres = np.linalg.norm(positions - truth.positions, axis=1)
    degrees = _angles_deg(named, truth.quats_xyzw)
    return float(np.median(metres)), float(np.median(degrees))


def _angles_deg(named: dict[str, Tensor], quats_xyzw: Array) -> Array:
    return np.degrees(rotation_angle_rad(named["orientation"].double().numpy(), quats_xyzw))
