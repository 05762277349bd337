"""What noisy labels do: poses of training frames spoiled in four ways, test poses exact.

Every noise meets coarse-to-fine and direct regression, each with the paper's loss and with one
that lets errors far off count ever less (`loss.robust_position`, `loss.robust_orientation`).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.naming import distinct_names

if TYPE_CHECKING:
    from mspr_ros.studies.contrasts import Contrast
    from mspr_ros.studies.noise import Spoiler
    from mspr_ros.studies.places import Places
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting

QUESTION = "What do noisy labels do?"
CLEAN = "clean"
NOISES = ("gaussian", "outliers", "drift", "time_offset")
HEADS = {
    "clusters": (),
    "direct": ("network.num_position_clusters=0", "network.num_orientation_clusters=0"),
}
LOSSES = ("plain", "robust")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    add = parser.add_argument
    add(
        "--noises",
        nargs="+",
        choices=NOISES,
        help="kinds to try beside clean labels (all; --quick: outliers)",
    )
    add("--sigma-m", type=float, default=0.3, help="Gaussian, root mean square (%(default)s)")
    add("--sigma-deg", type=float, default=10.0, help="the same for rotation (%(default)s)")
    add("--outliers", type=float, default=0.2, help="share of wrong poses (%(default)s)")
    add("--drift-m", type=float, default=0.6, help="at a sequence's end (%(default)s)")
    add("--drift-deg", type=float, default=15.0, help="the same for rotation (%(default)s)")
    add("--offset-s", type=float, default=0.5, help="seconds the poses are late (%(default)s)")
    add("--clusters", type=int, default=4, help="of coarse-to-fine, both kinds (%(default)s)")
    # From these errors on the robust loss doubts a label; a quaternion distance of 0.1 is 11 deg.
    add("--robust-m", type=float, default=0.3, help="the robust loss's scale (%(default)s)")
    add("--robust-q", type=float, default=0.1, help="the same for quaternions (%(default)s)")


def plan(setting: Setting) -> list[Cell]:
    """Train every head with every loss under every noise, and without any."""
    from mspr_ros.studies.ablation import PLAIN
    from mspr_ros.studies.measuring import count_frames, measurer
    from mspr_ros.studies.places import find_places
    from mspr_ros.studies.study import Cell

    places = find_places(setting)
    clusters = setting.options.clusters
    counts = [f"network.num_{kind}_clusters={clusters}" for kind in ("position", "orientation")]
    scales = {"position": setting.options.robust_m, "orientation": setting.options.robust_q}
    robust = [f"loss.robust_{kind}={scale}" for kind, scale in scales.items()]
    measure, asked = measurer(places.exams, device=setting.device), count_frames(places.exams)
    cells = []
    for seed in setting.seeds:
        for noise in noises(setting):
            # Another seed draws other noise too: it is part of what chance does.
            train = _spoiled(setting, places, noise, seed)
            for head, head_changes in HEADS.items():
                for loss in LOSSES:
                    loss_changes = robust if loss == "robust" else ()
                    changes = (*PLAIN, *counts, *head_changes, *loss_changes)
                    cells.append(
                        Cell(
                            f"{noise}-{head}-{loss}-seed{seed}",
                            {"noise": noise, "head": head, "loss": loss},
                            seed,
                            measure,
                            setting.config(train, seed, changes),
                            measured_frames=asked,
                        )
                    )
    return cells


def noises(setting: Setting) -> tuple[str, ...]:
    """Give the noises, none first; a quick look takes outliers alone."""
    chosen = setting.options.noises or (("outliers",) if setting.quick else NOISES)
    return (CLEAN, *chosen)


def _spoiled(setting: Setting, places: Places, noise: str, seed: int) -> tuple[Path, ...]:
    from mspr_ros.studies.noise import spoiled_dataset

    if noise == CLEAN:
        return places.train
    target = setting.output / "datasets"
    names = distinct_names([folder.name for folder in places.train])
    return tuple(
        spoiled_dataset(
            folder, target / f"{name}_{noise}_seed{seed}", _spoiler(setting, noise), seed
        )
        for folder, name in zip(places.train, names, strict=True)
    )


def _spoiler(setting: Setting, noise: str) -> Spoiler:
    from mspr_ros.studies import noise as kinds

    options = setting.options
    if noise == "gaussian":
        return kinds.gaussian(options.sigma_m, options.sigma_deg)
    if noise == "outliers":
        return kinds.outliers(options.outliers)
    if noise == "drift":
        return kinds.drift(options.drift_m, options.drift_deg)
    return kinds.time_offset(options.offset_s)


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Say what noise costs, which head stands it better, and what the robust loss saves."""
    from mspr_ros.studies.contrasts import contrast, contrast_table, draw_contrasts
    from mspr_ros.studies.study import Conclusion

    kinds = noises(setting)
    costs = [
        _pair(results, (noise, head, "plain"), (CLEAN, head, "plain"))
        for head in HEADS
        for noise in kinds[1:]
    ]
    heads = [_pair(results, (n, "direct", "plain"), (n, "clusters", "plain")) for n in kinds]
    losses = [
        _pair(results, (noise, head, "robust"), (noise, head, "plain"))
        for head in HEADS
        for noise in kinds
    ]
    noisy = kinds[1:]
    pooled = {
        "direct": contrast(
            "direct regression under noise",
            "coarse-to-fine",
            *(_all(results, noisy, head, "plain") for head in ("direct", "clusters")),
        ),
        "robust": contrast(
            "the robust loss under noise",
            "the paper's loss",
            *(_all(results, noisy, "clusters", loss) for loss in ("robust", "plain")),
        ),
        "robust_clean": _pair(
            results, (CLEAN, "clusters", "robust"), (CLEAN, "clusters", "plain")
        ),
    }
    sentence = (
        f"After {results[0].images} pictures a network and {len(setting.seeds)} seeds, "
        + ". ".join(one.in_words() for one in pooled.values())
        + "."
    )
    return Conclusion(
        sentence,
        [
            contrast_table("What noise costs, against the same head on clean labels", costs),
            contrast_table("Direct regression against coarse-to-fine, same labels", heads),
            contrast_table("The robust loss against the paper's, same labels", losses),
        ],
        lambda figure: draw_contrasts(figure, list(map(_named, [*costs, *heads, *losses]))),
        {
            "pooled": {name: one.to_dict() for name, one in pooled.items()},
            "costs": [one.to_dict() for one in costs],
            "heads": [one.to_dict() for one in heads],
            "losses": [one.to_dict() for one in losses],
        },
    )


