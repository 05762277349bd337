"""Which frames `mspr evaluate` measures, and what it makes of places that were not taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import DatasetError
from mspr_ros.naming import distinct_names

if TYPE_CHECKING:
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.evaluation.judging import FrameResult
    from mspr_ros.evaluation.unknown import UnknownFrames
    from mspr_ros.localizer import Localizer


def choose_split(dataset: Dataset, split: str | None) -> Dataset:
    """Give the frames of a split; by default of test where the dataset has it, else all.

    Raises:
        DatasetError: If there are none.
    """
    if split is None:
        split = "test" if "test" in dataset.splits else "all"
    chosen = dataset if split == "all" else dataset.select(split=split)
    if not len(chosen):
        raise DatasetError(f"dataset {dataset.name} has no frames of split '{split}'")
    return chosen


def check_images(dataset: Dataset) -> None:
    """Refuse a dataset whose images are only named: every frame would count as a failure."""
    if dataset.poses_only:
        raise DatasetError(
            f"dataset {dataset.name} holds poses only, its images are not at hand, so there is "
            "nothing to localize; import it again with its images"
        )


def load_datasets(folders: Sequence[Path]) -> list[Dataset]:
    """Load datasets, numbering names that occur again: results tell recordings apart by them.

    Raises:
        DatasetError: If a folder is given twice, or one is no dataset.
    """
    from mspr_ros.data.dataset import Dataset

    places = [folder.resolve() for folder in folders]
    for folder in folders:
        if places.count(folder.resolve()) > 1:
            raise DatasetError(f"dataset {folder} is given several times; name it once")
    loaded = [Dataset.load(folder) for folder in folders]
    names = distinct_names([dataset.name for dataset in loaded])
    return [replace(dataset, name=name) for dataset, name in zip(loaded, names, strict=True)]


def choose_unknown(whole: Dataset, split: str | None, taught: Sequence[Dataset]) -> Dataset:
    """Give frames of places that were not taught: the split asked for, where there is one."""
    chosen = choose_split(whole, split if split in (*whole.splits, "all") else None)
    check_images(chosen)
    measured = {frame.image.resolve() for dataset in taught for frame in dataset.frames}
    if any(frame.image.resolve() in measured for frame in chosen.frames):
        raise DatasetError(
            f"dataset {chosen.name} is given as unknown, but some of its frames are also "
            "measured as taught"
        )
    return chosen


def ask_unknown(
    localizer: Localizer, strangers: Sequence[Dataset], batch_size: int
) -> list[UnknownFrames]:
    """Ask about every frame of datasets of places that were not taught."""
    from mspr_ros.evaluation.answers import ask_localizer
    from mspr_ros.evaluation.unknown import UnknownFrames

    return [
        UnknownFrames.of(dataset, ask_localizer(localizer, dataset, batch_size=batch_size))
        for dataset in strangers
    ]


def report_unknown(
    results: Sequence[FrameResult],
    unknown: Sequence[UnknownFrames],
    strangers: Sequence[Dataset],
    localizer: Localizer,
) -> dict[str, Any]:
    """Print what places that were not taught are taken for, and give the numbers."""
    from mspr_ros.evaluation.uncertainty_tables import format_unknown
    from mspr_ros.evaluation.unknown import summarize_unknown

    summary = summarize_unknown(results, unknown)
    print(f"\n{format_unknown(summary)}")
    scenes = {scene for dataset in strangers for scene in dataset.scenes}
    namesakes = sorted(scenes & set(localizer.metadata.scene_names))
    if namesakes:
        print(f"mind: taught scenes have the same names as unknown ones: {', '.join(namesakes)}")
    return {
        "datasets": {dataset.name: dataset.content_hash() for dataset in strangers},
        "taught_namesakes": namesakes,
        **summary.to_dict(),
    }
