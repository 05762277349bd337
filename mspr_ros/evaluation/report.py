"""Write an evaluation down: a table for the terminal, JSON, a row a frame as CSV, and plots."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mspr_ros.data.images import read_image
from mspr_ros.errors import ImageError
from mspr_ros.evaluation.bootstrap import Interval, contiguous_blocks, contiguous_runs
from mspr_ros.evaluation.error_plots import (
    ErrorSeries,
    error_cdf_figure,
    error_over_time_figure,
)
from mspr_ros.evaluation.evaluate import GroupSummary, MethodSummary
from mspr_ros.evaluation.judging import FrameResult, errors_of
from mspr_ros.evaluation.metrics import median_error
from mspr_ros.evaluation.plots import (
    CaptionedImage,
    TrajectoryPanel,
    contact_sheet_figure,
    save_figure,
    trajectory_figure,
)

NUM_WORST_FRAMES = 12
FILES = (
    "metrics.json",
    "frames.csv",
    "trajectory.png",
    "errors.png",
    "errors_in_time.png",
    "worst_frames.png",
)
_TRUTH_COLUMNS = (
    *("dataset", "scene", "sequence", "stamp_ns", "image"),
    *("tx", "ty", "tz", "qx", "qy", "qz", "qw", "position_cluster", "orientation_cluster"),
)
_ANSWER_COLUMNS = (
    *("pred_scene", "pred_tx", "pred_ty", "pred_tz", "pred_qx", "pred_qy", "pred_qz", "pred_qw"),
    *("pred_position_cluster", "pred_orientation_cluster", "scene_probability", "confidence"),
    *("accepted", "problem", "position_error_m", "orientation_error_deg"),
    *("baseline_position_error_m", "baseline_orientation_error_deg"),
)


def format_table(groups: Sequence[GroupSummary]) -> str:
    """Lay groups out for the terminal, the baseline and the ratio below the network."""
    rows = [
        ["", "", "frames", "failed", "position m (95 %)", "orientation deg (95 %)"]
        + [f"<{100 * r.position_m:g}cm,{r.orientation_deg:g}deg" for r in _recalls(groups)]
        + ["scene", "cluster pos/ori"]
    ]
    for group in groups:
        rows.append([group.name, "network", *_method_cells(group.network)])
        if group.baseline and group.position_ratio and group.orientation_ratio:
            rows.append(["", "nearest neighbour", *_method_cells(group.baseline)])
            ratios = [format_interval(group.position_ratio, 2)]
            ratios.append(format_interval(group.orientation_ratio, 2))
            padding = [""] * (len(rows[0]) - 6)
            rows.append(["", "ratio of medians", "", "", *ratios, *padding])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _recalls(groups: Sequence[GroupSummary]) -> Sequence[Any]:
    return groups[0].network.poses.recalls


def _method_cells(method: MethodSummary) -> list[str]:
    poses = method.poses
    clusters = "-"
    if poses.position_cluster_accuracy is not None:
        clusters = (
            f"{_percent(poses.position_cluster_accuracy)}/"
            f"{_percent(poses.orientation_cluster_accuracy)}"
        )
    return [
        str(poses.num_frames),
        str(poses.num_failures),
        format_interval(method.position_median_m, 3),
        format_interval(method.orientation_median_deg, 2),
        *(_percent(recall.share) for recall in poses.recalls),
        _percent(poses.scene_accuracy),
        clusters,
    ]


def format_interval(interval: Interval, digits: int) -> str:
    """Write `value [low, high]`; a bound that is not known is a question mark."""
    value, low, high = (
        "?" if math.isnan(number) else f"{number:.{digits}f}"
        for number in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def write_report(
    folder: Path,
    metrics: dict[str, Any],
    results: Sequence[FrameResult],
    baseline: Sequence[FrameResult] | None,
) -> None:
    """Write `FILES` into a folder, replacing those of an earlier report.

    Args:
        folder: Made where it does not exist.
        metrics: JSON-ready.
        results: Of the network.
        baseline: Of the baseline on the same frames, or none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    write_frames(folder / "frames.csv", results, baseline)
    series, panels = [], []
    for scene in dict.fromkeys(result.gt_scene for result in results):
        one_series, panel = _scene_curves(scene, results, baseline)
        series.append(one_series)
        panels.append(panel)
    save_figure(trajectory_figure(panels, "Camera positions from above"), folder / FILES[2])
    save_figure(
        error_cdf_figure(series, "Share of frames with at most this error"), folder / FILES[3]
    )
    save_figure(error_over_time_figure(series, "Errors in time"), folder / FILES[4])
    save_figure(_worst_frames_figure(results), folder / FILES[5])


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
            ]
            writer.writerow([_cell(value) for value in values])


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _scene_curves(
    scene: str, results: Sequence[FrameResult], baseline: Sequence[FrameResult] | None
) -> tuple[ErrorSeries, TrajectoryPanel]:
    """Put a scene's frames in order of time, with the recording's gaps marked."""
    chosen = [row for row, result in enumerate(results) if result.gt_scene == scene]
    runs = contiguous_runs(
        [results[row].stamp_ns for row in chosen],
        [(results[row].dataset, results[row].sequence) for row in chosen],
    )
    ordered = [results[chosen[place]] for run in runs for place in run]
    starts = np.cumsum([len(run) for run in runs])[:-1]
    errors = errors_of(ordered)
    other: tuple[Any, Any] = (None, None)
    if baseline is not None:
        other = errors_of([baseline[chosen[place]] for run in runs for place in run])
    gt = np.array([result.gt_position for result in ordered])
    pred = np.array(
        [
            result.answer.position if result.scene_correct else np.full(3, np.nan)
            for result in ordered
        ]
    )
    panel = TrajectoryPanel(
        scene, np.insert(gt, starts, np.nan, axis=0), np.insert(pred, starts, np.nan, axis=0)
    )
    return ErrorSeries(scene, *errors, *other, tuple(int(start) for start in starts)), panel


