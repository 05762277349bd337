"""One of several processes in a test: take one training step and save its gradients.

torchrun --nproc-per-node 2 test/distributed_worker.py DATASET FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from training_support import make_config

from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.distributed import Processes, joined_processes
from mspr_ros.training.samples import EpochBatches, load_batches
from mspr_ros.training.schedule import set_training_mode
from mspr_ros.training.trainer import Trainer


def steady_config(dataset: Path) -> TrainConfig:
    """Leave out what depends on how a batch is shared: batch statistics and dropout."""
    config = make_config(dataset, freeze_batch_norm=True, ema_decay=0.0)
    return dataclasses.replace(config, network=dataclasses.replace(config.network, dropout=0.0))


def gradients_of_one_step(
    dataset: Path, run: Path, processes: Processes
) -> dict[str, torch.Tensor]:
    """Train one step and give the gradients of the network and of the loss's own scales."""
    trainer = Trainer(steady_config(dataset), run, torch.device("cpu"), processes=processes)
    set_training_mode(trainer.network, trainer.config)
    share = (processes.rank, processes.count)
    batches = EpochBatches(trainer.group_of_frame, trainer.config, 0, share=share)
    trainer._step(next(load_batches(trainer.samples, batches, 1)), batches.draws(0))
    return {
        name: parameter.grad.contiguous()
        for module in (trainer.network, trainer.criterion)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def main() -> None:
    """Run in every process; each saves what it got."""
    dataset, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with joined_processes() as processes:
        gradients = gradients_of_one_step(dataset, folder, processes)
        save_file(gradients, folder / f"gradients_{processes.rank}.safetensors")


if __name__ == "__main__":
    main()
