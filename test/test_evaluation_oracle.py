"""Oracles: told part of the truth, kept apart from the result."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY_NETWORK, make_tiny_bundle, make_tiny_dataset

from mspr_ros.bundle import load_bundle, save_bundle
from mspr_ros.cli.main import main
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import ConfigError
from mspr_ros.evaluation.answers import ask_localizer
from mspr_ros.evaluation.evaluate import summarize_groups
from mspr_ros.evaluation.judging import Centroids, judge
from mspr_ros.evaluation.oracle import ORACLES, ask_oracles
from mspr_ros.localizer import Localizer
from mspr_ros.network.regressor import PoseRegressor

SCENES = ("kitchen", "office")


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "rooms"
    return make_tiny_dataset(folder, SCENES, frames_per_scene=10)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("oracle") / "bundle", SCENES)


def test_an_oracle_tells_the_truth_and_nothing_else(bundle: Path, dataset_folder: Path) -> None:
    """With no residuals left, told clusters give exactly the true clusters' centroids."""
    localizer = Localizer.load(bundle, device="cpu")
    for head in (localizer.network.position_head, localizer.network.orientation_head):
        for parameter in head.parameters():
            parameter.data.zero_()
    dataset = Dataset.load(dataset_folder)
    dataset.frames[3].image.with_suffix(".bak").write_bytes(dataset.frames[3].image.read_bytes())
    dataset.frames[3].image.write_bytes(b"no image")
    try:
        centroids = Centroids.of_network(localizer.network, SCENES)
        asked = ask_localizer(localizer, dataset, batch_size=7, show_progress=False)
        honest = judge(dataset, asked, centroids)
        told = ask_oracles(
            localizer, dataset, honest, list(ORACLES), batch_size=7, show_progress=False
        )
    finally:
        shutil.move(dataset.frames[3].image.with_suffix(".bak"), dataset.frames[3].image)
    # Random weights see one scene in every picture: half are wrong.
    assert {result.scene_correct for result in honest} == {True, False}
    for row, result in enumerate(honest):
        answers = {name: told[name][row] for name in ORACLES}
        if row == 3:
            assert {answer.problem for answer in answers.values()} == {result.answer.problem}
            assert result.failed and result.answer.problem
            continue
        scene = SCENES.index(result.gt_scene)
        true_place = centroids.positions[scene, result.gt_position_cluster]
        np.testing.assert_allclose(answers["both"].position, true_place, atol=1e-6)
        assert answers["both"].scene == answers["scene"].scene == result.gt_scene
        own = centroids.positions[scene, answers["scene"].position_cluster]
        np.testing.assert_allclose(answers["scene"].position, own, atol=1e-6)
        if result.scene_correct:
            np.testing.assert_array_equal(answers["clusters"].position, answers["both"].position)
            np.testing.assert_allclose(
                answers["scene"].position, result.answer.position, atol=1e-6
            )
        else:
            assert answers["clusters"] is result.answer
    both = summarize_groups(judge(dataset, told["both"], centroids), num_resamples=10)[-1]
    assert both.network.poses.num_failures == 1
    assert both.network.poses.position_cluster_accuracy is None  # it was given, not answered


def test_the_result_is_the_same_with_and_without_oracles(
    bundle: Path, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(bundle), str(dataset_folder), "--no-baseline", "--device", "cpu"]
    assert main([*command, "--json", str(tmp_path / "honest.json")]) == 0
    table = capsys.readouterr().out
    assert "never the result" not in table
    options = [word for name in ORACLES for word in ("--oracle", name)]
    out = tmp_path / "report"
    assert main([*command, *options, "--json", str(tmp_path / "told.json"), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(table)
    assert "oracle, never the result" in printed.removeprefix(table)
    honest = json.loads((tmp_path / "honest.json").read_text())
    told = json.loads((tmp_path / "told.json").read_text())
    oracle = told.pop("oracle")
    assert told == honest
    assert set(oracle) == {"note", *ORACLES} and "never the result" in oracle["note"]
    overall = {name: oracle[name]["groups"][-1]["network"] for name in ORACLES}
    assert overall["both"]["scene_accuracy"] == overall["scene"]["scene_accuracy"] == 1.0
    own = honest["groups"][-1]["network"]
    assert own["scene_accuracy"] == overall["clusters"]["scene_accuracy"] < 1.0
    assert overall["both"]["position_error_m"] != own["position_error_m"]
    for kind in ("position", "orientation"):  # the honest run's own clusters are judged
        assert 0.0 <= own[f"{kind}_cluster_accuracy"] <= 1.0
    assert "never the result" not in (out / "report.md").read_text()


def test_a_network_without_clusters_has_the_scene_oracle_only(
    bundle: Path, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(TINY_NETWORK, num_position_clusters=0, num_orientation_clusters=0)
    metadata = dataclasses.replace(load_bundle(bundle).metadata, network=config)
    direct = tmp_path / "direct"
    save_bundle(direct, PoseRegressor(config=config, num_scenes=2), metadata)
    command = ["evaluate", str(direct), str(dataset_folder), "--no-baseline", "--device", "cpu"]
    assert main([*command, "--oracle", "both"]) == 1
    assert "no clusters" in capsys.readouterr().err
    numbers = tmp_path / "direct.json"
    out = tmp_path / "report"
    assert main([*command, "--oracle", "scene", "--json", str(numbers), "-o", str(out)]) == 0
    metrics = json.loads(numbers.read_text())
    network = metrics["groups"][-1]["network"]
    assert network["num_failures"] == 0 and network["position_cluster_accuracy"] is None
    assert metrics["cluster_confusion"] == [] and not (out / "clusters.png").exists()
    localizer = Localizer.load(direct, device="cpu")
    with pytest.raises(ConfigError, match="no clusters"):
        ask_oracles(localizer, Dataset.load(dataset_folder), [], ["clusters"])


def test_poses_without_images_are_refused(
    bundle: Path, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "poses"
    shutil.copytree(dataset_folder, folder)
    header = folder / "dataset.yaml"
    text = header.read_text()
    assert "poses_only: false" in text
    header.write_text(text.replace("poses_only: false", "poses_only: true"))
    assert main(["evaluate", str(bundle), str(folder), "--no-baseline"]) == 1
    told = capsys.readouterr()
    assert "images are not at hand" in told.err and told.out == ""
