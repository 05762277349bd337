"""Find the offset between the clocks of a camera and a pose source, from rotation seen twice.

Between two images the camera turned; tracked points say by how much, and so does the pose source,
at the images' times plus an offset. The offset at which both agree best is the clocks' offset.
Rotations are compared as vectors in the camera's frame: axes as well as speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from mspr_ros.camera import CameraModel, pixel_rays
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array

# What is tried, and where the peak is then looked for between these steps.
SEARCH_S, STEP_S = 0.5, 0.01
MIN_PAIRS = 30
MIN_CORRELATION = 0.6
# Pairs further apart in time than this are not tracked.
MAX_PAIR_S = 0.25
BLOCKS, RESAMPLES = 20, 200
# Pairs whose rotations differ by more than this many times the median are mistracked.
OUTLIER = 4.0
MAX_POINTS, MIN_POINTS = 200, 20
FLOW_WIDTH_PX = 320
# Points that a rotation alone leaves further off than this move by parallax or are lost.
INLIER_RAD = 0.01

# Give T_map_cam (N, 4, 4) at times in nanoseconds (N,), and which are known (N,).
PosesAt = Callable[[npt.NDArray[np.int64]], tuple[Array, npt.NDArray[np.bool_]]]


@dataclass(frozen=True)
class ClockOffset:
    """An offset between clocks: `pose time = image stamp + seconds`.

    Args:
        seconds: The offset.
        sigma_s: Its standard deviation, by a block bootstrap over the pairs of images.
        correlation: How well both rotations agree there, at most 1.
        pairs: Pairs of images used.
    """

    seconds: float
    sigma_s: float
    correlation: float
    pairs: int


class RotationTracker:
    """Measure the camera's rotation from each image to the next.

    Holds one small grey image; give the images in order.
    """

    def __init__(self) -> None:
        self._grey: npt.NDArray[np.uint8] | None = None
        self._stamp_ns = 0
        self._pairs: list[tuple[int, int]] = []
        self._rotvecs: list[Array] = []

    def reset(self) -> None:
        """Forget the last image: the next one does not follow it."""
        self._grey = None

    def add(self, stamp_ns: int, grey: npt.NDArray[np.uint8], camera: CameraModel) -> None:
        """Take in a grey image (height, width) of a camera."""
        factor = max(1, grey.shape[1] // FLOW_WIDTH_PX)
        small = camera.shrunk(factor) if factor > 1 else camera
        size = (small.width, small.height)
        shrunk = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        last, last_ns = self._grey, self._stamp_ns
        self._grey, self._stamp_ns = shrunk, stamp_ns
        if last is None or last.shape != shrunk.shape:
            return
        if not 0 < stamp_ns - last_ns <= MAX_PAIR_S * 1e9:
            return
        rotvec = rotation_between(last, shrunk, small)
        if rotvec is not None:
            self._pairs.append((last_ns, stamp_ns))
            self._rotvecs.append(rotvec)

    def measured(self) -> tuple[npt.NDArray[np.int64], Array]:
        """Give stamps of the pairs (N, 2) and rotation vectors of `R_first_second` (N, 3)."""
        pairs = np.array(self._pairs, dtype=np.int64).reshape(-1, 2)
        return pairs, np.array(self._rotvecs, dtype=np.float64).reshape(-1, 3)


def rotation_between(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], camera: CameraModel
) -> Array | None:
    """Measure how the camera turned between two grey images, by points tracked there and back.

    Returns:
        The rotation vector of `R_first_second`, radians, or None if too few points agree.
    """
    found = cv2.goodFeaturesToTrack(first, MAX_POINTS, 0.01, 7)
    if found is None or len(found) < MIN_POINTS:
        return None
    moved, seen, _ = cv2.calcOpticalFlowPyrLK(first, second, found, None)
    back, seen_back, _ = cv2.calcOpticalFlowPyrLK(second, first, moved, None)
    kept = (seen.ravel() > 0) & (seen_back.ravel() > 0)
    kept &= np.linalg.norm((back - found).reshape(-1, 2), axis=1) < 0.5
    if np.count_nonzero(kept) < MIN_POINTS:
        return None
    rays_first, rays_second = (pixel_rays(camera, points[kept]) for points in (found, moved))
    inside = np.ones(len(rays_first), dtype=bool)
    rotation = Rotation.identity()
    for _ in range(5):
        rotation, _ = Rotation.align_vectors(rays_first[inside], rays_second[inside])
        error = np.linalg.norm(rays_first - rotation.apply(rays_second), axis=1)
        # At least half of the points stay, so that a strong parallax does not end it.
        inside = error <= max(INLIER_RAD / 5, float(np.median(error)))
    if float(np.median(error)) > INLIER_RAD:
        return None
    return np.asarray(rotation.as_rotvec(), dtype=np.float64)


def estimate_offset(
    pairs_ns: npt.NDArray[np.int64], rotvecs: Array, poses_at: PosesAt, seed: int = 0
) -> ClockOffset:
    """Find the offset at which the pose source turned as the images did.

    Args:
        pairs_ns: (N, 2) stamps of pairs of images, by the camera's clock.
        rotvecs: (N, 3) rotation vectors between them.
        poses_at: Poses of the camera by the pose source's clock.
        seed: Of the bootstrap.

    Raises:
        DatasetError: If there is too little rotation or agreement to tell.
    """
    steps = round(SEARCH_S / STEP_S)
    offsets: Array = np.linspace(-SEARCH_S, SEARCH_S, 2 * steps + 1)
    instants, places = np.unique(pairs_ns, return_inverse=True)
    ends = places.reshape(-1, 2)
    tables = [_turned(instants + round(offset * 1e9), ends, poses_at) for offset in offsets]
    known = np.all([valid for _, valid in tables], axis=0)
    if np.count_nonzero(known) < MIN_PAIRS:
        raise DatasetError(
            f"the clocks' offset cannot be estimated: {np.count_nonzero(known)} pairs of images "
            f"could be tracked with poses {SEARCH_S:g} s around them, {MIN_PAIRS} are needed"
        )
    span_s = np.diff(pairs_ns[known], axis=1) * 1e-9
    by_image = _clipped(rotvecs[known] / span_s)
    by_source = np.stack([_clipped(rotvec[known] / span_s) for rotvec, _ in tables])
    agreeing = _agreeing(by_source, by_image)
    by_source, by_image = by_source[:, agreeing], by_image[agreeing]
    correlations = _correlations(by_source, by_image)
    curve = correlations(np.ones(len(by_image)))
    place = int(np.argmax(curve))
    if curve[place] < MIN_CORRELATION or place in (0, len(offsets) - 1):
        raise DatasetError(
            "the clocks' offset cannot be estimated: the rotation seen in the images agrees with "
            f"the pose source's at no offset within {SEARCH_S:g} s (correlation at most "
            f"{curve[place]:.2f}); is there rotation, and are frames and intrinsics right?"
        )
    rng = np.random.default_rng(seed)
    blocks = np.array_split(np.arange(len(by_image)), min(BLOCKS, len(by_image)))
    peaks = []
    for _ in range(RESAMPLES):
        weights = np.zeros(len(by_image))
        for block in rng.integers(0, len(blocks), len(blocks)):
            weights[blocks[block]] += 1.0
        peaks.append(_peak(offsets, correlations(weights)))
    return ClockOffset(
        _peak(offsets, curve), float(np.std(peaks)), float(curve[place]), len(by_image)
    )


def _correlations(by_source: Array, by_image: Array) -> Callable[[Array], Array]:
    """Prepare the correlation at each offset (T,), as a function of the pairs' weights (N,).

    Args:
        by_source: (T, N, 3) rates of rotation by the pose source, at T offsets.
        by_image: (N, 3) those by the images.
    """
    products = np.einsum("tnk,nk->tn", by_source, by_image)
    squares_source = np.einsum("tnk,tnk->tn", by_source, by_source)
    squares_image = np.einsum("nk,nk->n", by_image, by_image)

    def correlations(weights: Array) -> Array:
        norm = np.sqrt((squares_source @ weights) * (squares_image @ weights))
        return np.asarray(products @ weights / np.maximum(norm, 1e-12))

    return correlations


def _agreeing(by_source: Array, by_image: Array) -> npt.NDArray[np.bool_]:
    """Mark the pairs (N,) that were not mistracked, judged at the offset that fits most."""
    curve = _correlations(by_source, by_image)(np.ones(len(by_image)))
    error = np.linalg.norm(by_source[int(np.argmax(curve))] - by_image, axis=1)
    return np.asarray(error <= OUTLIER * np.median(error) + 1e-9)


def _turned(
    instants_ns: npt.NDArray[np.int64], ends: npt.NDArray[np.intp], poses_at: PosesAt
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Give the rotation vectors (N, 3) of `R_first_second` by the pose source, and which hold.

    Args:
        instants_ns: (M,) times by the pose source's clock.
        ends: (N, 2) the instants where each pair begins and ends.
        poses_at: Poses of the camera.
    """
    if not len(ends):
        return np.zeros((0, 3)), np.zeros(0, dtype=bool)
    poses, valid = poses_at(instants_ns)
    rotations = poses[:, :3, :3]
    relative = np.swapaxes(rotations[ends[:, 0]], 1, 2) @ rotations[ends[:, 1]]
    rotvecs = Rotation.from_matrix(relative).as_rotvec()
    return np.asarray(rotvecs), valid[ends[:, 0]] & valid[ends[:, 1]]


def _clipped(rates: Array) -> Array:
    """Pull single wild rates (N, 3) in: a mistracked pair must not outweigh the others."""
    speed = np.linalg.norm(rates, axis=1, keepdims=True)
    limit = 3.0 * float(np.percentile(speed, 75)) + 1e-9
    return np.asarray(rates * np.minimum(1.0, limit / np.maximum(speed, 1e-12)))


def _peak(offsets: Array, curve: Array) -> float:
    """Find the top of a curve between its samples, by the parabola through the highest three."""
    place = int(np.clip(np.argmax(curve), 1, len(curve) - 2))
    left, top, right = curve[place - 1 : place + 2]
    bend = left - 2.0 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    return float(offsets[place] + np.clip(shift, -1.0, 1.0) * (offsets[1] - offsets[0]))
