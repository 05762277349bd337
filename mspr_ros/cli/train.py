"""`mspr train`: from datasets to a bundle.

Several GPUs or machines: `torchrun --nproc-per-node 2 -m mspr_ros train CONFIG -o RUN`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import ConfigError

if TYPE_CHECKING:
    from mspr_ros.training.configuration import TrainConfig
    from mspr_ros.training.distributed import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, help="training configuration (YAML)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="RUN", help="run folder; the bundle is RUN/bundle"
    )
    parser.add_argument(
        "--dataset",
        action="append",
        metavar="DATASET",
        help="dataset folder, instead of those the configuration names, if any (repeatable)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value for one key, as in network.dropout=0.0 or epochs=10 (repeatable)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--resume", action="store_true", help="go on from RUN's last checkpoint")
    parser.add_argument(
        "--check", action="store_true", help="only check the configuration, train nothing"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, and give the bundle's folder and its validation metrics."""
    from mspr_ros.training.configuration import load_train_config

    config = load_train_config(args.config, args.dataset or (), args.set)
    if args.check:
        print(f"{args.config}: ok")
        return {"config": str(args.config), "ok": True}
    if args.output is None:
        raise ConfigError("name the run folder with -o RUN")

    from mspr_ros.training.distributed import joined_processes
    from mspr_ros.training.interrupt import Interrupted

    with joined_processes() as processes:
        if not processes.is_first:
            args.json = None  # the first process writes the result
        try:
            return _train(config, args, processes)
        except Interrupted:
            if processes.is_first:
                raise
            sys.exit(1)  # the first process has said it


def _train(config: TrainConfig, args: argparse.Namespace, processes: Processes) -> dict[str, Any]:
    """Train in this process; the first one prepares the folder and speaks."""
    from mspr_ros.evaluation.training_report import write_training_report
    from mspr_ros.training.trainer import Trainer

    device = processes.device(args.device)
    processes.check_batch_size(config.batch_size)
    if processes.is_first:
        _prepare_folder(args.output, resume=args.resume)
    processes.wait()
    trainer = Trainer(config, args.output, device, resume=args.resume, processes=processes)
    if processes.is_first:
        lesson = trainer.lesson
        together = f" in each of {processes.count} processes" if processes.count > 1 else ""
        print(
            f"{len(lesson.scenes)} scenes, {len(lesson.train)} frames to train on, "
            f"{len(lesson.validation)} to validate ({lesson.validation_source}); "
            f"{trainer.num_steps} steps on {trainer.device}{together}"
        )
        for note in lesson.notes:
            print(note)
        if config.clusters == "auto":
            shape = trainer.config.network
            print(
                f"clusters chosen from the poses: {shape.num_position_clusters} of position, "
                f"{shape.num_orientation_clusters} of orientation"
            )
        if trainer.weight_transfer is not None:
            print(trainer.weight_transfer.describe())
    result = trainer.run()
    if processes.is_first:
        print(f"bundle: {result['bundle']}")
        frames = [(item.frame, item.camera) for item in trainer.lesson.validation]
        report = write_training_report(
            args.output, frames, device=str(device), source=lesson.validation_source
        )
        print(f"report: {report}")
        result["report"] = str(report)
    return result


def _prepare_folder(folder: Path, *, resume: bool) -> None:
    if resume:
        if not folder.is_dir():
            raise ConfigError(f"there is nothing to resume: {folder} does not exist")
        return
    if folder.exists() and any(folder.iterdir()):
        remedy = "add --resume to go on, or " if (folder / "last.ckpt").is_file() else ""
        raise ConfigError(f"{folder} is not empty; {remedy}name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from None
