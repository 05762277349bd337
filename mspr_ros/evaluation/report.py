"""Write an evaluation down as a folder: a page with its table and plots, JSON and CSV.

The one report of `mspr evaluate` and of a finished training run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from mspr_ros.data.images import read_image
from mspr_ros.errors import ImageError
from mspr_ros.evaluation.bootstrap import contiguous_blocks, contiguous_runs
from mspr_ros.evaluation.confusion import Confusion, confusion_figure
from mspr_ros.evaluation.error_plots import (
    ErrorSeries,
    error_cdf_figure,
    error_over_time_figure,
)
from mspr_ros.evaluation.evaluate import GroupSummary
from mspr_ros.evaluation.judging import FrameResult, errors_of
from mspr_ros.evaluation.metrics import median_error
from mspr_ros.evaluation.plots import (
    CaptionedImage,
    TrajectoryPanel,
    contact_sheet_figure,
    save_figure,
    trajectory_figure,
)
from mspr_ros.evaluation.tables import format_table, write_frames
from mspr_ros.evaluation.training_plots import History, training_figure
from mspr_ros.evaluation.uncertainty_plots import (
    coverage_figure,
    risk_coverage_figure,
    score_figure,
    sparsification_figure,
)
from mspr_ros.evaluation.uncertainty_tables import format_uncertainty, format_unknown
from mspr_ros.evaluation.unknown import (
    UnknownFrames,
    UnknownSummary,
    summarize_unknown,
    write_unknown,
)

NUM_WORST_FRAMES = 10
# Plot -> what it shows. A plot that has nothing to show is not written.
PLOTS = {
    "errors.png": "Share of frames with at most this error",
    "trajectory.png": "Camera positions from above: true, and estimated",
    "errors_in_time.png": "Errors in time",
    "coverage.png": "How often the truth lies in the stated regions",
    "sparsification.png": "Mean error after rejecting the most uncertain answers",
    "risk_coverage.png": "Wrong answers by confidence",
    "unknown_scores.png": "Scores of taught places, and of places that were not taught",
    "clusters.png": "Clusters of the true pose, and the clusters chosen",
    "worst_frames.png": "The frames with the largest errors",
    "training.png": "The training run",
}
FILES = ("report.md", "metrics.json", "frames.csv", "unknown.csv", *PLOTS)


@dataclass(frozen=True)
class Report:
    """What a report tells.

    Args:
        title: Of the page.
        notes: Lines to stand below the title: what was measured, and how to read it.
        metrics: All numbers, JSON-ready.
        groups: The sums by scene; none where no frame was judged.
        results: Of the network, frame by frame.
        baseline: Of the baseline on the same frames, where it was run.
        confusions: Of the network's clusters.
        history: Of the run that made the network, where it is at hand.
        unknown: Answers to frames of places that were not taught, where there are any.
    """

    title: str
    notes: Sequence[str]
    metrics: dict[str, Any]
    groups: Sequence[GroupSummary]
    results: Sequence[FrameResult]
    baseline: Sequence[FrameResult] | None = None
    confusions: Sequence[Confusion] = ()
    history: History = ()
    unknown: Sequence[UnknownFrames] = ()


def write_report(folder: Path, report: Report) -> None:
    """Write a report into a folder, made where needed, replacing an earlier report's files.

    These stay as they are until all of the new one is drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report.", dir=folder) as drawn:
        _draw_report(Path(drawn), report)
        for name in FILES:
            new = Path(drawn, name)
            if new.exists():
                new.replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)


def _draw_report(folder: Path, report: Report) -> None:
    text = json.dumps(report.metrics, indent=2, allow_nan=False) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")
    if report.results:
        write_frames(folder / "frames.csv", report.results, report.baseline)
    if report.unknown:
        write_unknown(folder / "unknown.csv", report.unknown)
    unknown = _unknown_summary(report)
    figures = {**_figures(report), **_uncertainty_figures(report, unknown)}
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    # In the order of the table above, whichever was drawn first.
    plots = [name for name in PLOTS if name in figures]
    (folder / "report.md").write_text(_page(report, plots, unknown), encoding="utf-8")


