"""What a network would answer if it were told part of the truth: an upper bound, never a result.

An oracle's numbers say where errors come from: those that stay when scene and clusters are given
are the regression's own. They are kept apart from the honest ones everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import ConfigError, ImageError
from mspr_ros.evaluation.answers import Answer, ImageU8, no_answer, read_batches
from mspr_ros.evaluation.judging import FrameResult
from mspr_ros.localizer import Localizer
from mspr_ros.network.regressor import RegressorOutput, Selection

# Name -> what is given.
ORACLES = {
    "scene": "the true scene given, its clusters chosen by the network",
    "clusters": "the true clusters given wherever the network recognised the scene",
    "both": "the true scene and the true clusters given",
}
ORACLE_NOTE = "oracle, never the result: told part of the truth"


def check_oracles(localizer: Localizer, oracles: Sequence[str]) -> None:
    """Refuse oracles that know nothing the network would choose.

    Raises:
        ConfigError: If clusters are to be given to a network that has none.
    """
    config = localizer.metadata.network
    has_clusters = config.num_position_clusters > 0 or config.num_orientation_clusters > 0
    if not has_clusters and set(oracles) - {"scene"}:
        raise ConfigError("the bundle has no clusters to be given; only the scene oracle applies")


def ask_oracles(
    localizer: Localizer,
    dataset: Dataset,
    honest: Sequence[FrameResult],
    oracles: Sequence[str],
    *,
    batch_size: int = 16,
    num_threads: int = 2,
    show_progress: bool = True,
) -> dict[str, list[Answer]]:
    """Answer every frame of a dataset again, once for each oracle.

    Args:
        localizer: The network.
        dataset: Its frames.
        honest: The network's own judged answers to these frames, with the true clusters.
            Frames that it could not answer are not answered here either.
        oracles: Names in `ORACLES`.
        batch_size: Pictures to a pass of the network.
        num_threads: Threads that read and decode pictures meanwhile.
        show_progress: Draw a progress bar on a terminal.

    Returns:
        Answers by oracle, in the dataset's order. What was given is not told as an answer:
        clusters are then -1.
    """
    check_oracles(localizer, oracles)
    answers: dict[str, list[Answer]] = {name: [] for name in oracles}
    start = 0
    with tqdm(
        total=len(dataset),
        desc=f"oracles of {dataset.name}",
        unit="frame",
        disable=None if show_progress else True,
    ) as bar:
        for frames, images in read_batches(dataset, batch_size, num_threads):
            batch = honest[start : start + len(frames)]
            cameras = [dataset.camera_of(frame) for frame in frames]
            for name, told in _ask_batch(localizer, images, cameras, batch, oracles).items():
                answers[name].extend(told)
            start += len(frames)
            bar.update(len(frames))
    return answers


def _ask_batch(
    localizer: Localizer,
    images: Sequence[ImageU8 | ImageError],
    cameras: Sequence[CameraModel | None],
    honest: Sequence[FrameResult],
    oracles: Sequence[str],
) -> dict[str, list[Answer]]:
    rows = [row for row, result in enumerate(honest) if not result.failed]
    pictures = [image for row in rows if not isinstance(image := images[row], ImageError)]
    assert len(pictures) == len(rows), "an unreadable picture was answered"
    answers = {name: [no_answer(result.answer.problem) for result in honest] for name in oracles}
    if not rows:
        return answers
    tensor = localizer.preprocessor.tensor(pictures, [cameras[row] for row in rows])
    tensor = tensor.to(localizer.device)
    truth = _truth([honest[row] for row in rows], localizer)
    names = localizer.metadata.scene_names
    with torch.inference_mode():
        if "scene" in oracles:
            output = localizer.network(tensor, scene=truth.scene)
            for row, answer in zip(rows, _answers(output, names), strict=True):
                answers["scene"][row] = answer
        if {"clusters", "both"} & set(oracles):
            output = localizer.network(tensor, teacher=truth)
            for row, answer in zip(rows, _answers(output, names, given=True), strict=True):
                if "both" in oracles:
                    answers["both"][row] = answer
                if "clusters" in oracles:  # in the wrong scene no cluster is the right one
                    right = honest[row].scene_correct
                    answers["clusters"][row] = answer if right else honest[row].answer
    return answers


def _truth(honest: Sequence[FrameResult], localizer: Localizer) -> Selection:
    names = localizer.metadata.scene_names
    columns = (
        [names.index(result.gt_scene) for result in honest],
        # Where there are no clusters (-1) the network's single answer has the id 0.
        [max(result.gt_position_cluster, 0) for result in honest],
        [max(result.gt_orientation_cluster, 0) for result in honest],
    )
    return Selection(*(torch.tensor(ids, device=localizer.device) for ids in columns))


def _answers(
    output: RegressorOutput, names: Sequence[str], *, given: bool = False
) -> list[Answer]:
    """Turn outputs into answers; clusters that were given are not told as an answer."""
    positions = output.position.double().cpu().numpy()
    quats_xyzw = output.orientation.double().cpu().numpy()
    chosen = [ids.cpu().tolist() for ids in output.selection]
    return [
        Answer(
            scene=names[scene],
            position=positions[row],
            quat_xyzw=quats_xyzw[row],
            position_cluster=-1 if given else position_cluster,
            orientation_cluster=-1 if given else orientation_cluster,
        )
        for row, (scene, position_cluster, orientation_cluster) in enumerate(
            zip(*chosen, strict=True)
        )
    ]
