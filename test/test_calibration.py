"""Calibration on residuals whose law is known: does it hold on fresh ones?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.calibration.assessment import Assessor
from mspr_ros.calibration.features import head_covariance, turns
from mspr_ros.calibration.fit import CalibrationOptions, calibrate
from mspr_ros.calibration.held_out import block_folds
from mspr_ros.calibration.prototypes import choose_prototypes
from mspr_ros.calibration.quantiles import chi_square_quantile, lower_quantile, upper_quantile
from mspr_ros.calibration.signals import Signals, Truth
from mspr_ros.calibration.views import combine_views, view_rotations
from mspr_ros.geometry import quat_xyzw_from_rotation, rotation_from_quat_xyzw

NO_COVARIANCE = np.full((2, 6, 6), np.nan)


def world(count: int, seed: int, *, head: bool = True, tail: float = 5.0) -> tuple[Signals, Truth]:
    """Make answers whose deviation varies twentyfold; the head knows the half of its logarithm."""
    rng = np.random.default_rng(seed)
    block = np.arange(count) // 10
    level = rng.normal(size=block.max() + 1)[block] * 0.5 + rng.normal(size=count) * 0.5
    sigma = 0.1 * np.exp(level)
    noise = rng.normal(size=(count, 6)) / np.sqrt(rng.gamma(tail, 1.0 / tail, (count, 1)))
    shift, turn = noise[:, :3] * sigma[:, None], noise[:, 3:] * (0.2 * sigma[:, None])
    scene = rng.integers(0, 2, count)
    gt = Rotation.random(count, random_state=seed)
    position = rng.normal(size=(count, 3)) + shift
    quat = (Rotation.from_rotvec(turn) * gt).as_quat()
    said = 0.05 * np.exp(0.5 * level)
    factor = np.eye(3) * said[:, None, None]
    zero = np.zeros(count, dtype=np.int64)
    signals = Signals(
        scene=scene,
        scene_logits=8.0 * np.eye(2)[scene] + rng.normal(size=(count, 2)),
        position_cluster=zero,
        orientation_cluster=zero,
        position_cluster_logits=np.zeros((count, 1)),
        orientation_cluster_logits=np.zeros((count, 1)),
        position=position,
        quat_xyzw=quat,
        position_candidates=position[:, None],
        orientation_candidates=quat[:, None],
        position_factor=factor if head else None,
        orientation_factor=0.2 * factor if head else None,
    )
    truth = Truth(scene, position - shift, gt.as_quat(), block, zero, zero)
    return signals, truth


def coverage(covariance: np.ndarray, signals: Signals, truth: Truth, part: slice) -> float:
    residual = np.hstack(
        [signals.position - truth.position, turns(signals.quat_xyzw, truth.quat_xyzw)]
    )[:, part]
    inverse = np.linalg.inv(covariance[:, part, part])
    squares = np.einsum("ni,nij,nj->n", residual, inverse, residual)
    return float(np.mean(squares <= chi_square_quantile(0.95, 3)))


PARTS = (slice(0, 3), slice(3, 6))


def test_regions_cover_fresh_errors_as_often_as_they_say() -> None:
    calibration = calibrate(*world(1000, 1), ("a", "b"), None)
    assert calibration is not None and calibration.uses_head
    fresh, truth = world(3000, 2)
    assessed = Assessor(calibration, None, NO_COVARIANCE).assess(fresh)
    for part in PARTS:
        assert coverage(head_covariance(fresh), fresh, truth, part) < 0.85
        assert abs(coverage(assessed.covariance, fresh, truth, part) - 0.95) < 0.02
    nominal = next(one for one in calibration.coverage if one.level == 0.95)
    assert abs(nominal.position - 0.95) < 0.02
    # The head knew half of the logarithm: the other half is learned as a weight of about one
    # on what it said, in its standard deviations.
    gained = sum(
        weight / scale
        for name, weight, scale in zip(
            calibration.features,
            calibration.position_weights,
            calibration.feature_scale,
            strict=True,
        )
        if name.endswith("sigma")
    )
    assert 0.5 < gained < 1.6


def test_confidence_is_a_probability_and_ranks() -> None:
    calibration = calibrate(
        *world(1000, 1), ("a", "b"), None, CalibrationOptions(right_within=(0.2, 3.0))
    )
    assert calibration is not None
    fresh, truth = world(3000, 2)
    confidence = Assessor(calibration, None, NO_COVARIANCE).assess(fresh).confidence
    metres = np.linalg.norm(fresh.position - truth.position, axis=1)
    angle = np.linalg.norm(turns(fresh.quat_xyzw, truth.quat_xyzw), axis=1)
    right = (metres <= 0.2) & (angle <= np.radians(3.0))
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        among = (confidence >= low) & (confidence < low + 0.2)
        if among.sum() > 200:
            assert abs(right[among].mean() - confidence[among].mean()) < 0.1
    surest = confidence >= np.quantile(confidence, 0.1)
    assert np.quantile(metres[surest], 0.95) < 0.85 * np.quantile(metres, 0.95)


def test_without_a_head_the_scenes_own_errors_are_the_base() -> None:
    calibration = calibrate(*world(1000, 3, head=False, tail=1e6), ("a", "b"), None)
    assert calibration is not None and not calibration.uses_head
    fresh, truth = world(3000, 4, head=False, tail=1e6)
    assessed = Assessor(calibration, None, NO_COVARIANCE).assess(fresh)
    for part in PARTS:
        assert abs(coverage(assessed.covariance, fresh, truth, part) - 0.95) < 0.025


def test_too_few_frames_give_no_calibration() -> None:
    assert calibrate(*world(19, 1), ("a", "b"), None) is None
    few = calibrate(*world(40, 1), ("a", "b"), None)
    assert few is not None and all(info.pooled for info in few.scenes)


def test_folds_never_part_a_block() -> None:
    block = np.repeat(np.arange(23), 7)
    folds = block_folds(block)
    assert len(folds) == 10
    assert sorted(np.concatenate(folds)) == list(range(len(block)))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(block)), fold)
        assert not set(block[fold]) & set(block[rest])


@pytest.mark.parametrize("blocks", [4, 25])
def test_quantiles_hold_for_a_frame_of_a_new_block(blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    inside, refused = [], []
    for _ in range(1500):
        level = rng.normal(size=blocks + 1)  # frames of one block are alike
        sizes = rng.integers(5, 9, size=blocks)
        block = np.repeat(np.arange(blocks), sizes)
        known = level[block] + 0.2 * rng.normal(size=len(block))
        fresh = level[-1] + 0.2 * rng.normal()
        inside.append(fresh <= upper_quantile(known, block, 0.9))
        refused.append(fresh < lower_quantile(known, block, 0.1))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)
    assert np.mean(refused) == pytest.approx(0.1, abs=0.03)


def test_where_blocks_are_alike_it_is_the_frames_quantile() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    block = np.arange(4000) // 40
    assert upper_quantile(values, block, 0.95) == pytest.approx(np.quantile(values, 0.95), abs=0.1)


def test_few_and_unlike_blocks_widen_it() -> None:
    rng = np.random.default_rng(0)
    values, block = rng.normal(size=400), np.arange(400) // 20
    alike = upper_quantile(values, block, 0.95)
    assert upper_quantile(values + (block % 2), block, 0.95) > alike + 0.5
    assert upper_quantile(values[:60] + block[:60], block[:60], 0.95) > values.max() + 2.0
    assert upper_quantile(values, np.zeros(400, dtype=int), 0.95) == values.max()


def test_a_split_vote_widens_the_covariance_along_the_split() -> None:
    signals, truth = world(400, 5, head=False)
    calibration = calibrate(signals, truth, ("a", "b"), None)
    assert calibration is not None
    one = signals.rows(np.array([0]))
    logits = np.array([[0.0, 0.0]])
    apart = np.stack([one.position, one.position + np.array([4.0, 0.0, 0.0])], axis=1)
    split = Signals(
        **{**vars(one), "position_cluster_logits": logits, "position_candidates": apart}
    )
    assessor = Assessor(calibration, None, NO_COVARIANCE)
    narrow = assessor.assess(one).covariance[0]
    wide = assessor.assess(split).covariance[0]
    scale = calibration.scenes[int(one.scene[0])].position_scale
    assert wide[0, 0] - narrow[0, 0] == pytest.approx(8.0 * scale**2, rel=1e-3)
    assert wide[1, 1] == pytest.approx(narrow[1, 1], rel=1e-3)


def test_prototypes_know_their_own_and_no_others() -> None:
    rng = np.random.default_rng(0)
    looks, thoughts = rng.normal(size=(4, 80)), rng.normal(size=(4, 40))
    place = rng.uniform(size=(300, 4))
    descriptor = place @ looks + 0.01 * rng.normal(size=(300, 80))
    embedding = place @ thoughts + 0.01 * rng.normal(size=(300, 40))
    position = place[:, :3] * 5.0
    quat = np.tile([0.0, 0.0, 0.0, 1.0], (300, 1))
    scene = np.zeros(300, dtype=np.int64)
    prototypes = choose_prototypes(descriptor, embedding, scene, position, quat, per_scene=60)
    assert len(prototypes.scene) == 60 and prototypes.descriptor.shape[1] <= 48
    again = rng.uniform(0.2, 0.8, size=(50, 4))
    first, poses = scene[:50], (again[:, :3] * 5.0, quat[:50])
    own = prototypes.compare(again @ looks, again @ thoughts, first, *poses)
    other = prototypes.compare(again @ rng.normal(size=(4, 80)), again @ thoughts, first, *poses)
    assert own.distance.max() < other.distance.min()
    assert own.strangeness.max() < other.strangeness.min()
    np.testing.assert_array_equal(own.novelty, other.novelty)
    alike = prototypes.compare(again @ looks, again @ rng.normal(size=(4, 40)), first, *poses)
    assert own.novelty.max() < alike.novelty.min()
    wrong = prototypes.compare(
        again @ looks, again @ thoughts, first, again[::-1, :3] * 5.0, quat[:50]
    )
    assert np.median(wrong.position_gap) > 1.5 * np.median(own.position_gap)
    missing = prototypes.compare(again @ looks, again @ thoughts, first + 1, *poses)
    assert np.isinf(missing.distance).all()


def test_views_that_agree_change_nothing_and_those_that_differ_widen() -> None:
    plain, _ = world(30, 7)
    rotations = view_rotations(4)
    turned = []
    for rotation in rotations:
        seen = rotation_from_quat_xyzw(plain.quat_xyzw) @ rotation
        turned.append(Signals(**{**vars(plain), "quat_xyzw": quat_xyzw_from_rotation(seen)}))
    combined, spread = combine_views(plain, turned, rotations)
    np.testing.assert_allclose(combined.position, plain.position)
    np.testing.assert_allclose(turns(combined.quat_xyzw, plain.quat_xyzw), 0.0, atol=1e-6)
    np.testing.assert_allclose(spread, 0.0, atol=1e-10)
    turned[0] = Signals(
        **{**vars(turned[0]), "position": plain.position + np.array([0.5, 0.0, 0.0])}
    )
    combined, spread = combine_views(plain, turned, rotations)
    np.testing.assert_allclose(
        combined.position - plain.position, [[0.1, 0.0, 0.0]] * 30, atol=1e-9
    )
    np.testing.assert_allclose(spread[:, 0, 0], 0.05, atol=1e-9)
