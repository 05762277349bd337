"""What breaks away from the training's conditions, what the gate for unknown places catches of
it, and how many frames of the new conditions repair it.

A repair starts from the trained network and learns, on a third of the pictures, from a few
frames of the new conditions and as many old ones, lest it forget. With `--bundle` that network is
one's own: nothing is trained but repairs, and intervals of what breaks are of this one network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mspr_ros.studies.conditions import Condition
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting
    from mspr_ros.training.configuration import TrainConfig

QUESTION = "What breaks elsewhere, is it noticed, and how many frames repair it?"
BASE, REPAIR = "base", "repair"
REPAIR_SHARE = 0.3
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
    from mspr_ros.studies.transfer_findings import conclude_transfer

    return conclude_transfer(setting, results, rooms_of(setting))
