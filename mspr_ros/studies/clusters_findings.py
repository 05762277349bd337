"""What the study of clusters found: the rule beside every fixed number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mspr_ros.data.label_csv import CONVENTION_OF_SCENE
from mspr_ros.data.recording import MAP_FROM_CAM
from mspr_ros.evaluation.plots import BASELINE_COLOR, SCENE_COLORS
from mspr_ros.naming import as_label
from mspr_ros.studies.clusters import POSES
from mspr_ros.studies.contrasts import Contrast, contrast, contrast_table, draw_contrasts
from mspr_ros.studies.measuring import geometric_mean, medians
from mspr_ros.studies.study import CellResult, Table
from mspr_ros.training.cluster_choice import RATIO

# Position and orientation clusters of the paper, by family of data set.
PAPER_INDOORS, PAPER_OUTDOORS = "1/2", "4/4"
_OUTDOORS = ("KingsCollege", "OldHospital", "ShopFacade", "StMarysChurch")


@dataclass(frozen=True)
class Found:
    """All that was found.

    Args:
        poses: What the rule sees, by place.
        labels: The same of label files, by scene.
        lines: A line of errors for each place and number of clusters.
        contrasts: The rule against each fixed number, over all places.
        by_place: The same in each place.
    """

    poses: dict[str, Any]
    labels: dict[str, Any]
    lines: list[dict[str, Any]]
    contrasts: list[Contrast]
    by_place: dict[str, list[Contrast]]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "ratio": RATIO,
            "poses": self.poses,
            "labels": self.labels,
            "lines": self.lines,
            "contrasts": [one.to_dict() for one in self.contrasts],
            "by_place": {
                place: [one.to_dict() for one in those] for place, those in self.by_place.items()
            },
        }


def find_all(results: Sequence[CellResult], seeds: Sequence[int]) -> Found:
    """Gather the cells, and pair them."""
    poses = next(one.values for one in results if one.factors["place"] == POSES)
    trained = [one for one in results if one.factors["place"] != POSES]
    places = list(dict.fromkeys(one.factors["place"] for one in trained))
    lines, by_place = [], {}
    fixed_everywhere = []
    for place in places:
        own = [one for one in trained if one.factors["place"] == place]
        pairs = list(dict.fromkeys(_pair(one) for one in own))
        lines += [_line(place, pair, [one for one in own if _pair(one) == pair]) for pair in pairs]
        chosen = [_auto(own, seed) for seed in seeds]
        by_place[place] = [
            contrast("auto", pair, chosen, [_of(own, pair, seed) for seed in seeds])
            for pair in pairs
            if not any(one.factors["auto"] for one in own if _pair(one) == pair)
        ]
        fixed_everywhere.append(pairs)
    common = [
        pair
        for pair in (fixed_everywhere or [[]])[0]
        if all(pair in pairs for pairs in fixed_everywhere)
        and not all(one.factors["auto"] for one in trained if _pair(one) == pair)
    ]
    cells = {place: [one for one in trained if one.factors["place"] == place] for place in places}
    contrasts = [
        contrast(
            "auto",
            pair,
            [_joined([_auto(own, seed) for own in cells.values()]) for seed in seeds],
            [_joined([_of(own, pair, seed) for own in cells.values()]) for seed in seeds],
        )
        for pair in common
    ]
    return Found(poses["places"], poses["labels"], lines, contrasts, by_place)


def _pair(one: CellResult) -> str:
    return "/".join(str(count) for count in one.factors["clusters"])


def _auto(own: Sequence[CellResult], seed: int) -> Any:
    return next(one.values["frames"] for one in own if one.seed == seed and one.factors["auto"])


def _of(own: Sequence[CellResult], pair: str, seed: int) -> Any:
    return next(one.values["frames"] for one in own if one.seed == seed and _pair(one) == pair)


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {place: columns for part in parts for place, columns in part.items()}


def _line(place: str, pair: str, cells: Sequence[CellResult]) -> dict[str, Any]:
    whole = [medians(one.values) for one in cells]
    told = [medians({"frames": one.values["told"]}) for one in cells]
    quantised = [one.values["quantised"] for one in cells]
    return {
        "place": place,
        "clusters": pair,
        "auto": bool(cells[0].factors["auto"]),
        "error": [geometric_mean([m[i] for m in whole]) for i in (0, 1)],
        "told": [geometric_mean([m[i] for m in told]) for i in (0, 1)],
        "quantised": [float(np.mean([q[i] for q in quantised])) for i in (0, 1)],
    }


def tables(found: Found) -> list[Table]:
    """Lay everything out."""
    laid = []
    if found.lines:
        header = ("place", "clusters", "error, m / deg", "true clusters given", "centroids alone")
        rows = [
            (
                line["place"],
                line["clusters"] + (" (auto)" if line["auto"] else ""),
                *(f"{line[k][0]:.3f} / {line[k][1]:.2f}" for k in ("error", "told", "quantised")),
            )
            for line in found.lines
        ]
        title = "Median errors on test frames, geometric means over seeds"
        laid.append(Table(title, header, rows))
        title = "The rule against each fixed number, all places"
        laid.append(contrast_table(title, found.contrasts))
        for place, contrasts in found.by_place.items():
            if len(found.by_place) > 1:
                laid.append(contrast_table(f"The same in {place}", contrasts))
    laid.append(_rule_table("What the rule sees and chooses", found.poses, None))
    if found.labels:
        laid.append(_rule_table("Published training poses", found.labels, _paper))
    return [table for table in laid if table.rows]


def _paper(scene: str) -> str:
    if scene in _OUTDOORS:
        return PAPER_OUTDOORS
    return PAPER_INDOORS if CONVENTION_OF_SCENE.get(scene) == MAP_FROM_CAM else ""


def _rule_table(title: str, poses: Mapping[str, Any], paper: Any) -> Table:
    header = ("place", "frames", "expected residual, m / deg", "spread, 1 cluster", "with K")
    columns = (*header, "chosen", *(("the paper's",) if paper else ()))
    rows = [_rule_row(name, one, paper) for name, one in poses.items()]
    return Table(title, columns, rows)


def _rule_row(name: str, one: Mapping[str, Any], paper: Any) -> tuple[str, ...]:
    spreads = (one["position_spread_m"], one["orientation_spread_deg"])
    chosen = (one["positions"], one["orientations"])
    first, last = ("-", "-")
    if all(spreads):
        first = f"{spreads[0][0]:.2f} / {spreads[1][0]:.1f}"
        last = f"{spreads[0][chosen[0] - 1]:.2f} / {spreads[1][chosen[1] - 1]:.1f}"
    expected = "-"
    if one["expected_m"] is not None:
        expected = f"{one['expected_m']:.3f} / {one['expected_deg']:.2f}"
    frames = f"{one['frames']}" + (f" ({one['outliers']} left out)" if one["outliers"] else "")
    return (
        name, frames, expected, first, last, f"{chosen[0]}/{chosen[1]}",
        *((paper(name),) if paper else ()),
    )  # fmt: skip


def in_words(found: Found) -> str:
    """Say what was found and how sure."""
    chosen = "; ".join(
        f"{name} {one['positions']}/{one['orientations']}"
        for name, one in (found.poses or found.labels).items()
    )
    rule = f"The rule chooses (position/orientation clusters) {chosen}"
    if not found.contrasts:
        return f"{rule}; nothing was trained."
    against = "; ".join(one.in_words() for one in found.contrasts)
    return f"{rule}. Against every fixed number in the same places: {against}."


def draw(figure: Figure, found: Found) -> None:
    """Draw quantisation against the residual to be expected and, if trained, the ratios."""
    if found.contrasts:
        figure.set_size_inches(9.0, 8.0)
        parts: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1.0))
        above, below = parts
        draw_contrasts(below, [_named(one) for one in found.contrasts])
        _draw_rule(above, found.poses)
    else:
        published = {f"{name}, published": one for name, one in found.labels.items()}
        figure.set_size_inches(10.0, 4.6)
        _draw_rule(figure, {**found.poses, **published})


def _named(one: Contrast) -> Contrast:
    return Contrast(f"auto / {one.reference}", one.reference, one.medians, one.differences)


def _draw_rule(figure: Any, poses: Mapping[str, Any]) -> None:
    panels: Any = figure.subplots(1, 2, sharey=True)
    kinds = (
        ("position_spread_m", "expected_m", "positions", "position"),
        ("orientation_spread_deg", "expected_deg", "orientations", "orientation"),
    )
    for axes, (spread, expected, chosen, title) in zip(panels, kinds, strict=True):
        for number, (name, one) in enumerate(poses.items()):
            if not one[spread] or not one[expected]:
                continue
            ratio = np.array(one[spread]) / one[expected]
            color = SCENE_COLORS[number % len(SCENE_COLORS)]
            style = ("-", "--", ":")[number // len(SCENE_COLORS) % 3]
            counts = np.arange(1, len(ratio) + 1)
            axes.plot(counts, ratio, style, color=color, label=as_label(name), linewidth=1.3)
            axes.plot([one[chosen]], [ratio[one[chosen] - 1]], "o", color=color, markersize=5)
        axes.axhline(RATIO, color=BASELINE_COLOR, linewidth=1.2)
        axes.set_yscale("log")
        axes.set_xlabel(f"{title} clusters (marked: chosen)")
        axes.set_title(title)
    panels[0].set_ylabel("spread about centroids over\nexpected residual")
    if panels[1].lines[:-1]:  # the last one is the limit
        panels[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
