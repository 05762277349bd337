"""Train on 100,000 frames and tell how much memory that takes.

    python benchmarks/stream_100k.py [--images 20000] [--cache] [--json FILE]

A few JPEG files stand in for all frames (hard links to them), so that the data set is made in a
minute and takes no room; each frame has a name, a pose and a place in a sequence of its own, and
each is read and decoded. The network is small: what is measured is the memory of the process and
the pace of the data, not what is learned. The memory is the largest resident set of the process
that trains; another process makes the data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
import time
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from mspr_ros.camera import CameraModel, VirtualCamera
from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.data.dataset import Frame, write_dataset
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.preprocess import PreprocessConfig
from mspr_ros.training.configuration import TrainConfig, ValidationConfig
from mspr_ros.training.interrupt import Interrupted
from mspr_ros.training.trainer import Trainer

NUM_FILES = 16
FRAMES_PER_SEQUENCE = 1000
CAMERA = CameraModel(320, 240, 250.0, 250.0, 159.5, 119.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--images", type=int, help="stop after so many; default: one epoch")
    parser.add_argument("--cache", action="store_true", help="with decoded pictures on disk")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stream_") as temporary:
        folder = Path(temporary)
        maker = get_context("spawn").Process(target=make_dataset, args=(folder, args.frames))
        maker.start()
        maker.join()
        if maker.exitcode != 0:
            sys.exit("the data set could not be made")
        measured = train(folder, args.images or args.frames, cache=args.cache)
    report = {"command": " ".join(["python", *sys.argv]), **measured, **machine()}
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n", encoding="utf-8")


def make_dataset(folder: Path, num_frames: int) -> None:
    """Write FOLDER/dataset, whose images are links to a few noisy pictures."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(NUM_FILES):
        coarse = rng.integers(0, 256, (CAMERA.height // 8, CAMERA.width // 8, 3))
        picture = cv2.resize(coarse.astype(np.uint8), (CAMERA.width, CAMERA.height))
        files.append(folder / f"picture_{number}.jpg")
        cv2.imwrite(str(files[-1]), picture)
    (folder / "links").mkdir()
    quats_xyzw = rng.normal(size=(num_frames, 4))
    quats_xyzw /= np.linalg.norm(quats_xyzw, axis=1, keepdims=True)
    positions = rng.uniform(-5.0, 5.0, (num_frames, 3))
    frames = []
    for index in range(num_frames):
        sequence, place = divmod(index, FRAMES_PER_SEQUENCE)
        link = folder / "links" / f"frame_{index:06d}.jpg"
        os.link(files[index % NUM_FILES], link)
        frames.append(
            Frame(
                scene=f"scene_{sequence % 4}",
                split="train",
                sequence=f"seq_{sequence:03d}",
                stamp_ns=place * 100_000_000,
                camera="camera",
                image=link,
                position=tuple(positions[index].tolist()),
                quat_xyzw=tuple(quats_xyzw[index].tolist()),
            )
        )
    write_dataset(
        folder / "dataset",
        name="stand_in",
        frames=frames,
        cameras={"camera": CAMERA},
        scenes=sorted({frame.scene for frame in frames}),
        images="reference",
    )


def train(folder: Path, num_images: int, *, cache: bool) -> dict[str, Any]:
    """Train on the data set, stop after so many images, and give memory and pace."""
    config = make_config(folder, str(folder / "cache") if cache else "")
    at_start_mb, started = max_rss_mb(), time.monotonic()
    (folder / "run").mkdir()
    trainer = Trainer(config, folder / "run", torch.device("cpu"))
    ready_s, ready_mb = time.monotonic() - started, max_rss_mb()
    steps = min(trainer.steps_per_epoch, max(1, num_images // config.batch_size))
    first_step = stop_after(trainer, steps)
    try:
        trainer.run()
    except Interrupted:
        print(f"stopped after {trainer.progress.step} steps, as asked")
    done = trainer.progress.epoch * trainer.steps_per_epoch + trainer.progress.step
    return {
        "frames": len(trainer.lesson.train) + len(trainer.lesson.validation),
        "images_trained": done * config.batch_size,
        "images_per_s": round(
            (done - 1) * config.batch_size / (time.monotonic() - first_step[0]), 1
        ),
        "prepare_s": round(ready_s, 1),
        "rss_imported_mb": at_start_mb,
        "rss_prepared_mb": ready_mb,
        "max_rss_mb": max_rss_mb(),
        "image_cache": cache,
    }


def stop_after(trainer: Trainer, steps: int) -> list[float]:
    """Press Ctrl-C after so many steps, if the epoch is not over; give the first step's end."""
    ended: list[float] = []

    def watch() -> None:
        while trainer.progress.step < 1:
            time.sleep(0.01)
        ended.append(time.monotonic())
        while trainer.progress.epoch == 0 and trainer.progress.step < steps:
            time.sleep(0.01)
        if trainer.progress.epoch == 0 and steps < trainer.steps_per_epoch:
            signal.raise_signal(signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    return ended


def make_config(folder: Path, cache: str) -> TrainConfig:
    """Describe a run with a network so small that reading pictures is most of the work."""
    return TrainConfig(
        datasets=(str(folder / "dataset"),),
        network=NetworkConfig(
            backbone="tf_efficientnet_lite0",
            position_stride=8,
            orientation_stride=8,
            hidden_dim=32,
            num_heads=2,
            feedforward_dim=32,
            num_encoder_layers=1,
            num_decoder_layers=1,
            head_dim=32,
            num_position_clusters=2,
            num_orientation_clusters=2,
        ),
        preprocess=PreprocessConfig(
            width=64,
            height=48,
            resize_shorter_px=0,
            virtual_camera=VirtualCamera(50.0, 50.0, 31.5, 23.5, 64, 48),
        ),
        augmentation=AugmentationConfig(yaw_deg=10.0),
        validation=ValidationConfig(fraction=0.01, blocks_per_sequence=1),
        epochs=1,
        batch_size=32,
        balance="scenes",
        pretrained_backbone=False,
        frozen_parts=("backbone",),
        image_cache=cache,
    )


def max_rss_mb() -> float:
    """Give the largest memory this process ever had resident."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def machine() -> dict[str, Any]:
    """Say where and when this was measured."""
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average_5_min": round(os.getloadavg()[1], 1),  # above the cores: others ran too
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


if __name__ == "__main__":
    main()
