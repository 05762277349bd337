"""Ask a localizer about places it was not taught: how many does it take for taught ones?

No pose is judged there, since none can be right.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mspr_ros.data.dataset import Dataset, Frame
from mspr_ros.evaluation.answers import Answer
from mspr_ros.evaluation.evaluate import all_scenes_beside
from mspr_ros.evaluation.judging import FrameResult
from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.evaluation.ranking import (
    auroc,
    false_positive_rate,
    threshold_at_true_positives,
)
from mspr_ros.geometry import Array

ALL_UNKNOWN = "all unknown"
_COLUMNS = (
    *("dataset", "scene", "sequence", "stamp_ns", "image", "pred_scene", "scene_probability"),
    *("confidence", "known_score", "accepted", "problem"),
)


@dataclass(frozen=True)
class UnknownFrames:
    """The answers to one dataset of places that were not taught, frame by frame."""

    name: str
    frames: tuple[Frame, ...]
    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, dataset: Dataset, answers: Sequence[Answer]) -> UnknownFrames:
        """Put a dataset's frames and the answers to them side by side."""
        if len(answers) != len(dataset):
            raise ValueError(f"{len(answers)} answers for {len(dataset)} frames")
        return cls(dataset.name, dataset.frames, tuple(answers))

    @property
    def scores(self) -> Array:
        """(N,) how familiar the pictures are; NaN without an answer."""
        return np.array([answer.known_score for answer in self.answers], dtype=np.float64)


@dataclass(frozen=True)
class Separation:
    """How well one set of unknown frames is told from one set of known ones.

    Args:
        known: The taught scene, or `all scenes`.
        auroc: The chance that a known frame scores higher; ties count half.
        fpr_at_95_tpr: Share of the unknown that pass where 95 % of the known must pass; NaN
            where more than 5 % of the known have no answer.
    """

    known: str
    auroc: float
    fpr_at_95_tpr: float


@dataclass(frozen=True)
class UnknownSet:
    """One dataset of unknown places, or all of them.

    Args:
        name: Of the dataset, or `all unknown`.
        num_frames: All of its frames.
        num_failed: Those without a finite answer: rejected.
        num_accepted: Those that the bundle's own threshold lets pass: mistakes, all of them.
        separations: From every known group.
    """

    name: str
    num_frames: int
    num_failed: int
    num_accepted: int
    separations: tuple[Separation, ...]


@dataclass(frozen=True)
class UnknownSummary:
    """What places that were not taught are taken for.

    Args:
        num_known: Frames of taught places that the scores are compared with.
        num_known_accepted: Those that the bundle's own threshold lets pass.
        threshold: The score that 95 % of the known frames reach; NaN where none is reached.
        known_scores: (num_known,); NaN without an answer.
        unknown_scores: By dataset.
        sets: By dataset, then all.
    """

    num_known: int
    num_known_accepted: int
    threshold: float
    known_scores: Array
    unknown_scores: dict[str, Array]
    sets: tuple[UnknownSet, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON; docs/uncertainty.md says what each means."""
        plain: dict[str, Any] = json_safe(
            {
                "num_known": self.num_known,
                "num_known_accepted": self.num_known_accepted,
                "score_at_95_tpr": self.threshold,
                "sets": [
                    {
                        "name": one.name,
                        "num_frames": one.num_frames,
                        "num_failed": one.num_failed,
                        "num_accepted": one.num_accepted,
                        "against": {
                            found.known: {
                                "auroc": found.auroc,
                                "fpr_at_95_tpr": found.fpr_at_95_tpr,
                            }
                            for found in one.separations
                        },
                    }
                    for one in self.sets
                ],
            }
        )
        return plain


def summarize_unknown(
    known: Sequence[FrameResult], unknown: Sequence[UnknownFrames]
) -> UnknownSummary:
    """Compare the scores of unknown places with those of every taught scene and of all.

    Args:
        known: Judged frames of taught places.
        unknown: By dataset; all of them are summed up too where there are several.
    """
    scores = np.array([result.answer.known_score for result in known], dtype=np.float64)
    scenes = np.array([result.gt_scene for result in known])
    groups = {name: scores[scenes == name] for name in dict.fromkeys(scenes.tolist())}
    if len(groups) > 1:
        groups[all_scenes_beside(groups)] = scores
    # Two datasets of one name are one set of places.
    gathered: dict[str, list[Answer]] = {}
    for one in unknown:
        gathered.setdefault(one.name, []).extend(one.answers)
    by_name = {name: _scores_of(answers) for name, answers in gathered.items()}
    if len(gathered) > 1:
        gathered[ALL_UNKNOWN] = [answer for one in unknown for answer in one.answers]
    return UnknownSummary(
        num_known=len(scores),
        num_known_accepted=sum(r.answer.accepted and not r.failed for r in known),
        threshold=threshold_at_true_positives(scores),
        known_scores=scores,
        unknown_scores=by_name,
        sets=tuple(_summarize_set(name, answers, groups) for name, answers in gathered.items()),
    )


def _summarize_set(name: str, answers: Sequence[Answer], groups: dict[str, Array]) -> UnknownSet:
    scores = _scores_of(answers)
    answered = [bool(np.isfinite(answer.position).all()) for answer in answers]
    return UnknownSet(
        name,
        len(answers),
        len(answers) - sum(answered),
        sum(answer.accepted and ok for answer, ok in zip(answers, answered, strict=True)),
        tuple(
            Separation(group, auroc(known, scores), false_positive_rate(known, scores))
            for group, known in groups.items()
        ),
    )


def _scores_of(answers: Sequence[Answer]) -> Array:
    return np.array([answer.known_score for answer in answers], dtype=np.float64)


def write_unknown(path: Path, unknown: Sequence[UnknownFrames]) -> None:
    """Write a row for each unknown frame; numbers that are not known are left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for one in unknown:
            for frame, answer in zip(one.frames, one.answers, strict=True):
                numbers = (answer.scene_probability, answer.confidence, answer.known_score)
                values = [
                    *(one.name, frame.scene, frame.sequence, frame.stamp_ns, frame.image),
                    *(answer.scene, *("" if math.isnan(n) else n for n in numbers)),
                    *(int(answer.accepted), answer.problem),
                ]
                writer.writerow(values)
