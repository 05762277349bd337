"""The report of a training run: its curves, its clusters, its validation frames."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import TINY_CAMERA, make_tiny_bundle, make_tiny_dataset

from mspr_ros.camera import CameraModel
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import CheckpointError
from mspr_ros.evaluation.answers import Answer, no_answer
from mspr_ros.evaluation.confusion import cluster_confusions, confusion_figure
from mspr_ros.evaluation.evaluate import summarize_groups
from mspr_ros.evaluation.judging import Centroids, judge
from mspr_ros.evaluation.report import FILES
from mspr_ros.evaluation.training_plots import read_history, training_figure
from mspr_ros.evaluation.training_report import as_dataset, write_training_report
from mspr_ros.localizer import Localizer

SCENES = ("kitchen", "office")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "rooms"
    return Dataset.load(make_tiny_dataset(folder, SCENES, frames_per_scene=10))


def entry(epoch: int, medians: dict[str, float | None] | None = None) -> dict:
    """One epoch of a history as the trainer writes it."""
    losses = {"position": 1.0 / epoch, "orientation": 0.5, "position_cluster": 0.0, "total": -2.0}
    if medians is None:
        return {"epoch": epoch, "losses": losses}
    scenes = {
        name: {"position_error_m": {"median": m}, "orientation_error_deg": {"median": 9.0}}
        for name, m in medians.items()
    }
    score = sum(m or 99.0 for m in medians.values())
    return {"epoch": epoch, "losses": losses, "validation": {"scenes": scenes}, "score": score}


def lines_of(axes) -> dict:
    return {line.get_label(): line for line in axes.get_lines()}


def test_the_curves_are_those_of_the_history() -> None:
    history = [
        entry(1),
        entry(2, {"kitchen": 0.4, "office": None}),
        entry(3),
        entry(4, {"kitchen": 0.2, "office": 0.3}),
        entry(5),
        entry(6, {"kitchen": 0.25, "office": 0.3}),
    ]
    losses, position, orientation = training_figure(history).axes
    drawn = lines_of(losses)
    assert set(drawn) == {"position", "orientation"}  # nothing to draw of what is always zero
    np.testing.assert_allclose(drawn["position"].get_ydata(), [1 / e for e in range(1, 7)])
    medians = lines_of(position)
    np.testing.assert_array_equal(medians["kitchen"].get_xdata(), [2, 4, 6])
    np.testing.assert_array_equal(medians["office"].get_ydata(), [np.nan, 0.3, 0.3])
    np.testing.assert_array_equal(medians["best epoch: 4"].get_xdata(), [4, 4])
    np.testing.assert_array_equal(lines_of(orientation)["office"].get_ydata(), [9.0] * 3)
    never = training_figure([entry(1)]).axes[1]
    assert [text.get_text() for text in never.texts] == ["no validation"]


def test_a_history_is_read_or_told_to_be_damaged(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    path = tmp_path / "history.json"
    path.write_text(json.dumps([entry(1)]))
    assert read_history(tmp_path) == [entry(1)]
    for damaged in ("[", '[{"epoch": 1}]', '[{"epoch": 1, "losses": [0.5]}]', "[3]", "7"):
        path.write_text(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            read_history(tmp_path)


def answers_by_cluster(dataset: Dataset, chosen: dict[int, tuple[str, int, int]]) -> list[Answer]:
    """Answer with the true pose; scene and clusters as told, else the true scene and 0, 0."""
    answers = []
    for row, frame in enumerate(dataset.frames):
        scene, position, orientation = chosen.get(row, (frame.scene, 0, 0))
        answers.append(
            Answer(
                scene, np.array(frame.position), np.array(frame.quat_xyzw),
                position_cluster=position, orientation_cluster=orientation,
            )
        )  # fmt: skip
    return answers


def test_confusions_count_every_frame_once(dataset: Dataset) -> None:
    kitchen = dataset.select(scene="kitchen")
    # The kitchen's frames at rows 0 to 4 belong to cluster 0, the others to 1.
    middles = [kitchen.positions[:5].mean(axis=0), kitchen.positions[5:].mean(axis=0)]
    places = np.array([middles] * 2)
    turns = np.array([[kitchen.quats_xyzw[0], -kitchen.quats_xyzw[9]]] * 2)
    centroids = Centroids(SCENES, places, turns)
    answers = answers_by_cluster(kitchen, {1: ("office", 1, 1), 9: ("kitchen", 1, 1)})
    answers[2] = no_answer("dark")
    results = judge(kitchen, answers, centroids)
    position, orientation = cluster_confusions(results, centroids)
    assert (position.scene, position.kind, orientation.kind) == (
        "kitchen",
        "position",
        "orientation",
    )
    for confusion in (position, orientation):
        assert confusion.counts.shape == (2, 3) and confusion.counts.sum() == 10
        assert confusion.counts[:, 2].sum() == 2  # another scene, and no answer
    np.testing.assert_array_equal(orientation.counts, [[3, 0, 2], [4, 1, 0]])
    gt = [result.gt_position_cluster for result in results]
    assert position.counts[1, 1] == (gt[9] == 1)
    titles = [axes.get_title() for axes in confusion_figure([position, orientation]).axes]
    assert "kitchen, orientation\n4 of 10 frames right" in titles


@pytest.mark.parametrize(("num_position", "num_orientation"), [(0, 0), (0, 2), (2, 0), (1, 1)])
def test_networks_without_clusters_are_judged(dataset, num_position, num_orientation) -> None:
    rng = np.random.default_rng(0)
    centroids = Centroids(
        SCENES, rng.normal(size=(2, num_position, 3)), rng.normal(size=(2, num_orientation, 4))
    )
    results = judge(dataset, answers_by_cluster(dataset, {}), centroids)
    poses = summarize_groups(results, num_resamples=10)[-1].network.poses
    assert (poses.position_cluster_accuracy is None) == (num_position == 0)
    assert (poses.orientation_cluster_accuracy is None) == (num_orientation == 0)
    assert poses.position_error_m.max == 0.0
    # With one cluster there is nothing to confuse.
    assert len(cluster_confusions(results, centroids)) == 2 * (num_orientation == 2) + 2 * (
        num_position == 2
    )


def test_frames_of_several_datasets_keep_their_own_cameras(dataset: Dataset) -> None:
    other = CameraModel(64, 48, 50.0, 50.0, 31.5, 23.5)
    frames = dataset.frames[:3]
    pairs = list(zip(frames, (TINY_CAMERA, other, None), strict=True))
    gathered = as_dataset("validation", Path(), pairs)
    assert [gathered.camera_of(frame) for frame in gathered.frames] == [TINY_CAMERA, other, None]
    assert [frame.image for frame in gathered.frames] == [frame.image for frame in frames]


def test_a_run_gets_its_report(dataset: Dataset, tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "bundle", SCENES)
    (tmp_path / "history.json").write_text(json.dumps([entry(1), entry(2, {"kitchen": 0.4})]))
    held_back = [(frame, dataset.camera_of(frame)) for frame in dataset.frames[::4]]
    folder = write_training_report(tmp_path, held_back, device="cpu")
    # A run knows of no place that it was not taught.
    written = set(FILES) - {"unknown.csv", "unknown_scores.png"}
    assert {path.name for path in folder.iterdir()} == written
    rows = list(csv.DictReader((folder / "frames.csv").open()))
    assert [row["image"] for row in rows] == [str(frame.image) for frame, _ in held_back]
    localizer = Localizer.load(tmp_path / "bundle", device="cpu")
    frame, camera = held_back[-1]
    picture = cv2.imread(str(frame.image))[..., ::-1].copy()
    estimate = localizer.localize(picture, camera)
    told = [float(rows[-1][name]) for name in ("pred_tx", "pred_ty", "pred_tz")]
    np.testing.assert_allclose(told, estimate.T_map_cam[:3, 3], atol=1e-4)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["frames"] == "validation" and metrics["num_epochs"] == 2
    assert metrics["groups"][-1]["network"]["num_frames"] == len(held_back)
    counts = [np.sum(each["counts"]) for each in metrics["cluster_confusion"]]
    assert sum(counts) == 2 * len(held_back)
    assert "validation frames" in (folder / "report.md").read_text()
    # A drawing that fails leaves the earlier report whole.
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("mspr_ros.evaluation.report.trajectory_figure", lambda *_: 1 / 0)
        write_training_report(tmp_path, held_back[:1], device="cpu")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # A run without held-back frames still shows its curves, and nothing of the earlier report.
    write_training_report(tmp_path, [], device="cpu")
    assert {path.name for path in folder.iterdir()} == {
        "report.md",
        "metrics.json",
        "training.png",
    }
