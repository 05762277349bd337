"""The filter of `T_map_odom` against synthetic drives, where truth and noise are known."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mspr_ros.fusion.filter import BELIEVED, HELD, RESTARTED, STARTED, Event, FusionFilter
from mspr_ros.fusion.state import FusionSettings, moved
from mspr_ros.geometry import invert_transform, pose_difference, shifted, transform_from_pose

S = 1_000_000_000
STEP_NS = 200_000_000
NOISE = np.diag([0.2, 0.2, 0.05, 0.01, 0.01, 0.08]) ** 2
# Noise as the filter assumes it: independent and normal, of a known scale.
PLAIN = FusionSettings(
    correlation_m=0.0,
    correlation_rad=0.0,
    correlation_s=0.0,
    tail=math.inf,
    is_scale_learned=False,
)


def planar(x, y, yaw):
    return transform_from_pose((x, y, 0.0), (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))


def true_drive(num_steps):
    """Give the true `T_map_base` of a figure of eight at 0.6 m/s."""
    poses, yaw, x, y = [], 0.3, 1.0, 2.0
    for index in range(num_steps):
        poses.append(planar(x, y, yaw))
        yaw += 0.12 * math.cos(2 * math.pi * index / 100)
        x, y = x + 0.12 * math.cos(yaw), y + 0.12 * math.sin(yaw)
    return np.array(poses)


def odometry(truth, rng, biases, settings):
    """Integrate the true motion with errors as the settings describe them."""
    T_odom_base = planar(7.0, -3.0, 2.0)
    out = [T_odom_base]
    scale, per_m, per_rad = biases
    for before, after in pairwise(truth):
        motion = invert_transform(before) @ after
        way = np.linalg.norm(motion[:3, 3])
        turn = Rotation.from_matrix(motion[:3, :3]).as_rotvec()
        white = settings.white_share * rng.standard_normal(6)
        spread = math.sqrt(
            settings.yaw_drift_per_m**2 * way
            + settings.yaw_drift_per_rad**2 * np.linalg.norm(turn)
        )
        error = np.concatenate(
            [white[:3] * settings.drift_per_m * math.sqrt(way), white[3:] * spread]
        )
        motion[:3, 3] *= 1.0 + scale
        turned = (
            motion[:3, :3]
            @ Rotation.from_rotvec([0.0, 0.0, per_m * way + per_rad * turn[2]]).as_matrix()
        )
        motion[:3, :3] = turned
        T_odom_base = shifted(T_odom_base @ motion, error)
        out.append(T_odom_base)
    return np.array(out)


def sightings(truth, odom, rng, noise=NOISE):
    """Make an event of each step: the true pose with noise, and odometry."""
    root = np.linalg.cholesky(noise)
    return [
        Event(S + index * STEP_NS, odom[index], shifted(T, root @ rng.standard_normal(6)), noise)
        for index, T in enumerate(truth)
    ]


def a_drive(seed, num_steps, settings=PLAIN):
    rng = np.random.default_rng(seed)
    truth = true_drive(num_steps)
    biases = np.sqrt(settings.bias_variance()) * rng.standard_normal(3)
    odom = odometry(truth, rng, biases, settings)
    return truth, odom, sightings(truth, odom, rng)


def errors(filter_, truth, index):
    return pose_difference(truth[index], filter_.belief.T_map_body)


def test_its_covariance_tells_its_error():
    nees = []
    for seed in range(20):
        truth, _, events = a_drive(seed, 80)
        # Begun with the first pose: the one that agrees best with others errs less than it says.
        fused = FusionFilter(replace(PLAIN, start_poses=1))
        for event in events:
            fused.take(event)
        error = errors(fused, truth, -1)
        nees.append(error @ np.linalg.solve(fused.belief.covariance[:6, :6], error) / 6)
    # 20 drives of 6 numbers: the mean of chi-square / 6 spreads by sqrt(2 / 120) = 0.13.
    assert 0.65 < np.mean(nees) < 1.35, np.mean(nees)


def test_it_is_better_than_the_poses_and_learns_the_drift():
    truth, _, events = a_drive(3, 200)
    fused, raw, mine = FusionFilter(PLAIN), [], []
    for index, event in enumerate(events):
        fused.take(event)
        if index > 50:
            raw.append(np.linalg.norm(pose_difference(truth[index], event.T_map_body)[:3]))
            mine.append(np.linalg.norm(errors(fused, truth, index)[:3]))
    assert np.median(mine) < 0.35 * np.median(raw)
    assert np.percentile(mine, 95) < 0.35 * np.percentile(raw, 95)


def test_the_systematic_error_of_odometry_is_learned():
    biases = np.array([0.03, -math.radians(1.5), 0.0])
    rng = np.random.default_rng(0)
    truth = true_drive(250)
    odom = odometry(truth, rng, biases, PLAIN)
    fused = FusionFilter(PLAIN)
    for event in sightings(truth, odom, rng, 0.05 * NOISE):
        fused.take(event)
    assert (abs(fused.belief.biases - biases)[:2] < (0.01, 0.006)).all()


def test_outliers_are_held_and_do_no_harm():
    truth, _, events = a_drive(1, 120)
    rng = np.random.default_rng(9)
    clean, soiled, verdicts = FusionFilter(PLAIN), FusionFilter(PLAIN), []
    for index, event in enumerate(events):
        clean.take(event)
        if index > 10 and index % 4 == 0:
            wild = shifted(event.T_map_body, np.array([*rng.uniform(2, 5, 3), 0, 0, 2.0]))
            verdicts.append(soiled.take(replace(event, T_map_body=wild)))
        else:
            soiled.take(event)
    assert set(verdicts) == {HELD}
    away = np.linalg.norm(errors(soiled, truth, -1)[:2])
    assert away < 0.15 and away < 3.0 * np.linalg.norm(errors(clean, truth, -1)[:2]) + 0.1


def test_a_late_pose_equals_one_in_time():
    _, _, events = a_drive(2, 60)
    in_order, late = FusionFilter(PLAIN), FusionFilter(PLAIN)
    for event in events:
        in_order.take(event)
    order = list(range(60))
    for start in range(5, 55, 5):  # swapped, and held back by several
        order[start : start + 4] = order[start : start + 4][::-1]
    for index in order:
        late.take(events[index])
    np.testing.assert_allclose(late.belief.T_map_odom, in_order.belief.T_map_odom, atol=1e-12)
    np.testing.assert_allclose(late.belief.covariance, in_order.belief.covariance, atol=1e-12)
    # Odometry that ran ahead of the pose changes nothing but what is known of the time since.
    ahead, T = FusionFilter(PLAIN), events[-1].T_odom_body
    for index, event in enumerate(events):
        ahead.take(Event(event.stamp_ns, event.T_odom_body))
        if index >= 2:
            ahead.take(events[index - 2])
    ahead.take(events[-2])
    ahead.take(events[-1])
    np.testing.assert_allclose(
        ahead.belief.T_map_odom @ T, in_order.belief.T_map_odom @ T, atol=1e-6
    )


def test_a_pose_older_than_all_that_is_remembered_is_refused():
    _, _, events = a_drive(2, 60)
    fused = FusionFilter(PLAIN)
    for event in events:
        fused.take(event)
    with pytest.raises(ValueError, match="older than"):
        fused.take(events[0])
    fused.reset()
    assert fused.belief is None
    fused.take(events[0])  # a bag that starts again


def test_it_begins_when_poses_agree_and_not_with_a_wild_one():
    _, _, events = a_drive(4, 10)
    wild = replace(events[0], T_map_body=shifted(events[0].T_map_body, 8.0 * np.ones(6)))
    fused = FusionFilter()
    assert [fused.take(each) for each in [wild, *events[1:4]]] == [HELD, HELD, HELD, STARTED]
    assert fused.take(events[4]) == BELIEVED


def test_a_robot_that_is_carried_off_is_found_again():
    truth, odom, events = a_drive(5, 120)
    carried = planar(12.0, -4.0, 2.5)
    fused = FusionFilter()
    for event in events[:60]:
        fused.take(event)
    verdicts = [
        fused.take(replace(event, T_map_body=carried @ event.T_map_body)) for event in events[60:]
    ]
    assert verdicts[:10] == [HELD] * 9 + [RESTARTED]
    assert verdicts.count(RESTARTED) == 1
    error = pose_difference(carried @ truth[-1], fused.belief.T_map_odom @ odom[-1])
    assert np.linalg.norm(error[:2]) < 0.2


@pytest.mark.parametrize("every", [6, 30])  # poses 1.2 and 6 s apart
def test_it_begins_and_finds_a_carried_robot_also_with_few_poses(every):
    truth, _, events = a_drive(5, 60 * every)
    fused = FusionFilter(PLAIN)
    verdicts = [fused.take(event) for event in events[: 10 * every : every]]
    assert "started" in verdicts
    carried = planar(30.0, 5.0, 1.0)
    for index in range(10 * every, 30 * every, every):
        seen = carried @ events[index].T_map_body
        verdicts.append(fused.take(replace(events[index], T_map_body=seen)))
    assert "restarted" in verdicts
    away = pose_difference(carried @ truth[29 * every], fused.belief.T_map_body)
    assert np.linalg.norm(away[:3]) < 1.0


def test_wild_poses_that_contradict_each_other_never_carry_the_filter_off():
    truth, odom, events = a_drive(6, 120)
    rng = np.random.default_rng(1)
    fused = FusionFilter()
    for event in events[:60]:
        fused.take(event)
    for event in events[60:]:
        where = shifted(event.T_map_body, rng.uniform(-20, 20, 6))
        assert fused.take(replace(event, T_map_body=where)) == HELD
    error = pose_difference(truth[-1], fused.belief.T_map_odom @ odom[-1])
    assert np.linalg.norm(error[:2]) < 1.0  # 7 m on odometry alone


@pytest.mark.parametrize("factor", [0.01, 0.1, 10.0, 100.0])
def test_covariances_of_a_wrong_scale_are_seen_through(factor):
    truth, _, events = a_drive(7, 150)
    fused = FusionFilter()
    for event in events:
        fused.take(replace(event, covariance=factor * event.covariance))
    assert np.linalg.norm(errors(fused, truth, -1)[:2]) < 0.2
    if factor >= 0.1:  # below, the floor of the noise takes part
        assert 0.3 / factor < fused.covariance_scale() < 3.0 / factor or factor > 10.0


def test_poses_of_a_robot_that_stands_count_as_few():
    pose, odom = planar(1.0, 2.0, 0.5), planar(0.0, 0.0, 0.0)
    fused = FusionFilter(replace(PLAIN, correlation_m=0.5, correlation_rad=0.5, correlation_s=5.0))
    free = FusionFilter(PLAIN)
    for index in range(50):
        event = Event(S + index * STEP_NS, odom, pose, NOISE)
        fused.take(event)
        free.take(event)
    # 50 alike are as good as two or three, not as 48.
    assert fused.belief.covariance[0, 0] > 0.25 * NOISE[0, 0]
    assert free.belief.covariance[0, 0] < 0.03 * NOISE[0, 0]


def test_answers_that_are_not_finite_are_held():
    _, _, events = a_drive(8, 10)
    fused = FusionFilter()
    for event in events[:5]:
        fused.take(event)
    before = fused.belief.T_map_body @ invert_transform(fused.belief.T_odom_body)
    assert fused.take(replace(events[5], T_map_body=np.full((4, 4), np.nan))) == HELD
    assert fused.take(replace(events[6], covariance=np.full((6, 6), np.nan))) == HELD
    np.testing.assert_allclose(fused.belief.T_map_odom, before, atol=0.02)


def test_the_prediction_matches_its_derivative():
    """The covariance carried along is that of the poses carried along: by sampling."""
    truth, odom, _ = a_drive(9, 12)
    settings = replace(PLAIN, white_share=0.0)
    fused = FusionFilter(settings)
    fused.take(Event(S, odom[0], truth[0], NOISE))
    fused.take(Event(S + 1, odom[0], truth[0], NOISE))
    fused.take(Event(S + 2, odom[0], truth[0], NOISE))
    belief = replace(fused.belief, covariance=1e-4 * fused.belief.covariance)
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(belief.covariance + 1e-18 * np.eye(9))
    after, _ = moved(belief, 2 * S, odom[-1], settings)
    samples = []
    for _ in range(800):
        error = root @ rng.standard_normal(9)
        start = replace(
            belief,
            T_map_body=shifted(belief.T_map_body, error[:6]),
            biases=belief.biases + error[6:],
        )
        end, _ = moved(start, 2 * S, odom[-1], settings)
        samples.append(pose_difference(end.T_map_body, after.T_map_body))
    sampled = np.cov(np.array(samples).T)
    spread = np.sqrt(np.diag(sampled))
    np.testing.assert_allclose(
        sampled / np.outer(spread, spread),
        after.covariance[:6, :6] / np.outer(spread, spread),
        atol=0.16,
    )
