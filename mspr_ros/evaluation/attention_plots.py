"""Draw what the position and the orientation transformer look at, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mspr_ros.evaluation.attention import BranchAttention, ImageAttention, entropy_of
from mspr_ros.evaluation.plots import FAILURE_COLOR, SCENE_COLORS, STYLE
from mspr_ros.geometry import Array
from mspr_ros.naming import as_label
from mspr_ros.preprocess import ImageU8

HEAT_COLORMAP = "inferno"
HEAT_OPACITY = (0.2, 0.85)  # where there is no weight, and where there is most


class AttentionRow(NamedTuple):
    """One row of panels: what is shown, and how it is read from each branch's attention."""

    what: str
    maps: tuple[Array, ...]  # (rows, columns) for each branch


def choose_rows(
    attention: ImageAttention, *, layer: int | None = None, heads: bool = False
) -> list[AttentionRow]:
    """Choose what to show.

    Args:
        attention: Of one picture.
        layer: Decoder layer, from 1; None: the last, and without `heads` also the mean of all.
        heads: Show every head by itself instead of their average.
    """
    branches = attention.branches
    chosen = layer or len(branches[0].cross)
    of = f"decoder layer {chosen} of {len(branches[0].cross)}"
    last = [branch.cross[chosen - 1] for branch in branches]  # (heads, rows, columns)
    if heads:
        rows = [
            AttentionRow(f"{of}, head {head + 1}", tuple(maps[head] for maps in last))
            for head in range(len(last[0]))
        ]
    else:
        rows = [AttentionRow(of, tuple(maps.mean(axis=0) for maps in last))]
        if layer is None and len(branches[0].cross) > 1:
            means = tuple(branch.cross.mean(axis=(0, 1)) for branch in branches)
            rows.append(AttentionRow("mean over decoder layers", means))
    if attention.pixel is not None:
        own = tuple(branch.own[-1].mean(axis=0) for branch in branches if branch.own is not None)
        rows.append(AttentionRow("encoder self-attention of the marked cell, last layer", own))
    return rows


def attention_figure(attention: ImageAttention, rows: Sequence[AttentionRow]) -> Figure:
    """Draw the picture, beside it rows of heat maps over it, and the encoder's activity.

    Colours say how many times the uniform weight a place gets: 1 everywhere is to look at
    nothing in particular. Titles give the entropy relative to uniform attention.
    """
    shape = attention.picture.shape
    height = 3.6 * shape[0] / shape[1] + 0.75
    num_rows = max(2, len(rows))
    with matplotlib.rc_context({**STYLE, "axes.titlesize": 9}):
        figure = Figure(figsize=(13.0, height * num_rows + 0.4), layout="constrained")
        grid = figure.subplots(num_rows, 3, squeeze=False)
        _draw_picture(grid[0, 0], attention)
        _draw_activity(grid[1, 0], attention.branches)
        for axes in [*grid[2:, 0], *grid[len(rows) :, 1:].flat]:
            axes.set_axis_off()
        for row, panels in zip(rows, grid[:, 1:], strict=False):
            for axes, branch, weights in zip(panels, attention.branches, row.maps, strict=True):
                _draw_heat(axes, attention.picture, weights)
                entropy = float(entropy_of(weights))
                axes.set_title(
                    f"{branch.name} transformer\n{row.what}\n"
                    f"entropy {100 * entropy:.1f} % of uniform"
                )
                if row.what.startswith("encoder"):
                    _mark_cell(axes, attention.picture, branch)
        figure.suptitle(f"What the network looks at, asked for scene {as_label(attention.scene)}")
    return figure


def _draw_picture(axes: Any, attention: ImageAttention) -> None:
    axes.imshow(attention.picture)
    axes.set_axis_off()
    height, width = attention.picture.shape[:2]
    axes.set_title(
        f"as the network sees it, {width}x{height}\nrecognised: {as_label(attention.recognised)} "
        f"({100 * attention.recognised_probability:.1f} %)"
    )
    if attention.pixel is not None:
        axes.plot(*attention.pixel, "+", color=FAILURE_COLOR, markersize=12, markeredgewidth=2)


def _draw_heat(axes: Any, picture: ImageU8, weights: Array) -> None:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    heat = upsample(weights * weights.size, picture.shape[1], picture.shape[0])
    top = max(2.0, float(heat.max()))
    opacity = np.interp(heat, (0.0, top), HEAT_OPACITY)
    shown = axes.imshow(heat, cmap=HEAT_COLORMAP, alpha=opacity, vmin=0.0, vmax=top)
    axes.set_axis_off()
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.75)
    bar.set_label("times uniform", fontsize=8)
    bar.solids.set_alpha(1.0)


def upsample(values: Array, width: int, height: int) -> Array:
    """Spread a map's cells over a picture, linearly between the cells' centres."""
    small = np.ascontiguousarray(values, dtype=np.float32)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _mark_cell(axes: Any, picture: ImageU8, branch: BranchAttention) -> None:
    assert branch.cell is not None
    rows, columns = branch.cross.shape[-2:]
    high, wide = picture.shape[0] / rows, picture.shape[1] / columns
    left, top = branch.cell[1] * wide - 0.5, branch.cell[0] * high - 0.5
    right, bottom = left + wide, top + high
    axes.plot(
        [left, right, right, left, left], [top, top, bottom, bottom, top], "w", linewidth=1.5
    )


def _draw_activity(axes: Any, branches: Sequence[BranchAttention]) -> None:
    """Draw a mark a head: does the encoder's self-attention depend on the cell that asks?"""
    for index, branch in enumerate(branches):
        color = SCENE_COLORS[index]
        layers = np.arange(1, len(branch.encoder) + 1)
        heads = np.stack([layer.query_dependence for layer in branch.encoder])  # (layers, heads)
        places = np.repeat(layers[:, None], heads.shape[1], axis=1) + 0.12 * (index - 0.5)
        axes.plot(places.ravel(), heads.ravel(), "o", color=color, alpha=0.45, markersize=5)
        axes.plot(
            layers + 0.12 * (index - 0.5), heads.mean(axis=1), "_-", color=color,
            markersize=12, label=branch.name,
        )  # fmt: skip
    layers = np.arange(1, len(branches[0].encoder) + 1)
    axes.set(xticks=layers, xlim=(0.5, len(layers) + 0.5), ylim=(0, 1))
    axes.set_xlabel("encoder layer; a mark a head, lines their mean")
    axes.set_ylabel("share that depends on the cell")
    axes.set_title("encoder self-attention: 0 is idle,\nevery cell receives the same mixture")
    axes.legend(loc="upper right")
