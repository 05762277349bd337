"""Draw how a training run went, from its `history.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mspr_ros.errors import CheckpointError
from mspr_ros.evaluation.plots import SCENE_COLORS, STYLE
from mspr_ros.geometry import Array
from mspr_ros.naming import as_label

HISTORY_FILE = "history.json"
# One entry an epoch: epoch, losses by name, and where there was a validation its summaries.
History = Sequence[Mapping[str, Any]]


def read_history(run: Path) -> History:
    """Read a run's history; empty where the folder has none.

    Raises:
        CheckpointError: If the file is damaged.
    """
    path = run / HISTORY_FILE
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
        if not all(entry["losses"].keys() and entry["epoch"] > 0 for entry in history):
            raise ValueError("an epoch without losses")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    return list(history)


def training_figure(history: History, title: str | None = None) -> Figure:
    """Draw the losses and the validation medians by epoch, the best epoch marked.

    Raises:
        ValueError: If the history is empty.
    """
    if not history:
        raise ValueError("there is no training history to draw")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.0, 4.2), layout="constrained")
        losses, position, orientation = figure.subplots(1, 3)
        _draw_losses(losses, history)
        _draw_medians(position, history, "position_error_m", "validation median (m)")
        _draw_medians(orientation, history, "orientation_error_deg", "validation median (deg)")
        for axes in (losses, position, orientation):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if title:
            figure.suptitle(title)
    return figure


def _draw_losses(axes: Any, history: History) -> None:
    """Draw the parts of the loss; the total goes below zero and has no place on this axis."""
    epochs = [entry["epoch"] for entry in history]
    names = [name for name in history[0]["losses"] if name != "total"]
    for index, name in enumerate(names):
        values = np.array([entry["losses"].get(name, np.nan) for entry in history], dtype=float)
        if not (values > 0.0).any():  # switched off, or a single scene or cluster: no loss at all
            continue
        shown = np.where(values > 0.0, values, np.nan)
        axes.plot(
            epochs, shown, ".-", color=SCENE_COLORS[index % len(SCENE_COLORS)],
            markersize=4, label=name.replace("_", " "),
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="mean loss over the epoch", title="Training")
    axes.legend()


def _draw_medians(axes: Any, history: History, kind: str, label: str) -> None:
    validated = [entry for entry in history if entry.get("validation")]
    axes.set(xlabel="epoch", ylabel=label, title="Validation")
    if not validated:
        axes.text(0.5, 0.5, "no validation", transform=axes.transAxes, ha="center")
        return
    epochs = [entry["epoch"] for entry in validated]
    scenes = dict.fromkeys(name for entry in validated for name in entry["validation"]["scenes"])
    for index, scene in enumerate(scenes):
        medians: Array = np.array(
            [
                entry["validation"]["scenes"].get(scene, {}).get(kind, {}).get("median")
                for entry in validated
            ],
            dtype=float,  # None, an infinite median, becomes NaN
        )
        color = SCENE_COLORS[index % len(SCENE_COLORS)]
        axes.plot(epochs, medians, ".-", color=color, label=as_label(scene))
    scored = [entry for entry in validated if entry.get("score") is not None]
    if scored:
        best = min(scored, key=lambda entry: float(entry["score"]))["epoch"]
        axes.axvline(
            best, color="#9a9a9a", linewidth=0.9, linestyle="--", label=f"best epoch: {best}"
        )
    axes.set_ylim(bottom=0)
    axes.legend()
