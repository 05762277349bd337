"""Ask the images themselves how the camera turned: the strongest witness for a convention.

Between two images of one sequence the same points are found again (SIFT). Each reading of the
poses (as given, inverted, with OpenGL's axes, ...) predicts how their rays turned; the right one
predicts it several times better than the others, whatever was photographed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mspr_ros.camera import CameraModel, pixel_rays
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.images import read_image
from mspr_ros.data.recording import AXES
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array, rotation_angle_rad, rotation_from_quat_xyzw

MAX_PAIRS = 12
MIN_PAIRS = 4  # that must have been compared before anything is said
MIN_MATCHES = 20
MIN_TURN_DEG, MAX_TURN_DEG, BEST_TURN_DEG = 3.0, 25.0, 8.0
MAX_STEPS = 10  # how far apart in its sequence the images of a pair may be
LONG_SIDE_PX = 480
# A reading is worse than another when its errors are larger by this factor, and in most pairs.
CLEARLY = 1.4
SHARE_OF_PAIRS = 0.7
# Focal length over the image's long side where the camera is not known: 61 degrees across.
TYPICAL_FOCAL = 0.85

AS_GIVEN = "as given"


def rotations_read(R_map_cam: Array) -> dict[str, Array]:
    """Give the rotations (N, 3, 3) under every reading: what they would have to be instead."""
    inverse = np.swapaxes(R_map_cam, -1, -2)
    return {
        AS_GIVEN: R_map_cam,
        "inverted": inverse,
        "opengl": R_map_cam @ AXES["opengl"],
        "inverted opengl": inverse @ AXES["opengl"],
        "ros": R_map_cam @ AXES["ros"],
        "inverted ros": inverse @ AXES["ros"],
    }


@dataclass(frozen=True)
class ImageEvidence:
    """What pairs of images say about the rotations.

    Args:
        pairs: Number of pairs that could be compared.
        readings: The readings that explain the images about equally well, the best one first;
            turns about one axis only may leave two. Empty where too few pairs were compared.
        factor: How many times smaller the best reading's errors are than those of the poses as
            given; where these are the best, than those of the next one that is clearly worse.
    """

    pairs: int
    readings: tuple[str, ...] = ()
    factor: float = 1.0

    @property
    def confirm(self) -> bool:
        """Whether the images leave no reading but the poses as given."""
        return self.readings == (AS_GIVEN,)

    @property
    def contradict(self) -> bool:
        """Whether another reading is clearly better than the poses as given."""
        return bool(self.readings) and AS_GIVEN not in self.readings


def image_evidence(dataset: Dataset, seed: int = 0) -> ImageEvidence:
    """Compare pairs of images with every reading of their poses.

    Args:
        dataset: Frames of one scene; images that cannot be read are passed over.
        seed: Chooses the pairs.
    """
    if len(dataset) == 0 or dataset.poses_only:
        return ImageEvidence(0)
    readings = rotations_read(rotation_from_quat_xyzw(dataset.quats_xyzw))
    scores: list[list[float]] = []
    for first, second in _pairs(dataset, seed):
        rays = _matched_rays(dataset, first, second)
        if rays is None:
            continue
        scores.append([rotation_misfit(R[second].T @ R[first], *rays) for R in readings.values()])
        if len(scores) == MAX_PAIRS:
            break
    return _decide(list(readings), np.array(scores).reshape(-1, len(readings)))


def _decide(names: list[str], scores: Array) -> ImageEvidence:
    """Keep the best reading, and those not clearly worse by the median and in most pairs."""
    if len(scores) < MIN_PAIRS:
        return ImageEvidence(len(scores))
    order = np.argsort(scores.sum(axis=0))
    lost = scores[:, order] - scores[:, order[:1]]
    # Scores are sums of the logarithms of two errors, so half of a difference is the factor's.
    factors = np.exp(np.median(lost, axis=0) / 2.0)
    worse = (factors >= CLEARLY) & ((lost > 0.0).mean(axis=0) >= SHARE_OF_PAIRS)
    readings = tuple(names[place] for place in order[~worse])
    given = list(order).index(names.index(AS_GIVEN))
    factor = factors[given] if given > 0 else min(factors[worse], default=1.0)
    return ImageEvidence(len(scores), readings, float(factor))


def _pairs(dataset: Dataset, seed: int) -> Iterator[tuple[int, int]]:
    """Give pairs of frames with a good turn between them, spread over all, in random order.

    The angle between two frames is the same under every reading, so that it favours none.
    """
    sequences: dict[tuple[str, str, str], list[int]] = {}
    for index, frame in enumerate(dataset.frames):
        key = (frame.scene, frame.sequence, frame.camera)
        sequences.setdefault(key, []).append(index)
    quats, stamps = dataset.quats_xyzw, dataset.stamps_ns
    found: list[tuple[int, int]] = []
    for indices in sequences.values():
        order = np.array(sorted(indices, key=lambda index: stamps[index]))
        best = np.full(len(order), np.inf)
        partner = np.zeros(len(order), dtype=np.int64)
        for step in range(1, min(MAX_STEPS, len(order) - 1) + 1):
            turn = np.degrees(rotation_angle_rad(quats[order[:-step]], quats[order[step:]]))
            cost = np.where(
                (turn >= MIN_TURN_DEG) & (turn <= MAX_TURN_DEG),
                np.abs(turn - BEST_TURN_DEG) + step,
                np.inf,
            )
            better = np.flatnonzero(cost < best[:-step])
            best[better] = cost[better]
            partner[better] = order[better + step]
        usable = np.flatnonzero(np.isfinite(best))
        found += [(int(order[place]), int(partner[place])) for place in usable]
    chosen = np.random.default_rng(seed).permutation(len(found))[: 3 * MAX_PAIRS]
    return iter([found[place] for place in chosen])


def _matched_rays(dataset: Dataset, first: int, second: int) -> tuple[Array, Array] | None:
    """Find points again: unit rays (M, 3) in the optical frames of both images; none if few."""
    features = []
    for index in (first, second):
        frame = dataset.frames[index]
        try:
            image = read_image(frame.image)
        except ImageError:
            return None
        height, width = image.shape[:2]
        scale = min(1.0, LONG_SIDE_PX / max(width, height))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points, descriptors = cv2.SIFT.create(400).detectAndCompute(small, None)
        if descriptors is None or len(points) < MIN_MATCHES:
            return None
        pixels = (np.array([point.pt for point in points]) + 0.5) / scale - 0.5
        camera = dataset.camera_of(frame) or _typical_camera(width, height)
        features.append((pixel_rays(camera, pixels), descriptors))
    (rays_a, known_a), (rays_b, known_b) = features
    matches = cv2.BFMatcher().knnMatch(known_a, known_b, k=2)
    good = [
        two[0] for two in matches if len(two) == 2 and two[0].distance < 0.75 * two[1].distance
    ]
    if len(good) < MIN_MATCHES:
        return None
    return rays_a[[m.queryIdx for m in good]], rays_b[[m.trainIdx for m in good]]


def _typical_camera(width: int, height: int) -> CameraModel:
    focal = TYPICAL_FOCAL * max(width, height)
    return CameraModel(width, height, focal, focal, (width - 1) / 2.0, (height - 1) / 2.0)


def rotation_misfit(R_b_a: Array, rays_a: Array, rays_b: Array) -> float:
    """Measure how badly a relative rotation explains matched rays; smaller is better.

    The sum of the logarithms of two medians, each right where the other is blind: how far the
    rays are from turned (a camera that turns on the spot), and how far from the epipolar planes
    of the best translation for this rotation (a camera that moves round an object).
    """
    turned = rays_a @ R_b_a.T
    off_turned = float(np.median(np.linalg.norm(turned - rays_b, axis=1)))
    normals = np.cross(turned, rays_b)
    weights = np.ones(len(normals))
    off_plane = np.zeros(len(normals))
    for _ in range(4):  # reweighted least squares, near the sum of absolute distances
        weighted = normals * weights[:, None]
        _, vectors = np.linalg.eigh(weighted.T @ weighted)
        off_plane = np.abs(normals @ vectors[:, 0])
        weights = 1.0 / np.sqrt(off_plane + 1e-3)
    # A floor of a tenth of a milliradian: below, it is the noise of the points that is compared.
    return float(np.log(max(off_turned, 1e-4)) + np.log(max(float(np.median(off_plane)), 1e-4)))
