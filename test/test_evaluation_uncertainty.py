"""Measures of uncertainty, against distributions whose answers are known and brute force."""

from __future__ import annotations

import ast
import csv
import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import binom, chi2

from mspr_ros.data.dataset import Frame
from mspr_ros.evaluation.answers import Answer, no_answer
from mspr_ros.evaluation.bootstrap import block_bootstrap, contiguous_blocks, share_intervals
from mspr_ros.evaluation.evaluate import summarize_groups
from mspr_ros.evaluation.judging import FrameResult
from mspr_ros.evaluation.plots import save_figure
from mspr_ros.evaluation.ranking import (
    auroc,
    false_positive_rate,
    rejection_gain,
    remaining_means,
    risk_coverage,
    sparsification,
    threshold_at_true_positives,
)
from mspr_ros.evaluation.uncertainty import (
    LEVELS,
    PARTS,
    chi_square_quantile,
    covered,
    degrees_of_freedom,
    expected_calibration_error,
    nees_by_part,
    nees_statistics,
    pose_residuals,
    rotation_residual,
    squared_mahalanobis,
)
from mspr_ros.evaluation.uncertainty_plots import (
    coverage_figure,
    risk_coverage_figure,
    score_figure,
    sparsification_figure,
)
from mspr_ros.evaluation.uncertainty_summary import summarize_uncertainty
from mspr_ros.evaluation.uncertainty_tables import format_uncertainty, format_unknown
from mspr_ros.evaluation.unknown import UnknownFrames, summarize_unknown, write_unknown

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, math.nan]), min_size=1, max_size=12)
UNHURRIED = settings(deadline=None, max_examples=60)


def random_covariances(rng, count):
    """Correlated covariances of some centimetres and degrees, another one for every frame."""
    roots = rng.normal(size=(count, 6, 6)) * np.array([0.05] * 3 + [0.02] * 3)[:, None]
    return roots @ np.swapaxes(roots, 1, 2) + 1e-5 * np.eye(6), roots


def drawn_poses(rng, count):
    """True poses, and estimates whose errors are drawn from the covariances."""
    covariances, _ = random_covariances(rng, count)
    errors = np.einsum("nij,nj->ni", np.linalg.cholesky(covariances), rng.normal(size=(count, 6)))
    truth = Rotation.from_quat(rng.normal(size=(count, 4)))
    position = rng.normal(size=(count, 3)) * 3
    # The covariance is of rotations about the map's axes: they come after the true orientation.
    estimate = Rotation.from_rotvec(errors[:, 3:]) * truth
    quats = estimate.as_quat() * rng.choice([-1, 1], size=(count, 1))
    return position, truth.as_quat(), position + errors[:, :3], quats, covariances


def test_residuals_are_about_the_maps_axes() -> None:
    rng = np.random.default_rng(0)
    gt = Rotation.from_quat(rng.normal(size=(20, 4)))
    turn = rng.normal(size=(20, 3)) * 0.5
    pred = (Rotation.from_rotvec(turn) * gt).as_quat() * 3.0
    np.testing.assert_allclose(rotation_residual(gt.as_quat(), -pred), turn, atol=1e-12)
    pred[3], pred[4] = np.nan, 0.0
    offset = np.full((20, 3), [0.1, 0.2, 0.3])
    residuals = pose_residuals(np.zeros((20, 3)), gt.as_quat(), offset, pred)
    np.testing.assert_array_equal(np.isnan(residuals).all(axis=1), np.isin(range(20), [3, 4]))
    np.testing.assert_allclose(residuals[5], [0.1, 0.2, 0.3, *turn[5]], atol=1e-12)


