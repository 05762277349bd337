"""How many clusters: accuracy against K in places of different size and density, and a rule.

Each place has networks of its own, with every number of clusters and every seed, on equally many
pictures. What `clusters: auto` would choose is one of them (trained besides where it is none of
the fixed numbers), and is compared with every fixed one in pairs of seeds and test frames. Poses
without pictures (`--labels`) show what the rule chooses elsewhere.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mspr_ros.studies.study import file_name, file_names, only_scenes

if TYPE_CHECKING:
    from mspr_ros.studies.measuring import Exam
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting

QUESTION = "How many clusters does a place need?"
FIXED = ((1, 1), (1, 2), (2, 2), (4, 4), (8, 8))
QUICK = ((1, 1), (4, 4))
POSES = "poses"
# Every place is one scene of the simulator, and a share of the study's training frames.
SIMULATED = (("office", 1.0), ("office", 0.25), ("street", 1.0), ("street", 0.25))


class Place(NamedTuple):
    """A scene to train on by itself.

    Args:
        name: Of the place.
        scene: Its scene.
        folder: The dataset to train on.
        exam: What it is measured on.
    """

    name: str
    scene: str
    folder: Path
    exam: Exam


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    parser.add_argument(
        "--labels",
        nargs="+",
        type=Path,
        default=[],
        metavar="CSV",
        help="label files (or folders of them) whose training poses show what the rule chooses",
    )
    parser.add_argument("--poses-only", action="store_true", help="train nothing: only the rule")


def plan(setting: Setting) -> list[Cell]:
    """Train every place with every number of clusters, and weigh all poses."""
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.studies.ablation import PLAIN
    from mspr_ros.studies.measuring import count_frames
    from mspr_ros.studies.study import Cell
    from mspr_ros.training.cluster_choice import choose_clusters

    places = find(setting)
    weigh = partial(_weigh, places=places, labels=setting.options.labels)
    cells = [Cell(POSES, {"place": POSES}, 0, weigh)]
    if setting.options.poses_only:
        return cells
    fixed = QUICK if setting.quick else FIXED
    chosen = {
        place.name: choose_clusters([Dataset.load(place.folder).select(scene=place.scene)])
        for place in places
    }
    names = file_names(place.name for place in places)
    for seed in setting.seeds:
        for place in places:
            auto = chosen[place.name]
            for pair in dict.fromkeys((*fixed, auto)):
                numbers = tuple(
                    f"network.num_{kind}_clusters={count}"
                    for kind, count in zip(("position", "orientation"), pair, strict=True)
                )
                changes = (*PLAIN, *numbers, only_scenes([place.scene]))
                cells.append(
                    Cell(
                        f"{names[place.name]}-{pair[0]}_{pair[1]}-seed{seed}",
                        {"place": place.name, "clusters": list(pair), "auto": pair == auto},
                        seed,
                        partial(_measure, place=place, device=setting.device),
                        setting.config([place.folder], seed, changes),
                        measured_frames=3 * count_frames([place.exam]),
                    )
                )
    return cells


def find(setting: Setting) -> list[Place]:
    """Take every scene of the datasets given, or the simulator's places."""
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.studies.measuring import Exam
    from mspr_ros.studies.places import find_places, simulated

    if setting.datasets:
        return [
            Place(scene, scene, folder, Exam(folder, scenes=(scene,)))
            for folder in find_places(setting).train
            for scene in Dataset.load(folder).scenes
        ]
    if setting.options.labels and setting.options.poses_only:
        return []
    scenes = tuple(dict.fromkeys(scene for scene, _ in SIMULATED))
    exam = find_places(setting, scenes).exams[0]
    found = []
    for scene, share in SIMULATED[::2] if setting.quick else SIMULATED:
        frames = round(share * setting.frames)
        name = scene if share == 1.0 else f"{scene}, {share:g} of the frames"
        folder = simulated(
            setting, file_name(f"{scene}_{frames}"), world="study", scenes=(scene,),
            seed=11, frames=frames,
        )  # fmt: skip
        found.append(Place(name, scene, folder, exam._replace(scenes=(scene,))))
    return found


def _weigh(_run: Path, *, places: list[Place], labels: list[Path]) -> dict[str, Any]:
    from mspr_ros.studies.clusters_measuring import weigh_labels, weigh_places

    return {"places": weigh_places(places), "labels": weigh_labels(labels)}


def _measure(run: Path, *, place: Place, device: str) -> dict[str, Any]:
    from mspr_ros.studies.clusters_measuring import measure

    return measure(run / "bundle", place, device)


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Compare the rule's choice with every fixed number."""
    from mspr_ros.studies.clusters_findings import draw, find_all, in_words, tables
    from mspr_ros.studies.study import Conclusion

    found = find_all(results, setting.seeds)
    return Conclusion(in_words(found), tables(found), partial(draw, found=found), found.to_dict())
