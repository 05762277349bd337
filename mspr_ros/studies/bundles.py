"""Studies of finished bundles: those that are given, or else one that is trained for each seed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.studies.study import file_name

if TYPE_CHECKING:
    from mspr_ros.studies.places import Places
    from mspr_ros.studies.study import Cell, Setting


def add_bundle_argument(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Declare `--bundle`; `purpose` says what bundles are given for."""
    parser.add_argument(
        "--bundle",
        nargs="+",
        type=Path,
        default=[],
        metavar="BUNDLE",
        help=f"{purpose}; none: train one for each seed",
    )


def bundle_cells(
    setting: Setting,
    places: Places,
    measure: Callable[..., dict[str, Any]],
    *,
    verb: str,
    factor: str,
    measured_frames: int,
) -> list[Cell]:
    """Give a cell for each bundle, or for each seed where none is given.

    Args:
        setting: With the option `bundle`.
        places: What to train on.
        measure: Called with the cell's run folder and `bundle`, None for the one in that folder.
        verb: Begins the cells' names.
        factor: Name of the factor that tells bundles apart.
        measured_frames: What measuring costs, in frames asked.
    """
    from mspr_ros.studies.study import Cell

    if setting.options.bundle:
        return [
            Cell(
                f"{verb}-{number}-{file_name(bundle.name)}",
                {factor: str(bundle)},
                0,
                partial(measure, bundle=bundle),
                measured_frames=measured_frames,
            )
            for number, bundle in enumerate(setting.options.bundle)
        ]
    return [
        Cell(
            f"{verb}-seed{seed}",
            {factor: f"seed {seed}"},
            seed,
            partial(measure, bundle=None),
            setting.config(places.train, seed, ("calibration.enabled=false",)),
            measured_frames=measured_frames,
        )
        for seed in setting.seeds
    ]
