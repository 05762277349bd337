"""Metrics and block bootstrap against SciPy, NumPy and synthetic data of known truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mspr_ros.evaluation.bootstrap import (
    block_bootstrap,
    contiguous_blocks,
    contiguous_runs,
    median_interval,
    median_ratio_interval,
)
from mspr_ros.evaluation.metrics import (
    error_statistics,
    median_error,
    orientation_error_deg,
    position_error_m,
    summarize,
)


def random_quats(seed: int, count: int) -> np.ndarray:
    return Rotation.random(count, random_state=seed).as_quat()


def test_orientation_error_agrees_with_scipy():
    a, b = random_quats(0, 500), random_quats(1, 500)
    oracle = np.degrees((Rotation.from_quat(a).inv() * Rotation.from_quat(b)).magnitude())
    np.testing.assert_allclose(orientation_error_deg(a, b), oracle, atol=1e-9)


@given(st.floats(1e-9, 179.999), st.integers(0, 2**31), st.floats(0.1, 10.0), st.booleans())
@settings(max_examples=100, deadline=None)
def test_orientation_error_is_exact_for_any_angle_norm_and_sign(angle_deg, seed, scale, flip):
    start = Rotation.random(random_state=seed)
    axis = np.random.default_rng(seed).normal(size=3)
    axis /= np.linalg.norm(axis)
    turned = start * Rotation.from_rotvec(np.radians(angle_deg) * axis)
    pred = turned.as_quat() * scale * (-1.0 if flip else 1.0)
    error = float(orientation_error_deg(start.as_quat(), pred))
    # Rounding of the quaternions themselves: a few 1e-16, about 1e-13 degrees.
    assert error == pytest.approx(angle_deg, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("broken", [[math.nan, 0, 0, 1], [math.inf, 0, 0, 1], [0, 0, 0, 0]])
def test_orientation_error_without_direction_is_nan(broken):
    good = [0.0, 0.0, 0.0, 1.0]
    errors = orientation_error_deg([good, good, broken], [good, broken, good])
    assert errors[0] == 0.0
    assert np.isnan(errors[1:]).all()


def test_position_error_is_the_distance_and_nan_where_not_finite():
    gt = np.array([[0.0, 0, 0], [1, 2, 3], [0, 0, 0], [0, 0, 0]])
    pred = np.array([[3.0, 4, 0], [1, 2, 3], [math.nan, 0, 0], [0, math.inf, 0]])
    errors = position_error_m(gt, pred)
    np.testing.assert_allclose(errors[:2], [5.0, 0.0])
    assert np.isnan(errors[2:]).all()


def test_errors_agree_with_evo():
    metrics = pytest.importorskip("evo.core.metrics", reason="evo is not installed")
    trajectory = pytest.importorskip("evo.core.trajectory", reason="evo is not installed")
    rng = np.random.default_rng(3)
    positions = rng.normal(size=(2, 50, 3))
    quats = random_quats(4, 100).reshape(2, 50, 4)
    paths = [
        trajectory.PosePath3D(positions_xyz=p, orientations_quat_wxyz=np.roll(q, 1, axis=1))
        for p, q in zip(positions, quats, strict=True)
    ]
    for relation, ours in (
        (metrics.PoseRelation.translation_part, position_error_m(*positions)),
        (metrics.PoseRelation.rotation_angle_deg, orientation_error_deg(*quats)),
    ):
        ape = metrics.APE(relation)
        ape.process_data(tuple(paths))
        np.testing.assert_allclose(ours, ape.error, atol=1e-6)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_statistics_of_finite_errors_are_numpys(errors):
    statistics = error_statistics(errors)
    for quantile, ours in (
        (50, statistics.median),
        (90, statistics.p90),
        (95, statistics.p95),
        (99, statistics.p99),
        (100, statistics.max),
    ):
        assert ours == pytest.approx(np.percentile(errors, quantile), abs=1e-9)
    assert statistics.mean == pytest.approx(np.mean(errors))


def test_failures_are_infinite_errors_and_are_counted():
    position = np.array([0.01, 0.02, 0.03, math.nan, 0.04])
    orientation = np.array([1.0, 1.0, math.inf, 1.0, 1.0])
    summary = summarize(position, orientation, scene_correct=[True, True, True, False, False])
    assert summary.num_frames == 5
    assert summary.num_failures == 2
    # 0.01 0.02 0.04 inf inf: dropping the failures would give 0.02.
    assert summary.position_error_m.median == 0.04
    assert math.isinf(summary.position_error_m.mean)
    assert math.isinf(summary.orientation_error_deg.p90)
    # The last frame is near enough but in the wrong scene.
    assert summary.recalls[0].share == pytest.approx(2 / 5)
    assert summary.scene_accuracy == pytest.approx(3 / 5)


def test_recall_thresholds_include_their_bounds():
    position = np.array([0.05, 0.25, 0.50, 0.51])
    orientation = np.array([5.0, 2.0, 5.0, 0.0])
    shares = [recall.share for recall in summarize(position, orientation).recalls]
    assert shares == [0.25, 0.25, 0.75]


def test_cluster_accuracy_over_all_and_within_the_right_scene():
    summary = summarize(
        np.zeros(4),
        np.zeros(4),
        scene_correct=[True, True, False, False],
        position_cluster_correct=[True, False, True, False],
    )
    assert summary.position_cluster_accuracy == 0.25
    assert summary.position_cluster_accuracy_in_scene == 0.5
    assert summary.orientation_cluster_accuracy is None


def test_summary_is_valid_json_without_infinity():
    everything_failed = summarize([math.nan] * 3, [math.nan] * 3).to_dict()
    text = json.dumps(everything_failed, allow_nan=False)
    assert json.loads(text)["position_error_m"]["median"] is None
    assert json.loads(text)["num_failures"] == 3


def test_summary_refuses_nothing_and_unequal_lengths():
    with pytest.raises(ValueError, match="no frames"):
        summarize([], [])
    with pytest.raises(ValueError, match="shapes"):
        summarize([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="scene_correct"):
        summarize([1.0, 2.0], [1.0, 2.0], scene_correct=[True])


def test_median_error_with_infinities_is_never_nan():
    assert median_error([1.0, 2.0, math.inf]) == 2.0
    assert math.isinf(median_error([1.0, math.inf]))
    assert math.isinf(median_error([math.inf, math.inf]))


def test_blocks_break_at_gaps_and_sequences_and_long_ones_are_cut():
    stamps = np.array([0, 1, 2, 3, 50, 51, 0, 1]) * 10**8
    sequences = ["a"] * 6 + ["b"] * 2
    order = np.random.default_rng(0).permutation(8)
    blocks = contiguous_blocks(
        stamps[order], [sequences[i] for i in order], max_gap_ns=2 * 10**8, max_block_frames=2
    )
    found = sorted(sorted(order[block].tolist()) for block in blocks)
    assert found == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_the_default_gap_follows_the_recordings_own_rate():
    slow = np.array([0, 1, 2, 3, 14, 15, 16]) * 10**9
    blocks = contiguous_blocks(slow, ["s"] * 7)
    assert [block.tolist() for block in blocks] == [[0, 1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("offset_ms", [0, 3, 40])
def test_the_default_gap_follows_each_camera_of_a_rig(offset_ms):
    one = np.array([0, 1, 2, 3, 14, 15, 16]) * 10**8
    stamps = np.concatenate([one + camera * offset_ms * 10**6 for camera in range(3)])
    cameras = np.repeat(["left", "front", "right"], 7).tolist()
    runs = contiguous_runs(stamps, ["s"] * 21, cameras=cameras)
    assert [sorted(set((run % 7).tolist())) for run in runs] == [[0, 1, 2, 3], [4, 5, 6]]
    # A camera for every image, as photogrammetry may find, is no rig.
    alone = contiguous_runs(one, ["s"] * 7, cameras=[str(i) for i in range(7)])
    assert [len(run) for run in alone] == [4, 3]


@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.sampled_from("abc")), min_size=1, max_size=60),
    st.integers(1, 12),
)
@settings(max_examples=100, deadline=None)
def test_blocks_hold_every_frame_once_and_none_is_too_long(frames, max_block_frames):
    blocks = contiguous_blocks(
        [stamp for stamp, _ in frames],
        [sequence for _, sequence in frames],
        max_block_frames=max_block_frames,
    )
    assert sorted(np.concatenate(blocks).tolist()) == list(range(len(frames)))
    assert max(map(len, blocks)) <= max_block_frames
    for block in blocks:
        assert len({frames[index][1] for index in block}) == 1


def autocorrelated(rng: np.random.Generator, count: int, correlation: float) -> np.ndarray:
    """Log-normal errors whose logarithm is a stationary AR(1) of median 0."""
    noise = rng.normal(size=count) * math.sqrt(1 - correlation**2)
    log_error = np.empty(count)
    log_error[0] = rng.normal()
    for index in range(1, count):
        log_error[index] = correlation * log_error[index - 1] + noise[index]
    return np.exp(0.5 * log_error)


def test_block_intervals_cover_where_frame_intervals_do_not():
    rng = np.random.default_rng(7)
    stamps = np.arange(800) * 33_000_000
    sequences = ["s"] * 800
    blocks = contiguous_blocks(stamps, sequences, max_block_frames=40)
    frames = contiguous_blocks(stamps, sequences, max_block_frames=1)
    covered = {"blocks": 0, "frames": 0}
    trials = 80
    for trial in range(trials):
        errors = autocorrelated(rng, 800, 0.9)
        for name, choice in (("blocks", blocks), ("frames", frames)):
            interval = median_interval(errors, choice, num_resamples=150, seed=trial)
            covered[name] += interval.low <= 1.0 <= interval.high
    assert covered["blocks"] / trials >= 0.82
    assert covered["frames"] / trials <= 0.70


def test_ratio_is_paired_and_one_for_equal_errors():
    errors = autocorrelated(np.random.default_rng(0), 300, 0.9)
    blocks = contiguous_blocks(np.arange(300) * 33_000_000, ["s"] * 300)
    same = median_ratio_interval(errors, errors, blocks)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    half = median_ratio_interval(0.5 * errors, errors, blocks)
    assert half.value == half.low == half.high == pytest.approx(0.5)


def test_bootstrap_repeats_with_its_seed_and_orders_its_bounds():
    errors = autocorrelated(np.random.default_rng(1), 200, 0.8)
    blocks = contiguous_blocks(np.arange(200) * 33_000_000, ["s"] * 200)
    first = median_interval(errors, blocks, seed=3)
    assert first == median_interval(errors, blocks, seed=3)
    assert first != median_interval(errors, blocks, seed=4)
    assert first.low < first.value < first.high
    assert first.num_blocks == 20
    wide = median_interval(errors, blocks, seed=3, level=0.99)
    assert wide.low <= first.low and wide.high >= first.high


def test_bootstrap_with_failures_reaches_infinity_and_never_nan():
    errors = np.array([0.1] * 10 + [math.nan] * 8)
    blocks = contiguous_blocks(np.arange(18) * 33_000_000, ["s"] * 18, max_block_frames=3)
    interval = median_interval(errors, blocks)
    assert interval.value == 0.1
    assert interval.low == 0.1
    assert math.isinf(interval.high)


def test_one_block_gives_no_interval():
    interval = block_bootstrap(lambda indices: float(len(indices)), [np.arange(5)])
    assert interval.value == 5.0
    assert math.isnan(interval.low) and math.isnan(interval.high)
