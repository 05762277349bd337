"""Which parts of the method matter: each taken away alone, and the difference with its interval.

The base has the paper's three mechanisms: two encoders at two resolutions, clusters with a
residual, and one network for all scenes that classifies them. `forced` asks the base's own
networks with the true scene given: an oracle, not a method. `single` trains a network for every
scene, each on as many pictures of it as the base saw of it, so that both do the same work.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.studies.study import file_names, only_scenes

if TYPE_CHECKING:
    from mspr_ros.studies.contrasts import Contrast
    from mspr_ros.studies.measuring import Exam
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting

UNLEARNED = (
    "At this length the base is not told to beat the scene's mean pose in both errors, so what "
    "follows says little about its parts. "
)
QUESTION = "Which parts of the method matter?"
BASE, FORCED, SINGLE, BLIND = "base", "forced", "single", "blind"
# What a study measures itself is not what a bundle for use needs besides.
PLAIN = ("calibration.enabled=false", "validation.fraction=0.0", "network.uncertainty=none")
# Name -> what it is called, the claim it tests, and what it changes.
VARIANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "one_encoder": ("one encoder", "two encoders", ("network.shared_encoder=true",)),
    "one_resolution": ("one resolution", "two resolutions", ("network.orientation_stride=16",)),
    "direct": (
        "direct regression",
        "coarse to fine",
        ("network.num_position_clusters=0", "network.num_orientation_clusters=0"),
    ),
    "no_residual": ("clusters alone", "residual", ("network.residual=false",)),
}
TITLES = {
    FORCED: ("true scene given (oracle)", "scene classification"),
    SINGLE: ("a network for each scene", "one network for all scenes"),
    BLIND: ("mean pose, no picture", "anything learned"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    parser.add_argument(
        "--clusters",
        type=int,
        default=4,
        help="position and orientation clusters of the base (%(default)s)",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=(*VARIANTS, SINGLE),
        help="what to train beside the base (everything; --quick: direct and single)",
    )


def base_changes(clusters: int) -> tuple[str, ...]:
    """Give what makes any configuration the base: the paper's mechanisms, all of them."""
    return (
        *PLAIN,
        "network.shared_encoder=false",
        "network.position_stride=16",
        "network.orientation_stride=8",
        "network.residual=true",
        f"network.num_position_clusters={clusters}",
        f"network.num_orientation_clusters={clusters}",
    )


def parts(setting: Setting) -> tuple[str, ...]:
    """Name what to train beside the base; a quick look takes away coarse-to-fine alone."""
    if setting.options.parts:
        return tuple(setting.options.parts)
    return ("direct", SINGLE) if setting.quick else (*VARIANTS, SINGLE)


def variants(setting: Setting) -> tuple[str, ...]:
    """Name the parts to take away, each in a network of its own."""
    return tuple(name for name in parts(setting) if name in VARIANTS)


def plan(setting: Setting) -> list[Cell]:
    """Train the base, every variant, and a network for each scene."""
    from mspr_ros.studies.measuring import count_frames, measure_blind, measurer
    from mspr_ros.studies.places import find_places
    from mspr_ros.studies.study import Cell

    places = find_places(setting)
    base = base_changes(setting.options.clusters)
    asked, names = count_frames(places.exams), file_names(places.scenes)
    cells = [
        Cell(BLIND, {"variant": BLIND}, 0, lambda _: measure_blind(places.train, places.exams))
    ]
    for seed in setting.seeds:
        cells.append(
            Cell(
                f"{BASE}-seed{seed}",
                {"variant": BASE},
                seed,
                partial(_measure_base, exams=places.exams, device=setting.device),
                setting.config(places.train, seed, base),
                measured_frames=3 * asked,
            )
        )
        for name in variants(setting):
            changes = VARIANTS[name][2]
            cells.append(
                Cell(
                    f"{name}-seed{seed}",
                    {"variant": name},
                    seed,
                    measurer(places.exams, device=setting.device),
                    setting.config(places.train, seed, (*base, *changes)),
                    measured_frames=asked,
                )
            )
        for scene in places.scenes if SINGLE in parts(setting) and len(places.scenes) > 1 else ():
            exams = places.exams_of(scene)
            cells.append(
                Cell(
                    f"{SINGLE}-{names[scene]}-seed{seed}",
                    {"variant": SINGLE, "scene": scene},
                    seed,
                    measurer(exams, device=setting.device),
                    setting.config(places.train, seed, (*base, only_scenes([scene]))),
                    share=1.0 / len(places.scenes),
                    measured_frames=count_frames(exams),
                )
            )
    return cells


