"""Run a study: choose sizes, train and measure what lacks, write what was found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mspr_ros.config import to_mapping
from mspr_ros.device import choose_device
from mspr_ros.errors import ConfigError, MsprError
from mspr_ros.studies.report import write_report
from mspr_ros.studies.sizes import RATE_SECONDS, Sizes, add_sizes, choose_sizes, for_length
from mspr_ros.studies.study import SELECTING, Cell, CellResult, Setting, Study
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.interrupt import Interrupted

PLAN_FILE = "plan.json"
# What a trained cell leaves behind beside its bundle: needed to resume, not afterwards.
_SCRATCH = ("last.ckpt", "best.ckpt", "last.partial", "best.partial", "tensorboard")


def run_study(
    study: Study, name: str, setting: Setting, *, rate_seconds: float = RATE_SECONDS
) -> dict[str, Any]:
    """Run a study, or what a broken-off run of it left undone, and give its result.

    Args:
        study: The module.
        name: Of the study.
        setting: What to do, and the folder to do it in.
        rate_seconds: How long the training rate of each shape is measured.

    Raises:
        MsprError: If the folder holds another study, or the budget is too small.
        Interrupted: If it was stopped by hand; the same command goes on.
    """
    setting.output.mkdir(parents=True, exist_ok=True)
    _refuse_other_study(setting, name)
    cells = study.plan(setting)
    _check_names(cells)
    device = choose_device(setting.device)
    sizes = _sizes_for(cells, name, setting, device, rate_seconds)
    undone = [cell for cell in cells if not _result_file(setting, cell.name).exists()]
    _announce(cells, undone, sizes)
    with tqdm(
        total=len(cells), initial=len(cells) - len(undone), unit="cell", disable=None
    ) as bar:
        for cell in undone:
            bar.set_postfix_str(cell.name)
            _run_cell(cell, sizes.images_of.get(cell.name, 0), setting, device)
            bar.update()
    results = [read_result(_result_file(setting, cell.name)) for cell in cells]
    conclusion = study.conclude(setting, results)
    return write_report(study.QUESTION, name, setting, results, sizes, conclusion, device)


def read_result(path: Path) -> CellResult:
    """Read a finished cell.

    Raises:
        MsprError: If the file is damaged.
    """
    try:
        return CellResult(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise MsprError(f"{path} is damaged; remove it, and the cell is done again") from None


def write_atomically(path: Path, values: Any, *, indent: int | None = 1) -> None:
    """Write JSON: complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(values, indent=indent, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)


def _result_file(setting: Setting, cell: str) -> Path:
    return setting.output / "cells" / f"{cell}.json"


def _check_names(cells: Sequence[Cell]) -> None:
    names = [cell.name for cell in cells]
    bad = [name for name in names if not re.fullmatch(r"[A-Za-z0-9._-]+", name)]
    assert cells and not bad and len(set(names)) == len(names), f"bad cell names: {bad or names}"


def _identity(name: str, setting: Setting) -> dict[str, Any]:
    """Give what must not change when a study goes on, with the same cells or with others."""
    options = {
        key: str(value)
        for key, value in sorted(vars(setting.options).items())
        if key not in SELECTING
    }
    return {
        "study": name,
        "datasets": [str(folder) for folder in setting.datasets],
        "base": setting.base,
        "budget_minutes": setting.budget_minutes,
        "frames": setting.frames,
        "quick": setting.quick,
        "options": options,
    }


def _refuse_other_study(setting: Setting, name: str) -> None:
    path = setting.output / PLAN_FILE
    if not path.exists():
        return
    before, now = json.loads(path.read_text())["setting"], _identity(name, setting)
    changed = [key for key in now if before.get(key) != json.loads(json.dumps(now[key]))]
    if changed:
        raise ConfigError(
            f"{setting.output} holds a study begun with other {', '.join(changed)}; repeat its "
            "command to go on, or name another folder"
        )


def _sizes_for(
    cells: Sequence[Cell],
    name: str,
    setting: Setting,
    device: torch.device,
    rate_seconds: float,
) -> Sizes:
    """Read the sizes that were chosen when the study began, or choose them."""
    path = setting.output / PLAN_FILE
    if path.exists():
        sizes = Sizes(**json.loads(path.read_text(encoding="utf-8"))["sizes"])
        with _quiet(setting.output / "rates.log"):
            add_sizes(cells, sizes, device, rate_seconds=rate_seconds)
    else:
        print("measuring how fast networks train here", flush=True)
        with _quiet(setting.output / "rates.log"):
            sizes = choose_sizes(cells, setting.budget_minutes, device, rate_seconds=rate_seconds)
    write_atomically(path, {"setting": _identity(name, setting), "sizes": asdict(sizes)})
    return sizes


def _announce(cells: Sequence[Cell], undone: Sequence[Cell], sizes: Sizes) -> None:
    minutes = sum(sizes.seconds.get(cell.name, 0.0) for cell in undone) / 60.0
    trained = sum(cell.config is not None for cell in undone)
    done = f", {len(cells) - len(undone)} are done" if len(undone) < len(cells) else ""
    print(
        f"{len(cells)} cells{done}; {trained} networks to train, on at most "
        f"{max(sizes.images_of.values())} pictures each: about {minutes:.1f} minutes",
        flush=True,
    )


def _run_cell(cell: Cell, images: int, setting: Setting, device: torch.device) -> None:
    started = time.monotonic()
    run = setting.run_folder(cell.name)
    run.mkdir(parents=True, exist_ok=True)
    with _quiet(run / "log.txt"):
        if cell.config is not None and not (run / "bundle" / "bundle.json").exists():
            _train(for_length(cell.config, images), run, device)
        values = cell.measure(run)
    result = CellResult(
        cell.name,
        dict(cell.factors),
        cell.seed,
        values,
        images,
        round(time.monotonic() - started, 1),
    )
    write_atomically(_result_file(setting, cell.name), asdict(result), indent=None)
    for name in _SCRATCH:
        path = run / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _train(config: TrainConfig, run: Path, device: torch.device) -> None:
    """Train a cell's network, from its last checkpoint where it was broken off."""
    from mspr_ros.training.trainer import Trainer

    try:
        Trainer(config, run, device, resume=(run / "last.ckpt").exists()).run()
    except Interrupted:
        raise Interrupted("stopped by hand and saved; the same command goes on") from None
    write_atomically(run / "trained.json", to_mapping(config))


@contextlib.contextmanager
def _quiet(log: Path) -> Any:
    """Send what a training prints to a file: the study has one progress bar of its own."""
    with (
        log.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield
