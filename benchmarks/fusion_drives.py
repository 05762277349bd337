"""Drives through the simulator's rooms, and what a bundle's network answers to their images.

Rendering and asking the network take a third of a second a frame on a CPU, so the answers are kept
in a folder; they depend on the drive and on the bundle (its content hash is part of the name).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from mspr_ros.localizer import Localizer
from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.recording import pinhole
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World

# Twice the size that the network sees: a larger picture renders longer and changes no pose.
WIDTH, HEIGHT, FOV_DEG = 320, 240, 70.0


@dataclass(frozen=True)
class Answered:
    """One drive, N frames, with the truth and the network's answers; transforms are (N, 4, 4)."""

    scene: str
    seed: int
    stamps_ns: Any
    T_map_base: Any  # the truth
    T_map_cam: Any  # as the network says
    covariance: Any  # (N, 6, 6), as the bundle says
    right_scene: Any  # (N,) whether the network recognised the scene
    scene_probability: Any
    confidence: Any
    accepted: Any  # (N,)


def answered_drives(
    bundle: Path,
    cache: Path,
    *,
    scenes: list[str],
    seeds: list[int],
    frames: int,
    rate_hz: float,
    refresh: bool,
) -> list[Answered]:
    """Give the drives of each seed through each scene, from the cache where they are there."""
    cv2.setNumThreads(1)
    localizer = Localizer.load(bundle)
    drives = []
    for seed in seeds:
        for scene in scenes:
            name = f"{localizer.content_hash}_{scene}_{seed}_{frames}_{rate_hz:g}hz.npz"
            if refresh or not (cache / name).exists():
                cache.mkdir(parents=True, exist_ok=True)
                values = drive_and_ask(localizer, scene, seed, frames, rate_hz)
                np.savez_compressed(cache / name, **values)
            with np.load(cache / name) as stored:
                drives.append(Answered(scene, seed, **{key: stored[key] for key in stored}))
    return drives


def drive_and_ask(
    localizer: Localizer, scene: str, seed: int, frames: int, rate_hz: float
) -> dict[str, Any]:
    """Render one drive and ask the network about every image."""
    world, camera = World.build("demo"), pinhole(WIDTH, HEIGHT, FOV_DEG)
    renderer, rng = Renderer(world, camera), np.random.default_rng([seed, 1])
    drive = Drive(
        world, [scene], seed=seed, rate_hz=rate_hz, frames_per_scene=frames, start_ns=1_000_000_000
    )
    rows: dict[str, list[Any]] = {}
    for frame in tqdm(drive, total=frames, desc=f"{scene}, seed {seed}", unit="frame"):
        image = renderer.render(frame.scene, frame.T_map_cam, frame.light, rng)
        estimate = localizer.localize(image, camera)
        row = {
            "stamps_ns": frame.stamp_ns,
            "T_map_base": frame.T_map_base,
            "T_map_cam": estimate.T_map_cam,
            "covariance": estimate.covariance,
            "right_scene": estimate.hypotheses[0].scene == scene,
            "scene_probability": estimate.scene_probability,
            "confidence": estimate.confidence,
            "accepted": estimate.accepted,
        }
        for key, value in row.items():
            rows.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in rows.items()}
