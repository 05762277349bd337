"""Draw how honest uncertainties are: coverage, rejection, and scores of strangers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mspr_ros.evaluation.plots import (
    BASELINE_COLOR,
    ESTIMATED_COLOR,
    FAILURE_COLOR,
    SCENE_COLORS,
    STYLE,
    TRUE_COLOR,
    union_of_legends,
)
from mspr_ros.evaluation.ranking import RiskCoverage
from mspr_ros.evaluation.uncertainty import PARTS, covered, degrees_of_freedom
from mspr_ros.evaluation.uncertainty_summary import RankingSummary, UncertaintySummary
from mspr_ros.geometry import Array
from mspr_ros.naming import as_label

MAX_ROWS = 6  # of scenes below each other; with more scenes the plot shows them all as one
UNITS = {"position": "m", "orientation": "deg"}
RANKING_STYLES: dict[str, Any] = {
    "covariance": {"color": ESTIMATED_COLOR, "linewidth": 2.0},
    "confidence": {"color": SCENE_COLORS[1], "linewidth": 1.6},
}


def coverage_figure(
    groups: Mapping[str, UncertaintySummary], title: str | None = None
) -> Figure | None:
    """Draw how often regions of every nominal level hold the truth; None without covariances."""
    shown = {name: summary for name, summary in groups.items() if summary.coverage}
    if not shown:
        return None
    levels = np.linspace(0.01, 0.99, 99)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.0, 5.0), layout="constrained")
        for axes, part in zip(figure.subplots(1, 3, sharey=True), PARTS, strict=True):
            axes.plot([0, 1], [0, 1], "--", color=BASELINE_COLOR, linewidth=1.0, label="nominal")
            for index, (name, summary) in enumerate(shown.items()):
                color = SCENE_COLORS[index % len(SCENE_COLORS)]
                inside = covered(summary.frames.nees[part], degrees_of_freedom(part), levels)
                axes.plot(
                    levels, inside.mean(axis=0), color=color, linewidth=1.8, label=as_label(name)
                )
                aside = 0.006 * (index - 0.5 * (len(shown) - 1))
                _draw_intervals(axes, part, summary, color, aside)
            axes.set(title=part, xlabel="nominal coverage", xlim=(0, 1.02), ylim=(0, 1.02))
        figure.axes[0].set_ylabel("share of all frames in the region")
        _finish(figure, title)
    return figure


def _draw_intervals(
    axes: Any, part: str, summary: UncertaintySummary, color: str, aside: float
) -> None:
    """Mark the reported levels, each group's a little aside of the others'."""
    for one in summary.coverage:
        interval = one.all_frames
        if one.part == part:
            ends = [interval.low, interval.high]
            axes.plot([one.level + aside] * 2, ends, color=color, linewidth=1.0, alpha=0.7)
            axes.plot(one.level + aside, interval.value, "o", color=color, markersize=4)


def sparsification_figure(
    groups: Mapping[str, UncertaintySummary], title: str | None = None
) -> Figure | None:
    """Draw the mean error against the share rejected; None where nothing can be ranked."""
    shown = {name: found for name, summary in groups.items() if (found := _rankable(summary))}
    if len(shown) > MAX_ROWS:
        shown = dict([list(shown.items())[-1]])
    if not shown:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.8 + 3.5 * len(shown)), layout="constrained")
        grid = figure.subplots(len(shown), 2, squeeze=False)
        for row, (name, rankings) in zip(grid, shown.items(), strict=True):
            for axes, (error, unit) in zip(row, UNITS.items(), strict=True):
                _draw_rankings(axes, name, [one for one in rankings if one.error == error])
                axes.set(ylabel=f"mean {error} error ({unit})", xlim=(0, 1))
                axes.set_xlabel("share of answers rejected, the most uncertain first")
        _finish(figure, title)
    return figure


def _rankable(summary: UncertaintySummary) -> list[RankingSummary]:
    return [ranking for ranking in summary.rankings if len(ranking.curve.remaining) > 1]


def _draw_rankings(axes: Any, name: str, rankings: Sequence[RankingSummary]) -> None:
    curve = rankings[0].curve  # the oracle's and chance's are the same for all
    rejected = 1.0 - curve.remaining
    axes.axhline(curve.mean_error, color=BASELINE_COLOR, linestyle=":", label="random order")
    axes.plot(
        rejected, curve.by_error, "--", color=TRUE_COLOR, linewidth=1.2,
        label="true order (oracle)",
    )  # fmt: skip
    notes = []
    for ranking in rankings:
        drawn = ranking.curve.by_uncertainty
        axes.plot(rejected, drawn, label=f"by {ranking.by}", **RANKING_STYLES[ranking.by])
        if np.isfinite(ranking.ratio.value):
            notes.append(f"{ranking.by} {ranking.ratio.value:.2f}")
    axes.set_title(f"{as_label(name)}\nAUSE over random's: {', '.join(notes) or 'not defined'}")
    # The last few frames may all be bad: they must not flatten the rest of the curve.
    highest = max(float(ranking.curve.by_uncertainty.max()) for ranking in rankings)
    axes.set_ylim(0.0, max(1.05 * min(highest, 2.0 * curve.mean_error), 1e-6))


def risk_coverage_figure(
    groups: Mapping[str, UncertaintySummary], title: str | None = None
) -> Figure | None:
    """Draw the share of wrong answers against the share kept; None without confidences."""
    shown = {name: s for name, s in groups.items() if s.risk is not None}
    if not shown:
        return None
    metres, degrees = next(iter(shown.values())).right_within
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        right.plot([0, 1], [0, 1], "--", color=BASELINE_COLOR, linewidth=1.0)
        for index, (name, summary) in enumerate(shown.items()):
            color = SCENE_COLORS[index % len(SCENE_COLORS)]
            if summary.risk is not None:
                _draw_risk(left, name, summary.risk, color)
            if summary.confidence_calibration is not None:
                bins = summary.confidence_calibration.bins
                right.plot(
                    [one.mean_probability for one in bins],
                    [one.share_right for one in bins],
                    "o-", color=color, linewidth=1.4, markersize=4, label=as_label(name),
                )  # fmt: skip
        wrong = f"share wrong (scene, > {metres:g} m or > {degrees:g} deg)"
        left.set(xlabel="share of all frames kept", ylabel=wrong, xlim=(0, 1.02), ylim=(0, 1.02))
        left.set_title("wrong answers by frames kept, dashed: best order")
        right.set(xlabel="confidence", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02))
        right.set_title("calibration of the confidence, dashed: perfect")
        _finish(figure, title)
    return figure


def _draw_risk(axes: Any, name: str, risk: RiskCoverage, color: str) -> None:
    axes.plot(risk.coverage, risk.risk, color=color, linewidth=1.8, label=as_label(name))
    axes.plot(risk.coverage, risk.oracle_risk, "--", color=color, linewidth=0.9)


def score_figure(
    known: Array, unknown: Mapping[str, Array], threshold: float, title: str | None = None
) -> Figure | None:
    """Draw how scores of taught and of other places are spread; None without any of the two.

    Args:
        known: Scores of frames of taught places; those that are not finite are not drawn.
        unknown: By dataset, of places that were not taught.
        threshold: The score that 95 % of the known frames reach; NaN where there is none.
        title: Of the figure.
    """
    sets = {"taught places": known, **unknown}
    finite = {name: scores[np.isfinite(scores)] for name, scores in sets.items()}
    if not len(finite["taught places"]) or not any(len(finite[name]) for name in unknown):
        return None
    every = np.concatenate(list(finite.values()))
    spread = max(float(np.ptp(every)), 1e-6)
    edges = np.linspace(every.min() - 0.01 * spread, every.max() + 0.01 * spread, 41)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 4.6), layout="constrained")
        axes: Any = figure.subplots()
        for index, (name, scores) in enumerate(finite.items()):
            color = SCENE_COLORS[index % len(SCENE_COLORS)]
            weights = np.full(len(scores), 1.0 / max(len(sets[name]), 1))
            for kind, look in (("stepfilled", {"alpha": 0.15}), ("step", {"linewidth": 1.6})):
                label = as_label(f"{name} ({len(sets[name])} frames)") if kind == "step" else None
                axes.hist(
                    scores, bins=edges, weights=weights, histtype=kind, color=color, label=label,
                    **look,
                )  # fmt: skip
        if np.isfinite(threshold):
            axes.axvline(
                threshold, color=FAILURE_COLOR, linestyle="--", linewidth=1.2,
                label="95 % of the taught pass",
            )  # fmt: skip
        axes.set(xlabel="score (higher: more familiar)", ylabel="share of the frames")
        _finish(figure, title)
    return figure


def _finish(figure: Figure, title: str | None) -> None:
    handles, labels = union_of_legends(figure)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    if title:
        figure.suptitle(title)
