"""The data of a study: the folders that were given, or places that the simulator makes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import DatasetError
from mspr_ros.studies.measuring import Exam
from mspr_ros.studies.study import Setting

if TYPE_CHECKING:
    from mspr_ros.simulator.world import World

SIZE_PX = (160, 120)
# Seeds of drives: no two purposes share one.
TRAIN_SEED, TEST_SEED = 11, 12
# Share of a place's training frames that it is measured on, in drives of their own.
TEST_SHARE = 0.3


class Places(NamedTuple):
    """Where to train and what to measure on.

    Args:
        train: Dataset folders; their split `train` counts.
        exams: Frames to measure on.
        scenes: Of all folders, in the network's order.
    """

    train: tuple[Path, ...]
    exams: tuple[Exam, ...]
    scenes: tuple[str, ...]

    def exams_of(self, scene: str) -> list[Exam]:
        """Give the frames of one scene to measure on."""
        return [
            exam._replace(scenes=(scene,))
            for exam in self.exams
            if scene in (exam.scenes or Dataset.load(exam.folder).scenes)
        ]


def find_places(
    setting: Setting,
    scenes: Sequence[str] = ("office", "lounge", "kitchen"),
    *,
    world: str = "study",
    name: str = "",
) -> Places:
    """Take the datasets given, by their splits `train` and `test`, or make the simulator's.

    Args:
        setting: Of the study.
        scenes: Which places the simulator makes, where none are given.
        world: Its name fixes them.
        name: Of the folders; by default the world's.

    Raises:
        DatasetError: If several of the datasets given hold the same scene.
    """
    name = name or world
    if setting.datasets:
        loaded = [Dataset.load(folder) for folder in setting.datasets]
        exams = tuple(Exam(folder) for folder in setting.datasets)
        names = tuple(scene for dataset in loaded for scene in dataset.scenes)
        again = sorted({scene for scene in names if names.count(scene) > 1})
        if again:
            raise DatasetError(
                f"several of the datasets hold the scene {', '.join(again)}, which a study cannot "
                "tell apart; import one of them with other scene names, or give one alone"
            )
        return Places(setting.datasets, exams, names)
    train = simulated(setting, f"{name}_train", world=world, scenes=scenes, seed=TRAIN_SEED)
    test = simulated(
        setting,
        f"{name}_test",
        world=world,
        scenes=scenes,
        seed=TEST_SEED,
        frames=test_frames(setting),
        split="test",
        drives=2,
    )
    return Places((train,), (Exam(test),), tuple(scenes))


def test_frames(setting: Setting) -> int:
    """Give the test frames of each simulated place."""
    return max(10, round(TEST_SHARE * setting.frames))


def simulated(
    setting: Setting,
    name: str,
    *,
    world: str,
    scenes: Sequence[str],
    seed: int,
    frames: int = 0,
    split: str = "train",
    drives: int = 3,
    fov_deg: float = 70.0,
    **options: Any,
) -> Path:
    """Make a dataset of simulated places in OUT/datasets, unless it is there already.

    Args:
        setting: Its `frames` for each scene, unless other are asked for.
        name: Of the folder.
        world: Its name fixes the places.
        scenes: Which of its places.
        seed: Fixes drives, light and noise.
        frames: For each scene; 0 takes the setting's.
        split: `train` or `test`.
        drives: Through each scene, each in a light of its own.
        fov_deg: Horizontal field of view.
        options: Further ones of `record`.
    """
    folder = setting.output / "datasets" / name
    if folder.exists():  # it appears only when it is complete
        return folder
    import cv2

    from mspr_ros.simulator.recording import pinhole, record

    cv2.setNumThreads(1)
    total = (frames or setting.frames) * len(scenes)
    with tqdm(
        total=total, unit="frame", desc=f"simulate {name}", disable=None, leave=False
    ) as bar:
        record(
            folder,
            world=_world_of(world, tuple(scenes)),
            camera=pinhole(*SIZE_PX, fov_deg),
            frames=total,
            seed=seed,
            scenes=scenes,
            drives=drives,
            rate_hz=2.0,  # the same number of pictures over a longer way
            split=split,
            progress=bar.update,
            **options,
        )
    return folder


@functools.lru_cache(maxsize=1)
def _world_of(name: str, scenes: tuple[str, ...]) -> World:
    """Keep the rooms of the last dataset for the next, and no others: each takes 30 MB."""
    from mspr_ros.simulator.drive import planner
    from mspr_ros.simulator.world import World

    planner.cache_clear()
    return World(name)
