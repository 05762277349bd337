"""The filter of benchmarks/gating.py: a plain Kalman filter, its gate and its measures."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from gating_filter import Drives, difference, error_figures, fuse, odometry_alone

POSE_DEVIATION = np.array([0.2, 0.2, 0.05])


def make_drives(num_drives: int = 6, num_images: int = 60, seed: int = 0) -> Drives:
    """Drive curves with exact odometry in a frame of its own, and noisy poses."""
    rng = np.random.default_rng(seed)
    yaw = np.cumsum(rng.normal(0.0, 0.2, (num_drives, num_images)), axis=1)
    steps = 0.3 * np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    truth = np.concatenate([np.cumsum(steps, axis=1), yaw[..., None]], axis=-1)
    # Odometry: the same way, seen from another origin that is turned.
    turned = np.array([[0.0, -1.0], [1.0, 0.0]])
    odometry = np.concatenate([truth[..., :2] @ turned.T + 5.0, yaw[..., None] + np.pi / 2], -1)
    pose = truth + rng.normal(size=truth.shape) * POSE_DEVIATION
    shape = truth.shape[:2]
    return Drives(
        tuple(str(number) for number in range(num_drives)),
        truth,
        odometry,
        pose,
        np.broadcast_to(np.diag(POSE_DEVIATION**2), (*shape, 3, 3)).copy(),
        np.ones(shape, dtype=bool),
        np.ones(shape, dtype=bool),
    )


def test_fused_poses_beat_single_ones_and_state_their_error() -> None:
    drives = make_drives(num_drives=40)
    figures = error_figures(fuse(drives, drives.covariance, np.inf), drives)
    single = np.sqrt((drives.errors()[..., :2] ** 2).sum(axis=-1).mean())
    assert figures["position_rms_m"] < 0.6 * single
    assert figures["num_without_pose_yet"] == 0 and figures["share_rejected"] == 0
    # Its own odometry noise is larger than the exact odometry of these drives.
    assert figures["coverage_95"] > 0.94


def test_poses_that_err_beyond_their_covariance_are_gated() -> None:
    drives = make_drives()
    wrong = np.zeros(drives.usable.shape, dtype=bool)
    wrong[:, 7::10] = True
    pose = drives.pose.copy()
    pose[wrong] += [3.0, -2.0, 0.0]
    drives = replace(drives, pose=pose)
    gated = fuse(drives, drives.covariance, 3.5)
    assert gated.rejected[wrong].all() and gated.rejected[~wrong].mean() < 0.03
    open_gate = error_figures(fuse(drives, drives.covariance, np.inf), drives)
    assert error_figures(gated, drives)["position_p95_m"] < 0.5 * open_gate["position_p95_m"]
    # Told that these are uncertain, the filter need not refuse them.
    honest = drives.covariance.copy()
    honest[wrong] *= 400.0
    told = fuse(drives, honest, 3.5)
    assert told.rejected[wrong].mean() < 0.1
    assert error_figures(told, drives)["position_p95_m"] < 0.5 * open_gate["position_p95_m"]


def test_covariances_that_differ_beat_the_best_constant_one() -> None:
    """What benchmarks/gating.py shows on rooms holds by construction here."""
    drives = make_drives(num_drives=20)
    rng = np.random.default_rng(5)
    bad = rng.random(drives.usable.shape) < 0.4
    pose = drives.pose.copy()
    pose[bad] += rng.normal(size=(int(bad.sum()), 3)) * [1.0, 1.0, 0.3]
    drives = replace(drives, pose=pose)
    honest = drives.covariance.copy()
    honest[bad] += np.diag([1.0, 1.0, 0.09])
    scales = (0.05, 0.1, 0.2, 0.4, 0.8, 1.2)
    constants = np.stack(
        [np.broadcast_to(np.diag([s**2, s**2, (0.3 * s) ** 2]), honest.shape) for s in scales]
    )
    tried = fuse(drives, constants, 3.0)
    best = min(
        error_figures(tried.one(index), drives)["position_rms_m"] for index in range(len(scales))
    )
    assert error_figures(fuse(drives, honest, 3.0), drives)["position_rms_m"] < 0.9 * best


def test_many_covariances_at_once_are_each_as_alone() -> None:
    drives = make_drives(num_drives=3, num_images=12)
    several = np.stack([drives.covariance, 9.0 * drives.covariance])
    together = fuse(drives, several, 2.0)
    for index in range(2):
        alone = fuse(drives, several[index], 2.0)
        np.testing.assert_allclose(together.one(index).state, alone.state)
        np.testing.assert_array_equal(together.one(index).rejected, alone.rejected)


def test_the_filter_waits_for_a_first_pose() -> None:
    drives = make_drives(num_drives=2, num_images=10)
    usable = drives.usable.copy()
    usable[0, :4] = False
    fused = fuse(replace(drives, usable=usable), drives.covariance, 3.0)
    assert np.isnan(fused.state[0, :4]).all() and np.isfinite(fused.state[0, 4:]).all()
    assert np.isfinite(fused.state[1]).all()
    np.testing.assert_array_equal(fused.state[0, 4], drives.pose[0, 4])


def test_exact_odometry_alone_follows_the_truth() -> None:
    drives = make_drives()
    np.testing.assert_allclose(
        difference(odometry_alone(drives).state, drives.truth), 0.0, atol=1e-9
    )


def test_yaw_is_fused_across_the_half_turn() -> None:
    still = np.zeros((1, 4, 3))
    truth = np.tile([0.0, 0.0, np.pi - 0.01], (1, 4, 1))
    pose = truth.copy()
    pose[0, 1::2, 2] = -np.pi + 0.01
    flags = np.ones((1, 4), dtype=bool)
    covariance = np.broadcast_to(np.diag([0.01, 0.01, 0.01]), (1, 4, 3, 3))
    drives = Drives(("one",), truth, still, pose, covariance, flags, flags)
    errors = difference(fuse(drives, covariance, 3.0).state, truth)
    assert np.abs(errors[..., 2]).max() == pytest.approx(0.01, abs=0.011)
