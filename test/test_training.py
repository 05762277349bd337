"""The trainer, on data small enough for seconds."""

from __future__ import annotations

import dataclasses
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import (
    TINY_CAMERA,
    TINY_NETWORK,
    TINY_VIRTUAL_CAMERA,
    make_tiny_dataset,
    make_tiny_network,
    picture_of_directions,
)
from training_support import make_config

from mspr_ros.bundle import load_bundle
from mspr_ros.camera import CameraModel, fitting_virtual_camera
from mspr_ros.cli.main import main
from mspr_ros.config import to_mapping
from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.data.dataset import Dataset, write_dataset
from mspr_ros.data.images import read_image
from mspr_ros.errors import ConfigError, DatasetError
from mspr_ros.geometry import rotation_from_quat_xyzw
from mspr_ros.network.losses import LossConfig
from mspr_ros.preprocess import PreprocessConfig, Preprocessor
from mspr_ros.training.checkpoint import check_same_run
from mspr_ros.training.configuration import (
    OptimizerConfig,
    TrainConfig,
    load_train_config,
)
from mspr_ros.training.lesson import prepare_lesson, with_virtual_camera
from mspr_ros.training.progress_log import ProgressLog
from mspr_ros.training.samples import (
    EpochBatches,
    ImageFiles,
    LabeledFrame,
    TrainingSamples,
    with_epochs,
)
from mspr_ros.training.schedule import freeze_backbone, learning_rate_at, set_training_mode
from mspr_ros.training.trainer import Interrupted, Trainer
from mspr_ros.training.validation import (
    ask_network,
    network_inputs,
    rotation_residual,
    validate,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def train(config: TrainConfig, run: Path, *, resume: bool = False) -> Trainer:
    run.mkdir(exist_ok=True)
    trainer = Trainer(config, run, CPU, resume=resume)
    trainer.run()
    return trainer


def test_a_run_ends_in_a_bundle_that_answers(dataset: Path, tmp_path: Path) -> None:
    config = make_config(dataset)
    trainer = train(config, tmp_path / "run")
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.metadata.scene_names == ("kitchen", "office")
    assert bundle.metadata.training == to_mapping(config)
    assert bundle.metadata.data_hash == trainer.lesson.data_hash
    assert set(bundle.metadata.validation["scenes"]) == {"kitchen", "office"}
    assert bundle.metadata.cameras["tiny/front"]["fx"] == 90.0
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert bool(torch.isfinite(bundle.network(images).position).all())
    assert (tmp_path / "run" / "history.json").is_file()
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert load_train_config(tmp_path / "run" / "config.yaml") == config


def test_a_run_stopped_in_an_epoch_resumes_to_the_same_weights(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(dataset)
    whole = train(config, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    trainer = Trainer(config, stopped, CPU)
    encode, calls = trainer.network.encode, []

    def press_ctrl_c_in_the_second_epoch(*args: Any, **kwargs: Any) -> Any:
        output = encode(*args, **kwargs)  # dropout has drawn, batch statistics have moved
        calls.append(1)
        if len(calls) == trainer.steps_per_epoch + 2:
            signal.raise_signal(signal.SIGINT)
        return output

    monkeypatch.setattr(trainer.network, "encode", press_ctrl_c_in_the_second_epoch)
    with pytest.raises(Interrupted, match="--resume"):
        trainer.run()
    resumed = train(config, stopped, resume=True)
    expected = whole.answering_network.state_dict()
    for name, tensor in resumed.answering_network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert resumed.progress.history == whole.progress.history


def test_resuming_with_another_configuration_or_nothing_is_refused(
    dataset: Path, tmp_path: Path
) -> None:
    from mspr_ros.errors import CheckpointError

    config = make_config(dataset, epochs=1)
    train(config, tmp_path / "run")
    with pytest.raises(CheckpointError, match="batch_size differ"):
        Trainer(make_config(dataset, epochs=1, batch_size=4), tmp_path / "run", CPU, resume=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="nothing to resume"):
        Trainer(config, tmp_path / "empty", CPU, resume=True)
    (tmp_path / "run" / "last.ckpt").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="damaged"):
        Trainer(config, tmp_path / "run", CPU, resume=True)


def test_frozen_parts_stay_as_they_are_and_the_rest_moves(dataset: Path, tmp_path: Path) -> None:
    config = make_config(
        dataset, epochs=1, frozen_backbone_stages=2, freeze_batch_norm=True, ema_decay=0.0
    )
    (tmp_path / "run").mkdir()
    trainer = Trainer(config, tmp_path / "run", CPU)
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.run()
    after = trainer.network.state_dict()
    frozen = ("backbone.body.conv_stem", "backbone.body.blocks.0.", "backbone.body.blocks.1.")
    for name, tensor in before.items():
        if name.startswith(frozen) or "running_" in name or "centroids" in name:
            assert torch.equal(tensor, after[name]), name
    for name in ("backbone.body.blocks.2.0.conv_pw.weight", "scene_classifier.weight"):
        assert not torch.equal(before[name], after[name]), name


def test_frozen_stages_keep_their_batch_statistics(dataset: Path) -> None:
    config = make_config(dataset, frozen_backbone_stages=2, freeze_batch_norm=False)
    network = make_tiny_network()
    freeze_backbone(network, config)
    set_training_mode(network, config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 96))
    frozen = tuple(f"backbone.body.{name}" for name in ("bn1.", "blocks.0.", "blocks.1."))
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            assert torch.equal(tensor, before[name]) == name.startswith(frozen), name


def test_a_checkpoint_from_before_a_key_goes_on() -> None:
    from mspr_ros.errors import CheckpointError

    config = TrainConfig(datasets=("x",), precision="bf16")
    now, old = to_mapping(config), to_mapping(config)
    del old["frozen_parts"], old["network"]["mixture_clusters"], old["loss"]["robust_position"]
    state = {"config": old, "data_hash": "h"}
    check_same_run(Path("last.ckpt"), state, now, "h")
    for changed in (
        dataclasses.replace(config, frozen_parts=("backbone",)),
        dataclasses.replace(config, loss=LossConfig(robust_position=1.0)),
        dataclasses.replace(config, precision="fp32"),
    ):
        with pytest.raises(CheckpointError, match="another configuration"):
            check_same_run(Path("last.ckpt"), state, to_mapping(changed), "h")


def test_the_bar_says_metres_only_where_they_are_metres(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"position": 0.25, "orientation": 0.5}
    for in_metres, text in ((True, "1/2 0.250 m, q 0.500"), (False, "1/2 x 0.250, q 0.500")):
        with ProgressLog(tmp_path, 2, 0, in_metres=in_metres) as log:
            log.step("1/2", losses)
            assert log._bar.postfix == f"epoch {text}"

    class Told(Exception):
        pass

    def tell(*_: object, in_metres: bool, silent: bool) -> None:
        raise Told(in_metres)

    monkeypatch.setattr("mspr_ros.training.trainer.ProgressLog", tell)
    scaled = dataclasses.replace(TINY_NETWORK, normalize_positions=True)
    for changes, expected in (
        ({}, True),
        ({"network": scaled}, False),
        ({"loss": LossConfig(robust_position=0.5)}, False),
    ):
        with pytest.raises(Told) as told:
            Trainer(make_config(dataset, **changes), tmp_path, CPU)._train()
        assert told.value.args == (expected,)


def test_threads_read_what_a_network_is_asked_about(dataset: Path) -> None:
    config = make_config(dataset)
    frames = prepare_lesson(config).train[:7]
    preprocessor, network, seen = Preprocessor(config.preprocess), make_tiny_network(), set()

    class Watched(ImageFiles):
        def read(self, item: LabeledFrame) -> tuple[np.ndarray, LabeledFrame]:
            seen.add(threading.get_ident())
            return super().read(item)

    pictures = [read_image(item.frame.image) for item in frames]
    expected = preprocessor.tensor(pictures, [item.camera for item in frames])
    for num_workers in (1, 3):
        batches = list(network_inputs(frames, preprocessor, 3, Watched(), num_workers))
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert torch.equal(torch.cat(batches), expected)
    assert threading.get_ident() not in seen
    one, three = (ask_network(network, frames, preprocessor, CPU, 3, None, n) for n in (1, 3))
    np.testing.assert_array_equal(one.position, three.position)


def test_validation_never_sees_a_label(dataset: Path) -> None:
    lesson = prepare_lesson(make_config(dataset))
    network, preprocessor = make_tiny_network(), Preprocessor(make_config(dataset).preprocess)
    honest = validate(network, lesson.validation, preprocessor, CPU, batch_size=4)
    lies = [
        item._replace(
            frame=dataclasses.replace(
                item.frame, position=(9.0, 9.0, 9.0), quat_xyzw=(1.0, 0.0, 0.0, 0.0)
            ),
            scene=1 - item.scene,
        )
        for item in lesson.validation
    ]
    lied_to = validate(network, lies, preprocessor, CPU, batch_size=4)
    truth = np.array([item.frame.position for item in lesson.validation])
    np.testing.assert_array_equal(honest.pred_scene, lied_to.pred_scene)
    np.testing.assert_allclose(
        honest.position_residual + truth, lied_to.position_residual + 9.0, atol=1e-12
    )


def test_validation_blocks_lie_apart_from_training_and_test(dataset: Path) -> None:
    lesson = prepare_lesson(make_config(dataset))
    assert {item.frame.split for item in (*lesson.train, *lesson.validation)} == {"train"}
    for scene in (0, 1):
        trained = [x.frame.stamp_ns for x in lesson.train if x.scene == scene]
        held_back = [x.frame.stamp_ns for x in lesson.validation if x.scene == scene]
        assert held_back
        assert min(abs(a - b) for a in trained for b in held_back) >= 2 * 100_000_000


def test_a_turned_virtual_camera_turns_the_label_with_the_picture(dataset: Path) -> None:
    config = make_config(
        dataset, augmentation=AugmentationConfig(yaw_deg=25.0, pitch_deg=15.0, roll_deg=30.0)
    )
    lesson = prepare_lesson(config)
    samples = TrainingSamples(
        lesson.train, config, lesson.position_centroids, lesson.orientation_centroids
    )
    virtual = TINY_VIRTUAL_CAMERA
    seen_as = CameraModel(96, 64, virtual.fx, virtual.fy, virtual.cx, virtual.cy)
    for place in range(6):
        batch = samples.read((0, place, place))
        R_map_cam = rotation_from_quat_xyzw(batch.orientation.numpy())
        expected = picture_of_directions(seen_as, R_map_cam).astype(float)
        filled = (batch.images_u8.numpy() == np.array(samples.preprocessor._fill)).all(axis=-1)
        difference = np.abs(batch.images_u8.numpy() - expected)[~filled]
        assert np.median(difference) < 2.0
        assert (~filled).mean() > 0.5
        frame = lesson.train[place].frame
        np.testing.assert_allclose(batch.position, frame.position, rtol=1e-6)
        assert not np.allclose(batch.orientation, frame.quat_xyzw, atol=1e-3)


def test_a_draw_can_be_drawn_again(dataset: Path) -> None:
    config = make_config(dataset)
    lesson = prepare_lesson(config)
    samples = TrainingSamples(
        lesson.train, config, lesson.position_centroids, lesson.orientation_centroids
    )
    first, again, other = (samples.read(draw) for draw in ((1, 3, 2), (1, 3, 2), (2, 3, 2)))
    assert torch.equal(first.images_u8, again.images_u8)
    assert not torch.equal(first.images_u8, other.images_u8)


def test_a_virtual_camera_needs_intrinsics(tmp_path: Path) -> None:
    blind = make_tiny_dataset(tmp_path / "blind", camera=None)
    with pytest.raises(ConfigError, match="has no intrinsics"):
        prepare_lesson(make_config(blind))


def test_balanced_batches_hold_every_scene_equally_often(dataset: Path) -> None:
    scenes = np.array([0] * 40 + [1] * 8)
    config = make_config(dataset, batch_size=4)
    for draws in EpochBatches(scenes, config, epoch=3):
        assert np.bincount(scenes[[index for _, _, index in draws]]).tolist() == [2, 2]
    plain = dataclasses.replace(config, balance="none")
    drawn = [index for draws in EpochBatches(scenes, plain, epoch=3) for _, _, index in draws]
    assert sorted(drawn) == list(range(48))


def test_an_epoch_begun_in_the_middle_holds_the_rest_of_it(dataset: Path) -> None:
    scenes, config = np.zeros(40, dtype=int), make_config(dataset)
    whole = list(EpochBatches(scenes, config, epoch=1))
    assert list(EpochBatches(scenes, config, epoch=1, first_step=2)) == whole[2:]
    assert list(EpochBatches(scenes, config, epoch=2)) != whole


def test_learning_rates() -> None:
    step = OptimizerConfig(learning_rate=1.0, schedule="step", step_epochs=10, step_factor=0.1)
    rates = [learning_rate_at(step, epoch * 5, 5, 300) for epoch in (0, 9, 10, 25)]
    np.testing.assert_allclose(rates, [1.0, 1.0, 0.1, 0.01])
    cosine = OptimizerConfig(learning_rate=1.0, schedule="cosine", warmup_steps=10)
    assert learning_rate_at(cosine, 0, 5, 100) == pytest.approx(0.1)
    assert learning_rate_at(cosine, 50, 5, 100) == pytest.approx(0.5)
    assert learning_rate_at(cosine, 100, 5, 100) == pytest.approx(0.0, abs=1e-12)


def test_rotation_residuals_are_about_the_maps_axes() -> None:
    half_turn = np.array([[0.0, 0.0, 1.0, 0.0]])
    turned = np.array([[np.sin(0.05), 0.0, 0.0, np.cos(0.05)]])  # 0.1 rad about x
    from scipy.spatial.transform import Rotation

    pred = (Rotation.from_quat(turned) * Rotation.from_quat(half_turn)).as_quat()
    np.testing.assert_allclose(rotation_residual(half_turn, pred), [[0.1, 0.0, 0.0]], atol=1e-12)


def test_several_datasets_may_not_hold_the_same_scene(dataset: Path, tmp_path: Path) -> None:
    second = make_tiny_dataset(tmp_path / "second", scenes=("office",))
    with pytest.raises(DatasetError, match="same scene: office"):
        prepare_lesson(make_config(dataset, datasets=(str(dataset), str(second))))


def test_a_map_frame_for_no_scene_is_refused(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="kichen"):
        prepare_lesson(make_config(dataset, map_frames={"kichen": "floor_1"}))


def test_all_bad_values_of_a_configuration_are_told(dataset: Path) -> None:
    with pytest.raises(ValueError, match="seed must not be negative") as error:
        make_config(dataset, seed=-1, frozen_backbone_stages=-5, epochs=0)
    assert "frozen_backbone_stages" in str(error.value)
    assert "epochs" in str(error.value)


def test_the_virtual_camera_fits_the_widest_of_the_cameras(dataset: Path) -> None:
    plain = PreprocessConfig(width=96, height=64, resize_shorter_px=0)
    config = make_config(dataset, preprocess=plain, fit_virtual_camera=True)
    fitted = with_virtual_camera(config)
    assert not fitted.fit_virtual_camera
    virtual, camera = fitted.preprocess.virtual_camera, TINY_CAMERA
    assert virtual is not None
    # All of the picture is seen, and its larger side fills the virtual one.
    corner = (np.array([-0.5, -0.5]) - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    seen = corner * [virtual.fx, virtual.fy] + [virtual.cx, virtual.cy]
    assert min(seen) == pytest.approx(-0.5)
    assert with_virtual_camera(fitted) is fitted
    with pytest.raises(ValueError, match="leave out fit_virtual_camera"):
        dataclasses.replace(fitted, fit_virtual_camera=True)


def test_the_virtual_camera_fits_the_training_frames_alone(dataset: Path, tmp_path: Path) -> None:
    """Neither a camera that no frame has, nor that of another scene or split, counts."""
    wide = dataclasses.replace(TINY_CAMERA, fx=30.0, fy=30.0)
    old = Dataset.load(dataset)
    frames = [
        dataclasses.replace(frame, camera="wide")
        if frame.scene == "office" or frame.split == "test"
        else frame
        for frame in old.frames
    ]
    cameras = {**old.cameras, "wide": wide, "unused": dataclasses.replace(wide, fx=10.0)}
    folder = tmp_path / "data"
    write_dataset(folder, name="data", frames=frames, cameras=cameras, scenes=old.scenes)
    plain = PreprocessConfig(width=96, height=64, resize_shorter_px=0)
    config = make_config(folder, preprocess=plain, fit_virtual_camera=True)
    for scenes, camera in (((), wide), (("kitchen",), TINY_CAMERA)):
        fitted = with_virtual_camera(dataclasses.replace(config, scenes=scenes))
        expected = fitting_virtual_camera([camera], 96, 64)
        assert fitted.preprocess.virtual_camera == expected
    with pytest.raises(ConfigError, match="hal"):
        with_virtual_camera(dataclasses.replace(config, scenes=("hal",)))


def test_a_number_of_images_becomes_epochs(dataset: Path) -> None:
    config = make_config(dataset, batch_size=8, total_images=100)
    fixed = with_epochs(config, num_frames=30)  # 3 batches of 8 an epoch
    assert (fixed.epochs, fixed.total_images) == (4, 0)
    assert with_epochs(fixed, num_frames=30) is fixed
    assert with_epochs(config, num_frames=1000).epochs == 1


def test_more_clusters_than_frames_are_refused(dataset: Path) -> None:
    network = dataclasses.replace(TINY_NETWORK, num_position_clusters=100)
    with pytest.raises(ConfigError, match="scene 'kitchen': 100 clusters"):
        prepare_lesson(make_config(dataset, network=network))


def test_the_command_line_checks_trains_and_refuses(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = to_mapping(make_config(dataset, epochs=1))
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(values))
    assert main(["train", str(config), "--check"]) == 0
    assert main(["train", str(config), "-o", str(run), "--device", "cpu"]) == 0
    assert main(["train", str(config), "-o", str(run)]) == 1
    assert "--resume" in capsys.readouterr().err
    config.write_text(yaml.safe_dump({**values, "epoks": 3, "batch_size": "8"}))
    assert main(["train", str(config), "--check"]) == 1
    error = capsys.readouterr().err
    assert "unknown key 'epoks'" in error
    assert "batch_size" in error
    assert len(error.strip().splitlines()) == 1


def test_every_committed_configuration_is_valid() -> None:
    folder = Path(__file__).resolve().parents[1] / "config" / "train"
    configs = sorted(folder.glob("*.yaml"))
    assert configs
    for path in configs:
        assert load_train_config(path).epochs > 0
