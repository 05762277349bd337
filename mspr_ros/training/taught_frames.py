"""Which frames of a dataset a run trains on, and which it validates on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mspr_ros.data.dataset import Dataset
from mspr_ros.data.splits import split_guarded
from mspr_ros.errors import DatasetError
from mspr_ros.geometry import Array
from mspr_ros.training.configuration import TrainConfig

# Poses are mistakes beyond so many times the distance from the median position within which nine
# tenths lie. Nine tenths, not half: a robot that waits most of the time still drives.
_OUTLIER, _SHARE = 50.0, 0.9
# That distance is taken for at least this: a camera that stood still has its noise.
_LEAST_M = 0.02
# Labels and answers are float32, whose numbers lie 8 mm apart at this distance.
FARTHEST_M = 1e5


@dataclass(frozen=True)
class TaughtFrames:
    """What a run takes of one dataset.

    Args:
        train: To train on.
        validation: To validate on.
        notes: What was left out and why, for people.
    """

    train: Dataset
    validation: Dataset
    notes: tuple[str, ...]


def choose_frames(dataset: Dataset, config: TrainConfig) -> TaughtFrames:
    """Give the frames of a dataset to train and to validate on, without absurd poses.

    A scene that has frames of split `val` is validated on those; of any other, guarded blocks of
    time are cut out of the training split.

    Raises:
        DatasetError: If a position is too large for float32, or no sequence is long enough for a
            validation block.
    """
    notes: list[str] = []
    train = _without_mistakes(dataset.select(split=config.train_split), notes)
    given = _without_mistakes(_split_val(dataset, config, notes), notes)
    _check_range((train, given))
    judged = {frame.scene for frame in given.frames}
    rest = np.array([frame.scene not in judged for frame in train.frames], dtype=bool)
    if not rest.any() or config.validation.fraction == 0.0:
        return TaughtFrames(train, given, tuple(notes))
    kept, held_back = split_guarded(
        train.subset(np.flatnonzero(rest)),
        num_blocks=config.validation.blocks_per_sequence,
        fraction=config.validation.fraction,
        guard_frames=config.validation.guard_frames,
    )
    whole = train.subset(np.flatnonzero(~rest))
    return TaughtFrames(
        replace(train, frames=(*whole.frames, *kept.frames)),
        replace(given, frames=(*given.frames, *held_back.frames)),
        tuple(notes),
    )


def plausible(positions: Array) -> npt.NDArray[np.bool_]:
    """Mark the positions (N, 3) of a scene that do not lie absurdly far from the others, (N,)."""
    distance = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
    return np.asarray(distance <= _OUTLIER * max(float(np.quantile(distance, _SHARE)), _LEAST_M))


def _split_val(dataset: Dataset, config: TrainConfig, notes: list[str]) -> Dataset:
    """Give the frames of split `val`, where there are any and the run validates."""
    if "val" not in dataset.splits or config.train_split == "val":
        return dataset.subset([])
    given = dataset.select(split="val")
    if config.validation.fraction == 0.0 and given.frames:
        notes.append(
            f"{len(given)} frames of split val of {dataset.name} are not used: "
            "validation.fraction is 0"
        )
        return dataset.subset([])
    return given


def _without_mistakes(dataset: Dataset, notes: list[str]) -> Dataset:
    """Leave absurd poses out, scene by scene, and note how many and the first file's name."""
    kept = np.ones(len(dataset), dtype=bool)
    names = np.array([frame.scene for frame in dataset.frames])
    for scene in np.unique(names):
        rows = np.flatnonzero(names == scene)
        kept[rows] = plausible(dataset.positions[rows])
        mistakes = rows[~kept[rows]]
        if len(mistakes):
            notes.append(
                f"scene '{scene}': {len(mistakes)} of {len(rows)} frames are left out, their "
                "positions lie absurdly far from the others; the first is "
                f"{dataset.frames[mistakes[0]].image}"
            )
    return dataset if kept.all() else dataset.subset(np.flatnonzero(kept))


def _check_range(datasets: Sequence[Dataset]) -> None:
    """Refuse positions so far from the map's origin that float32 rounds them by millimetres.

    Raises:
        DatasetError: With the first of them.
    """
    for dataset in datasets:
        far = np.flatnonzero(np.linalg.norm(dataset.positions, axis=1) > FARTHEST_M)
        if len(far):
            frame = dataset.frames[far[0]]
            place = ", ".join(f"{value:.0f}" for value in frame.position)
            raise DatasetError(
                f"scene '{frame.scene}': {frame.image} lies at ({place}) m, more than "
                f"{FARTHEST_M / 1000:.0f} km from the map's origin, where single precision rounds "
                "positions by millimetres; subtract an offset from the positions and publish it "
                "as a static transform"
            )
