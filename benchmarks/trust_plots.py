"""Draw what benchmarks/trust.py measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mspr_ros.evaluation.evaluate import GroupSummary
from mspr_ros.evaluation.plots import (
    BASELINE_COLOR,
    ESTIMATED_COLOR,
    FAILURE_COLOR,
    SCENE_COLORS,
    STYLE,
)
from mspr_ros.evaluation.uncertainty import covered
from mspr_ros.geometry import Array


def overview_figure(
    group: GroupSummary, scores: Mapping[str, Array], drives: Sequence[Mapping[str, Any]]
) -> Figure:
    """Draw coverage, coverage drive by drive, sparsification and scores in one sheet.

    Args:
        group: Of all scenes.
        scores: Of familiarity by kind of place, the taught ones first.
        drives: See `drive_figures`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 8.2), layout="constrained")
        (coverage, by_drive), (sparse, familiar) = figure.subplots(2, 2)
        _draw_coverage(coverage, group)
        _draw_drives(by_drive, drives)
        _draw_sparsification(sparse, group)
        _draw_scores(familiar, scores)
    return figure


def _draw_coverage(axes: Any, group: GroupSummary) -> None:
    axes.plot([0, 1], [0, 1], "--", color=BASELINE_COLOR, linewidth=1.0, label="nominal")
    axes.set(
        title="how often regions hold the truth", xlabel="nominal coverage",
        ylabel="share of all frames", xlim=(0, 1.02), ylim=(0, 1.02),
    )  # fmt: skip
    if group.uncertainty is None:
        return
    levels = np.linspace(0.01, 0.99, 99)
    for part, color in zip(("position", "orientation"), SCENE_COLORS, strict=False):
        inside = covered(group.uncertainty.frames.nees[part], 3, levels).mean(axis=0)
        axes.plot(levels, inside, color=color, linewidth=1.8, label=part)
        for one in group.uncertainty.coverage:
            if one.part == part:
                ends = [one.all_frames.low, one.all_frames.high]
                axes.plot([one.level, one.level], ends, color=color, linewidth=1.2)
    axes.legend(loc="upper left")


def _draw_drives(axes: Any, drives: Sequence[Mapping[str, Any]]) -> None:
    drives = sorted(drives, key=lambda one: one["scene"])
    names = [f"{one['scene']}\n{one['sequence'].rpartition('-')[2]}" for one in drives]
    axes.axhspan(0.92, 0.98, color=BASELINE_COLOR, alpha=0.2, label="92 % to 98 %")
    for part, color, mark in zip(("position", "orientation"), SCENE_COLORS, "os", strict=False):
        shares = [one[f"{part}_coverage_95"] for one in drives]
        axes.plot(range(len(drives)), shares, mark, color=color, label=part, markersize=5)
    axes.set(title="95 % regions, drive by drive", ylabel="share of the drive's frames")
    step = max(1, len(names) // 8)
    axes.set_xticks(range(0, len(names), step), names[::step], fontsize=7)
    axes.set_ylim(None, 1.01)
    axes.legend(loc="lower left")


def _draw_sparsification(axes: Any, group: GroupSummary) -> None:
    axes.set(
        title="mean error that remains, over that of all", xlabel="share of frames rejected",
        ylabel="share of the mean error", xlim=(0, 1), ylim=(0, 1.05),
    )  # fmt: skip
    if group.uncertainty is None:
        return
    for ranking in group.uncertainty.rankings:
        if ranking.by != "covariance":
            continue
        color = SCENE_COLORS[0 if ranking.error == "position" else 1]
        rejected = 1.0 - ranking.curve.remaining
        mean = max(ranking.curve.mean_error, 1e-12)
        label = f"{ranking.error}, by covariance"
        axes.plot(rejected, ranking.curve.by_uncertainty / mean, color=color, label=label)
        label = f"{ranking.error}, truly worst first"
        axes.plot(rejected, ranking.curve.by_error / mean, "--", color=color, label=label)
    axes.axhline(1.0, color=BASELINE_COLOR, linewidth=1.0, label="random order")
    axes.legend(loc="lower left")


def _draw_scores(axes: Any, scores: Mapping[str, Array]) -> None:
    finite = {name: some[np.isfinite(some)] for name, some in scores.items()}
    every = np.concatenate([some for some in finite.values()] or [np.zeros(0)])
    axes.set(title="familiarity", xlabel="known score", ylabel="share of the frames")
    if not len(every):
        return
    edges = np.linspace(*np.percentile(every, [0.2, 99.8]), 41)
    for index, (name, some) in enumerate(finite.items()):
        color = SCENE_COLORS[index % len(SCENE_COLORS)]
        weights = np.full(len(some), 1.0 / max(len(scores[name]), 1))
        clipped = np.clip(some, edges[0], edges[-1])
        label = f"{name} ({len(scores[name])})"
        axes.hist(clipped, edges, weights=weights, histtype="stepfilled", color=color, alpha=0.2)
        axes.hist(clipped, edges, weights=weights, histtype="step", color=color, label=label)
    axes.legend(loc="upper left")


def corruption_figure(corruptions: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw error and AUROC of every way of spoiling against its strengths, mild to strong."""
    columns = 4
    rows = -(-len(corruptions) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.0, 3.1 * rows + 0.4), layout="constrained")
        for place, one in enumerate(corruptions):
            axes: Any = figure.add_subplot(rows, columns, place + 1)
            _draw_corruption(axes, one)
    return figure


def _draw_corruption(axes: Any, one: Mapping[str, Any]) -> None:
    curve = one["curve"]
    steps = range(len(curve))
    # Infinite ones, of answers that are not finite, are None in JSON.
    times = [np.nan if point["times_clean"] is None else point["times_clean"] for point in curve]
    axes.plot(steps, times, "o-", color=ESTIMATED_COLOR)
    axes.axhline(3.0, color=ESTIMATED_COLOR, linestyle=":", linewidth=1.2)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 50.0)
    axes.set_ylabel("median error / clean", color=ESTIMATED_COLOR)
    axes.set(title=one["name"], xlabel=one["strength"])
    axes.set_xticks(steps, [f"{point['strength']:g}" for point in curve])
    other = axes.twinx()
    other.plot(steps, [point["auroc"] for point in curve], "s--", color=FAILURE_COLOR)
    other.axhline(0.9, color=FAILURE_COLOR, linestyle=":", linewidth=1.2)
    other.set_ylim(0.4, 1.02)
    other.set_ylabel("AUROC", color=FAILURE_COLOR)
    other.grid(False)
