"""The report at the end of a training run: what its network makes of the validation frames.

The frames are those on which the run chose its best epoch: good for seeing what went wrong, too
friendly as a result. Test frames are for `mspr evaluate` alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.data.frame import Frame
from mspr_ros.evaluation.answers import ask_localizer
from mspr_ros.evaluation.confusion import cluster_confusions
from mspr_ros.evaluation.evaluate import summarize_groups
from mspr_ros.evaluation.judging import Centroids, judge
from mspr_ros.evaluation.report import Report, write_report
from mspr_ros.evaluation.training_plots import read_history
from mspr_ros.localizer import Localizer

REPORT_FOLDER = "report"


def write_training_report(
    run: Path,
    validation: Iterable[tuple[Frame, CameraModel | None]],
    *,
    device: str = "auto",
    batch_size: int = 16,
    source: str = "validation blocks of the training split",
) -> Path:
    """Write `RUN/report` and give that folder; an earlier report there is replaced.

    Args:
        run: The run folder, with its bundle and history.
        validation: The frames the run held back, each with its camera; there may be none.
        device: Where to localize them.
        batch_size: Pictures to a pass of the network.
        source: What the validation frames are, for people.
    """
    localizer = Localizer.load(run / "bundle", device=device)
    history = read_history(run)
    dataset = as_dataset("validation", run, validation)
    metrics: dict[str, Any] = {
        "bundle": str(run / "bundle"),
        "bundle_hash": localizer.content_hash,
        "frames": "validation",
        "num_epochs": len(history),
        "groups": [],
    }
    title = f"Training run {run.resolve().name}"
    if not len(dataset):
        notes = ["No frames were held back to validate on, so none are judged."]
        report = Report(title, notes, metrics, (), (), history=history)
    else:
        centroids = Centroids.of_network(localizer.network, localizer.metadata.scene_names)
        results = judge(
            dataset, ask_localizer(localizer, dataset, batch_size=batch_size), centroids
        )
        groups = summarize_groups(results)
        confusions = cluster_confusions(results, centroids)
        metrics["groups"] = [group.to_dict() for group in groups]
        metrics["cluster_confusion"] = [confusion.to_dict() for confusion in confusions]
        notes = [
            f"{len(dataset)} validation frames: {source}, never trained on. The best epoch was "
            "chosen on them, so they flatter.",
            "Test frames are measured by `mspr evaluate`.",
        ]
        report = Report(title, notes, metrics, groups, results, None, confusions, history)
    write_report(run / REPORT_FOLDER, report)
    return run / REPORT_FOLDER


def as_dataset(
    name: str, root: Path, frames: Iterable[tuple[Frame, CameraModel | None]]
) -> Dataset:
    """Gather frames, maybe of several datasets whose cameras' names repeat, into one dataset."""
    names: dict[CameraModel, str] = {}
    renamed = []
    for frame, camera in frames:
        key = "" if camera is None else names.setdefault(camera, f"camera{len(names)}")
        renamed.append(dataclasses.replace(frame, camera=key))
    return Dataset(
        name=name,
        root=root,
        frames=tuple(renamed),
        cameras={key: camera for camera, key in names.items()},
        scenes=tuple(dict.fromkeys(frame.scene for frame in renamed)),
    )