def worst_frames(results: Sequence[FrameResult], count: int) -> list[FrameResult]:
    """Choose the frames with the largest errors: failures and wrong scenes before all others.

    The two errors are compared as multiples of their medians over the frame's scene. Neighbours
    in time look and err alike, so every block of them shows its worst frame before a second one.
    """
    medians = {}
    for scene in {result.gt_scene for result in results}:
        position, orientation = errors_of([r for r in results if r.gt_scene == scene])
        medians[scene] = [max(median_error(errors), 1e-9) for errors in (position, orientation)]

    def badness(result: FrameResult) -> tuple[bool, bool, float]:
        if result.failed:
            return True, True, 0.0
        position, orientation = medians[result.gt_scene]
        multiple = max(
            result.position_error_m / position, result.orientation_error_deg / orientation
        )
        return False, not result.scene_correct, multiple

    blocks = contiguous_blocks(
        [result.stamp_ns for result in results],
        [(result.dataset, result.gt_scene, result.sequence) for result in results],
    )
    ranked = [
        sorted((results[row] for row in block), key=badness, reverse=True) for block in blocks
    ]
    firsts = sorted((block[0] for block in ranked), key=badness, reverse=True)
    others = sorted((one for block in ranked for one in block[1:]), key=badness, reverse=True)
    return sorted((firsts + others)[:count], key=badness, reverse=True)


def _worst_frames_figure(results: Sequence[FrameResult]) -> Any:
    pictures = []
    for result in worst_frames(results, NUM_WORST_FRAMES):
        try:
            image = read_image(Path(result.image))
        except ImageError:
            image = np.full((240, 320, 3), 200, dtype=np.uint8)  # its caption says so
        scale = 320 / image.shape[1]
        size = (320, max(1, round(image.shape[0] * scale)))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        pictures.append(CaptionedImage(small, _caption(result)))
    return contact_sheet_figure(pictures, "The frames with the largest errors")


def _caption(result: FrameResult) -> str:
    where = f"{result.gt_scene} {result.sequence} {Path(result.image).stem}"
    if result.failed:
        return f"{where[:44]}\nno answer: {result.answer.problem[:40]}"
    if not result.scene_correct:
        return f"{where[:44]}\ntaken for {result.answer.scene}"
    errors = f"{result.position_error_m:.2f} m, {result.orientation_error_deg:.1f}°"
    return f"{where[:44]}\n{errors}, confidence {result.answer.confidence:.2f}"