def test_mahalanobis_agrees_with_the_inverse_and_chi_square_with_scipy() -> None:
    rng = np.random.default_rng(0)
    covariances, _ = random_covariances(rng, 50)
    residuals = rng.normal(size=(50, 6)) * 0.1
    oracle = [r @ np.linalg.inv(c) @ r for r, c in zip(residuals, covariances, strict=True)]
    np.testing.assert_allclose(squared_mahalanobis(residuals, covariances), oracle, rtol=1e-6)
    for dof in (3, 6):
        np.testing.assert_allclose(chi_square_quantile(LEVELS, dof), chi2.ppf(LEVELS, dof))


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_regions_cover_as_chi_square_says(scale: float) -> None:
    """True covariances cover nominally; scaled ones as the scaled distance's quantile says."""
    count = 4000
    position, quat, guess, guess_quat, covariances = drawn_poses(np.random.default_rng(3), count)
    residuals = pose_residuals(position, quat, guess, guess_quat)
    for part, nees in nees_by_part(residuals, covariances * scale).items():
        dof = degrees_of_freedom(part)
        expected = chi2.cdf(scale * chi2.ppf(LEVELS, dof), dof)
        shares = covered(nees, dof).mean(axis=0)
        low, high = binom.ppf(1e-4, count, expected), binom.ppf(1 - 1e-4, count, expected)
        assert (low <= shares * count).all() and (shares * count <= high).all(), part
        statistics = nees_statistics(nees, dof)
        assert statistics.mean_per_dof == pytest.approx(1 / scale, rel=0.06)
        assert statistics.median_per_expected == pytest.approx(1 / scale, rel=0.06)
        assert statistics.num_frames == statistics.num_finite == count


def test_orientation_about_other_axes_would_be_seen() -> None:
    """Rotations about the camera's axes are not what the covariance speaks of."""
    rng = np.random.default_rng(3)
    deviations = np.array([0.001, 0.03, 0.1])
    turn = rng.normal(size=(2000, 3)) * deviations
    truth = Rotation.from_quat(rng.normal(size=(2000, 4)))
    covariances = np.tile(np.diag(deviations**2), (2000, 1, 1))
    for estimate, honest in (
        (Rotation.from_rotvec(turn) * truth, True),
        (truth * Rotation.from_rotvec(turn), False),
    ):
        residual = rotation_residual(truth.as_quat(), estimate.as_quat())
        share = covered(squared_mahalanobis(residual, covariances), 3, [0.95]).mean()
        assert bool(abs(share - 0.95) < 0.02) is honest


def test_covariances_that_are_none_cover_nothing() -> None:
    residual = np.tile([0.1, 0.0, 0.0], (7, 1))
    covariances = np.array([0.01 * np.eye(3)] * 7)
    covariances[1] = np.nan
    covariances[2, 0, 0] = -0.01
    covariances[3, 0, 1] = 0.02  # not symmetric
    covariances[4] = 0.01 * (3 * np.ones((3, 3)) - 2 * np.eye(3))  # eigenvalues -2, -2, 7
    residual[5] = np.nan
    nees = squared_mahalanobis(residual, covariances)
    np.testing.assert_allclose(nees[[0, 6]], 1.0)
    assert np.isnan(nees[1:6]).all()
    assert covered(nees, 3, [0.5])[:, 0].tolist() == [True] + [False] * 5 + [True]
    statistics = nees_statistics(nees, 3)
    assert statistics.num_finite == 2 and statistics.mean == pytest.approx(1.0)
    assert math.isinf(statistics.median)
    none = nees_statistics(np.full(3, np.nan), 3)
    assert none.num_finite == 0 and math.isnan(none.mean) and math.isinf(none.median)


def test_a_singular_covariance_promises_no_error_along_some_direction() -> None:
    flat = np.diag([0.04, 0.01, 0.0])
    line = np.outer([1.0, 1.0, 0.0], [1.0, 1.0, 0.0])
    residuals = np.array([[0.2, 0.1, 0.0], [0.2, 0.1, 0.1], [2.0, 2.0, 0.0], [2.0, 1.0, 0.0]])
    nees = squared_mahalanobis(residuals, np.array([flat, flat, line, line]))
    np.testing.assert_allclose(nees, [2.0, math.inf, 4.0, math.inf], rtol=1e-9)
    assert nees_statistics(nees[1:2], 3).num_finite == 0
    zero = squared_mahalanobis(np.array([[0.0] * 3, [0.1, 0, 0]]), np.zeros((2, 3, 3)))
    assert zero.tolist() == [0.0, math.inf]
    # A millimetre and a tenth of a radian in one matrix are no reason to call it singular.
    mixed = np.diag([1e-12] * 3 + [1.0] * 3)
    assert squared_mahalanobis(np.full((1, 6), 1e-6), mixed[None])[0] == pytest.approx(3.0)


