"""Scenes join a bundle: what it said before stays, its calibration and prototypes grow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny import make_tiny_bundle, make_tiny_dataset
from training_support import make_config

from mspr_ros.bundle import load_bundle, save_bundle
from mspr_ros.calibration.fit import CalibrationOptions
from mspr_ros.cli.teach_report import compare_bundles
from mspr_ros.config import to_mapping
from mspr_ros.data.dataset import Dataset
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.preprocess import Preprocessor
from mspr_ros.training import growing
from mspr_ros.training.calibrating import calibrate_on, prototypes_of
from mspr_ros.training.growing import grow_bundle, join
from mspr_ros.training.samples import LabeledFrame, labeled_frames

CPU = torch.device("cpu")


def calibrated_bundle(folder: Path, dataset: Path, scene: str) -> Path:
    """Write an untrained bundle of one scene, calibrated on that scene's frames."""
    bundle = load_bundle(make_tiny_bundle(folder, (scene,)))
    pipeline = Preprocessor(bundle.metadata.preprocess)
    frames = labeled_frames([Dataset.load(dataset)], (scene,))
    prototypes = prototypes_of(bundle.network, frames, pipeline, CPU, 40)
    trust = calibrate_on(
        bundle.network, frames, pipeline, CPU, (scene,), prototypes, CalibrationOptions()
    )
    assert trust is not None
    metadata = dataclasses.replace(bundle.metadata, calibration=trust.calibration)
    save_bundle(folder, bundle.network, metadata, prototypes=prototypes)
    return folder


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the old bundle, the data sets and the grown bundle."""
    folder = tmp_path_factory.mktemp("growing")
    for scene in ("kitchen", "office"):
        make_tiny_dataset(folder / f"{scene}_data", (scene,), frames_per_scene=30)
    calibrated_bundle(folder / "old", folder / "kitchen_data", "kitchen")
    (folder / "run").mkdir()
    calibrated_bundle(folder / "run" / "bundle", folder / "office_data", "office")
    config = yaml.safe_dump(to_mapping(make_config(folder / "office_data")))
    (folder / "run" / "config.yaml").write_text(config)
    grow_bundle(folder / "old", folder / "run", folder / "grown", device=CPU)
    return folder


def test_old_poses_are_the_very_same(grown: Path) -> None:
    dataset = grown / "kitchen_data"
    kitchen = compare_bundles(grown / "old", grown / "grown", [dataset], "cpu")["kitchen"]
    assert kitchen["identical_poses_scene_given"] == kitchen["frames"] > 0
    assert kitchen["before_scene_given"] == kitchen["after_scene_given"]


def test_a_small_scene_beside_a_large_one_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_bundle(make_tiny_bundle(tmp_path / "old", ("kitchen",)))
    learned = load_bundle(make_tiny_bundle(tmp_path / "new", ("office", "shed")))
    network = join(before, learned)
    frame = Dataset.load(make_tiny_dataset(tmp_path / "data", ("office",), 1)).frames[0]
    frames = [LabeledFrame(frame, None, scene) for scene in [0] * 20 + [1]]
    lesson = SimpleNamespace(train=frames, validation=[])
    monkeypatch.setattr(growing, "MOST_FRAMES", 4)
    monkeypatch.setattr(
        growing, "_embeddings", lambda _, chosen, *__: torch.randn(len(chosen), 2, 64)
    )
    growing._learn_familiarity(network, learned.metadata, lesson, CPU)
    assert network.familiarity[-1].mean.isfinite().all()
    assert network.familiarity[-1].mean.any(dim=-1).all()


def test_the_calibration_grows_and_keeps_what_it_was(grown: Path) -> None:
    old, new = load_bundle(grown / "old"), load_bundle(grown / "grown")
    assert isinstance(new.network, GrownRegressor) and new.network.groups == (1, 1)
    assert old.metadata.calibration is not None and new.metadata.calibration is not None
    assert [info.name for info in new.metadata.calibration.scenes] == ["kitchen", "office"]
    kept = dataclasses.replace(
        new.metadata.calibration, scenes=new.metadata.calibration.scenes[:1]
    )
    assert kept == old.metadata.calibration
    assert old.prototypes is not None and new.prototypes is not None
    count = len(old.prototypes.scene)
    assert (new.prototypes.descriptor[:count] == old.prototypes.descriptor).all()
    assert set(new.prototypes.scene[count:].tolist()) == {1}
