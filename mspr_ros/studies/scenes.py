"""How many scenes fit into one network: accuracy, scene accuracy, latency and memory as they grow.

Every network sees as many pictures of each scene, however many it has, on a frozen backbone
(`--train-backbone` lets it learn). Four scenes that nearly all networks hold are compared with
networks of their own, which see as many pictures of their scene. Beside it two hard cases: twins,
rooms that no picture tells apart, and the two overlapping parts of a hall.
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
    from mspr_ros.studies.places import Places
    from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting

QUESTION = "How many scenes fit into one network?"
MANY, SINGLE = "many", "single"
SAMPLED = 4
HARD = {"twins": ("corridor", "corridor-twin"), "overlap": ("hall-west", "hall-east")}
FROZEN = ("frozen_parts=[backbone]", "frozen_backbone_stages=-1", "freeze_batch_norm=false")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's own arguments."""
    parser.add_argument(
        "--most", type=int, default=64, help="scenes of the largest network (%(default)s)"
    )
    parser.add_argument(
        "--train-backbone", action="store_true", help="as the configuration says, not frozen"
    )
    parser.add_argument(
        "--costs-only", action="store_true", help="latency and memory alone; trains nothing"
    )


def scene_counts(most: int) -> list[int]:
    """Give 2, 4, 8, ... and the number itself."""
    counts = [2**power for power in range(1, 10) if 2**power < most]
    return [*counts, most]


def plan(setting: Setting) -> list[Cell]:
    """Train a network for every number of scenes, for sampled scenes alone, and the hard cases."""
    from mspr_ros.studies.ablation import PLAIN
    from mspr_ros.studies.measuring import count_frames
    from mspr_ros.studies.scenes_costs import cost_cells
    from mspr_ros.studies.study import Cell

    if setting.options.costs_only:
        return cost_cells(setting, scene_counts(setting.options.most))
    places = _places(setting)
    groups: dict[str, tuple[Places, dict[str, Any]]] = {}
    for count in scene_counts(len(places.scenes)):
        chosen = _only(places, places.scenes[:count])
        groups[f"{MANY}-{count:02d}"] = chosen, {"network": MANY, "count": count}
    names = file_names(places.scenes)
    for scene in places.scenes[:SAMPLED]:
        chosen = _only(places, (scene,))
        groups[f"{SINGLE}-{names[scene]}"] = chosen, {"network": SINGLE, "scene": scene}
    if not setting.datasets:
        for name, scenes in HARD.items():
            groups[name] = _simulated(setting, scenes), {"network": name}
    frozen = () if setting.options.train_backbone else FROZEN
    cells = []
    for seed in setting.seeds:
        for name, (chosen, factors) in groups.items():
            only = only_scenes(chosen.scenes)
            cells.append(
                Cell(
                    f"{name}-seed{seed}",
                    factors,
                    seed,
                    partial(_measure, exams=chosen.exams, device=setting.device),
                    setting.config(chosen.train, seed, (*PLAIN, *frozen, only)),
                    share=float(len(chosen.scenes)),
                    measured_frames=count_frames(chosen.exams),
                )
            )
    return cells


def _places(setting: Setting) -> Places:
    """Give the scenes of the datasets given, or of the simulator's rooms."""
    from mspr_ros.simulator.further import room_names
    from mspr_ros.studies.places import find_places

    most = min(setting.options.most, 4) if setting.quick else setting.options.most
    if not setting.datasets:
        return _simulated(setting, room_names(max(2, most)))
    places = find_places(setting)
    return _only(places, places.scenes[:most])


def _simulated(setting: Setting, scenes: Sequence[str]) -> Places:
    """Make a dataset of every room, so that networks can share them."""
    from mspr_ros.studies.places import Places, find_places

    each = [find_places(setting, (scene,), name=f"study_{scene}") for scene in scenes]
    return Places(
        tuple(folder for one in each for folder in one.train),
        tuple(exam for one in each for exam in one.exams),
        tuple(scenes),
    )


def _only(places: Places, scenes: Sequence[str]) -> Places:
    """Keep some scenes, and the folders that hold them."""
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.studies.places import Places

    folders = [f for f in places.train if set(Dataset.load(f).scenes) & set(scenes)]
    exams = [exam for scene in scenes for exam in places.exams_of(scene)]
    return Places(tuple(folders), tuple(exams), tuple(scenes))


def _measure(run: Path, *, exams: Sequence[Exam], device: str) -> dict[str, Any]:
    from mspr_ros.data.images import read_image
    from mspr_ros.studies.measuring import measure_bundle
    from mspr_ros.studies.scenes_costs import measure_costs

    values, dataset = measure_bundle(run / "bundle", exams, device=device), exams[0].load()
    frame = dataset.frames[0]
    image, camera = read_image(frame.image), dataset.camera_of(frame)
    return {**values, **measure_costs(run / "bundle", image, camera, device)}