def test_calibration_errors_of_known_classifiers() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.3, 1.0, size=50_000)
    draw = rng.uniform(size=50_000)
    honest = expected_calibration_error(probability, draw < probability)
    assert honest.value < 0.01 and len(honest.bins) == 10
    assert {one.num_frames for one in honest.bins} == {5000}
    # Right a fifth less often than it says.
    boastful = expected_calibration_error(probability, draw < probability - 0.2)
    assert boastful.value == pytest.approx(0.2, abs=0.01)
    certain = expected_calibration_error(np.ones(1000), np.arange(1000) % 4 > 0)
    assert certain.value == pytest.approx(0.25) and len(certain.bins) == 1


def test_calibration_errors_of_few_and_of_missing_probabilities() -> None:
    assert expected_calibration_error([0.7], [True]).value == pytest.approx(0.3)
    # No answer: nothing promised and nothing right.
    assert expected_calibration_error([math.nan] * 30, [False] * 30).value == 0.0
    half = expected_calibration_error([0.0] * 20 + [1.0] * 20, [True] * 20 + [False] * 20)
    assert half.value == 1.0 and [one.share_right for one in half.bins] == [1.0, 0.0]
    shuffled = np.random.default_rng(0).permutation(60)
    ties = np.repeat([0.2, 0.9], 30)
    right = np.arange(60) % 3 == 0
    assert (
        expected_calibration_error(ties[shuffled], right[shuffled]).value
        == expected_calibration_error(ties, right).value
    )
    with pytest.raises(ValueError, match="probabilities"):
        expected_calibration_error([], [])


def test_sparsification_of_the_oracle_and_of_chance() -> None:
    rng = np.random.default_rng(0)
    errors = rng.exponential(size=3000)
    perfect = sparsification(errors, 7.0 * errors**2)
    assert perfect.ause == pytest.approx(0.0, abs=1e-12) and perfect.ratio == pytest.approx(0.0)
    assert sparsification(errors, rng.uniform(size=3000)).ratio == pytest.approx(1.0, abs=0.1)
    # For exponential errors the oracle's curve is known: the mean of its smallest share p.
    share = perfect.remaining
    with np.errstate(divide="ignore", invalid="ignore"):
        known = 1.0 + (1.0 - share) * np.log(1.0 - share) / share
    np.testing.assert_allclose(perfect.by_error[100:-100], known[100:-100], atol=0.06)
    assert sparsification(errors, -errors).ratio > 1.5  # the worst order is worse than chance
    # Where all are equally certain the order is chance's, whatever the order of the frames.
    assert sparsification(np.sort(errors), np.ones(3000)).ratio == pytest.approx(1.0, abs=1e-9)


def test_sparsification_of_degenerate_frames() -> None:
    assert math.isnan(sparsification([0.3], [1.0]).ratio)
    assert math.isnan(sparsification([0.3] * 9, np.arange(9)).ratio)
    assert math.isnan(sparsification(np.zeros(4), np.arange(4)).ratio)
    empty = sparsification([], [])
    assert math.isnan(empty.ratio) and empty.ause == 0.0
    # A frame that states no uncertainty is rejected first.
    assert sparsification([1.0, 5.0, 2.0], [0.1, math.nan, 0.2]).ratio == pytest.approx(0.0)
    with pytest.raises(ValueError, match="finite"):
        sparsification([1.0, math.inf], [0.1, 0.2])


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.0, 2.0, math.inf])),
        min_size=1,
        max_size=6,
    )
)
@UNHURRIED
def test_ties_are_worth_the_mean_over_their_orders(pairs) -> None:
    from itertools import permutations

    values, doubt = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    curves = []
    for order in permutations(range(len(values))):
        stable = np.array(order)[np.argsort(doubt[list(order)], kind="stable")]
        curves.append(np.cumsum(values[stable]) / np.arange(1, len(values) + 1))
    np.testing.assert_allclose(remaining_means(values, doubt), np.mean(curves, axis=0), atol=1e-9)


