"""Two processes on the CPU train as one does."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from distributed_worker import gradients_of_one_step, steady_config
from safetensors.torch import load_file
from tiny import make_tiny_dataset
from training_support import make_config

from mspr_ros.bundle import load_bundle
from mspr_ros.config import to_mapping
from mspr_ros.errors import ConfigError
from mspr_ros.training.checkpoint import load_checkpoint
from mspr_ros.training.configuration import ValidationConfig
from mspr_ros.training.distributed import Processes
from mspr_ros.training.samples import EpochBatches
from mspr_ros.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny", frames_per_scene=12)


def torchrun(*arguments: str, cores: int = 1) -> subprocess.Popen[str]:
    """Start two processes that find each other on this machine, whatever its name is."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
            *("--local-addr", "127.0.0.1", *arguments),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test")]),
            "OMP_NUM_THREADS": str(cores),
            "CUDA_VISIBLE_DEVICES": "",
            "GLOO_SOCKET_IFNAME": "lo",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def outcome(process: subprocess.Popen[str], timeout_s: float = 240.0) -> tuple[int, str]:
    """Wait for the processes; none stays behind."""
    try:
        output, _ = process.communicate(timeout=timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, output


@pytest.mark.slow
def test_two_processes_get_the_gradients_of_one_with_the_whole_batch(
    dataset: Path, tmp_path: Path
) -> None:
    code, output = outcome(
        torchrun(str(ROOT / "test" / "distributed_worker.py"), str(dataset), str(tmp_path))
    )
    assert code == 0, output
    alone = gradients_of_one_step(dataset, tmp_path, Processes())
    first, second = (load_file(tmp_path / f"gradients_{rank}.safetensors") for rank in (0, 1))
    assert set(first) == set(second) == set(alone) >= {"s_x", "s_q", "scene_classifier.weight"}
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    assert largest > 1e-2
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        # Single precision; the last term is for gradients that are zero but for rounding.
        tolerance = 1e-5 * float(expected.abs().max()) + 1e-8 * largest
        difference = float((first[name] - expected).abs().max())
        assert difference <= tolerance, f"{name}: {difference}, tolerance {tolerance}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_trains_stops_gently_and_resumes_to_the_same_weights(
    dataset: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    validation = ValidationConfig(
        fraction=0.15, blocks_per_sequence=1, guard_frames=1, every_epochs=2
    )
    # Dropout and averages are on; twelve steps, of which the signal meets one.
    values = make_config(
        dataset, epochs=4, batch_size=4, checkpoint_minutes=0.0, validation=validation
    )
    config.write_text(yaml.safe_dump(to_mapping(values)))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train = ("-m", "mspr_ros", "train", str(config), "--device", "cpu")
    code, output = outcome(
        torchrun(*train, "-o", str(whole), "--json", str(tmp_path / "out.json"))
    )
    assert code == 0, output
    assert "steps on cpu in each of 2 processes" in output
    assert output.count("bundle: ") == 1
    assert "Warning: " not in output
    assert (tmp_path / "out.json").is_file()
    load_bundle(whole / "bundle")

    process = torchrun(*train, "-o", str(stopped))
    _wait_for_a_step(stopped / "last.ckpt", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: torchrun and both processes
    code, output = outcome(process)
    assert code != 0
    assert output.count("stopped by hand and saved") == 1, output
    progress = load_checkpoint(stopped / "last.ckpt")["progress"]
    assert 0 < progress["epoch"] * 3 + progress["step"] < 12
    code, output = outcome(torchrun(*train, "-o", str(stopped), "--resume"))
    assert code == 0, output
    expected = load_bundle(whole / "bundle").network.state_dict()
    for name, tensor in load_bundle(stopped / "bundle").network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def _wait_for_a_step(checkpoint: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline and process.poll() is None:
        if checkpoint.is_file() and load_checkpoint(checkpoint)["progress"]["step"] > 0:
            return
        time.sleep(0.05)
    pytest.fail(f"no step was taken: {outcome(process)}")


def test_the_shares_of_the_processes_are_the_batch(dataset: Path) -> None:
    config = make_config(dataset, batch_size=6)
    scenes = np.array([0, 1] * 12)
    whole = list(EpochBatches(scenes, config, epoch=1))
    shares = [list(EpochBatches(scenes, config, epoch=1, share=(rank, 3))) for rank in range(3)]
    together = [sorted(chain.from_iterable(parts)) for parts in zip(*shares, strict=True)]
    assert together == [sorted(draws) for draws in whole]
    assert all(len(part) == 2 for parts in shares for part in parts)


def test_every_process_sees_every_scene(dataset: Path) -> None:
    config = make_config(dataset, batch_size=8)
    scenes = np.repeat(np.arange(8), 40)
    for rank in range(2):
        batches = EpochBatches(scenes, config, epoch=0, share=(rank, 2))
        drawn = [scenes[index] for draws in batches for _, _, index in draws]
        assert np.bincount(drawn, minlength=8).min() > 0


def test_a_batch_that_cannot_be_shared_evenly_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(steady_config(dataset), batch_size=9)
    with pytest.raises(ConfigError, match="multiple of their number, 4; use 8 or 12"):
        Trainer(config, tmp_path, torch.device("cpu"), processes=Processes(rank=0, count=4))


def test_one_gpu_is_not_shared_by_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="is one GPU, but 2 processes train"):
        Processes(rank=1, count=2, local_rank=1).device("cuda:0")
    assert Processes(rank=1, count=2, local_rank=1).device("cpu") == torch.device("cpu")
