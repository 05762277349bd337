"""What breaks away from the training's conditions, what the gate for unknown places catches of
it, and how many frames of the new conditions repair it.

A repair starts from the trained network and learns, on a third of the pictures, from a few
frames of the new conditions and as many old ones, lest it forget. With `--bundle` that network is
one's own: nothing is trained but repairs, and intervals of what breaks are of this one network.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mspr_ros.studies.conditions import Condition
    from mspr_ros.studies.contrasts import Contrast
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting, Table
    from mspr_ros.training.configuration import TrainConfig

QUESTION = "What breaks elsewhere, is it noticed, and how many frames repair it?"
BASE, REPAIR = "base", "repair"
REPAIR_SHARE = 0.3
# A frame is broken where an error is so many times the median as trained.
BROKEN = 3.0
# Held back to calibrate the gate, whatever the configuration says.
GATED = (
    "calibration.enabled=true",
    "validation.fraction=0.2",
    "validation.blocks_per_sequence=4",
    "validation.guard_frames=1",
    "validation.every_epochs=10000",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    parser.add_argument(
        "--repair-frames",
        type=int,
        nargs="+",
        default=[10, 40, 160],
        metavar="N",
        help="frames of each scene under the new conditions (10 40 160); 0 repairs nothing",
    )
    parser.add_argument(
        "--bundle", type=Path, help="measure and repair this one instead of training a base"
    )
    parser.add_argument("--world", default="study", help="of the simulator's places (%(default)s)")


def plan(setting: Setting) -> list[Cell]:
    """Train the base, measure it under every condition, and repair it where that can be done."""
    from mspr_ros.studies.conditions import SAME, find_conditions, repair_dataset
    from mspr_ros.studies.measuring import count_frames
    from mspr_ros.studies.study import Cell

    places, conditions = find_conditions(setting, rooms_of(setting))
    counts = {one.name: count_frames(one.exams) for one in conditions}
    given: Path | None = setting.options.bundle
    asked = sum(counts.values())
    cells = []
    if given is not None:
        measure = partial(_measure, conditions=conditions, device=setting.device, bundle=given)
        cells.append(Cell(BASE, {"network": BASE}, 0, measure, measured_frames=asked))
    for seed in setting.seeds:
        base = f"{BASE}-seed{seed}"
        start = given or setting.run_folder(base) / "bundle"
        if given is None:
            measure = partial(_measure, conditions=conditions, device=setting.device)
            config = setting.config(places.train, seed, GATED)
            cells.append(
                Cell(base, {"network": BASE}, seed, measure, config, measured_frames=asked)
            )
        for one in conditions:
            for frames in repair_frames(setting) if one.repair else ():
                assert one.repair is not None
                folder = setting.output / "datasets" / f"repair_{one.name}_{frames}"
                data = repair_dataset(places.train, one.repair, frames, folder)
                cells.append(
                    Cell(
                        f"{REPAIR}-{one.name}-{frames:04d}-seed{seed}",
                        {"network": REPAIR, "condition": one.name, "frames": frames},
                        seed,
                        partial(_measure, conditions=[conditions[0], one], device=setting.device),
                        _repair_config(setting, data, start, seed),
                        share=REPAIR_SHARE if given is None else 1.0,
                        measured_frames=counts[SAME] + counts[one.name],
                    )
                )
    return cells


def rooms_of(setting: Setting) -> tuple[str, ...]:
    """Give the simulator's rooms: those that the bundle knows, where one is given."""
    from mspr_ros.bundle import load_bundle
    from mspr_ros.studies.conditions import ROOMS

    if setting.options.bundle is None or setting.datasets:
        return ROOMS
    return load_bundle(setting.options.bundle).metadata.scene_names


def _repair_config(setting: Setting, data: Path, start: Path, seed: int) -> TrainConfig:
    """Go on from a bundle, as it was trained where it was given."""
    from mspr_ros.bundle import load_bundle
    from mspr_ros.studies.ablation import PLAIN

    if setting.options.bundle is not None:
        setting = replace(setting, base=load_bundle(start).metadata.training)
    return setting.config([data], seed, (*PLAIN, f"initial_weights={start}"))


def repair_frames(setting: Setting) -> list[int]:
    """Give the numbers of frames to repair with; a quick look takes the middle one."""
    frames = sorted(set(setting.options.repair_frames) - {0})
    if not frames:
        return []
    return [frames[len(frames) // 2]] if setting.quick else frames


def _measure(
    run: Path, *, conditions: Sequence[Condition], device: str, bundle: Path | None = None
) -> dict[str, Any]:
    """Ask a network under conditions; the errors of every frame by condition."""
    from mspr_ros.studies.measuring import measure_bundle

    return {
        "conditions": {
            one.name: measure_bundle(bundle or run / "bundle", one.exams, device=device)["frames"]
            for one in conditions
        }
    }


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Say what breaks, what is caught, and what repairs."""
    from mspr_ros.studies.conditions import SAME, find_conditions
    from mspr_ros.studies.contrasts import contrast, contrast_table
    from mspr_ros.studies.study import Conclusion

    _, conditions = find_conditions(setting, rooms_of(setting))
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
    tables = [_gate_table(gates), _repair_table(conditions, results)]
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
    import numpy as np

    from mspr_ros.studies.conditions import SAME

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
    from mspr_ros.studies.study import Table

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
    from mspr_ros.studies.conditions import SAME
    from mspr_ros.studies.measuring import geometric_mean, medians, share
    from mspr_ros.studies.study import Table

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
    from mspr_ros.studies.contrasts import contrast

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
    from mspr_ros.evaluation.plots import ESTIMATED_COLOR, FAILURE_COLOR
    from mspr_ros.studies.contrasts import draw_contrasts

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
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("share of frames")
    axes.legend()
