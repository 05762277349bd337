"""Many pairs of ways to train, side by side: a table and a plot of ratios with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure, FigureBase

from mspr_ros.evaluation.plots import ESTIMATED_COLOR, FAILURE_COLOR
from mspr_ros.naming import as_label
from mspr_ros.studies.measuring import geometric_mean, medians
from mspr_ros.studies.paired import KINDS, Difference, Frames, paired_ratio
from mspr_ros.studies.study import Table

_TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True)
class Contrast:
    """One way to train against another.

    Args:
        changed: Its name.
        reference: What it is compared with.
        medians: (m, deg) of the changed one: geometric means over seeds and scenes.
        differences: By kind of error.
    """

    changed: str
    reference: str
    medians: tuple[float, float]
    differences: dict[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "changed": self.changed,
            "reference": self.reference,
            "median_m": self.medians[0],
            "median_deg": self.medians[1],
            **{kind: found.to_dict() for kind, found in self.differences.items()},
        }

    def in_words(self) -> str:
        """Say both differences, each with how sure it is."""
        said = [f"{KINDS[kind]} {found.verdict()}" for kind, found in self.differences.items()]
        return f"{self.changed} against {self.reference}: {', '.join(said)}"


def contrast(
    changed: str,
    reference: str,
    frames: Sequence[Frames],
    reference_frames: Sequence[Frames],
    *,
    given: bool = False,
) -> Contrast:
    """Compare cells seed by seed; see `paired_ratio`."""
    pairs = [medians({"frames": one}) for one in frames]
    return Contrast(
        changed,
        reference,
        (geometric_mean([m for m, _ in pairs]), geometric_mean([deg for _, deg in pairs])),
        {kind: paired_ratio(frames, reference_frames, kind, given=given) for kind in KINDS},
    )


def contrast_table(title: str, contrasts: Sequence[Contrast]) -> Table:
    """Lay contrasts out; `=` marks an interval that holds 'no difference'."""
    header = ("what", "median m", "median deg", "against", "position, ratio", "orientation, ratio")
    rows = [
        (
            one.changed,
            f"{one.medians[0]:.3f}",
            f"{one.medians[1]:.2f}",
            one.reference,
            one.differences["position_m"].cell(),
            one.differences["orientation_deg"].cell(),
        )
        for one in contrasts
    ]
    return Table(title, header, rows)


def _extent(found: Difference) -> tuple[float, float]:
    """Give what is drawn of a difference, and of an interval too wide for any plot a part."""
    if found.num_seeds == 1:
        return found.ratio, found.ratio
    return max(found.low, 0.02), min(found.high, 50.0)


def draw_contrasts(figure: FigureBase, contrasts: Sequence[Contrast]) -> None:
    """Draw a ratio and its interval a line: right of 1 the change makes it worse."""
    if isinstance(figure, Figure):
        figure.set_size_inches(9.0, max(3.0, 1.2 + 0.3 * len(contrasts)))
    panels = figure.subplots(1, len(KINDS), sharey=True)
    labels = [as_label(one.changed) for one in contrasts]
    for axes, (kind, title) in zip(panels, KINDS.items(), strict=True):
        for row, one in enumerate(contrasts):
            found = one.differences[kind]
            color = FAILURE_COLOR if found.is_told else ESTIMATED_COLOR
            if found.num_seeds != 1:
                axes.plot([found.low, found.high], [row, row], color=color, linewidth=2.5)
            axes.plot([found.ratio], [row], "o", color=color)
        axes.axvline(1.0, color="#3b3b3b", linewidth=1.0)
        axes.set_xscale("log")
        axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.minorticks_off()
        bounds = [bound for one in contrasts for bound in _extent(one.differences[kind])]
        axes.set_xlim(0.9 * min(0.5, *bounds), 1.1 * max(2.0, *bounds))
        axes.set_title(title)
        axes.set_xlabel("ratio (below 1: better)")
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].invert_yaxis()
