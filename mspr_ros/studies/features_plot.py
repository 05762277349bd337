"""Draw what the branches see, and whose ranking moves whose answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mspr_ros.evaluation.plots import BASELINE_COLOR, ESTIMATED_COLOR, FAILURE_COLOR
from mspr_ros.studies.features_findings import BRANCHES, METHOD_TITLES, METHODS

COLORS = {"position": ESTIMATED_COLOR, "orientation": FAILURE_COLOR}


def draw(figure: Figure, found: Mapping[str, Any]) -> None:
    """Draw correlations with structures, one panel a method, and the deletion's ratios."""
    figure.set_size_inches(13.0, 4.6)
    panels = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1.0))
    scenes = found["structures"]
    scene = "all" if "all" in scenes else next(iter(scenes))
    for axes, method in zip(panels, METHODS, strict=False):
        _draw_structures(axes, scenes[scene][method])
        axes.set_title(f"{METHOD_TITLES[method]}, {sum(found['frames'].values())} frames")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    _draw_deletion(panels[2], found["deletion"])


def _draw_structures(axes: Any, structures: Mapping[str, Any]) -> None:
    for row, of in enumerate(structures.values()):
        for place, branch in enumerate(BRANCHES):
            height = row + 0.22 * (place - 0.5)
            label = branch if row == 0 else None
            _draw_interval(axes, height, of[branch], COLORS[branch], label)
            untrained = of[f"untrained {branch}"]
            axes.plot(
                [untrained[0]], [height], "x", color=BASELINE_COLOR, markersize=6,
                label="untrained" if row == 0 and place == 0 else None,
            )  # fmt: skip
    axes.axvline(0.0, color="#3b3b3b", linewidth=1.0)
    axes.set_yticks(range(len(structures)), list(structures))
    axes.invert_yaxis()
    axes.set_xlabel("rank correlation, given the distance from\nthe middle (middle: plain)")


def _draw_interval(
    axes: Any, height: float, values: Sequence[float], color: str, label: str | None
) -> None:
    if not np.isnan(values[1]):
        axes.plot(values[1:], [height, height], color=color, linewidth=2.5)
    axes.plot([values[0]], [height], "o", color=color, markersize=5, label=label)


def _draw_deletion(axes: Any, deletion: Mapping[str, Any]) -> None:
    labels: list[str] = []
    for method in METHODS:
        for branch in BRANCHES:
            of = deletion[method][branch]
            for kind, shade in (("own over chance", 1.0), ("other branch over chance", 0.45)):
                values = of[f"deletion, {kind}"]
                row = len(labels)
                labels.append(f"{METHOD_TITLES[method].split()[-1]}, {branch},\n{kind}")
                if not np.isnan(values[1]):
                    axes.plot(
                        values[1:], [row, row], color=COLORS[branch], linewidth=2.5, alpha=shade
                    )
                axes.plot([values[0]], [row], "o", color=COLORS[branch], alpha=shade)
    axes.axvline(1.0, color="#3b3b3b", linewidth=1.0)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("how far the answer moves as cells go,\nover a ranking by chance")
    axes.set_title("deletion")
