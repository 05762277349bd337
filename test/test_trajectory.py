"""ATE and RPE against closed forms, and against evo where that is installed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.evaluation.trajectory import (
    absolute_trajectory_error,
    align_rigidly,
    frame_pairs,
    relative_pose_error,
    time_pairs,
)

RNG = np.random.default_rng(5)


def poses(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    transforms = np.tile(np.eye(4), (count, 1, 1))
    transforms[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    transforms[:, :3, 3] = rng.normal(size=(count, 3))
    return transforms


def motion(angle_deg: float, shift: tuple[float, float, float]) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler("z", angle_deg, degrees=True).as_matrix()
    transform[:3, 3] = shift
    return transform


def noisy(gt: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(9)
    turned = Rotation.from_rotvec(0.1 * rng.normal(size=(len(gt), 3))).as_matrix()
    other = gt.copy()
    other[:, :3, :3] = turned @ gt[:, :3, :3]
    other[:, :3, 3] += 0.2 * rng.normal(size=(len(gt), 3))
    return other


def test_a_constant_shift_is_its_length_and_vanishes_when_aligned() -> None:
    gt = poses(20)
    pred = gt.copy()
    pred[:, :3, 3] += (0.3, -0.4, 0.0)
    plain = absolute_trajectory_error(gt, pred)
    assert plain.count == 20
    for value in (plain.position_m.rmse, plain.position_m.median, plain.position_m.max):
        assert value == pytest.approx(0.5)
    assert plain.orientation_deg.max == pytest.approx(0.0, abs=1e-6)
    aligned = absolute_trajectory_error(gt, pred, align=True)
    assert aligned.position_m.max == pytest.approx(0.0, abs=1e-12)


def test_alignment_finds_the_motion_of_the_map() -> None:
    gt = poses(20)
    wrong_map = motion(40.0, (1.0, 2.0, -3.0))
    found = align_rigidly((wrong_map @ gt)[:, :3, 3], gt[:, :3, 3])
    np.testing.assert_allclose(found, np.linalg.inv(wrong_map), atol=1e-12)
    plain = absolute_trajectory_error(gt, wrong_map @ gt)
    assert plain.orientation_deg.median == pytest.approx(40.0)
    aligned = absolute_trajectory_error(gt, wrong_map @ gt, align=True)
    assert aligned.position_m.max < 1e-12 and aligned.orientation_deg.max < 1e-5
    pairs = frame_pairs(np.arange(20) * 10**8, 1.0)
    relative = relative_pose_error(gt, wrong_map @ gt, pairs)
    assert relative is not None and relative.position_m.max < 1e-12


def test_a_mirror_image_is_not_aligned_by_mirroring() -> None:
    points = RNG.normal(size=(30, 3))
    found = align_rigidly(points, points * (1.0, 1.0, -1.0))
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0)


def test_drift_of_a_degree_and_a_centimetre_an_image() -> None:
    """Every step is by the same wrong motion: RPE is that motion, whatever the length."""
    gt = np.tile(np.eye(4), (50, 1, 1))
    gt[:, 0, 3] = np.arange(50) * 0.1
    step = motion(1.0, (0.01, 0.0, 0.0))
    pred = gt.copy()
    for index in range(1, 50):
        pred[index] = pred[index - 1] @ motion(0.0, (0.1, 0.0, 0.0)) @ step
    relative = relative_pose_error(gt, pred, frame_pairs(np.arange(50) * 10**8, 1.0))
    assert relative is not None and relative.count == 49
    assert relative.position_m.rmse == pytest.approx(0.01)
    assert relative.orientation_deg.mean == pytest.approx(1.0)


def test_pairs_do_not_cross_gaps() -> None:
    stamps = np.array([0, 1, 2, 3, 4, 5, 30, 31, 32, 33, 34, 35]) * 250_000_000
    pairs = time_pairs(stamps, 1.0)
    assert pairs.tolist() == [[0, 4], [1, 5], [6, 10], [7, 11]]
    neighbours = frame_pairs(stamps, 1.0)
    assert len(neighbours) == 10 and [5, 6] not in neighbours.tolist()
    assert len(time_pairs(stamps[:1], 1.0)) == len(frame_pairs(stamps[:0], 1.0)) == 0
    assert relative_pose_error(poses(2), poses(2), time_pairs(stamps[:1], 1.0)) is None


def test_the_numbers_are_those_of_evo() -> None:
    pytest.importorskip("evo", reason="evo (GPL, a tool for tests) is not installed")
    from evo.core import metrics
    from evo.core.trajectory import PosePath3D

    gt = poses(40)
    pred = noisy(gt)
    for align in (False, True):
        ours = absolute_trajectory_error(gt, pred, align=align)
        reference = PosePath3D(poses_se3=list(gt))
        estimate = PosePath3D(poses_se3=list(pred))
        if align:
            estimate.align(reference)
        for relation, spread in (
            (metrics.PoseRelation.translation_part, ours.position_m),
            (metrics.PoseRelation.rotation_angle_deg, ours.orientation_deg),
        ):
            ape = metrics.APE(relation)
            ape.process_data((reference, estimate))
            told = ape.get_all_statistics()
            for key in ("rmse", "mean", "median", "max"):
                assert getattr(spread, key) == pytest.approx(told[key], rel=1e-6), (align, key)
    ours = relative_pose_error(gt, pred, frame_pairs(np.arange(40) * 10**8, 1.0))
    assert ours is not None
    for relation, spread in (
        (metrics.PoseRelation.translation_part, ours.position_m),
        (metrics.PoseRelation.rotation_angle_deg, ours.orientation_deg),
    ):
        rpe = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames, all_pairs=False)
        rpe.process_data((PosePath3D(poses_se3=list(gt)), PosePath3D(poses_se3=list(pred))))
        told = rpe.get_all_statistics()
        for key in ("rmse", "mean", "median", "max"):
            assert getattr(spread, key) == pytest.approx(told[key], rel=1e-6), key