def conclude(setting: Setting, results: list[CellResult]) -> Conclusion:
    """Say what more scenes cost, against networks of their own, and how the hard cases go."""
    from mspr_ros.studies.contrasts import contrast_table
    from mspr_ros.studies.scenes_costs import conclude_costs
    from mspr_ros.studies.study import Conclusion, Table

    if setting.options.costs_only:
        return conclude_costs(results)
    counts = sorted({one.factors["count"] for one in _of(MANY, results)})
    contrasts = {count: _against_singles(setting, count, results) for count in counts}
    summaries = {str(count): _summary(_with_count(count, results)) for count in counts}
    hard = {name: _summary(_of(name, results)) for name in HARD if _of(name, results)}
    few, most = summaries[str(counts[0])], summaries[str(counts[-1])]
    told = [one.in_words() for one in contrasts.values()]
    sentence = (
        f"{few['images_per_scene']} pictures of each scene, {len(setting.seeds)} seeds: "
        f"from {counts[0]} to {counts[-1]} scenes the scene accuracy goes from "
        f"{few['scene_accuracy']:.1%} to {most['scene_accuracy']:.1%}, the latency from "
        f"{few['latency_ms']:.1f} to {most['latency_ms']:.1f} ms, the weights from "
        f"{few['weights_mb']:.2f} to {most['weights_mb']:.2f} MB. {'. '.join(told)}."
    )
    for name, one in hard.items():
        sentence += f" {name.capitalize()}: {one['scene_accuracy']:.1%} of scenes right."
    header = ("scenes", "pictures", "median m", "median deg", "scenes right", "ms", "weights MB")
    rows = [
        (
            name,
            str(one["images"]),
            f"{one['median_m']:.3f}",
            f"{one['median_deg']:.2f}",
            f"{one['scene_accuracy']:.1%}",
            f"{one['latency_ms']:.1f}",
            f"{one['weights_mb']:.2f}",
        )
        for name, one in {**summaries, **hard}.items()
    ]
    title = "One network for so many scenes"
    tables = [Table(title, header, rows)]
    tables.append(
        contrast_table("Sampled scenes, against networks of their own", list(contrasts.values()))
    )
    return Conclusion(
        sentence,
        tables,
        partial(_draw, summaries=summaries, contrasts=contrasts),
        {
            "counts": summaries,
            "hard": hard,
            "against_singles": {str(n): one.to_dict() for n, one in contrasts.items()},
        },
    )


def _of(network: str, results: Sequence[CellResult]) -> list[CellResult]:
    return [one for one in results if one.factors["network"] == network]


def _with_count(count: int, results: Sequence[CellResult]) -> list[CellResult]:
    return [one for one in _of(MANY, results) if one.factors["count"] == count]


def _summary(cells: Sequence[CellResult]) -> dict[str, Any]:
    """Average what several seeds' networks measured."""
    from mspr_ros.studies.measuring import geometric_mean, medians, share

    errors = [medians(one.values) for one in cells]
    right = [share(one.values, "scene_right") for one in cells]
    return {
        "images": cells[0].images,
        "images_per_scene": cells[0].images // len(cells[0].values["frames"]),
        "median_m": geometric_mean([m for m, _ in errors]),
        "median_deg": geometric_mean([deg for _, deg in errors]),
        "scene_accuracy": sum(right) / len(right),
        "scene_accuracy_by_seed": right,
        "latency_ms": sorted(one.values["latency_ms"] for one in cells)[len(cells) // 2],
        "cpu_ms": sorted(one.values["cpu_ms"] for one in cells)[len(cells) // 2],
        "parameters": cells[0].values["parameters"],
        "weights_mb": cells[0].values["weights_mb"],
    }


def _against_singles(setting: Setting, count: int, results: Sequence[CellResult]) -> Contrast:
    """Compare a network of many scenes with the sampled scenes' own, on those it has."""
    from mspr_ros.studies.contrasts import contrast

    singles = {(one.factors["scene"], one.seed): one.values for one in _of(SINGLE, results)}
    sampled = list(dict.fromkeys(scene for scene, _ in singles))
    many, own = [], []
    for cell in _with_count(count, results):
        frames = cell.values["frames"]
        common = [scene for scene in sampled if scene in frames]
        many.append({scene: frames[scene] for scene in common})
        own.append({scene: singles[scene, cell.seed]["frames"][scene] for scene in common})
    return contrast(f"{count} scenes in one", "a network each", many, own)


def _draw(
    figure: Any, *, summaries: Mapping[str, Mapping[str, Any]], contrasts: Mapping[int, Contrast]
) -> None:
    """Draw against the number of scenes: errors beside single networks', accuracy, latency."""
    from mspr_ros.studies.paired import KINDS

    counts = [int(name) for name in summaries]
    left, middle, right = figure.subplots(1, 3)
    for kind, title in KINDS.items():
        found = [contrasts[count].differences[kind] for count in counts]
        ratios = [one.ratio for one in found]
        lines = left.plot(counts, ratios, "o-", label=title)
        if found[0].num_seeds > 1:
            low, high = [one.low for one in found], [one.high for one in found]
            left.fill_between(counts, low, high, alpha=0.2, color=lines[0].get_color())
    left.axhline(1.0, color="#3b3b3b", linewidth=1.0)
    left.set_yscale("log")
    left.set_title("median error, ratio to own networks")
    left.legend()
    middle.plot(counts, [one["scene_accuracy"] for one in summaries.values()], "o-")
    middle.set_ylim(0.0, 1.02)
    middle.set_title("share of scenes right")
    right.plot(counts, [one["latency_ms"] for one in summaries.values()], "o-")
    right.set_ylim(bottom=0.0)
    right.set_title("latency, ms")
    for axes in (left, middle, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("scenes in one network")
