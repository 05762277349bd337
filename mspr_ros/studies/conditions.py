"""What a network meets after training: other light, another camera, another way, other places.

The simulator's conditions repeat the very drives of the plain test frames, so that errors under
a condition can be compared with the plain ones frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.data.dataset import Dataset, Frame, write_dataset
from mspr_ros.naming import distinct_names
from mspr_ros.simulator.light import Light
from mspr_ros.simulator.recording import CAMERA, pinhole
from mspr_ros.studies.measuring import Exam
from mspr_ros.studies.places import (
    SIZE_PX,
    TEST_SEED,
    TRAIN_SEED,
    Places,
    find_places,
    simulated,
    test_frames,
)
from mspr_ros.studies.study import Setting, file_name

SAME, LIGHT, ELSEWHERE = "same", "dim_light", "elsewhere"
ROOMS = ("office", "lounge")
FOV_DEG, OTHER_FOV_DEG = 70.0, 95.0
LIGHTS = {
    LIGHT: Light(
        brightness=0.4, temperature_k=2800.0, lamp_strength=0.5, noise=10.0, vignetting=0.4
    ),
    "winter_light": Light(brightness=0.65, temperature_k=13000.0, lamp_strength=0.0, noise=5.0),
}


@dataclass(frozen=True)
class Condition:
    """Frames under other conditions than those of training.

    Args:
        name: Of files.
        title: For people.
        exams: The frames.
        is_taught: Whether the places are those of training: an answer can be right.
        is_paired: Whether they repeat the plain test's frames one by one.
        repair: A dataset of the same conditions, to learn from; none where there is none.
    """

    name: str
    title: str
    exams: tuple[Exam, ...]
    is_taught: bool = True
    is_paired: bool = True
    repair: Path | None = None


def find_conditions(
    setting: Setting, rooms: Sequence[str] = ROOMS
) -> tuple[Places, list[Condition]]:
    """Give what to train on, and what to meet; the plain test comes first.

    With datasets given, the first is trained on, and each other is a condition.

    Args:
        setting: Of the study; its options name the simulator's `world`.
        rooms: What the simulator makes to be trained on.
    """
    if setting.datasets:
        return _given(setting)
    world = setting.options.world
    places = find_places(setting, rooms, world=world)
    found = [Condition(SAME, "as trained", places.exams)]
    for name, light in LIGHTS.items():
        test = _test(setting, name, rooms, light=light)
        repair = _train(setting, name, rooms, light=light) if name == LIGHT else None
        found.append(Condition(name, name.replace("_", " "), (Exam(test),), repair=repair))
    wide = _test(setting, "wide", rooms, fov_deg=OTHER_FOV_DEG)
    found.append(Condition("wide", "wider lens, told", (Exam(wide),)))
    untold = _with_camera(wide, wide.with_name(f"{wide.name}_untold"), FOV_DEG)
    found.append(Condition("wide_untold", "wider lens, told wrongly", (Exam(untold),)))
    held = _test(setting, "handheld", rooms, handheld=True)
    found.append(Condition("handheld", "in a hand", (Exam(held),)))
    other_rooms = tuple(f"{room}-2" for room in rooms)
    others = _test(setting, ELSEWHERE, other_rooms)
    repair = _train(setting, ELSEWHERE, other_rooms)
    found.append(Condition(ELSEWHERE, "other rooms", (Exam(others),), False, False, repair=repair))
    street = _test(setting, "outdoors", ("street",))
    found.append(Condition("outdoors", "outdoors", (Exam(street),), False, False))
    return places, found


def _given(setting: Setting) -> tuple[Places, list[Condition]]:
    first, *others = setting.datasets
    places = find_places(replace(setting, datasets=(first,)))
    found = [Condition(SAME, "as trained", places.exams)]
    loaded = [Dataset.load(folder) for folder in others]
    titles = distinct_names([found[0].title, *(dataset.name for dataset in loaded)])
    names = distinct_names([SAME, *map(file_name, titles[1:])])
    for folder, dataset, name, title in zip(others, loaded, names[1:], titles[1:], strict=True):
        taught = set(dataset.scenes) <= set(places.scenes)
        exam = Exam(folder, "test" if "test" in dataset.splits else None)
        repair = folder if {"train", "test"} <= set(dataset.splits) else None
        found.append(Condition(name, title, (exam,), taught, False, repair))
    return places, found


def _test(setting: Setting, name: str, scenes: Sequence[str], **options: Any) -> Path:
    return simulated(
        setting,
        f"{setting.options.world}_{name}_test",
        world=setting.options.world,
        scenes=scenes,
        seed=TEST_SEED,
        frames=test_frames(setting),
        split="test",
        drives=2,
        **options,
    )


def _train(setting: Setting, name: str, scenes: Sequence[str], **options: Any) -> Path:
    """Make frames to repair with: drives of their own."""
    return simulated(
        setting,
        f"{setting.options.world}_{name}_train",
        world=setting.options.world,
        scenes=scenes,
        seed=TRAIN_SEED + 100,
        **options,
    )


def _with_camera(source: Path, folder: Path, fov_deg: float) -> Path:
    """Write a dataset again that tells another camera than the one that took the pictures."""
    if folder.exists():
        return folder
    dataset = Dataset.load(source)
    write_dataset(
        folder,
        name=folder.name,
        frames=dataset.frames,
        cameras={CAMERA: pinhole(*SIZE_PX, fov_deg)},
        scenes=dataset.scenes,
        images="reference",
        synthetic_stamps=dataset.synthetic_stamps,
    )
    return folder


def repair_dataset(old: Sequence[Path], new: Path, frames: int, folder: Path) -> Path:
    """Write so many frames of each new scene, evenly spread, and as many of each old one.

    Args:
        old: What the network was trained on.
        new: A dataset of the new conditions.
        frames: Of each scene, from either side.
        folder: To write, unless it is there.
    """
    if folder.exists():
        return folder
    chosen: list[Frame] = []
    cameras, scenes = {}, []
    for side, source in enumerate((*old, new)):
        dataset = Dataset.load(source).select(split="train")
        for name, camera in dataset.cameras.items():
            cameras[f"{side}-{name}"] = camera
        for scene in dataset.scenes:
            if scene not in scenes:
                scenes.append(scene)
            rows = dataset.select(scene=scene).frames
            for row in np.unique(np.linspace(0, len(rows) - 1, frames).round().astype(int)):
                frame = rows[row]
                chosen.append(
                    replace(
                        frame,
                        camera=f"{side}-{frame.camera}" if frame.camera else "",
                        sequence=f"{side}-{frame.sequence}",
                    )
                )
    write_dataset(
        folder,
        name=folder.name,
        frames=chosen,
        cameras=cameras,
        scenes=scenes,
        images="reference",
    )
    return folder
