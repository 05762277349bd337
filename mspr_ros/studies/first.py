"""The checks that come before any long training, made of a bundle: the early warnings of training.

`mspr train` makes them by itself after its first epochs. Here they are made of finished bundles,
or of networks that the study trains for a part of the budget; each finding comes with its limit
and, where it warns, with a remedy.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.studies.bundles import add_bundle_argument, bundle_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mspr_ros.studies.measuring import Exam
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting

QUESTION = "Is a network worth training longer, or is something wrong with it?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    add_bundle_argument(parser, "bundles to check")
    parser.add_argument(
        "--checked-frames", type=int, default=60, help="test frames to look at (%(default)s)"
    )


def plan(setting: Setting) -> list[Cell]:
    """Check every bundle; train them first where none are given."""
    from mspr_ros.studies.places import find_places

    places = find_places(setting)
    options = setting.options
    check = partial(
        _check,
        train=places.train,
        exams=places.exams,
        count=options.checked_frames,
        device=setting.device,
    )
    return bundle_cells(
        setting,
        places,
        check,
        verb="check",
        factor="network",
        measured_frames=options.checked_frames,
    )


def _check(
    run: Path,
    *,
    bundle: Path | None,
    train: tuple[Path, ...],
    exams: tuple[Exam, ...],
    count: int,
    device: str,
) -> dict[str, Any]:
    """Make all checks of a bundle on test frames."""
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.errors import ConfigError
    from mspr_ros.evaluation.metrics import json_safe
    from mspr_ros.localizer import Localizer
    from mspr_ros.network.grown import GrownRegressor
    from mspr_ros.training.first_checks import check_network, evenly
    from mspr_ros.training.samples import labeled_frames

    folder = bundle or run / "bundle"
    localizer = Localizer.load(folder, device=device)
    if isinstance(localizer.network, GrownRegressor):
        raise ConfigError(f"{folder} was taught further scenes later; check the first bundle")
    names = localizer.metadata.scene_names
    taught = labeled_frames([Dataset.load(one).select(split="train") for one in train], names)
    asked = evenly(labeled_frames([exam.load() for exam in exams], names), count)
    findings = check_network(
        localizer.network, asked, taught, names, localizer.preprocessor, localizer.device
    )
    return {"findings": json_safe([finding.to_dict() for finding in findings])}


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Say what warns."""
    from mspr_ros.studies.study import Conclusion, Table

    rows, warned = [], []
    for one in results:
        for found in one.values["findings"]:
            value = "-" if found["value"] is None else f"{found['value']:.3f}"
            verdict = "warns" if found["warns"] else "ok"
            rows.append(
                (one.factors["network"], found["check"], value, f"{found['limit']:g}", verdict)
            )
            if found["warns"]:
                warned.append(f"{one.factors['network']}: {found['text']}. {found['remedy']}")
    frames = setting.options.checked_frames
    total = f"{len(rows)} checks of {len(results)} networks, on up to {frames} test frames each"
    sentence = f"{total}: nothing warns."
    if warned:
        sentence = f"{total}: {len(warned)} warn. {'. '.join(warned)}."
    header = ("network", "check", "value", "limit", "verdict")
    findings = {one.factors["network"]: one.values["findings"] for one in results}
    return Conclusion(
        sentence,
        [Table("What the first checks see", header, rows)],
        partial(_draw, findings=findings),
        {"findings": findings, "warnings": len(warned)},
    )


def _draw(figure: Figure, *, findings: dict[str, Any]) -> None:
    """Draw every value over its limit; scene accuracy the other way round, so right is worse."""
    from mspr_ros.evaluation.plots import ESTIMATED_COLOR, FAILURE_COLOR

    axes = figure.subplots()
    checks = list(dict.fromkeys(f["check"] for those in findings.values() for f in those))
    for those in findings.values():
        for found in those:
            if not found["value"]:
                continue
            share = found["value"] / found["limit"]
            share = 1.0 / share if found["check"] == "scene accuracy" else share
            color = FAILURE_COLOR if found["warns"] else ESTIMATED_COLOR
            axes.plot([share], [checks.index(found["check"])], "o", color=color)
    axes.axvline(1.0, color="#3b3b3b", linewidth=1.0)
    axes.set_yticks(range(len(checks)), checks)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("value over its limit (right of 1: warns)")
