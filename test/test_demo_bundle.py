"""The shipped bundle: made by the committed configuration, small, and good at what it is for."""

from __future__ import annotations

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
    assert from_mapping(TrainConfig, metadata.training, "bundle.json") == config
    assert metadata.network == config.network
    assert metadata.preprocess == config.preprocess
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
    assert np.median(errors) < 1.0  # far better than the middle of the room (about 2 m)