def _unknown_summary(report: Report) -> UnknownSummary | None:
    if not report.unknown or not report.results:
        return None
    return summarize_unknown(report.results, report.unknown)


def _uncertainty_figures(report: Report, unknown: UnknownSummary | None) -> dict[str, Figure]:
    """Draw what the groups state of their uncertainty, and how strangers score."""
    stated = {
        group.name: group.uncertainty for group in report.groups if group.uncertainty is not None
    }
    drawn = {
        "coverage.png": coverage_figure(stated, PLOTS["coverage.png"]),
        "sparsification.png": sparsification_figure(stated, PLOTS["sparsification.png"]),
        "risk_coverage.png": risk_coverage_figure(stated, PLOTS["risk_coverage.png"]),
    }
    if unknown is not None:
        drawn["unknown_scores.png"] = score_figure(
            unknown.known_scores,
            unknown.unknown_scores,
            unknown.threshold,
            PLOTS["unknown_scores.png"],
        )
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _figures(report: Report) -> dict[str, Any]:
    """Draw the plots that have something to show."""
    figures: dict[str, Any] = {}
    if report.results:
        series, panels = [], []
        for scene in dict.fromkeys(result.gt_scene for result in report.results):
            one_series, panel = scene_curves(scene, report.results, report.baseline)
            series.append(one_series)
            panels.append(panel)
        figures["errors.png"] = error_cdf_figure(series, PLOTS["errors.png"])
        figures["trajectory.png"] = trajectory_figure(panels, PLOTS["trajectory.png"])
        figures["errors_in_time.png"] = error_over_time_figure(series, PLOTS["errors_in_time.png"])
    if report.confusions:
        figures["clusters.png"] = confusion_figure(report.confusions, PLOTS["clusters.png"])
    if report.results:
        figures["worst_frames.png"] = _worst_frames_figure(report.results)
    if report.history:
        figures["training.png"] = training_figure(report.history, PLOTS["training.png"])
    return figures


def _page(report: Report, plots: Sequence[str], unknown: UnknownSummary | None) -> str:
    lines = [f"# {report.title}", "", *(f"- {note}" for note in report.notes), ""]
    if report.groups:
        blocks = ", ".join(f"{group.name} {group.num_blocks}" for group in report.groups)
        lines += ["```", format_table(report.groups), "```", ""]
        lines += [f"Medians with 95 % block-bootstrap intervals; blocks: {blocks}.", ""]
    for table in (
        format_uncertainty(report.groups),
        "" if unknown is None else format_unknown(unknown),
    ):
        lines += ["```", table, "```", ""] if table else []
    for name in plots:
        lines += [f"## {PLOTS[name]}", "", f"![{PLOTS[name]}]({name})", ""]
    return "\n".join(lines)


def scene_curves(
    scene: str, results: Sequence[FrameResult], baseline: Sequence[FrameResult] | None
) -> tuple[ErrorSeries, TrajectoryPanel]:
    """Put a scene's frames in order of time, with the recording's gaps marked."""
    chosen = [row for row, result in enumerate(results) if result.gt_scene == scene]
    runs = contiguous_runs(
        [results[row].stamp_ns for row in chosen],
        [(results[row].dataset, results[row].sequence) for row in chosen],
        cameras=[results[row].camera for row in chosen],
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
        cameras=[result.camera for result in results],
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
    return contact_sheet_figure(pictures, PLOTS["worst_frames.png"], columns=5)


def _caption(result: FrameResult) -> str:
    where = f"{result.gt_scene} {result.sequence} {Path(result.image).stem}"
    if result.failed:
        return f"{where[:44]}\nno answer: {result.answer.problem[:40]}"
    if not result.scene_correct:
        return f"{where[:44]}\ntaken for {result.answer.scene}"
    errors = f"{result.position_error_m:.2f} m, {result.orientation_error_deg:.1f}°"
    return f"{where[:44]}\n{errors}, confidence {result.answer.confidence:.2f}"
