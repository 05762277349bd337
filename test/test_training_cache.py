"""The cache of decoded pictures: training sees the same bits, and half a cache is never used."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.camera import CameraModel, VirtualCamera
from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.errors import ConfigError, ImageError, MsprError
from mspr_ros.preprocess import PreprocessConfig, Preprocessor
from mspr_ros.training import cache
from mspr_ros.training.cache import ImageCache, cache_key, open_cache
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.lesson import Lesson, prepare_lesson
from mspr_ros.training.reduction import Reduction
from mspr_ros.training.samples import ImageFiles, TrainingSamples
from mspr_ros.training.teaching import measure_rate
from mspr_ros.training.trainer import Trainer
from mspr_ros.training.validation import network_inputs

# More than twice the pixels that the network sees: blocks of 3 x 3 are averaged.
LARGE_CAMERA = CameraModel(384, 288, 270.0, 270.0, 191.5, 143.5)
VIRTUAL = VirtualCamera(fx=80.0, fy=80.0, cx=47.5, cy=31.5, width=96, height=64)
WARPED = PreprocessConfig(width=96, height=64, resize_shorter_px=0, virtual_camera=VIRTUAL)
TURNED = AugmentationConfig(yaw_deg=15.0, roll_deg=10.0, brightness=0.2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "large"
    return make_tiny_dataset(folder, frames_per_scene=12, camera=LARGE_CAMERA)


def make_samples(lesson: Lesson, config: TrainConfig) -> TrainingSamples:
    centroids = lesson.position_centroids, lesson.orientation_centroids
    return TrainingSamples(lesson.train, config, *centroids)


def write(parent: Path, lesson: Lesson, config: TrainConfig, **changes: Any) -> ImageCache:
    return open_cache(parent, lesson.train, config, lesson.data_hash, **changes)


@pytest.mark.parametrize(
    ("preprocess", "augmentation", "stored"),
    [
        (WARPED, AugmentationConfig(), (96, 128)),
        (WARPED, TURNED, (96, 128)),
        (WARPED, dataclasses.replace(TURNED, random_crop=True), (96, 128)),
        (WARPED, dataclasses.replace(TURNED, focal=0.05), (96, 128)),
        (
            PreprocessConfig(width=64, height=64, resize_shorter_px=80),
            AugmentationConfig(random_crop=True),
            (80, 107),
        ),
        (
            PreprocessConfig(width=64, height=64, resize_shorter_px=80),
            AugmentationConfig(),
            (80, 107),
        ),
        (
            PreprocessConfig(width=320, height=320, resize_shorter_px=0),  # enlarged: as it is
            AugmentationConfig(),
            (288, 384),
        ),
    ],
)
def test_training_pictures_are_the_same_bits(
    preprocess: PreprocessConfig,
    augmentation: AugmentationConfig,
    stored: tuple[int, int],
    dataset: Path,
    tmp_path: Path,
) -> None:
    config = make_config(dataset, preprocess=preprocess, augmentation=augmentation)
    lesson = prepare_lesson(config)
    files, cached = make_samples(lesson, config), make_samples(lesson, config)
    cached.images = write(tmp_path, lesson, config)
    assert cached.images.read(lesson.train[0])[0].shape == (*stored, 3)
    for place in range(len(lesson.train)):
        expected, got = files.read((1, place, place)), cached.read((1, place, place))
        assert torch.equal(got.images_u8, expected.images_u8)
        assert torch.equal(got.orientation, expected.orientation)
        assert torch.equal(got.position, expected.position)


def test_a_view_coarser_than_the_cache_stays_close(dataset: Path, tmp_path: Path) -> None:
    # 3.375 pixels a pixel, 2.7 to 4.5 with this jitter: blocks of 2 are stored, 3 or 4 are due.
    config = make_config(dataset, preprocess=WARPED, augmentation=AugmentationConfig(focal=0.2))
    lesson = prepare_lesson(config)
    files, cached = make_samples(lesson, config), make_samples(lesson, config)
    cached.images = write(tmp_path, lesson, config)
    assert cached.images.read(lesson.train[0])[0].shape == (144, 192, 3)
    differences = [
        np.abs(
            files.read((0, place, place)).images_u8.numpy().astype(int)
            - cached.read((0, place, place)).images_u8.numpy()
        )
        for place in range(len(lesson.train))
    ]
    assert np.max(differences) > 0
    assert np.mean(differences) < 1.0


def test_a_run_with_a_cache_ends_in_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    config = make_config(dataset, preprocess=WARPED, augmentation=TURNED)
    networks = []
    for name, folder in (("files", ""), ("cached", str(tmp_path / "cache"))):
        (tmp_path / name).mkdir()
        changed = dataclasses.replace(config, image_cache=folder)
        trainer = Trainer(changed, tmp_path / name, torch.device("cpu"))
        trainer.run()
        networks.append((trainer.answering_network.state_dict(), trainer.progress.history))
    assert networks[0][1] == networks[1][1]
    for name, tensor in networks[0][0].items():
        assert torch.equal(tensor, networks[1][0][name]), name


def test_a_cache_is_written_once_and_announced(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    said: list[str] = []
    write(tmp_path, lesson, config, say=said.append)
    size = len(lesson.train) * 128 * 96 * 3
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.rgb"))
    assert written == size
    assert len(said) == 1
    assert f"writing {len(lesson.train)} pictures, {size / 1000:.1f} kB" in said[0]
    monkeypatch.setattr(cache, "read_image", lambda path: pytest.fail(f"{path} is read again"))
    write(tmp_path, lesson, config, say=said.append)
    assert len(said) == 1


def test_what_a_cache_holds_names_it(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)  # with the images themselves, not links
    config = make_config(copy, preprocess=WARPED)
    lesson = prepare_lesson(config)
    key = cache_key(lesson.train, config, lesson.data_hash)
    assert cache_key(lesson.train, config, lesson.data_hash) == key
    assert cache_key(lesson.train, dataclasses.replace(config, batch_size=2), "") != key
    other = dataclasses.replace(config, batch_size=2, epochs=9)  # nothing to do with pictures
    assert cache_key(lesson.train, other, lesson.data_hash) == key
    wider = dataclasses.replace(VIRTUAL, fx=40.0)
    changed = dataclasses.replace(WARPED, virtual_camera=wider)
    other = dataclasses.replace(config, preprocess=changed)
    assert cache_key(lesson.train, other, lesson.data_hash) != key
    os.utime(lesson.train[3].frame.image, ns=(0, 12345))
    assert cache_key(lesson.train, config, lesson.data_hash) != key


def test_half_a_cache_is_written_anew(dataset: Path, tmp_path: Path) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    picture, _ = write(tmp_path, lesson, config).read(lesson.train[-1])
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (data,) = folder.glob("*.rgb")
    os.truncate(data, data.stat().st_size - 1)
    (folder.with_name(folder.name + ".partial")).mkdir()  # a process died here
    said: list[str] = []
    again, _ = write(tmp_path, lesson, config, say=said.append).read(lesson.train[-1])
    assert len(said) == 1
    np.testing.assert_array_equal(again, picture)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_a_picture_that_cannot_be_read_leaves_nothing_behind(
    dataset: Path, tmp_path: Path
) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    frame = dataclasses.replace(lesson.train[5].frame, image=broken)
    lesson.train[5] = lesson.train[5]._replace(frame=frame)
    with pytest.raises(ImageError, match=r"broken\.png"):
        write(tmp_path / "cache", lesson, config)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_runs_that_start_together_write_one_cache(dataset: Path, tmp_path: Path) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    said: list[str] = []
    arguments = (tmp_path, lesson, config)
    threads = [
        threading.Thread(target=write, args=arguments, kwargs={"say": said.append})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60.0)
    assert len(said) == 1


def test_a_cache_without_room_is_refused_before_it_is_written(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"image cache takes .* 1\.0 MB free"):
        write(tmp_path, lesson, config, reserve_bytes=900_000)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_pictures_of_another_size_than_their_camera_are_refused(dataset: Path) -> None:
    config = make_config(dataset, preprocess=WARPED)
    with pytest.raises(ImageError, match="is 10x20, but its camera 384x288"):
        Reduction(config).picture(np.zeros((20, 10, 3), dtype=np.uint8), LARGE_CAMERA)


def test_a_picture_of_another_size_than_its_camera_is_named(dataset: Path, tmp_path: Path) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    half = tmp_path / "half.png"
    cv2.imwrite(str(half), np.zeros((144, 384, 3), dtype=np.uint8))
    frame = dataclasses.replace(lesson.train[0].frame, image=half)
    lesson.train[0] = lesson.train[0]._replace(frame=frame)
    with pytest.raises(ImageError, match=r"half\.png: the picture is 384x144"):
        write(tmp_path / "cache", lesson, config)
    with pytest.raises(ImageError, match=r"half\.png: image is 384x144 but its camera"):
        make_samples(lesson, config).read((0, 0, 0))
    with pytest.raises(ImageError, match=r"half\.png: image is 384x144 but its camera"):
        list(network_inputs(lesson.train[:2], Preprocessor(WARPED), batch_size=2))


def test_a_cache_that_is_cut_short_while_it_is_read_is_told(dataset: Path, tmp_path: Path) -> None:
    config = make_config(dataset, preprocess=WARPED)
    lesson = prepare_lesson(config)
    images = write(tmp_path, lesson, config)
    assert images.read(lesson.train[-1])[0].flags.writeable  # as torch asks of what it wraps
    (data,) = tmp_path.rglob("*.rgb")
    os.truncate(data, data.stat().st_size - 1)
    images.read(lesson.train[0])
    with pytest.raises(MsprError, match=r"96\.rgb was cut short .* --resume"):
        images.read(lesson.train[-1])


def test_the_speed_is_measured_on_what_the_run_will_read(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = ImageCache.read
    monkeypatch.setattr(
        ImageCache, "read", lambda self, item: (reads.append(item), read(self, item))[1]
    )
    monkeypatch.setattr(ImageFiles, "read", lambda self, item: pytest.fail("a file is decoded"))
    config = make_config(dataset, preprocess=WARPED, batch_size=2, image_cache=str(tmp_path))
    rate, num_frames = measure_rate(config, torch.device("cpu"), 0.0)
    assert rate > 0.0 and num_frames > 0 and len(reads) >= 8
