"""Ask a bundle about frames and give the figures that benchmarks/trust.py judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from tqdm import tqdm
from trust_corruptions import CORRUPTIONS, Corruption, Spoiled, first_useless

from mspr_ros.data.dataset import Dataset
from mspr_ros.evaluation.answers import Answer, ask_batch, ask_localizer, read_batches
from mspr_ros.evaluation.evaluate import GroupSummary, summarize_groups
from mspr_ros.evaluation.judging import FrameResult, errors_of, judge
from mspr_ros.evaluation.metrics import json_safe, median_error
from mspr_ros.evaluation.ranking import auroc
from mspr_ros.evaluation.uncertain_frames import uncertain_frames
from mspr_ros.evaluation.uncertainty import covered
from mspr_ros.evaluation.unknown import UnknownFrames, summarize_unknown
from mspr_ros.localizer import Localizer

BATCH_SIZE = 16
WHOLE_DRIVE = 1_000_000  # frames: blocks of the bootstrap that are never cut
REAL_BLOCK = 10
UNSEEN_HALF = "unseen half"


def ask(localizer: Localizer, datasets: Sequence[Dataset]) -> list[FrameResult]:
    """Judge the answers to every frame of some datasets."""
    results: list[FrameResult] = []
    for dataset in datasets:
        results += judge(dataset, ask_localizer(localizer, dataset, batch_size=BATCH_SIZE))
    return results


def known_figures(
    results: Sequence[FrameResult], *, real: bool
) -> tuple[list[GroupSummary], dict[str, Any]]:
    """Measure frames of taught places: errors, coverage, ranking, acceptance, drive by drive."""
    groups = summarize_groups(results, max_block_frames=REAL_BLOCK if real else WHOLE_DRIVE)
    frames = uncertain_frames(results)
    measured = {
        "num_frames": len(results),
        "num_drives": len(drives_of(results)),
        "groups": [_group_figures(group) for group in groups],
        "acceptance": {
            "frames": len(results),
            "frames_accepted": int(frames.accepted.sum()),
            "good_frames": int(frames.right.sum()),
            "good_frames_accepted": int((frames.right & frames.accepted).sum()),
            "good": "in the right scene and within 0.25 m and 5 degrees",
        },
        "drives": drive_figures(results),
    }
    return groups, measured


def _group_figures(group: GroupSummary) -> dict[str, Any]:
    plain = group.to_dict()
    poses = plain["network"]
    figures = {
        "name": group.name,
        "num_blocks": group.num_blocks,
        "position_median_interval_m": poses["position_median_interval_m"],
        "orientation_median_interval_deg": poses["orientation_median_interval_deg"],
        "scene_accuracy": poses.get("scene_accuracy"),
    }
    uncertainty = plain.get("uncertainty", {})
    for key in ("coverage", "nees", "ranking", "risk_coverage"):
        if key in uncertainty:
            figures[key] = uncertainty[key]
    for key in ("ece_scene", "ece_confidence"):
        if uncertainty.get(key):
            figures[key] = uncertainty[key]["value"]
    return figures


def drives_of(results: Sequence[FrameResult]) -> dict[tuple[str, str, str], list[int]]:
    """Give the rows of every drive: (dataset, scene, sequence) -> indices."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    for row, result in enumerate(results):
        rows.setdefault((result.dataset, result.gt_scene, result.sequence), []).append(row)
    return rows


def drive_figures(results: Sequence[FrameResult]) -> list[dict[str, Any]]:
    """Give coverage of the 95 % regions, median errors and acceptance of every drive."""
    frames = uncertain_frames(results)
    position, orientation = errors_of(results)
    inside = {
        part: covered(frames.nees[part], 3, [0.95])[:, 0] for part in ("position", "orientation")
    }
    return [
        {
            "scene": scene,
            "sequence": sequence,
            "num_frames": len(rows),
            "position_median_m": json_safe(median_error(position[rows])),
            "orientation_median_deg": json_safe(median_error(orientation[rows])),
            **{f"{part}_coverage_95": float(flags[rows].mean()) for part, flags in inside.items()},
            "share_accepted": float(frames.accepted[rows].mean()),
        }
        for (_, scene, sequence), rows in drives_of(results).items()
    ]


