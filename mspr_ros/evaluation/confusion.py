"""Which clusters a network takes for which: counts by scene, and a drawing of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mspr_ros.evaluation.judging import Centroids, FrameResult
from mspr_ros.evaluation.plots import STYLE
from mspr_ros.naming import as_label

# With more clusters the numbers in the cells can no longer be read.
_MAX_WRITTEN = 12


@dataclass(frozen=True)
class Confusion:
    """True against chosen clusters in one scene.

    Args:
        scene: The true scene.
        kind: `position` or `orientation`.
        counts: (K, K + 1) frames by true cluster (row) and chosen cluster (column); the last
            column counts frames that were not answered in this scene.
    """

    scene: str
    kind: str
    counts: npt.NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {"scene": self.scene, "kind": self.kind, "counts": self.counts.tolist()}


def cluster_confusions(results: Sequence[FrameResult], centroids: Centroids) -> list[Confusion]:
    """Count true against chosen clusters; kinds with nothing to choose from are left out."""
    confusions = []
    for scene in dict.fromkeys(result.gt_scene for result in results):
        chosen = [result for result in results if result.gt_scene == scene]
        pairs = {
            "position": [(r.gt_position_cluster, r.answer.position_cluster) for r in chosen],
            "orientation": [
                (r.gt_orientation_cluster, r.answer.orientation_cluster) for r in chosen
            ],
        }
        sizes = (centroids.positions.shape[1], centroids.orientations_xyzw.shape[1])
        for size, (kind, clusters) in zip(sizes, pairs.items(), strict=True):
            if size < 2:
                continue
            counts = np.zeros((size, size + 1), dtype=np.int64)
            for result, (gt, pred) in zip(chosen, clusters, strict=True):
                counts[gt, pred if result.scene_correct else size] += 1
            confusions.append(Confusion(scene, kind, counts))
    return confusions


def confusion_figure(confusions: Sequence[Confusion], title: str | None = None) -> Figure:
    """Draw each scene's confusions: numbers are frames, colours their share of the true cluster.

    Raises:
        ValueError: If there are none.
    """
    if not confusions:
        raise ValueError("there are no clusters to draw")
    scenes = list(dict.fromkeys(confusion.scene for confusion in confusions))
    kinds = list(dict.fromkeys(confusion.kind for confusion in confusions))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(
            figsize=(4.8 * len(kinds) + 0.8, 3.9 * len(scenes) + 0.4), layout="constrained"
        )
        grid = figure.subplots(len(scenes), len(kinds), squeeze=False)
        for confusion in confusions:
            axes = grid[scenes.index(confusion.scene), kinds.index(confusion.kind)]
            shown = _draw_confusion(axes, confusion)
        figure.colorbar(shown, ax=grid, label="share of the true cluster's frames", shrink=0.6)
        if title:
            figure.suptitle(title)
    return figure


def _draw_confusion(axes: Any, confusion: Confusion) -> Any:
    counts = confusion.counts
    size, total = len(counts), int(counts.sum())
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    if size <= _MAX_WRITTEN:
        for row, column in np.ndindex(*counts.shape):
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                color="white" if share[row, column] > 0.6 else "black",
            )  # fmt: skip
    axes.axvline(size - 0.5, color="black", linewidth=0.8)
    step = max(1, size // _MAX_WRITTEN)
    ticks = list(range(0, size, step))
    axes.set_xticks([*ticks, size], [*map(str, ticks), "not in\nthis scene"])
    axes.set_yticks(ticks)
    axes.set(xlabel=f"chosen {confusion.kind} cluster", ylabel="true cluster")
    right = int(np.trace(counts[:, :size]))
    axes.set_title(
        f"{as_label(confusion.scene)}, {confusion.kind}\n{right} of {total} frames right"
    )
    return shown