def test_risk_and_coverage() -> None:
    wrong = np.array([False, True, False, True])
    good = risk_coverage(wrong, [0.9, 0.2, 0.8, 0.1])
    np.testing.assert_allclose(good.risk, [0, 0, 1 / 3, 1 / 2])
    np.testing.assert_allclose(good.coverage, [0.25, 0.5, 0.75, 1.0])
    assert good.area == good.oracle_area == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert good.random_area == 0.5
    bad = risk_coverage(wrong, [0.1, 0.8, 0.2, 0.9])
    np.testing.assert_allclose(bad.risk, [1, 1, 2 / 3, 1 / 2])
    assert risk_coverage(wrong, np.full(4, 0.5)).area == pytest.approx(0.5)
    # A frame without an answer comes last.
    assert risk_coverage([True, False], [math.nan, 0.0]).risk[0] == 0.0
    assert risk_coverage([True] * 3, [math.nan] * 3).area == 1.0
    assert risk_coverage([False], [0.3]).area == 0.0


def test_rejecting_the_uncertain_frames() -> None:
    errors = np.arange(1.0, 101.0)
    perfect = rejection_gain(errors, errors)
    assert (perfect.before, perfect.after, perfect.oracle) == (95.0, 86.0, 86.0)
    assert perfect.share == 1.0
    assert rejection_gain(errors, -errors).share < 0.0  # it rejects the best
    constant = rejection_gain(errors, np.ones(100))
    assert constant.after == 95.0 and constant.share == 0.0
    # Half of the worst ten and half of the best ten.
    half = np.where(errors > 95, 2.0, np.where(errors <= 5, 2.0, 1.0))
    # Of 6 to 95, the value that 85.5 of 90 do not exceed.
    assert rejection_gain(errors, half).after == 91.0
    assert rejection_gain(errors, half).share == pytest.approx(4 / 9)
    assert math.isnan(rejection_gain(np.ones(50), np.arange(50)).share)
    assert math.isnan(rejection_gain([0.4], [0.1]).share)


def test_rejecting_frames_without_an_answer() -> None:
    errors = np.concatenate([np.linspace(0.1, 1, 92), np.full(8, np.nan)])
    certain = np.zeros(100)  # also of the failures: they are rejected all the same
    gain = rejection_gain(errors, certain)
    assert math.isinf(gain.before) and gain.after < 1.0 and gain.share == 1.0
    many = rejection_gain(np.where(np.arange(100) < 80, errors, np.inf), certain)
    assert math.isinf(many.after) and math.isnan(many.share)
    assert math.isnan(rejection_gain([np.nan] * 3, [np.nan] * 3).share)


def brute_force_auroc(known, unknown):
    """Count pairs; a frame without a score is below all others."""
    pairs = [
        (-math.inf if math.isnan(k) else k, -math.inf if math.isnan(u) else u)
        for k in known
        for u in unknown
    ]
    return sum((k > u) + 0.5 * (k == u) for k, u in pairs) / len(pairs)


@given(SCORES, SCORES)
@UNHURRIED
def test_auroc_is_the_share_of_pairs_in_order(known, unknown) -> None:
    assert auroc(known, unknown) == pytest.approx(brute_force_auroc(known, unknown))


def test_auroc_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    known = np.round(rng.normal(1, 1, 300), 1)
    unknown = np.round(rng.normal(0, 1, 200), 1)
    labels = [1] * 300 + [0] * 200
    oracle = metrics.roc_auc_score(labels, np.concatenate([known, unknown]))
    assert auroc(known, unknown) == pytest.approx(oracle)


