"""What a run does when numbers, memory or the disk give out, and when nothing gets better."""

from __future__ import annotations

import dataclasses
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.cli.main import main
from mspr_ros.config import to_mapping
from mspr_ros.errors import CheckpointError, ConfigError, MsprError
from mspr_ros.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from mspr_ros.training.configuration import OptimizerConfig, ValidationConfig
from mspr_ros.training.disk import check_disk, readable, run_sizes
from mspr_ros.training.failures import BadNumbers, OutOfMemory, told_in_one_line
from mspr_ros.training.interrupt import GentleInterrupt
from mspr_ros.training.schedule import stops_early
from mspr_ros.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny", frames_per_scene=12)


def make_trainer(dataset: Path, run: Path, **changes: object) -> Trainer:
    run.mkdir(exist_ok=True)
    return Trainer(make_config(dataset, **changes), run, CPU)


def test_the_batch_that_breaks_the_loss_is_saved(dataset: Path, tmp_path: Path) -> None:
    wild = OptimizerConfig(name="adamw", learning_rate=1e30)
    trainer = make_trainer(dataset, tmp_path / "run", optimizer=wild, epochs=5)
    with pytest.raises(BadNumbers, match=r"not finite in step \d+ .*nan_batch\.pt") as error:
        trainer.run()
    saved = torch.load(tmp_path / "run" / "nan_batch.pt", weights_only=True)
    assert f"step {saved['step']} " in str(error.value)
    assert saved["epoch"] == saved["step"] // trainer.steps_per_epoch + 1
    assert not np.isfinite(saved["losses"]["total"]) or "gradient" in str(error.value)
    assert len(saved["draws"]) == trainer.config.batch_size
    again = [trainer.samples.read(tuple(draw)) for draw in saved["draws"]]
    assert torch.equal(
        saved["batch"]["images_u8"], torch.stack([item.images_u8 for item in again])
    )
    index = saved["draws"][3][2]
    assert saved["images"][3] == str(trainer.lesson.train[index].frame.image)
    assert saved["batch"]["selection"]["scene"][3] == trainer.lesson.train[index].scene


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(
    dataset: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(dataset, tmp_path / "run", ema_decay=0.0)
    weight = trainer.network.scene_classifier.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    with pytest.raises(BadNumbers, match="the gradient is not finite in step 0"):
        trainer.run()
    for name, value in trainer.network.named_parameters():
        assert torch.equal(value, before[name]), name
    assert (tmp_path / "run" / "nan_batch.pt").is_file()


def _more_tensor_than_memory() -> None:
    torch.empty(2**55, dtype=torch.uint8)


def _more_array_than_memory() -> None:
    np.empty(2**55, dtype=np.uint8)


def _more_than_the_gpu() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    "use_up", [_more_tensor_than_memory, _more_array_than_memory, _more_than_the_gpu]
)
def test_out_of_memory_names_the_settings_to_lower(
    use_up: Callable[[], None], dataset: Path, tmp_path: Path
) -> None:
    config = make_config(dataset)
    with pytest.raises(OutOfMemory) as error, told_in_one_line(config, tmp_path, CPU):
        use_up()
    message = str(error.value)
    for setting in ("batch_size (now 8)", "width and height (now 96x64)", "num_workers (now 2)"):
        assert setting in message
    assert len(message.splitlines()) == 1


def test_other_errors_pass_as_they_are(dataset: Path, tmp_path: Path) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with (
        pytest.raises(RuntimeError, match="cannot be multiplied"),
        told_in_one_line(make_config(dataset), tmp_path, CPU),
    ):
        raise error


