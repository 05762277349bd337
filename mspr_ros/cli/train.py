"""`mspr train`: from datasets to a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mspr_ros.errors import ConfigError


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
        help="dataset folder, instead of those the configuration names (repeatable)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--resume", action="store_true", help="go on from RUN's last checkpoint")
    parser.add_argument(
        "--check", action="store_true", help="only check the configuration, train nothing"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, and give the bundle's folder and its validation metrics."""
    import dataclasses

    from mspr_ros.training.configuration import load_train_config

    config = load_train_config(args.config)
    if args.dataset:
        config = dataclasses.replace(config, datasets=tuple(args.dataset))
    if args.check:
        print(f"{args.config}: ok")
        return {"config": str(args.config), "ok": True}
    if args.output is None:
        raise ConfigError("name the run folder with -o RUN")
    _prepare_folder(args.output, resume=args.resume)

    from mspr_ros.localizer import choose_device
    from mspr_ros.training.trainer import Trainer

    trainer = Trainer(config, args.output, choose_device(args.device), resume=args.resume)
    lesson = trainer.lesson
    print(
        f"{len(lesson.scenes)} scenes, {len(lesson.train)} frames to train on, "
        f"{len(lesson.validation)} to validate; {trainer.num_steps} steps on {trainer.device}"
    )
    result = trainer.run()
    print(f"bundle: {result['bundle']}")
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
