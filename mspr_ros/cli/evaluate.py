"""`mspr evaluate`: measure a bundle on datasets, beside the nearest-neighbour baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import DatasetError, MsprError

if TYPE_CHECKING:
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.evaluation.judging import FrameResult
    from mspr_ros.localizer import Localizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("datasets", type=Path, nargs="+", metavar="DATASET", help="dataset folder")
    parser.add_argument(
        "--split",
        choices=("test", "train", "val", "all"),
        help="frames to measure (default: test where a dataset has it, else all)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder for JSON, CSV and plots"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the report that is in the folder"
    )
    parser.add_argument(
        "--baseline-train-split",
        choices=("train", "val", "test"),
        default="train",
        help="frames that the nearest-neighbour baseline chooses from (default: train)",
    )
    parser.add_argument(
        "--no-baseline", action="store_true", help="leave the nearest-neighbour baseline out"
    )
    parser.add_argument(
        "--block-frames",
        type=int,
        default=10,
        metavar="N",
        help="longest block of the bootstrap, in frames (default: 10)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="frames to a pass (default: 16)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate, print the table and write the report."""
    _check(args)
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.evaluation.evaluate import summarize_groups
    from mspr_ros.evaluation.report import format_table, write_report
    from mspr_ros.localizer import Localizer

    localizer = Localizer.load(args.bundle, device=args.device)
    whole = [Dataset.load(folder) for folder in args.datasets]
    chosen = [choose_split(dataset, args.split) for dataset in whole]
    for dataset in chosen:
        dataset.scene_indices(localizer.metadata.scene_names)  # refuses scenes it was not taught
    results = _localize(localizer, chosen, args.batch_size)
    baseline, note = _baseline(args, localizer, whole, chosen)
    groups = summarize_groups(
        results, baseline, max_block_frames=args.block_frames, seed=args.seed
    )
    metrics: dict[str, Any] = {
        "bundle": str(args.bundle),
        "bundle_hash": localizer.content_hash,
        "datasets": {dataset.name: dataset.content_hash() for dataset in whole},
        "split": args.split or "default",
        "device": str(localizer.device),
        "baseline_note": note,
        "groups": [group.to_dict() for group in groups],
    }
    print(format_table(groups))
    blocks = ", ".join(f"{group.name} {group.num_blocks}" for group in groups)
    print(f"medians with 95 % block-bootstrap intervals; blocks: {blocks}")
    if note:
        print(f"no baseline: {note}")
    if args.output:
        write_report(args.output, metrics, results, baseline)
        print(f"report: {args.output}")
    return metrics


def _check(args: argparse.Namespace) -> None:
    """Refuse bad numbers and an output in the way before any long work."""
    if args.batch_size < 1 or args.block_frames < 1:
        raise MsprError("--batch-size and --block-frames must be at least 1")
    if args.output is None:
        return
    if args.output.exists() and not args.output.is_dir():
        raise MsprError(f"{args.output} is a file; name a folder for the report")
    if args.output.is_dir() and any(args.output.iterdir()) and not args.overwrite:
        raise MsprError(
            f"{args.output} is not empty and is not overwritten; "
            "name another folder or add --overwrite"
        )


def choose_split(dataset: Dataset, split: str | None) -> Dataset:
    """Give the frames of a split; by default of test where the dataset has it, else all.

    Raises:
        DatasetError: If there are none.
    """
    if split is None:
        split = "test" if "test" in dataset.splits else "all"
    chosen = dataset if split == "all" else dataset.select(split=split)
    if not len(chosen):
        raise DatasetError(f"dataset {dataset.name} has no frames of split '{split}'")
    return chosen


def _localize(
    localizer: Localizer, datasets: Sequence[Dataset], batch_size: int
) -> list[FrameResult]:
    import numpy as np

    from mspr_ros.evaluation.answers import ask_localizer
    from mspr_ros.evaluation.judging import Centroids, judge

    network = localizer.network
    centroids = Centroids(
        localizer.metadata.scene_names,
        np.asarray(network.position_centroids.detach().cpu().numpy(), dtype=np.float64),
        np.asarray(network.orientation_centroids.detach().cpu().numpy(), dtype=np.float64),
    )
    results = []
    for dataset in datasets:
        answers = ask_localizer(localizer, dataset, batch_size=batch_size)
        results.extend(judge(dataset, answers, centroids))
    return results


def _baseline(
    args: argparse.Namespace,
    localizer: Localizer,
    whole: Sequence[Dataset],
    chosen: Sequence[Dataset],
) -> tuple[list[FrameResult] | None, str]:
    """Run the baseline; or give the reason why it cannot be run fairly."""
    split = args.baseline_train_split
    if args.no_baseline:
        return None, "switched off"
    if any(dataset.poses_only for dataset in whole):
        return None, "a dataset's images are not at hand"
    training = [dataset.select(split=split) for dataset in whole if split in dataset.splits]
    if not any(len(dataset) for dataset in training):
        return None, f"no frames of split '{split}' to choose from"
    measured = {frame.image for dataset in chosen for frame in dataset.frames}
    if any(frame.image in measured for dataset in training for frame in dataset.frames):
        return None, f"frames of split '{split}' are being measured, each would find itself"
    from mspr_ros.evaluation.baseline import FeatureExtractor, NearestNeighbour
    from mspr_ros.evaluation.judging import judge

    extractor = FeatureExtractor(localizer.device)
    neighbours = NearestNeighbour(training, extractor, batch_size=args.batch_size)
    results = []
    for dataset in chosen:
        results.extend(judge(dataset, neighbours.answer(dataset)))
    return results, ""
