"""Write measures of uncertainty down as tables for the terminal and the report's page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mspr_ros.evaluation.evaluate import GroupSummary
from mspr_ros.evaluation.tables import format_interval, lay_out, percent
from mspr_ros.evaluation.uncertainty import PARTS
from mspr_ros.evaluation.uncertainty_summary import (
    REJECTED_SHARE,
    RankingSummary,
    UncertaintySummary,
)
from mspr_ros.evaluation.unknown import UnknownSummary


def format_uncertainty(groups: Sequence[GroupSummary]) -> str:
    """Lay out what the groups' uncertainties are worth; empty where none are stated."""
    shown = [(group.name, group.uncertainty) for group in groups if group.uncertainty is not None]
    if not shown:
        return ""
    regions = [["uncertainty (95 %)", "", *PARTS]]
    for name, summary in shown:
        rows = _coverage_rows(summary) + _nees_rows(summary) + _ranking_rows(summary)
        regions += [[name if place == 0 else "", *row] for place, row in enumerate(rows)]
    return f"{lay_out(regions)}\n\n{lay_out(_confidence_rows(shown))}"


def _coverage_rows(summary: UncertaintySummary) -> list[list[str]]:
    rows = []
    levels = dict.fromkeys(one.level for one in summary.coverage)
    frames = summary.frames
    kinds = {"all_frames": ""}
    if frames.accepted.sum() < len(frames.accepted):
        kinds["accepted_frames"] = ", accepted frames"
    for kind, suffix in kinds.items():
        for level in levels:
            cells = [
                format_interval(getattr(one, kind), 3)
                for one in summary.coverage
                if one.level == level
            ]
            rows.append([f"coverage of {100 * level:g} % regions{suffix}", *cells])
    return rows


def _nees_rows(summary: UncertaintySummary) -> list[list[str]]:
    if not summary.nees:
        return []
    cells = [
        f"{_number(one.mean_per_dof)}, {_number(one.median_per_expected)}"
        for one in summary.nees.values()
    ]
    return [["NEES: mean, median over expected", *cells]]


def _ranking_rows(summary: UncertaintySummary) -> list[list[str]]:
    rows = []
    by_measure: dict[str, list[RankingSummary]] = {}
    for ranking in summary.rankings:
        by_measure.setdefault(ranking.by, []).append(ranking)
    for by, rankings in by_measure.items():
        rows.append(
            [f"AUSE over random's, by {by}", *(format_interval(r.ratio, 2) for r in rankings), "-"]
        )
    for by, rankings in by_measure.items():
        rows.append(
            [
                f"gain of rejecting {100 * REJECTED_SHARE:g} % by {by}, of the best",
                *(format_interval(r.gain_share, 2) for r in rankings),
                "-",
            ]
        )
        rows.append(["  95th percentile: before, after, best", *map(_gain, rankings), "-"])
    return rows


def _gain(ranking: RankingSummary) -> str:
    gain = ranking.gain
    unit = "m" if ranking.error == "position" else "deg"
    return f"{_number(gain.before)}, {_number(gain.after)}, {_number(gain.oracle)} {unit}"


def _confidence_rows(shown: Sequence[tuple[str, UncertaintySummary]]) -> list[list[str]]:
    metres, degrees = shown[0][1].right_within
    rows = [
        [
            "confidence",
            f"right ({metres:g} m, {degrees:g} deg)",
            "accepted",
            "of the right",
            "ECE scene",
            "ECE confidence",
            "risk-coverage area (best, random)",
        ]
    ]
    for name, summary in shown:
        frames, risk = summary.frames, summary.risk
        num_right = int(frames.right.sum())
        scene, confidence = summary.scene_calibration, summary.confidence_calibration
        rows.append(
            [
                name,
                percent(float(frames.right.mean())),
                percent(float(frames.accepted.mean())),
                percent(float(frames.accepted[frames.right].mean()) if num_right else None),
                "-" if scene is None else _number(scene.value),
                "-" if confidence is None else _number(confidence.value),
                "-"
                if risk is None
                else f"{risk.area:.3f} ({risk.oracle_area:.3f}, {risk.random_area:.3f})",
            ]
        )
    return rows


def format_unknown(summary: UnknownSummary) -> str:
    """Lay out how well places that were not taught are told from those that were."""
    against = [found.known for found in summary.sets[0].separations]
    rows = [
        ["not taught", "frames", "failed", "accepted"]
        + [f"AUROC, FPR at 95 % TPR: {name}" for name in against]
    ]
    for one in summary.sets:
        rows.append(
            [one.name, str(one.num_frames), str(one.num_failed), str(one.num_accepted)]
            + [
                f"{_number(found.auroc)}, {_number(found.fpr_at_95_tpr)}"
                for found in one.separations
            ]
        )
    known = f"of {summary.num_known} frames of taught places {summary.num_known_accepted} accepted"
    return f"{lay_out(rows)}\n{known}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
