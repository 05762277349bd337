"""A bundle and a dataset small enough to be made anew in every test."""

from __future__ import annotations

from pathlib import Path

import torch

from mspr_ros.bundle import BundleMetadata, SceneInfo, save_bundle
from mspr_ros.camera import VirtualCamera
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import PreprocessConfig

TINY_NETWORK = NetworkConfig(
    backbone="tf_efficientnet_lite0",
    hidden_dim=32,
    num_heads=2,
    feedforward_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=32,
    num_position_clusters=2,
    num_orientation_clusters=2,
)
TINY_VIRTUAL_CAMERA = VirtualCamera(fx=60.0, fy=60.0, cx=47.5, cy=31.5, width=96, height=64)


def make_tiny_network(num_scenes: int = 2, seed: int = 0) -> PoseRegressor:
    """Build a small network with random weights and centroids, in evaluation mode."""
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = PoseRegressor(config=TINY_NETWORK, num_scenes=num_scenes)
    network.position_centroids.normal_()
    network.orientation_centroids.normal_()
    network.orientation_centroids /= network.orientation_centroids.norm(dim=-1, keepdim=True)
    torch.random.set_rng_state(generator_state)
    return network.eval()


def make_tiny_bundle(
    folder: Path,
    scenes: tuple[str, ...] = ("kitchen", "office"),
    virtual_camera: VirtualCamera | None = TINY_VIRTUAL_CAMERA,
    seed: int = 0,
) -> Path:
    """Write a bundle with random weights and give its folder."""
    metadata = BundleMetadata(
        network=TINY_NETWORK,
        preprocess=PreprocessConfig(
            width=96, height=64, resize_shorter_px=0, virtual_camera=virtual_camera
        ),
        scenes=tuple(SceneInfo(name) for name in scenes),
    )
    save_bundle(folder, make_tiny_network(len(scenes), seed), metadata)
    return folder