def _measure_base(run: Path, *, exams: Sequence[Exam], device: str) -> dict[str, Any]:
    """Ask the base without help, and with the true scene given."""
    from mspr_ros.studies.measuring import measure_bundle

    forced = measure_bundle(run / "bundle", exams, device=device, oracle="scene")
    return {**measure_bundle(run / "bundle", exams, device=device), FORCED: forced["frames"]}


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Compare everything with the base, seed by seed."""
    from mspr_ros.studies.contrasts import contrast_table, draw_contrasts
    from mspr_ros.studies.measuring import share
    from mspr_ros.studies.study import Conclusion

    contrasts = contrasts_of(setting, results)
    accuracy = [share(one.values, "scene_right") for one in _of(BASE, results)]
    claims = {name: claim for name, (_, claim, _) in VARIANTS.items()}
    claims |= {name: claim for name, (_, claim) in TITLES.items()}
    by_claim = [
        f"{claims[name]}: {one.in_words()}" for name, one in contrasts.items() if name != BASE
    ]
    images = next(one.images for one in results if one.factors["variant"] == BASE)
    # Parts of a network that knows no more than a mean pose cannot be told from each other.
    blind = contrasts[BLIND].differences.values()
    warning = "" if all(one.low > 1.0 for one in blind) else UNLEARNED
    sentence = (
        f"{warning}After {images} pictures a network, {len(setting.seeds)} seeds, "
        f"{sum(accuracy) / len(accuracy):.1%} of scenes right: {'. '.join(by_claim)}."
    )
    rows = list(contrasts.values())
    return Conclusion(
        sentence,
        [contrast_table("Each part taken away, against the base", rows)],
        lambda figure: draw_contrasts(figure, rows[1:]),
        {
            "scene_accuracy": accuracy,
            "contrasts": {name: one.to_dict() for name, one in contrasts.items()},
        },
    )


def contrasts_of(setting: Setting, results: Sequence[CellResult]) -> dict[str, Contrast]:
    """Pair every variant's cells with the base's; the base against itself comes first."""
    from mspr_ros.studies.contrasts import contrast

    base = [one.values["frames"] for one in _of(BASE, results)]
    frames_of = {BASE: (BASE, base)}
    for name in variants(setting):
        frames_of[name] = (VARIANTS[name][0], [one.values["frames"] for one in _of(name, results)])
    frames_of[FORCED] = (TITLES[FORCED][0], [one.values[FORCED] for one in _of(BASE, results)])
    frames_of[BLIND] = (TITLES[BLIND][0], [_of(BLIND, results)[0].values["frames"]] * len(base))
    single = _of(SINGLE, results)
    if single:
        joined = [
            _joined([one for one in single if one.seed == seed], base[0]) for seed in setting.seeds
        ]
        frames_of[SINGLE] = (TITLES[SINGLE][0], joined)
    return {
        name: contrast(title, BASE, frames, base) for name, (title, frames) in frames_of.items()
    }


def _of(variant: str, results: Sequence[CellResult]) -> list[CellResult]:
    return [one for one in results if one.factors["variant"] == variant]


def _joined(cells: Sequence[CellResult], like: Mapping[str, Any]) -> dict[str, Any]:
    """Put the scenes of several networks together, in the order of one network's."""
    frames = {scene: those for one in cells for scene, those in one.values["frames"].items()}
    return {scene: frames[scene] for scene in like}
