"""`mspr evaluate`: measure a bundle on datasets, beside the nearest-neighbour baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli.camera_arguments import tell_missing_intrinsics
from mspr_ros.cli.evaluate_frames import (
    ask_unknown,
    check_images,
    choose_split,
    choose_unknown,
    load_datasets,
    report_unknown,
)
from mspr_ros.cli.outputs import check_place
from mspr_ros.errors import CheckpointError, MsprError

if TYPE_CHECKING:
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.evaluation.confusion import Confusion
    from mspr_ros.evaluation.evaluate import GroupSummary
    from mspr_ros.evaluation.judging import Centroids, FrameResult
    from mspr_ros.evaluation.unknown import UnknownFrames
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
    parser.add_argument(
        "--oracle",
        action="append",
        choices=("scene", "clusters", "both"),
        default=[],
        help="also answer with the true scene or clusters given, reported apart: an upper bound, "
        "never the result (repeatable)",
    )
    parser.add_argument(
        "--unknown",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="datasets of places that were not taught: their poses are not judged, but how many "
        "are taken for taught ones",
    )
    parser.add_argument(
        "--right-within",
        type=float,
        nargs=2,
        default=(0.25, 5.0),
        metavar=("METRES", "DEGREES"),
        help="errors up to which an answer is right, for the measures of confidence "
        "(default: 0.25 5)",
    )
    parser.add_argument(
        "--tta",
        type=int,
        default=0,
        metavar="N",
        help="also ask about N slightly turned views of every picture and combine the answers, "
        "at N times the cost (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="frames to a pass (default: 16)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate, print the table and write the report."""
    _check(args)
    from mspr_ros.evaluation.confusion import cluster_confusions
    from mspr_ros.evaluation.evaluate import summarize_groups
    from mspr_ros.evaluation.judging import Centroids
    from mspr_ros.evaluation.oracle import check_oracles
    from mspr_ros.localizer import Localizer

    localizer = Localizer.load(args.bundle, device=args.device, tta=args.tta)
    check_oracles(localizer, args.oracle)
    whole = load_datasets(args.datasets)
    chosen = [choose_split(dataset, args.split) for dataset in whole]
    for dataset in chosen:
        dataset.scene_indices(localizer.metadata.scene_names)  # refuses scenes it was not taught
        check_images(dataset)
        blind = sum(dataset.camera_of(frame) is None for frame in dataset.frames)
        remedy = f"import {dataset.name} again with a calibration"
        tell_missing_intrinsics(localizer.metadata, blind, len(dataset.frames), remedy)
    strangers = [
        choose_unknown(dataset, args.split, chosen) for dataset in load_datasets(args.unknown)
    ]
    centroids = Centroids.of_network(localizer.network, localizer.metadata.scene_names)
    results = _localize(localizer, chosen, centroids, args.batch_size)
    baseline, note = _baseline(args, localizer, whole, chosen)
    groups = summarize_groups(
        results,
        baseline,
        max_block_frames=args.block_frames,
        seed=args.seed,
        right_within=tuple(args.right_within),
    )
    unknown = ask_unknown(localizer, strangers, args.batch_size)
    confusions = cluster_confusions(results, centroids)
    metrics: dict[str, Any] = {
        "bundle": str(args.bundle),
        "bundle_hash": localizer.content_hash,
        "datasets": {dataset.name: dataset.content_hash() for dataset in whole},
        "split": args.split or "default",
        "device": str(localizer.device),
        "turned_views": args.tta,
        "baseline_note": note,
        "groups": [group.to_dict() for group in groups],
        "cluster_confusion": [confusion.to_dict() for confusion in confusions],
    }
    _print_result(groups, note)
    if unknown:
        metrics["unknown"] = report_unknown(results, unknown, strangers, localizer)
    if args.oracle:
        metrics["oracle"] = _oracles(args, localizer, chosen, centroids, results)
    if args.output:
        _write(args, metrics, groups, results, baseline, confusions, unknown)
    return metrics


def _print_result(groups: Sequence[GroupSummary], baseline_note: str) -> None:
    from mspr_ros.evaluation.tables import format_table
    from mspr_ros.evaluation.uncertainty_tables import format_uncertainty

    print(format_table(groups))
    blocks = ", ".join(f"{group.name} {group.num_blocks}" for group in groups)
    print(f"medians with 95 % block-bootstrap intervals; blocks: {blocks}")
    if baseline_note:
        print(f"no baseline: {baseline_note}")
    uncertainty = format_uncertainty(groups)
    if uncertainty:
        print(f"\n{uncertainty}")


