"""The shipped bundle: made by the committed configuration, small, and good at what it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mspr_ros.bundle import load_metadata
from mspr_ros.config import from_mapping
from mspr_ros.evaluation.metrics import position_error_m
from mspr_ros.localizer import Localizer
from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.recording import pinhole
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World
from mspr_ros.training.configuration import TrainConfig, load_train_config

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "models" / "demo"


def test_bundle_and_configuration_belong_together() -> None:
    metadata = load_metadata(BUNDLE)
    config = load_train_config(ROOT / "config" / "train" / "demo.yaml")
    # Parsed, so that keys younger than the bundle stand at their defaults.
    resolved = from_mapping(TrainConfig, metadata.training, "bundle.json")
    assert metadata.preprocess == resolved.preprocess
    assert metadata.preprocess.virtual_camera is not None  # what fit_virtual_camera found
    assert round(config.total_images / resolved.epochs) == pytest.approx(6060, rel=0.05)
    found = {"preprocess": config.preprocess, "epochs": config.epochs, "fit_virtual_camera": True}
    assert replace(resolved, total_images=config.total_images, **found) == config
    assert metadata.network == config.network
    assert set(metadata.scene_names) <= set(World.build("demo").scenes)


def test_the_bundle_is_small_and_stored_in_half_precision() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= 8e6
    tensors = safetensors.torch.load_file(BUNDLE / "weights.safetensors")
    floating = {
        tensor.dtype
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and "centroids" not in name
    }
    assert floating == {torch.float16}


def test_it_is_calibrated_on_drives_of_its_own() -> None:
    calibration = load_metadata(BUNDLE).calibration
    assert calibration is not None and calibration.num_frames == 1080
    assert (BUNDLE / "prototypes.safetensors").is_file()
    for one in calibration.coverage:  # held-out blocks, scales set without them
        assert one.position == pytest.approx(one.level, abs=0.1)
        assert one.orientation == pytest.approx(one.level, abs=0.1)


@pytest.mark.slow
def test_it_localizes_a_drive_it_was_not_trained_on() -> None:
    world, localizer = World.build("demo"), Localizer.load(BUNDLE, device="cpu")
    camera = pinhole(640, 480, 70.0)
    renderer = Renderer(world, camera)
    drive = Drive(world, ["office", "kitchen"], seed=77, rate_hz=0.5, frames_per_scene=12)
    rng = np.random.default_rng(77)
    errors, right_scene = [], []
    for frame in drive:
        image = renderer.render(frame.scene, frame.T_map_cam, frame.light, rng)
        estimate = localizer.localize(image, camera)
        errors.append(position_error_m(frame.T_map_cam[:3, 3], estimate.T_map_cam[:3, 3]))
        right_scene.append(estimate.scene == frame.scene)
    assert np.mean(right_scene) > 0.9
    assert np.median(errors) < 0.5  # far better than the middle of the room (about 2 m)
