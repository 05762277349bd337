"""Which image structures carry position and which orientation, and whether the branches differ.

Nothing is trained where bundles are given (`--bundle`, best several seeds of one recipe): their
test frames' attention and integrated gradients are compared, cell by cell, with edges, corners
and texture, and in the simulator with its exact planes. Every figure has its control beside it:
an untrained network of the same shape, the same picture in dimmer light, the other networks'
same branch, a ranking by chance.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.studies.bundles import add_bundle_argument, bundle_cells

if TYPE_CHECKING:
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting

QUESTION = "Which image structures carry position and which orientation?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    add_bundle_argument(parser, "bundles to look at, best several seeds")
    parser.add_argument(
        "--per-scene", type=int, default=12, help="test frames of each scene (%(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=16, help="of the integrated gradients (%(default)s)"
    )


def plan(setting: Setting) -> list[Cell]:
    """Look at every bundle; train them first where none are given."""
    from mspr_ros.errors import ConfigError
    from mspr_ros.studies.places import find_places

    options = setting.options
    if options.per_scene < 1 or options.steps < 1:
        raise ConfigError("--per-scene and --steps must be at least 1")
    places = find_places(setting)
    look = partial(
        _look,
        exams=places.exams,
        per_scene=options.per_scene,
        steps=options.steps,
        device=setting.device,
    )
    # Against asking about a frame once, looking at it costs about so much.
    asked = 8 * options.steps * options.per_scene * len(places.scenes)
    return bundle_cells(setting, places, look, verb="look", factor="bundle", measured_frames=asked)


def _look(run: Path, *, bundle: Path | None, **how: Any) -> dict[str, Any]:
    from mspr_ros.studies.features_measuring import measure_looks

    return measure_looks(bundle or run / "bundle", **how)


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Say what the branches see, and whether they differ by more than chance."""
    from mspr_ros.studies.features_findings import find, in_words, tables
    from mspr_ros.studies.features_plot import draw
    from mspr_ros.studies.study import Conclusion

    found = find([one.values["scenes"] for one in results])
    return Conclusion(in_words(found), tables(found), partial(draw, found=found), found)
