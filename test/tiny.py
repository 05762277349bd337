"""A bundle and a dataset small enough to be made anew in every test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mspr_ros.bundle import BundleMetadata, SceneInfo, save_bundle
from mspr_ros.camera import CameraModel, VirtualCamera
from mspr_ros.data.dataset import Frame, write_dataset
from mspr_ros.geometry import quat_xyzw_from_rotation
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
TINY_CAMERA = CameraModel(128, 96, 90.0, 90.0, 63.5, 47.5)
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


def picture_of_directions(camera: CameraModel, R_map_cam: np.ndarray) -> np.ndarray:
    """Draw a scene at infinity whose colour follows from the direction in the map alone.

    Hence a picture tells its orientation, and a turned camera can be checked pixel by pixel.
    """
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([columns, rows, np.ones_like(columns)], axis=-1)
    rays = pixels @ np.linalg.inv(camera.K).T @ R_map_cam.T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    waves = np.sin(rays * [3.0, 4.0, 5.0] + rays[..., [1, 2, 0]] * 2.0)
    return np.asarray(np.round(127.5 + 120.0 * waves), dtype=np.uint8)


def make_tiny_dataset(
    folder: Path,
    scenes: tuple[str, ...] = ("kitchen", "office"),
    frames_per_scene: int = 24,
    camera: CameraModel | None = TINY_CAMERA,
) -> Path:
    """Write a dataset of small pictures that tell their orientation, and give its folder."""
    images = folder.with_name(folder.name + "_images")
    images.mkdir(parents=True)
    frames, drawn_with = [], camera or TINY_CAMERA
    for scene_index, scene in enumerate(scenes):
        rng = np.random.default_rng(scene_index)
        for number in range(frames_per_scene):
            turn = Rotation.from_euler(
                "YX", [2.0 * number + 90.0 * scene_index, 5.0], degrees=True
            )
            position = rng.normal(size=3)
            position += np.array([0.1 * number, 0.0, scene_index])
            path = images / f"{scene}_{number:03d}.png"
            picture = picture_of_directions(drawn_with, turn.as_matrix())
            cv2.imwrite(str(path), picture[..., ::-1])
            frames.append(
                Frame(
                    scene=scene,
                    split="test" if number >= 0.8 * frames_per_scene else "train",
                    sequence="walk",
                    stamp_ns=1_000_000_000 + number * 100_000_000,
                    camera="front" if camera else "",
                    image=path,
                    position=tuple(position),
                    quat_xyzw=tuple(quat_xyzw_from_rotation(turn.as_matrix())),
                )
            )
    write_dataset(
        folder,
        name=folder.name,
        frames=frames,
        cameras={"front": camera} if camera else {},
        scenes=scenes,
    )
    return folder
