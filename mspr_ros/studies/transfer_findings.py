"""What a study of transfer found: what breaks, what the gate refuses, what repairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mspr_ros.evaluation.plots import ESTIMATED_COLOR, FAILURE_COLOR
from mspr_ros.naming import as_label
from mspr_ros.studies.conditions import SAME, Condition, find_conditions
from mspr_ros.studies.contrasts import Contrast, contrast, contrast_table, draw_contrasts
from mspr_ros.studies.measuring import geometric_mean, medians, share
from mspr_ros.studies.study import CellResult, Conclusion, Setting, Table
from mspr_ros.studies.transfer import BASE, REPAIR

# A frame is broken where an error is so many times the median as trained.
BROKEN = 3.0


def conclude_transfer(
    setting: Setting, results: Sequence[CellResult], rooms: Sequence[str]
) -> Conclusion:
    """Say what breaks, what is caught, and what repairs."""
    _, conditions = find_conditions(setting, rooms)
    given = setting.options.bundle is not None
    base = [one.values["conditions"] for one in results if one.factors["network"] == BASE]
    plain = [one[SAME] for one in base]
    breaks = [
        contrast(
            one.title, "as trained", [values[one.name] for values in base], plain, given=given
        )
        for one in conditions[1:]
        if one.is_paired
    ]
    gates = {one.title: gate_summary(one, base) for one in conditions}
    repairs = _repairs(conditions, results, base)
    worse = [one.in_words() for one in breaks]
    caught = [
        f"{title}: {one['broken']:.0%} of frames broken, {_share(one['caught'])} of these refused"
        for title, one in gates.items()
    ]
    repaired = [one.in_words() for one in repairs]
    sentence = (
        f"{_what(setting, results)} "
        f"Breaks: {'; '.join(worse) or 'not paired'}. Gate: {'; '.join(caught)}. "
        f"Repair: {'; '.join(repaired) or 'not tried'}."
    )
    tables = [_gate_table(gates)]
    if any(one.factors["network"] == REPAIR for one in results):
        tables.append(_repair_table(conditions, results))
    if breaks:
        tables.insert(0, contrast_table("The same drives under other conditions", breaks))
    if repairs:
        tables.append(contrast_table("Repaired, against the base in these conditions", repairs))
    return Conclusion(
        sentence,
        tables,
        partial(_draw, gates=gates, breaks=breaks, repairs=repairs),
        {
            "breaks": [one.to_dict() for one in breaks],
            "gates": gates,
            "repairs": [one.to_dict() for one in repairs],
        },
    )


def _what(setting: Setting, results: Sequence[CellResult]) -> str:
    """Say which networks this is about."""
    if setting.options.bundle is None:
        return f"After {results[0].images} pictures a network and {len(setting.seeds)} seeds."
    return f"The one network in {setting.options.bundle}."


def gate_summary(condition: Condition, base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count what is broken under a condition and what of it was refused, over all seeds.

    Returns:
        Shares `broken`, `refused`, `caught` (of the broken; None where nothing is), `missed`
        (refused although not broken; None likewise), and `caught_by_seed`.
    """
    broken, refused = [], []
    for values in base:
        plain, frames = _flat(values[SAME]), _flat(values[condition.name])
        bad = np.ones(len(frames["position_m"]), dtype=bool)
        if condition.is_taught:
            bad = ~np.array(frames["scene_right"], dtype=bool)
            for kind in ("position_m", "orientation_deg"):
                bad |= np.array(frames[kind]) > BROKEN * np.median(plain[kind])
        broken.append(bad)
        refused.append(~np.array(frames["accepted"], dtype=bool))
    by_seed = [
        float(no[bad].mean()) if bad.any() else None
        for bad, no in zip(broken, refused, strict=True)
    ]
    bad, no = np.concatenate(broken), np.concatenate(refused)
    return {
        "broken": float(bad.mean()),
        "refused": float(no.mean()),
        "caught": float(no[bad].mean()) if bad.any() else None,
        "missed": float(no[~bad].mean()) if (~bad).any() else None,
        "caught_by_seed": by_seed,
        "frames": len(bad) // len(base),
    }


def _flat(frames: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Put the columns of all scenes together."""
    names = ("position_m", "orientation_deg", "scene_right", "accepted")
    return {name: [value for one in frames.values() for value in one[name]] for name in names}


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _gate_table(gates: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            title,
            str(one["frames"]),
            _share(one["broken"]),
            _share(one["caught"]),
            ", ".join(_share(value) for value in one["caught_by_seed"]),
            _share(one["missed"]),
        )
        for title, one in gates.items()
    ]
    header = ("condition", "frames", "broken", "of these refused", "by seed", "good ones refused")
    return Table(f"The gate; broken: wrong scene or {BROKEN:g} x the median", header, rows)


def _repair_table(conditions: Sequence[Condition], results: Sequence[CellResult]) -> Table:
    """Lay out medians under the new and the old conditions by the number of frames."""
    rows = []
    for one in conditions:
        cells = [cell for cell in results if cell.factors.get("condition") == one.name]
        for frames in sorted({cell.factors["frames"] for cell in cells}):
            values = [c.values["conditions"] for c in cells if c.factors["frames"] == frames]
            there = [medians({"frames": value[one.name]}) for value in values]
            here = [medians({"frames": value[SAME]}) for value in values]
            right = [share({"frames": value[one.name]}, "scene_right") for value in values]
            rows.append(
                (
                    one.title,
                    str(frames),
                    *(
                        f"{geometric_mean([m for m, _ in e]):.3f} m / "
                        f"{geometric_mean([deg for _, deg in e]):.1f} deg"
                        for e in (there, here)
                    ),
                    f"{sum(right) / len(right):.0%}",
                )
            )
    header = ("condition", "frames a scene", "there", "as trained", "scenes right there")
    return Table("Repaired networks: median errors in both conditions", header, rows)


def _repairs(
    conditions: Sequence[Condition],
    results: Sequence[CellResult],
    base: Sequence[Mapping[str, Any]],
) -> list[Contrast]:
    """Compare repaired networks with the base where the base knew the places."""
    found = []
    for one in conditions:
        cells = [cell for cell in results if cell.factors.get("condition") == one.name]
        for frames in sorted({cell.factors["frames"] for cell in cells}) if one.is_taught else ():
            repaired = [
                cell.values["conditions"][one.name]
                for cell in cells
                if cell.factors["frames"] == frames
            ]
            title = f"{one.title} repaired with {frames} frames"
            before = [values[one.name] for values in base]
            before = before * (len(repaired) // len(before))
            found.append(contrast(title, f"{one.title}, unrepaired", repaired, before))
    return found


def _draw(
    figure: Any,
    *,
    gates: Mapping[str, Mapping[str, Any]],
    breaks: Sequence[Contrast],
    repairs: Sequence[Contrast],
) -> None:
    """Draw what breaks and is repaired, and beside it what the gate refuses."""
    rows = [*breaks, *repairs]
    figure.set_size_inches(11.0, 4.5)
    left, right = figure.subfigures(1, 2, width_ratios=[1.6, 1.0]) if rows else (None, figure)
    if left is not None:
        draw_contrasts(left, rows)
    axes = right.subplots()
    names = list(gates)
    for place, (key, color) in enumerate(
        (("broken", FAILURE_COLOR), ("refused", ESTIMATED_COLOR))
    ):
        spots = [row + 0.4 * place - 0.2 for row in range(len(names))]
        axes.barh(spots, [gates[name][key] for name in names], 0.36, color=color, label=key)
    axes.set_yticks(range(len(names)), [as_label(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("share of frames")
    axes.legend()
