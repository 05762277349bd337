"""Measure a cell's network: every test frame's errors, so that cells can be compared in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import DatasetError
from mspr_ros.evaluation.answers import Answer, ask_localizer
from mspr_ros.evaluation.bootstrap import contiguous_blocks
from mspr_ros.evaluation.judging import Centroids, FrameResult, judge
from mspr_ros.evaluation.oracle import ask_oracles
from mspr_ros.geometry import Array
from mspr_ros.localizer import Localizer

# A failed answer's error: JSON knows no infinity, and a ratio of medians needs a number.
FAILED_M, FAILED_DEG = 1e6, 180.0
BLOCK_FRAMES = 10


class Exam(NamedTuple):
    """Frames that networks are measured on: of a dataset folder, a split or some scenes.

    Args:
        folder: Of the dataset.
        split: One of its splits; None takes all frames.
        scenes: Only these; none for all.
    """

    folder: Path
    split: str | None = "test"
    scenes: tuple[str, ...] = ()

    def load(self) -> Dataset:
        """Read the frames.

        Raises:
            DatasetError: If there are none.
        """
        dataset = Dataset.load(self.folder)
        if self.split and self.split not in dataset.splits:
            raise DatasetError(
                f"{self.folder} has no frames of split '{self.split}' to measure on; import it "
                "with --test-fraction"
            )
        dataset = dataset.select(split=self.split)
        if self.scenes:
            dataset = replace(
                dataset, frames=tuple(f for f in dataset.frames if f.scene in self.scenes)
            )
        if not dataset.frames:
            raise DatasetError(f"{self.folder} has no frames to measure on")
        return dataset


def measure_bundle(
    bundle: Path, tests: Sequence[Exam], *, device: str = "auto", oracle: str = ""
) -> dict[str, Any]:
    """Ask a bundle about test frames and give the errors of every one.

    Args:
        bundle: Its folder.
        tests: What to ask about; every scene of it must be known to the bundle.
        device: Where to run the network.
        oracle: `scene` tells the network the true scene; empty tells it nothing.

    Returns:
        `frames` by scene: lists `position_m`, `orientation_deg`, `scene_right`, `accepted` and
        `block` (the number of a stretch of time that shares its chance), in the dataset's order.
    """
    localizer = Localizer.load(bundle, device=device)
    frames: dict[str, dict[str, list[Any]]] = {}
    for test in tests:
        dataset = test.load()
        results = _ask(localizer, dataset, oracle)
        for scene, columns in _columns(dataset, results).items():
            if scene in frames:
                raise DatasetError(f"several datasets hold test frames of scene '{scene}'")
            frames[scene] = columns
    return {"frames": frames}


def measure_blind(train: Sequence[Path], exams: Sequence[Exam]) -> dict[str, Any]:
    """Answer every test frame with its scene's mean training pose, without looking at it.

    What a network must beat to have learned anything; `frames` as `measure_bundle` gives them.
    """
    poses: dict[str, tuple[Array, Array]] = {}
    for folder in train:
        dataset = Dataset.load(folder).select(split="train")
        for scene in dataset.scenes:
            seen = dataset.select(scene=scene)
            quat = Rotation.from_quat(seen.quats_xyzw).mean().as_quat()
            poses[scene] = seen.positions.mean(axis=0), np.asarray(quat)
    frames: dict[str, dict[str, list[Any]]] = {}
    for exam in exams:
        dataset = exam.load()
        answers = [Answer(frame.scene, *poses[frame.scene]) for frame in dataset.frames]
        frames.update(_columns(dataset, judge(dataset, answers)))
    return {"frames": frames}


def measurer(
    tests: Sequence[Exam], *, device: str = "auto", oracle: str = ""
) -> Callable[[Path], dict[str, Any]]:
    """Give `measure_bundle` as a cell's `measure`."""
    return lambda run: measure_bundle(run / "bundle", tests, device=device, oracle=oracle)


def count_frames(tests: Sequence[Exam]) -> int:
    """Count the frames of tests, for `Cell.measured_frames`."""
    return sum(len(test.load()) for test in tests)


def _ask(localizer: Localizer, dataset: Dataset, oracle: str) -> list[FrameResult]:
    centroids = Centroids.of_network(localizer.network, localizer.metadata.scene_names)
    answers: list[Answer] = ask_localizer(localizer, dataset, show_progress=False)
    results = judge(dataset, answers, centroids)
    if oracle:
        told = ask_oracles(localizer, dataset, results, [oracle], show_progress=False)
        results = judge(dataset, told[oracle])
    return results


def _columns(
    dataset: Dataset, results: Sequence[FrameResult]
) -> Mapping[str, dict[str, list[Any]]]:
    """Sort results by scene; long blocks are cut, as everywhere in the evaluation."""
    blocks = contiguous_blocks(
        [result.stamp_ns for result in results],
        [(result.gt_scene, result.sequence) for result in results],
        max_block_frames=BLOCK_FRAMES,
        cameras=[result.camera for result in results],
    )
    block_of = np.zeros(len(results), dtype=np.int64)
    for number, members in enumerate(blocks):
        block_of[members] = number
    frames: dict[str, dict[str, list[Any]]] = {}
    for row, result in enumerate(results):
        names = ("position_m", "orientation_deg", "scene_right", "accepted", "block")
        columns = frames.setdefault(result.gt_scene, {name: [] for name in names})
        columns["position_m"].append(round(min(result.position_error_m, FAILED_M), 5))
        columns["orientation_deg"].append(round(min(result.orientation_error_deg, FAILED_DEG), 4))
        columns["scene_right"].append(bool(result.scene_correct))
        columns["accepted"].append(bool(result.answer.accepted and not result.failed))
        columns["block"].append(int(block_of[row]))
    return frames


def medians(values: Mapping[str, Any]) -> tuple[float, float]:
    """Give the geometric means over scenes of the median errors (m, deg) of a measured cell."""
    frames = values["frames"].values()
    return (
        geometric_mean([float(np.median(scene["position_m"])) for scene in frames]),
        geometric_mean([float(np.median(scene["orientation_deg"])) for scene in frames]),
    )


def share(values: Mapping[str, Any], column: str) -> float:
    """Give the share of all frames of a measured cell for which a column holds."""
    return float(np.mean([flag for s in values["frames"].values() for flag in s[column]]))


def geometric_mean(values: Sequence[float]) -> float:
    """Give the geometric mean: no unit and no scene outweighs another."""
    return float(np.exp(np.mean(np.log(np.maximum(values, 1e-9)))))