Kind = tuple[str, str, str]  # noise, head, loss


def _frames(results: Sequence[CellResult], kind: Kind) -> list[dict[str, Any]]:
    wanted = dict(zip(("noise", "head", "loss"), kind, strict=True))
    return [one.values["frames"] for one in results if one.factors == wanted]


def _pair(results: Sequence[CellResult], changed: Kind, reference: Kind) -> Contrast:
    from mspr_ros.studies.contrasts import contrast

    frames = _frames(results, changed), _frames(results, reference)
    return contrast(", ".join(changed), ", ".join(reference), *frames)


def _named(one: Contrast) -> Contrast:
    """Name what is changed against what: several are compared with several."""
    changed, reference = one.changed.split(", "), one.reference.split(", ")
    against = [old for new, old in zip(changed, reference, strict=True) if new != old]
    return dataclasses.replace(one, changed=f"{one.changed} (for {', '.join(against)})")


def _all(
    results: Sequence[CellResult], kinds: Sequence[str], head: str, loss: str
) -> list[dict[str, Any]]:
    """Put the frames of several noises together, seed by seed, as if they were more scenes."""
    columns = [(noise, _frames(results, (noise, head, loss))) for noise in kinds]
    return [
        {f"{noise}/{scene}": one for noise, seeds in columns for scene, one in seeds[row].items()}
        for row in range(len(columns[0][1]))
    ]