@given(SCORES, SCORES, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
@UNHURRIED
def test_false_positives_are_the_least_that_any_threshold_has(known, unknown, share) -> None:
    rates = []
    for threshold in {score for score in known if not math.isnan(score)}:
        # NaN is never at or above a threshold.
        if np.mean([score >= threshold for score in known]) >= share - 1e-12:
            rates.append(np.mean([score >= threshold for score in unknown]))
    rate = false_positive_rate(known, unknown, share)
    if rates:
        assert rate == pytest.approx(min(rates))
    else:
        assert math.isnan(rate) and math.isnan(threshold_at_true_positives(known, share))


def test_strangers_of_degenerate_sets() -> None:
    assert math.isnan(auroc([], [0.1])) and math.isnan(auroc([0.1], []))
    assert math.isnan(false_positive_rate([0.1], [])) and math.isnan(false_positive_rate([], [1]))
    assert auroc([0.5] * 3, [0.5] * 4) == 0.5 and false_positive_rate([0.5] * 3, [0.5] * 4) == 1.0
    assert false_positive_rate(np.arange(100), np.arange(100) / 20 + 0.5) == 0.1  # 5 and above
    assert threshold_at_true_positives(np.arange(100)) == 5.0


def test_parts_are_slices_of_a_pose() -> None:
    assert {part: degrees_of_freedom(part) for part in PARTS} == {
        "position": 3,
        "orientation": 3,
        "both": 6,
    }


UNIT = (0.0, 0.0, 0.0, 1.0)


def judged(index, error_m=0.0, *, answer=None, gt_scene="kitchen", scene="kitchen", **stated):
    """One judged frame, off by `error_m` along x; further fields of its answer as stated."""
    told = {"confidence": 0.8, "scene_probability": 0.9, "covariance": np.eye(6)}
    told.update(known_score=0.8, accepted=True)
    told.update(stated)
    if answer is None:
        answer = Answer(scene, np.array([error_m, 0, 0]), np.array(UNIT), **told)
    failed = not np.isfinite(answer.position).all()
    return FrameResult(
        dataset="rooms",
        sequence="s1",
        stamp_ns=index * 100_000_000,
        image=f"{index}.png",
        gt_scene=gt_scene,
        gt_position=(0.0, 0.0, 0.0),
        gt_quat_xyzw=UNIT,
        answer=answer,
        position_error_m=math.inf if failed else error_m,
        orientation_error_deg=math.inf if failed else 0.0,
    )


def summary_of(results, **settings):
    blocks = contiguous_blocks([r.stamp_ns for r in results], [0] * len(results))
    return summarize_uncertainty(results, blocks, num_resamples=50, **settings)


def test_failures_and_wrong_scenes_are_in_no_region() -> None:
    results = [judged(index) for index in range(6)]
    results += [judged(index, answer=no_answer("broken")) for index in (6, 7)]
    results += [judged(index, scene="office") for index in (8, 9)]
    summary = summary_of(results)
    for one in summary.coverage:
        assert one.all_frames.value == pytest.approx(0.6)
        # Failures are never accepted, wrong scenes were.
        assert one.accepted_frames.value == pytest.approx(6 / 8)
    assert summary.nees["both"].num_finite == 6 and summary.nees["both"].num_frames == 10
    assert summary.frames.right.sum() == 6
    # Six of ten right at a stated 0.8 for eight of them and nothing for the others.
    assert summary.confidence_calibration.value == pytest.approx(abs(0.6 - 0.64))
    assert summary.risk.random_area == pytest.approx(0.4)
    assert summary.risk.risk[0] == pytest.approx(2 / 8)  # the eight with an answer tie
    plain = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert plain["num_right"] == plain["num_accepted_right"] == 6 and plain["num_accepted"] == 8
    assert {(one["part"], one["level"]) for one in plain["coverage"]} == {
        (part, level) for part in PARTS for level in LEVELS
    }


def test_a_wrong_scene_ranks_as_the_worst_error() -> None:
    results = [judged(i, 0.1 * (i + 1), confidence=1 - i / 10) for i in range(5)]
    # Right by its coordinates alone, and sure of itself.
    results.append(judged(5, 0.0, scene="office", confidence=1.0))
    summary = summary_of(results)
    by = {(one.error, one.by): one for one in summary.rankings}
    assert by["position", "confidence"].curve.by_error[-1] == pytest.approx((1.5 + 0.5) / 6)
    # By hand: (0.2 + 0.15 + 1/15 + 0.025) over (0.7 + 0.55 + 0.4 + 0.25 + 0.1) / 3.
    assert by["position", "confidence"].curve.ratio == pytest.approx(0.6625)
    results[5] = judged(5, 0.0, scene="office", confidence=0.0)
    assert summary_of(results).rankings[2].curve.ratio == pytest.approx(0.0)


def test_the_threshold_of_a_right_answer_is_a_setting() -> None:
    results = [judged(index, 0.1 * index) for index in range(10)]
    assert summary_of(results).frames.right.sum() == 3  # 0, 0.1 and 0.2 m
    assert summary_of(results, right_within=(0.55, 5.0)).frames.right.sum() == 6


@pytest.mark.parametrize(
    "results",
    [
        [judged(0)],
        [judged(index) for index in range(4)],
        [judged(0), *(judged(index, answer=no_answer("broken")) for index in (1, 2, 3))],
        [judged(index, 0.1 * index, covariance=np.full((6, 6), np.nan)) for index in range(4)],
        [judged(index, 0.1 * index, covariance=np.zeros((6, 6))) for index in range(4)],
        [judged(index, confidence=math.nan, scene_probability=math.nan) for index in range(4)],
        [judged(0, accepted=False), judged(1, scene="office", accepted=False)],
    ],
    ids=["one", "equal", "failures", "no covariance", "singular", "no confidence", "rejected"],
)
def test_degenerate_groups_are_summed_up_written_and_drawn(results, tmp_path) -> None:
    groups = summarize_groups(results, num_resamples=20)
    json.dumps(groups[0].to_dict(), allow_nan=False)
    assert "risk-coverage" in format_uncertainty(groups)
    stated = {groups[0].name: groups[0].uncertainty}
    for draw in (coverage_figure, sparsification_figure, risk_coverage_figure):
        figure = draw(stated)
        if figure is not None:
            save_figure(figure, tmp_path / "figure.png")
    has_covariance = any(np.isfinite(r.answer.covariance).all() for r in results)
    assert (coverage_figure(stated) is not None) is has_covariance
    has_confidence = any(np.isfinite(r.answer.confidence) for r in results)
    assert (risk_coverage_figure(stated) is not None) is has_confidence


def test_a_method_that_states_nothing_has_no_summary() -> None:
    silent = [judged(index, answer=no_answer("broken")) for index in range(4)]
    assert summary_of(silent) is None
    groups = summarize_groups(silent, num_resamples=20)
    assert "uncertainty" not in groups[0].to_dict() and format_uncertainty(groups) == ""
    assert coverage_figure({}) is sparsification_figure({}) is risk_coverage_figure({}) is None
    assert summarize_groups([judged(0)], right_within=None)[0].uncertainty is None


def test_plots_show_the_measures(tmp_path) -> None:
    rng = np.random.default_rng(0)
    results = [
        judged(i, float(rng.exponential(s)), covariance=np.eye(6) * s**2, confidence=1 - s)
        for i, s in enumerate(rng.uniform(0.05, 0.5, size=80))
    ]
    groups = summarize_groups(results, num_resamples=50)
    stated = {"kitchen": groups[0].uncertainty}
    curve = coverage_figure(stated).axes[0].lines[1]
    np.testing.assert_allclose(
        curve.get_ydata()[49], np.mean(groups[0].uncertainty.frames.nees["position"] <= 2.366),
        atol=0.02,
    )  # fmt: skip
    ranked = sparsification_figure(stated).axes[0]
    assert "covariance 0." in ranked.get_title()
    assert groups[0].uncertainty.rankings[0].ratio.value < 0.9
    scores = score_figure(np.array([0.9, 1.0, math.nan]), {"attic": np.array([0.2])}, 0.9)
    assert "taught places (3 frames)" in scores.axes[0].get_legend_handles_labels()[1]
    assert score_figure(np.array([0.9]), {"attic": np.array([math.nan])}, 0.9) is None
    assert score_figure(np.array([]), {"attic": np.array([0.5])}, math.nan) is None
    for figure in (risk_coverage_figure(stated), scores):
        save_figure(figure, tmp_path / "figure.png")
        image = cv2.imread(str(tmp_path / "figure.png"))
        assert np.mean(np.any(image != image[0, 0], axis=-1)) > 0.02


def test_intervals_of_shares_are_those_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    flags = rng.uniform(size=(60, 3)) < [0.2, 0.5, 0.9]
    among = rng.uniform(size=60) < 0.7
    blocks = contiguous_blocks(np.arange(60), ["a"] * 25 + ["b"] * 35, max_block_frames=7)
    for rows in (None, among):
        kept = np.ones(60, dtype=bool) if rows is None else rows
        found = share_intervals(flags, blocks, among=rows, num_resamples=200, seed=3)
        for column, interval in enumerate(found):
            oracle = block_bootstrap(
                lambda some, c=column, k=kept: float(flags[some[k[some]], c].mean()),
                blocks, num_resamples=200, seed=3,
            )  # fmt: skip
            assert interval.num_blocks == oracle.num_blocks == len(blocks)
            for name in ("value", "low", "high"):
                assert getattr(interval, name) == pytest.approx(getattr(oracle, name))
    nobody = share_intervals(flags, blocks, among=np.zeros(60, dtype=bool))
    assert math.isnan(nobody[0].value) and len(nobody) == 3
    (single,) = share_intervals(flags[:, :1], [np.arange(60)])
    assert single.value == pytest.approx(flags[:, 0].mean()) and math.isnan(single.low)


def unknown_frames(name, scores):
    """Answers with these scores to frames of an attic; NaN stands for no answer."""
    frames = tuple(
        Frame("attic", "test", "s1", row, "front", f"{row}.png", (0.0, 0.0, 0.0), UNIT)
        for row in range(len(scores))
    )
    answers = tuple(
        no_answer("dark") if math.isnan(score) else judged(
            0, known_score=score, accepted=score > 0.6
        ).answer
        for score in scores
    )  # fmt: skip
    return UnknownFrames(name, frames, answers)


def test_strangers_by_dataset_and_against_every_scene(tmp_path) -> None:
    known = [judged(i, known_score=0.5 + i / 20, accepted=i > 2) for i in range(10)]
    known += [judged(10 + i, gt_scene="office", scene="office") for i in range(5)]
    known.append(judged(15, answer=no_answer("broken"), gt_scene="office"))
    strangers = [unknown_frames("attic", [0.1, 0.55, 0.7, math.nan])]
    strangers.append(unknown_frames("garden", [0.8, 0.9]))
    summary = summarize_unknown(known, strangers)
    assert summary.num_known == 16 and summary.num_known_accepted == 12
    attic, garden, both = summary.sets
    assert (attic.num_frames, attic.num_failed, attic.num_accepted) == (4, 1, 1)
    assert (garden.num_accepted, both.num_accepted, both.num_frames) == (2, 3, 6)
    against = {found.known: found for found in attic.separations}
    kitchen = [0.5 + i / 20 for i in range(10)]
    scores = [0.1, 0.55, 0.7, math.nan]
    assert against["kitchen"].auroc == pytest.approx(brute_force_auroc(kitchen, scores))
    assert against["kitchen"].fpr_at_95_tpr == pytest.approx(0.5)  # all ten must pass: 0.5 on
    # One of the office's six has no answer: 95 % of them cannot pass.
    assert math.isnan(against["office"].fpr_at_95_tpr)
    assert set(against) == {"kitchen", "office", "all scenes"}
    plain = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert plain["sets"][2]["name"] == "all unknown"
    assert plain["sets"][0]["against"]["office"]["fpr_at_95_tpr"] is None
    assert "garden" in format_unknown(summary)
    write_unknown(tmp_path / "unknown.csv", strangers)
    rows = list(csv.DictReader((tmp_path / "unknown.csv").open()))
    assert len(rows) == 6 and rows[3]["known_score"] == "" and rows[3]["problem"] == "dark"


def test_the_measures_know_numpy_and_scipy_only() -> None:
    folder = Path(__file__).resolve().parent.parent / "mspr_ros" / "evaluation"
    for name in ("uncertainty.py", "ranking.py", "metrics.py"):
        tree = ast.parse((folder / name).read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        outside = {module.split(".")[0] for module in imported} - set(sys.stdlib_module_names)
        assert outside <= {"numpy", "scipy", "mspr_ros"}
        assert {module for module in imported if module.startswith("mspr_ros")} <= {
            "mspr_ros.geometry",
            "mspr_ros.evaluation.metrics",
        }