def _write(
    args: argparse.Namespace,
    metrics: dict[str, Any],
    groups: Sequence[GroupSummary],
    results: Sequence[FrameResult],
    baseline: Sequence[FrameResult] | None,
    confusions: Sequence[Confusion],
    unknown: Sequence[UnknownFrames],
) -> None:
    from mspr_ros.evaluation.report import Report, write_report
    from mspr_ros.evaluation.training_plots import History, read_history

    notes = [
        f"Bundle {args.bundle} ({metrics['bundle_hash']})",
        f"Datasets {', '.join(metrics['datasets'])}; split: {metrics['split']}",
    ]
    if metrics["baseline_note"]:
        notes.append(f"No baseline: {metrics['baseline_note']}")
    if unknown:
        notes.append(f"Not taught: {', '.join(metrics['unknown']['datasets'])}")
    title = f"Evaluation of {args.bundle.resolve().name}"
    # A bundle still lying in its run folder shows how it was trained; in another folder a file
    # of that name may be anything.
    history: History = ()
    try:
        history = read_history(args.bundle.resolve().parent)
    except CheckpointError as error:
        notes.append(f"The training is not drawn: {error}")
    report = Report(title, notes, metrics, groups, results, baseline, confusions, history, unknown)
    write_report(args.output, report)
    print(f"report: {args.output}")


def _check(args: argparse.Namespace) -> None:
    """Refuse bad numbers and an output in the way before any long work."""
    if args.batch_size < 1 or args.block_frames < 1:
        raise MsprError("--batch-size and --block-frames must be at least 1")
    if args.seed < 0:
        raise MsprError(f"--seed must be 0 or more, got {args.seed}")
    if min(args.right_within) <= 0:
        raise MsprError("--right-within needs metres and degrees above zero")
    if args.output is None:
        return
    check_place(args.output)
    if args.output.exists() and not args.output.is_dir():
        raise MsprError(f"{args.output} is a file; name a folder for the report")
    if args.output.is_dir() and any(args.output.iterdir()) and not args.overwrite:
        raise MsprError(
            f"{args.output} is not empty and is not overwritten; "
            "name another folder or add --overwrite"
        )


def _localize(
    localizer: Localizer, datasets: Sequence[Dataset], centroids: Centroids, batch_size: int
) -> list[FrameResult]:
    from mspr_ros.evaluation.answers import ask_localizer
    from mspr_ros.evaluation.judging import judge

    results = []
    for dataset in datasets:
        answers = ask_localizer(localizer, dataset, batch_size=batch_size)
        results.extend(judge(dataset, answers, centroids))
    return results


def _oracles(
    args: argparse.Namespace,
    localizer: Localizer,
    datasets: Sequence[Dataset],
    centroids: Centroids,
    honest: Sequence[FrameResult],
) -> dict[str, Any]:
    """Answer once more with part of the truth given, print that apart and give its numbers."""
    from mspr_ros.evaluation.evaluate import summarize_groups
    from mspr_ros.evaluation.judging import judge
    from mspr_ros.evaluation.oracle import ORACLE_NOTE, ORACLES, ask_oracles
    from mspr_ros.evaluation.tables import format_table

    names = list(dict.fromkeys(args.oracle))
    judged: dict[str, list[FrameResult]] = {name: [] for name in names}
    start = 0
    for dataset in datasets:
        own = honest[start : start + len(dataset)]
        start += len(dataset)
        told = ask_oracles(localizer, dataset, own, names, batch_size=args.batch_size)
        for name, answers in told.items():
            judged[name].extend(judge(dataset, answers, centroids))
    report: dict[str, Any] = {"note": ORACLE_NOTE}
    print(f"\n{ORACLE_NOTE}:")
    for name in names:
        groups = summarize_groups(
            judged[name], max_block_frames=args.block_frames, seed=args.seed, right_within=None
        )
        print(f"{name}: {ORACLES[name]}\n{format_table(groups, f'oracle {name}')}")
        report[name] = {
            "given": ORACLES[name],
            "groups": [group.to_dict() for group in groups],
        }
    return report


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
