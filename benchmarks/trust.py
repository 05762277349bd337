"""Hold a bundle's word on itself against frames that it has never seen, and pass a verdict.

    python benchmarks/trust.py [models/demo] -o FOLDER [--unknown DATASET...] [--half-bundle B]
    python benchmarks/trust.py BUNDLE --real DATASET... -o FOLDER [--split test] [--unknown ...]

In the simulator: 2,112 frames of 24 drives through the taught rooms, each in its own light, 2,112
frames of 21 rooms of the same style elsewhere, and pictures spoiled in seven ways
(benchmarks/trust_data.py renders them once, in about 15 minutes of one core). With `--real`:
frames of recorded datasets, their intervals over blocks of 10 frames. `--unknown`: datasets of
other places. `--half-bundle`: a bundle that was taught one half of each room, see
benchmarks/trust_halves.py.

Writes FOLDER/trust.json, trust.png and corruptions.png, and prints a line to every requirement.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trust_data import make_places, make_taught, thinned
from trust_halves import seen_and_unseen
from trust_measure import (
    UNSEEN_HALF,
    ask,
    corruption_figures,
    known_figures,
    unknown_figures,
    unseen_half_figures,
)
from trust_plots import corruption_figure, overview_figure
from trust_verdict import verdicts

from mspr_ros.cli.evaluate_frames import (
    check_images,
    choose_split,
    choose_unknown,
    load_datasets,
)
from mspr_ros.data.dataset import Dataset
from mspr_ros.errors import MsprError
from mspr_ros.evaluation.plots import save_figure
from mspr_ros.localizer import Localizer

ROOMS, OTHERS = "rooms of the same style", "other datasets"


def main() -> None:
    args = parse_arguments()
    started = time.perf_counter()
    try:
        measured = measure(args)
    except MsprError as error:
        sys.exit(str(error))
    found = verdicts(measured, real=bool(args.real))
    lines = [one.line() for one in found]
    measured["verdict"] = [
        {"requirement": one.requirement, "measured": one.measured, "met": one.met} for one in found
    ]
    measured["seconds"] = round(time.perf_counter() - started, 1)
    text = json.dumps(measured, indent=1, allow_nan=False)
    (args.output / "trust.json").write_text(text + "\n", encoding="utf-8")
    print("\n".join(["| requirement | measured | |", "|---|---|---|", *lines]))
    print(f"report: {args.output}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("models/demo"))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--real", type=Path, nargs="+", default=[], metavar="DATASET",
        help="judge these instead of drives through the simulator",
    )  # fmt: skip
    parser.add_argument("--split", help="of --real and --unknown (test where there is one)")
    parser.add_argument("--unknown", type=Path, nargs="+", default=[], metavar="DATASET")
    parser.add_argument("--half-bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, default=Path("datasets/trust"), metavar="FOLDER",
                        help="of the rendered frames (default: datasets/trust)")  # fmt: skip
    parser.add_argument("--world", default="demo", help="that was taught (default: demo)")
    parser.add_argument("--spoiled-frames", type=int, default=240, metavar="N",
                        help="pictures to spoil in each way; 0: none (default: 240)")  # fmt: skip
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="a quick look: every Nth frame of each drive alone")  # fmt: skip
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Give all figures, and draw them."""
    args.output.mkdir(parents=True, exist_ok=True)
    localizer = Localizer.load(args.bundle, device=args.device)
    taught, strangers = gather(args, localizer.metadata.scene_names)
    results = ask(localizer, taught)
    groups, figures = known_figures(results, real=bool(args.real))
    measured: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"device {localizer.device}",
        "bundle_hash": localizer.content_hash,
        "calibrated": localizer.metadata.calibration is not None,
        "datasets": {dataset.name: dataset.content_hash() for dataset in taught},
        **figures,
    }
    scores = {"taught places": [result.answer.known_score for result in results]}
    if strangers:
        measured["unknown"], answers = unknown_figures(localizer, results, strangers)
        scores |= {kind: [one.known_score for one in some] for kind, some in answers.items()}
        if args.half_bundle and not args.real:
            half = Localizer.load(args.half_bundle, device=args.device)
            seen, unseen = seen_and_unseen(taught[0], args.world)
            measured["unknown"]["kinds"][UNSEEN_HALF] = unseen_half_figures(half, seen, unseen)
    arrays = {kind: np.array(some, dtype=np.float64) for kind, some in scores.items()}
    save_figure(overview_figure(groups[-1], arrays, measured["drives"]), args.output / "trust.png")
    if args.spoiled_frames:
        # Of several datasets the first: a dataset's frames have its cameras.
        own = results[: len(taught[0])]
        measured["corruptions"] = corruption_figures(
            localizer, taught[0], own, num_frames=args.spoiled_frames
        )
        save_figure(corruption_figure(measured["corruptions"]), args.output / "corruptions.png")
    return measured


def gather(
    args: argparse.Namespace, scenes: tuple[str, ...]
) -> tuple[list[Dataset], dict[str, list[Dataset]]]:
    """Give the datasets of taught places, and those of others by kind."""
    if args.real:
        taught = [choose_split(one, args.split) for one in load_datasets(args.real)]
    else:
        taught = [make_taught(args.data, args.world, scenes)]
    for dataset in taught:
        dataset.scene_indices(scenes)  # refuses scenes it was not taught
        check_images(dataset)
    taught = [thinned(dataset, args.every) for dataset in taught]
    strangers = {}
    if not args.real:
        rooms = make_places(args.data, scenes)
        strangers[ROOMS] = [thinned(dataset, args.every) for dataset in rooms]
    if args.unknown:
        others = [choose_unknown(one, args.split, taught) for one in load_datasets(args.unknown)]
        strangers[OTHERS] = [thinned(dataset, args.every) for dataset in others]
    return taught, strangers


if __name__ == "__main__":
    main()