def unknown_figures(
    localizer: Localizer,
    results: Sequence[FrameResult],
    strangers: Mapping[str, Sequence[Dataset]],
) -> tuple[dict[str, Any], dict[str, list[Answer]]]:
    """Measure how other places are told from the taught ones.

    Args:
        localizer: The bundle.
        results: Of the taught places.
        strangers: Datasets by kind.

    Returns:
        The figures by kind, for JSON, and the answers by kind.
    """
    answers = {
        kind: [one for dataset in datasets for one in ask_localizer(localizer, dataset)]
        for kind, datasets in strangers.items()
    }
    gathered = [
        UnknownFrames(kind, tuple(f for d in strangers[kind] for f in d.frames), tuple(some))
        for kind, some in answers.items()
    ]
    summary = summarize_unknown(results, gathered).to_dict()
    kinds = {}
    for one in summary.pop("sets"):
        if one["name"] in strangers:
            places = {(d.name, f.scene) for d in strangers[one["name"]] for f in d.frames}
            name = one.pop("name")
            kinds[name] = {"num_places": len(places), **one}
    return {**summary, "kinds": kinds}, answers


def unseen_half_figures(localizer: Localizer, seen: Dataset, unseen: Dataset) -> dict[str, Any]:
    """Measure how the half of a room that a bundle was not taught is told from the other half."""
    results = ask(localizer, [seen])
    figures, _ = unknown_figures(localizer, results, {UNSEEN_HALF: [unseen]})
    only: dict[str, Any] = figures["kinds"][UNSEEN_HALF]
    return {**only, "num_known": figures["num_known"],
            "num_known_accepted": figures["num_known_accepted"]}  # fmt: skip


def corruption_figures(
    localizer: Localizer,
    dataset: Dataset,
    results: Sequence[FrameResult],
    *,
    num_frames: int,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
) -> list[dict[str, Any]]:
    """Spoil some frames of taught places and measure errors and familiarity at each strength.

    Args:
        localizer: The bundle.
        dataset: Of taught places.
        results: Answers to its unspoiled frames, in its order.
        num_frames: How many to spoil, spread evenly.
        corruptions: Ways to do it.
    """
    rows = np.unique(np.linspace(0, len(dataset) - 1, num_frames).round().astype(int))
    spoiled = _spoil_and_ask(localizer, dataset.subset(rows), corruptions)
    known = [result.answer.known_score for result in results]
    clean = [median_error(errors[rows]) for errors in errors_of(results)]
    found = []
    for index, corruption in enumerate(corruptions):
        curve = []
        for strength in corruption.strengths:
            answers = spoiled[index, strength]
            judged = judge(dataset.subset(rows), answers)
            medians = [median_error(errors) for errors in errors_of(judged)]
            curve.append(
                Spoiled(
                    strength,
                    *medians,
                    max(
                        median / reference
                        for median, reference in zip(medians, clean, strict=True)
                    ),
                    auroc(known, [answer.known_score for answer in answers]),
                    float(np.mean([answer.accepted for answer in answers])),
                )
            )
        useless = first_useless(curve)
        found.append(
            json_safe(
                {
                    "name": corruption.name,
                    "strength": corruption.strength,
                    "curve": [asdict(one) for one in curve],
                    "first_useless": asdict(useless) if useless else None,
                }
            )
        )
    return found


def _spoil_and_ask(
    localizer: Localizer, dataset: Dataset, corruptions: Sequence[Corruption]
) -> dict[tuple[int, float], list[Answer]]:
    """Give the answers by corruption's index and strength; every picture is read once."""
    ways = [(i, strength) for i, one in enumerate(corruptions) for strength in one.strengths]
    answers: dict[tuple[int, float], list[Answer]] = {way: [] for way in ways}
    done = 0
    with tqdm(total=len(dataset) * len(ways), desc="spoilt pictures", unit="frame") as bar:
        for frames, images in read_batches(dataset, BATCH_SIZE):
            cameras = [dataset.camera_of(frame) for frame in frames]
            for index, strength in ways:
                pictures = [
                    image
                    if isinstance(image, Exception)
                    else corruptions[index].apply(
                        image, strength, np.random.default_rng([done + row, index])
                    )
                    for row, image in enumerate(images)
                ]
                answers[index, strength] += ask_batch(localizer, pictures, cameras)
                bar.update(len(frames))
            done += len(frames)
    return answers
