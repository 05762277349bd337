"""The page that `mspr teach` writes for people, and the old scenes before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mspr_ros.geometry import Array

if TYPE_CHECKING:
    from mspr_ros.data.dataset import Dataset


def compare_bundles(
    before: Path, after: Path, folders: Sequence[Path], device: str
) -> dict[str, Any]:
    """Judge two bundles on the same frames of data sets, scene by scene.

    Frames are those of the split `test` where there is one, else all. Each scene is asked twice:
    as at run time, and with the scene given.

    Args:
        before: The old bundle; the data sets hold scenes of its.
        after: The new one.
        folders: Data sets.
        device: Where to ask.
    """
    from mspr_ros.cli.evaluate_frames import choose_split
    from mspr_ros.data.dataset import Dataset

    result: dict[str, Any] = {}
    for folder in folders:
        dataset = choose_split(Dataset.load(folder), None)
        for scene in dataset.scenes:
            frames = dataset.select(scene=scene)
            if len(frames):
                old, new = (_ask(bundle, frames, device) for bundle in (before, after))
                given = [_ask(bundle, frames, device, scene) for bundle in (before, after)]
                result[scene] = {
                    "frames": len(frames),
                    "before": old[0],
                    "after": new[0],
                    "before_scene_given": given[0][0],
                    "after_scene_given": given[1][0],
                    "identical_poses_scene_given": _count_same(given[0][1], given[1][1]),
                }
    return result


def _count_same(poses: Array, others: Array) -> int:
    """Count the rows of two tables (N, 7) that are equal, bit by bit."""
    return int(np.count_nonzero(np.all(poses == others, axis=1)))


def _ask(
    bundle: Path, frames: Dataset, device: str, scene: str = ""
) -> tuple[dict[str, float | None], Array]:
    """Ask a bundle about frames; give the sums, and all poses (N, 7)."""
    from mspr_ros.evaluation.answers import ask_localizer
    from mspr_ros.evaluation.evaluate import summarize_groups
    from mspr_ros.evaluation.judging import judge
    from mspr_ros.localizer import Localizer

    localizer = Localizer.load(bundle, device=device, scene=scene)
    answers = ask_localizer(localizer, frames, batch_size=16)
    poses = summarize_groups(judge(frames, answers), right_within=None)[0].network.poses
    plain = poses.to_dict()
    summary = {
        "position_median_m": plain["position_error_m"]["median"],
        "orientation_median_deg": plain["orientation_error_deg"]["median"],
        "scene_accuracy": plain["scene_accuracy"],
    }
    return summary, np.array([[*answer.position, *answer.quat_xyzw] for answer in answers])


def write_page(path: Path, result: dict[str, Any]) -> None:
    """Write what was taught, and how well it was learned, as Markdown."""
    lines = [f"# {', '.join(entry['scene'] for entry in result['imported'])}", ""]
    lines += ["What was taught, how, and how well it was learned.", ""]
    lines += _result_lines(result["evaluation"]) + _old_scene_lines(result)
    lines += _import_lines(result["imported"]) + _training_lines(result)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _result_lines(evaluation: dict[str, Any]) -> list[str]:
    lines = ["## How well", ""]
    if not evaluation:
        return [*lines, "Nothing was held back, so nobody knows. Record another drive.", ""]
    lines += ["| scene | frames | position, median | orientation, median | scene recognised |"]
    lines += ["|---|---|---|---|---|"]
    for group in evaluation["groups"]:
        lines.append(f"| {group['name']} | {_cells(group['network'])} |")
        if "baseline" in group:
            lines.append(f"| nearest training image | {_cells(group['baseline'])} |")
    return [
        *lines,
        "",
        "Frames that were held back and never trained on. A network that is no better than the "
        "nearest training image has learned little: teach longer, or record more.",
        "Plots, the worst frames and all numbers: [evaluation](evaluation/report.md).",
        "",
    ]


def _cells(poses: dict[str, Any]) -> str:
    accuracy = poses.get("scene_accuracy")
    return " | ".join(
        [
            str(poses["num_frames"]),
            _number(poses["position_error_m"]["median"], ".3f", "m"),
            _number(poses["orientation_error_deg"]["median"], ".2f", "deg"),
            "-" if accuracy is None else f"{accuracy:.1%}",
        ]
    )


def _number(value: float | None, form: str, unit: str) -> str:
    return "no answer" if value is None else f"{value:{form}} {unit}"


def _old_scene_lines(result: dict[str, Any]) -> list[str]:
    if not result["old_scenes"]:
        return []
    lines = ["## The scenes it knew before", ""]
    lines += ["| scene | frames | | position, median | orientation, median | recognised |"]
    lines += ["|---|---|---|---|---|---|"]
    for scene, entry in result["old_scenes"].items():
        for when, key in (
            ("before", "before"),
            ("after", "after"),
            ("before, scene given", "before_scene_given"),
            ("after, scene given", "after_scene_given"),
        ):
            numbers = entry[key]
            accuracy = numbers["scene_accuracy"]
            lines.append(
                f"| {scene} | {entry['frames']} | {when} "
                f"| {_number(numbers['position_median_m'], '.3f', 'm')} "
                f"| {_number(numbers['orientation_median_deg'], '.2f', 'deg')} "
                f"| {'-' if accuracy is None else f'{accuracy:.1%}'} |"
            )
    lines.append("")
    for scene, entry in result["old_scenes"].items():
        same = entry["identical_poses_scene_given"]
        lines.append(
            f"{scene}: with the scene given, {same} of {entry['frames']} poses are the very same."
        )
    return [*lines, ""]


def _import_lines(imported: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["## What was taught", ""]
    for entry in imported:
        frames = ", ".join(f"{count} {split}" for split, count in entry["frames"].items())
        lines += [f"**{entry['scene']}**: {frames} frames. Held back: {entry['held_back']}.", ""]
        for bag in entry["bags"]:
            lines.append(f"- {bag['bag']}: {bag['frames']} frames")
            if bag["offset_s"] is not None:
                lines.append(
                    f"  - pose time = image stamp {1e3 * bag['offset_s']:+.1f} ms, standard "
                    f"deviation {1e3 * bag['offset_sigma_s']:.1f} ms"
                )
            lines += [f"  - {note}" for note in bag["notes"]]
        lines += [f"- left out: {count} ({why})" for why, count in entry["left_out"].items()]
        lines.append("")
    return lines


def _training_lines(result: dict[str, Any]) -> list[str]:
    chosen = result["chosen"]
    amount = f"{chosen['total_images']} pictures" if chosen["total_images"] else "epochs as given"
    if chosen["images_per_second"]:
        amount += f", at {chosen['images_per_second']:.1f} a second as measured before"
    lines = ["## How", "", f"- trained on {amount}"]
    lines.append(
        f"- {chosen['position_clusters']} position and {chosen['orientation_clusters']} "
        "orientation clusters a scene"
    )
    lines += [f"- {note}" for note in chosen["notes"]]
    grown = result["grown"]
    if grown:
        lines.append(
            "- what answers for the old scenes was frozen and is unchanged; the new ones were "
            f"learned beside it ({grown['new_parameters'] / 1e6:.2f} million numbers more)"
        )
    return [*lines, "- the training run: [report](run/report/report.md)", ""]
