"""Rotations, transforms and covariances, against SciPy and sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from mspr_ros.geometry import (
    as_float_tuple,
    covariance_at_offset,
    interpolate_poses,
    invert_transform,
    normalize_quat_xyzw,
    quat_xyzw_from_rotation,
    quat_xyzw_from_wxyz,
    rotation_angle_rad,
    rotation_from_quat_xyzw,
    skew,
    slerp_quat_xyzw,
    transform_from_pose,
)

# A busy machine is no reason to fail.
settings.register_profile("unhurried", deadline=None, max_examples=60)
settings.load_profile("unhurried")

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)
QUATS = arrays(np.float64, 4, elements=NUMBERS).filter(lambda quat: np.linalg.norm(quat) > 1e-3)
VECTORS = arrays(np.float64, 3, elements=NUMBERS)


@given(QUATS)
def test_normalised_quaternions_are_unit_with_positive_w(quat) -> None:
    unit = normalize_quat_xyzw(quat)
    assert np.linalg.norm(unit) == pytest.approx(1.0, abs=1e-14) and unit[3] >= 0.0
    np.testing.assert_allclose(np.abs(unit), np.abs(quat) / np.linalg.norm(quat), atol=1e-15)
    np.testing.assert_allclose(normalize_quat_xyzw(-3.0 * quat)[3], unit[3], atol=1e-15)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1], [1e-13] * 4])
def test_quaternions_without_direction_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="no direction"):
        normalize_quat_xyzw(np.array([[0, 0, 0, 1.0], bad]))


@given(QUATS)
def test_orders_of_a_quaternion(quat) -> None:
    wxyz = (quat[3], quat[0], quat[1], quat[2])
    np.testing.assert_array_equal(quat_xyzw_from_wxyz(wxyz), quat)


@given(QUATS, VECTORS)
def test_rotation_matrices_turn_as_quaternions_do(quat, vector) -> None:
    rotation = rotation_from_quat_xyzw(quat)
    x, y, z, w = quat / np.linalg.norm(quat)
    axis = np.array([x, y, z])
    # Rodrigues: a second way from quaternion to rotated vector.
    oracle = vector + 2 * w * np.cross(axis, vector) + 2 * np.cross(axis, np.cross(axis, vector))
    np.testing.assert_allclose(rotation @ vector, oracle, atol=1e-9)
    again = quat_xyzw_from_rotation(rotation)
    assert again[3] >= 0.0
    assert rotation_angle_rad(again, quat / np.linalg.norm(quat)) < 1e-7


def test_quarter_turn_about_z() -> None:
    half = np.sqrt(0.5)
    expected = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(rotation_from_quat_xyzw([0, 0, half, half]), expected, atol=1e-15)
    np.testing.assert_allclose(quat_xyzw_from_rotation(expected), [0, 0, half, half], atol=1e-15)


@given(QUATS, VECTORS, QUATS, VECTORS)
def test_transforms_invert_and_compose(quat_a, position_a, quat_b, position_b) -> None:
    T_map_base = transform_from_pose(position_a, quat_a)
    T_base_cam = transform_from_pose(position_b, quat_b)
    np.testing.assert_allclose(T_map_base @ invert_transform(T_map_base), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(invert_transform(T_map_base), np.linalg.inv(T_map_base), atol=1e-9)
    np.testing.assert_allclose(
        invert_transform(T_map_base @ T_base_cam),
        invert_transform(T_base_cam) @ invert_transform(T_map_base),
        atol=1e-8,
    )
    np.testing.assert_allclose(T_map_base @ [0, 0, 0, 1], [*position_a, 1.0], atol=1e-12)


def test_leading_dimensions_broadcast() -> None:
    rng = np.random.default_rng(0)
    quats, positions = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 3))
    transforms = transform_from_pose(positions, quats)
    assert transforms.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(transforms[1, 2], transform_from_pose(positions[1, 2], quats[1, 2]))
    np.testing.assert_allclose(invert_transform(transforms)[1, 2], np.linalg.inv(transforms[1, 2]))
    assert quat_xyzw_from_rotation(transforms[..., :3, :3]).shape == (2, 3, 4)
    assert rotation_angle_rad(quats[:, :1], quats).shape == (2, 3)
    assert transform_from_pose(np.zeros((0, 3)), np.zeros((0, 4))).shape == (0, 4, 4)
    assert quat_xyzw_from_rotation(np.zeros((0, 3, 3))).shape == (0, 4)


@given(QUATS, QUATS)
def test_angles_agree_with_scipy(quat_a, quat_b) -> None:
    a, b = normalize_quat_xyzw(quat_a), normalize_quat_xyzw(quat_b)
    angle = rotation_angle_rad(a, b)
    oracle = (Rotation.from_quat(a).inv() * Rotation.from_quat(b)).magnitude()
    assert angle == pytest.approx(oracle, abs=1e-9) and 0.0 <= angle <= np.pi
    assert rotation_angle_rad(b, a) == pytest.approx(angle, abs=1e-12)
    assert rotation_angle_rad(-a, b) == pytest.approx(angle, abs=1e-12)
    assert rotation_angle_rad(2.0 * a, 0.3 * b) == pytest.approx(angle, abs=1e-12)
    assert rotation_angle_rad(a, a) == pytest.approx(0.0, abs=1e-15)


@given(
    QUATS,
    VECTORS.filter(lambda axis: np.linalg.norm(axis) > 1e-2),
    st.floats(-12.0, np.log10(np.pi)),
)
def test_small_and_large_angles_keep_their_digits(quat, axis, exponent) -> None:
    angle = 10.0**exponent
    start = Rotation.from_quat(quat)
    turned = start * Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle)
    measured = rotation_angle_rad(start.as_quat(), turned.as_quat())
    assert measured == pytest.approx(angle, rel=1e-6, abs=1e-15)


def test_nan_angles_stay_nan() -> None:
    angles = rotation_angle_rad([[np.nan, 0, 0, 1], [0, 0, 0, 1]], [0, 0, 0, 1.0])
    assert np.isnan(angles[0]) and angles[1] == 0.0


@given(QUATS, QUATS, st.floats(0.0, 1.0))
def test_slerp_agrees_with_scipy(quat_a, quat_b, weight) -> None:
    a, b = normalize_quat_xyzw(quat_a), normalize_quat_xyzw(quat_b)
    angle = rotation_angle_rad(a, b)
    if angle > np.pi - 1e-3:
        return  # two shortest ways
    oracle = Slerp([0, 1], Rotation.from_quat([a, b]))(weight).as_quat()
    for sign_a, sign_b in ((1, 1), (-1, 1), (1, -1)):
        (turned,) = slerp_quat_xyzw([sign_a * a], [sign_b * b], [weight])
        assert rotation_angle_rad(turned, oracle) < 1e-9 and turned[3] >= 0.0
    assert rotation_angle_rad(a, turned) == pytest.approx(weight * angle, abs=1e-9)


STAMPS = st.lists(st.integers(1, 10**9), min_size=1, max_size=12).map(
    lambda steps: 1_305_031_229_528_748_000 + np.cumsum(np.array(steps, dtype=np.int64))
)


@given(STAMPS, st.lists(st.integers(-(10**9), 10**10), max_size=20), st.integers(0, 10**9))
def test_interpolation_agrees_with_scipy(stamps, offsets, max_gap_ns) -> None:
    rng = np.random.default_rng(len(stamps))
    positions, quats = rng.normal(size=(len(stamps), 3)), rng.normal(size=(len(stamps), 4))
    query = np.array([*(stamps[0] + np.array(offsets, dtype=np.int64)), *stamps])
    found, found_quats, valid = interpolate_poses(stamps, positions, quats, query, max_gap_ns)
    assert found.shape == (len(query), 3) and found_quats.shape == (len(query), 4)
    assert valid[len(offsets) :].all()
    np.testing.assert_allclose(found[len(offsets) :], positions, atol=1e-12)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), ~valid)
    np.testing.assert_array_equal(np.isnan(found_quats).all(axis=1), ~valid)
    seconds, at = (stamps - stamps[0]) / 1e9, (query - stamps[0]) / 1e9
    for i in range(len(query)):
        if query[i] in stamps:
            continue
        after = int(np.searchsorted(stamps, query[i]))
        inside = 0 < after < len(stamps)
        assert valid[i] == (inside and stamps[after] - stamps[after - 1] <= max_gap_ns)
        if valid[i]:
            line = [np.interp(at[i], seconds, positions[:, axis]) for axis in range(3)]
            np.testing.assert_allclose(found[i], line, atol=1e-6)
            oracle = Slerp(seconds, Rotation.from_quat(quats))(at[i]).as_quat()
            assert rotation_angle_rad(found_quats[i], oracle) < 1e-6


def test_interpolation_of_nothing_and_of_disorder() -> None:
    positions, quats, valid = interpolate_poses([], np.zeros((0, 3)), np.zeros((0, 4)), [5], 9)
    assert not valid.any() and np.isnan(positions).all() and np.isnan(quats).all()
    unit = [[0, 0, 0, 1.0]] * 2
    for stamps in ([2, 1], [1, 1]):
        with pytest.raises(ValueError, match="strictly increasing"):
            interpolate_poses(stamps, np.zeros((2, 3)), unit, [1], 9)
    assert not interpolate_poses([1, 2], np.zeros((2, 3)), unit, [], 9)[2].size


def test_nanoseconds_do_not_drown_in_floats() -> None:
    # One nanosecond at this epoch is far below float64's step of 256 ns.
    stamps = 1_700_000_000_000_000_000 + np.array([0, 4])
    positions, _, _ = interpolate_poses(
        stamps, [[0.0, 0, 0], [4.0, 0, 0]], [[0, 0, 0, 1.0]] * 2, stamps[0] + np.arange(5), 10
    )
    np.testing.assert_allclose(positions[:, 0], [0, 1, 2, 3, 4], atol=1e-12)


def test_covariance_at_an_offset_is_that_of_samples() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6)) * np.array([0.02] * 3 + [0.01] * 3)[:, None]
    covariance = root @ root.T
    offset_map = np.array([0.7, -1.3, 0.4])
    samples = rng.normal(size=(400_000, 6)) @ root.T
    # The body's second point moves with it: its rotation about the map's axes swings the offset.
    moved = samples[:, :3] + Rotation.from_rotvec(samples[:, 3:]).apply(offset_map) - offset_map
    sampled = np.cov(np.hstack([moved, samples[:, 3:]]).T)
    carried = covariance_at_offset(covariance, offset_map)
    deviation = np.sqrt(np.diag(carried))
    np.testing.assert_allclose(
        sampled / np.outer(deviation, deviation),
        carried / np.outer(deviation, deviation),
        atol=0.01,
    )
    # Without the lever arm the difference would be seen.
    wrong = np.abs(sampled - covariance) / np.outer(deviation, deviation)
    assert wrong[:3, :3].max() > 0.05
    np.testing.assert_array_equal(carried[3:, 3:], covariance[3:, 3:])
    there_and_back = covariance_at_offset(carried, -offset_map)
    np.testing.assert_allclose(there_and_back, covariance, atol=1e-15)


def test_a_base_pose_has_the_covariance_of_sampled_base_poses() -> None:
    """As the node does it: a camera pose and its mount give the base's pose and covariance."""
    rng = np.random.default_rng(4)
    root = rng.normal(size=(6, 6)) * np.array([0.03] * 3 + [0.02] * 3)[:, None]
    errors = rng.normal(size=(200_000, 6)) @ root.T
    T_map_cam = transform_from_pose([2.0, -1.0, 1.2], normalize_quat_xyzw([0.4, -0.5, 0.6, 0.3]))
    T_cam_base = transform_from_pose([0.1, 1.1, -0.6], normalize_quat_xyzw([0.5, -0.5, 0.5, 0.5]))
    T_map_base = T_map_cam @ T_cam_base
    # Estimates of the camera whose rotations err about the map's axes.
    estimates = np.tile(T_map_cam, (len(errors), 1, 1))
    turn = Rotation.from_rotvec(errors[:, 3:])
    estimates[:, :3, :3] = turn.as_matrix() @ T_map_cam[:3, :3]
    estimates[:, :3, 3] += errors[:, :3]
    bases = estimates @ T_cam_base
    turned = Rotation.from_matrix(bases[:, :3, :3] @ T_map_base[:3, :3].T).as_rotvec()
    residuals = np.hstack([bases[:, :3, 3] - T_map_base[:3, 3], turned])
    # The lever arm from camera to base, in map axes.
    offset_map = T_map_base[:3, 3] - T_map_cam[:3, 3]
    covariance = covariance_at_offset(root @ root.T, offset_map)
    deviation = np.sqrt(np.diag(covariance))
    scale = np.outer(deviation, deviation)
    np.testing.assert_allclose(np.cov(residuals.T) / scale, covariance / scale, atol=0.015)

    def share_in_95(stated):
        squares = np.einsum("ni,ij,nj->n", residuals, np.linalg.inv(stated), residuals)
        return np.mean(squares <= 12.5916)  # chi-square with 6 degrees of freedom

    assert share_in_95(covariance) == pytest.approx(0.95, abs=0.006)
    # The camera's own covariance, a lever arm in the camera's axes or the other way round
    # would each be found out.
    for wrong in (np.zeros(3), T_cam_base[:3, 3], -offset_map):
        assert share_in_95(covariance_at_offset(root @ root.T, wrong)) < 0.9


@given(VECTORS, VECTORS)
def test_skew_is_the_cross_product(a, b) -> None:
    np.testing.assert_allclose(skew(a) @ b, np.cross(a, b), atol=1e-9)


def test_float_tuples_are_plain() -> None:
    values = as_float_tuple(np.arange(4, dtype=np.float32).reshape(2, 2))
    assert values == (0.0, 1.0, 2.0, 3.0) and all(type(value) is float for value in values)
