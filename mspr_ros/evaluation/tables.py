"""Write an evaluation's numbers down: a table for the terminal, and a row a frame as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.evaluation.answers import Answer
from mspr_ros.evaluation.bootstrap import Interval
from mspr_ros.evaluation.evaluate import GroupSummary, MethodSummary
from mspr_ros.evaluation.judging import FrameResult

_TRUTH_COLUMNS = (
    *("dataset", "scene", "sequence", "stamp_ns", "image"),
    *("tx", "ty", "tz", "qx", "qy", "qz", "qw", "position_cluster", "orientation_cluster"),
)
_ANSWER_COLUMNS = (
    *("pred_scene", "pred_tx", "pred_ty", "pred_tz", "pred_qx", "pred_qy", "pred_qz", "pred_qw"),
    *("pred_position_cluster", "pred_orientation_cluster", "scene_probability", "confidence"),
    *("accepted", "problem", "position_error_m", "orientation_error_deg"),
    *("baseline_position_error_m", "baseline_orientation_error_deg"),
    *("position_deviation_m", "orientation_deviation_deg", "known_score"),
)


def format_table(groups: Sequence[GroupSummary], method: str = "network") -> str:
    """Lay groups out for the terminal, the baseline and the ratio below the method."""
    rows = [
        ["", "", "frames", "failed", "position m (95 %)", "orientation deg (95 %)"]
        + [f"<{100 * r.position_m:g}cm,{r.orientation_deg:g}deg" for r in _recalls(groups)]
        + ["scene", "cluster pos/ori"]
    ]
    for group in groups:
        rows.append([group.name, method, *_method_cells(group.network)])
        if group.baseline and group.position_ratio and group.orientation_ratio:
            rows.append(["", "nearest neighbour", *_method_cells(group.baseline)])
            ratios = [format_interval(group.position_ratio, 2)]
            ratios.append(format_interval(group.orientation_ratio, 2))
            padding = [""] * (len(rows[0]) - 6)
            rows.append(["", "ratio of medians", "", "", *ratios, *padding])
    return lay_out(rows)


def lay_out(rows: Sequence[Sequence[str]]) -> str:
    """Align the cells of rows of equal length in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _recalls(groups: Sequence[GroupSummary]) -> Sequence[Any]:
    return groups[0].network.poses.recalls


def _method_cells(method: MethodSummary) -> list[str]:
    poses = method.poses
    accuracies = (poses.position_cluster_accuracy, poses.orientation_cluster_accuracy)
    clusters = "/".join(map(percent, accuracies)) if set(accuracies) != {None} else "-"
    return [
        str(poses.num_frames),
        str(poses.num_failures),
        format_interval(method.position_median_m, 3),
        format_interval(method.orientation_median_deg, 2),
        *(percent(recall.share) for recall in poses.recalls),
        percent(poses.scene_accuracy),
        clusters,
    ]


def format_interval(interval: Interval, digits: int) -> str:
    """Write `value [low, high]`; a bound that is not known is a question mark."""
    value, low, high = (
        "?" if math.isnan(number) else f"{number:.{digits}f}"
        for number in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def percent(share: float | None) -> str:
    """Write a share as a percentage; a dash where it is not known."""
    return "-" if share is None else f"{100 * share:.1f}%"


def write_frames(
    path: Path, results: Sequence[FrameResult], baseline: Sequence[FrameResult] | None
) -> None:
    """Write a row a frame; numbers that are not known or not finite are left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_TRUTH_COLUMNS + _ANSWER_COLUMNS)
        for row, result in enumerate(results):
            answer = result.answer
            other = [math.nan, math.nan]
            if baseline is not None:
                other = [baseline[row].position_error_m, baseline[row].orientation_error_deg]
            values = [
                *(result.dataset, result.gt_scene, result.sequence, result.stamp_ns),
                *(result.image, *result.gt_position, *result.gt_quat_xyzw),
                *(result.gt_position_cluster, result.gt_orientation_cluster),
                *(answer.scene, *answer.position.tolist(), *answer.quat_xyzw.tolist()),
                *(answer.position_cluster, answer.orientation_cluster),
                *(answer.scene_probability, answer.confidence, int(answer.accepted)),
                *(answer.problem, result.position_error_m, result.orientation_error_deg),
                *other,
                *_deviations(answer),
                answer.known_score,
            ]
            writer.writerow([_cell(value) for value in values])


def _deviations(answer: Answer) -> tuple[float, float]:
    """Give the roots of the traces of the covariance's blocks, in metres and degrees."""
    position, orientation = (
        np.trace(answer.covariance[:3, :3]),
        np.trace(answer.covariance[3:, 3:]),
    )
    if not (position >= 0.0 and orientation >= 0.0):  # also where they are NaN
        return math.nan, math.nan
    return math.sqrt(position), math.degrees(math.sqrt(orientation))


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and not math.isfinite(value) else value