def test_a_full_disk_is_told_before_training(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(dataset, tmp_path / "run")
    usage = shutil.disk_usage(tmp_path)._replace(free=30_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"has 30\.0 MB free, but .* are needed \(checkpoints"):
        trainer.run()
    assert list((tmp_path / "run").iterdir()) == []


def test_the_estimate_covers_what_a_run_writes(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = make_trainer(dataset, run, epochs=1, half_precision_bundle=True)
    sizes = run_sizes(trainer.network, trainer.config)
    trainer.run()
    checkpoints = [(run / name).stat().st_size for name in ("last.ckpt", "best.ckpt")]
    # Two of the three that may lie there at a time; names and structure come on top of tensors.
    assert sum(checkpoints) < sizes["checkpoints"]
    assert max(checkpoints) == pytest.approx(sizes["checkpoints"] / 3, rel=0.1)
    weights = (run / "bundle" / "weights.safetensors").stat().st_size
    assert weights == pytest.approx(sizes["bundle"] / 2, rel=0.1)
    assert list(run.glob("*.partial")) == []


def test_what_is_written_again_needs_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"1\.0 kB free, but 1\.5 kB are needed"):
        check_disk(tmp_path, {"checkpoints": 1500})
    (tmp_path / "last.ckpt").write_bytes(bytes(600))
    check_disk(tmp_path, {"checkpoints": 1500})


def test_a_folder_that_cannot_be_written_is_told(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write to /proc"):
        check_disk(Path("/proc"), {"checkpoints": 1})


@contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    """Let the system refuse writes as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"weights": torch.full((100_000,), 1.0)})
    with (
        no_file_larger_than(50_000),
        pytest.raises(CheckpointError, match="File too large; the one before is kept") as error,
    ):
        save_checkpoint(path, {"weights": torch.full((100_000,), 2.0)})
    assert len(str(error.value).splitlines()) == 1
    assert load_checkpoint(path)["weights"][0] == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_disk_that_fills_up_stops_a_run_in_one_line(dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(dataset, tmp_path / "run")
    with no_file_larger_than(50_000), pytest.raises(MsprError, match="cannot write") as error:
        trainer.run()
    assert len(str(error.value).splitlines()) == 1


def test_a_run_that_gets_no_better_stops_and_stays_stopped(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = {
        # Weights that do not move, and batch statistics neither: every score is the first one.
        "optimizer": OptimizerConfig(name="adam", learning_rate=1e-30, weight_decay=0.0),
        "freeze_batch_norm": True,
        "ema_decay": 0.0,
        "epochs": 9,
        "validation": ValidationConfig(
            fraction=0.15, blocks_per_sequence=1, guard_frames=1, early_stop_epochs=2
        ),
    }
    trainer = make_trainer(dataset, run, **changes)
    result = trainer.run()
    assert [entry["epoch"] for entry in trainer.progress.history] == [1, 2, 3]
    assert result["validation"]["epoch"] == trainer.progress.best_epoch == 1
    resumed = Trainer(trainer.config, run, CPU, resume=True)
    assert resumed.run()["validation"] == result["validation"]
    assert resumed.progress.epoch == 3


def test_only_validated_epochs_count_for_an_early_stop() -> None:
    config = ValidationConfig(every_epochs=2, early_stop_epochs=3)
    history = [{"epoch": 2, "score": 1.0}, {"epoch": 3}, {"epoch": 4, "score": 2.0}, {"epoch": 5}]
    progress = Progress(epoch=5, best_epoch=2, best_score=1.0, history=history)
    assert not stops_early(config, progress)  # epoch 5 says nothing, epoch 4 is 2 after the best
    progress.history = [*history, {"epoch": 6, "score": 1.5}]
    assert stops_early(config, progress)
    assert not stops_early(dataclasses.replace(config, early_stop_epochs=0), progress)


def test_a_score_that_never_was_a_number_stops_early_too() -> None:
    history = [{"epoch": epoch, "score": float("nan")} for epoch in (1, 2, 3)]
    assert stops_early(ValidationConfig(early_stop_epochs=3), Progress(epoch=3, history=history))


def test_early_stop_needs_validation_frames() -> None:
    with pytest.raises(ValueError, match="needs validation frames"):
        ValidationConfig(fraction=0.0, early_stop_epochs=2)


def test_poses_without_images_are_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(dataset, blind, symlinks=True)
    header = yaml.safe_load((blind / "dataset.yaml").read_text())
    (blind / "dataset.yaml").write_text(yaml.safe_dump({**header, "poses_only": True}))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(to_mapping(make_config(blind))))
    assert main(["train", str(config), "-o", str(tmp_path / "run")]) == 1
    assert "the images are not at hand" in capsys.readouterr().err


def test_the_command_line_may_name_the_only_dataset(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = to_mapping(make_config(dataset))
    del values["datasets"]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    assert main(["train", str(config), "--check"]) == 1
    assert "datasets" in capsys.readouterr().err
    assert main(["train", str(config), "--dataset", str(dataset), "--check"]) == 0


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1500, "1.5 kB"), (2.5e12, "2.50 TB")])
def test_sizes_for_people(size: float, text: str) -> None:
    assert readable(int(size)) == text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_wish_to_stop_breaks_off(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    with GentleInterrupt() as interrupt:
        signal.raise_signal(number)
        assert interrupt.requested
        signal.raise_signal(number)  # at once: torchrun handing on what the terminal has sent
        later = time.monotonic() + 2.0
        monkeypatch.setattr(time, "monotonic", lambda: later)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
