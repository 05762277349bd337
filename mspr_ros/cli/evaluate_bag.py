"""`mspr evaluate-bag BUNDLE BAG... --truth SOURCE -o REPORT`: let drives judge a bundle."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli.camera_arguments import add_camera_arguments
from mspr_ros.cli.outputs import check_place
from mspr_ros.errors import DatasetError, MsprError
from mspr_ros.naming import distinct_names

if TYPE_CHECKING:
    from mspr_ros.bags.scanning import BagOptions
    from mspr_ros.evaluation.bag_images import BagInput
    from mspr_ros.evaluation.bag_metrics import BundleVerdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="ROS 2 or ROS 1 bag")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="REPORT", help="folder to make"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="BUNDLE",
        help="further bundles, judged on the same images and shown beside the first",
    )
    _add_truth_arguments(parser)
    bags = parser.add_argument_group("bags")
    bags.add_argument("--image-topic", default="", metavar="T", help="(default: the only one)")
    bags.add_argument(
        "--camera-info-topic", default="", metavar="T", help="(default: the one beside the images)"
    )
    add_camera_arguments(parser)
    running = parser.add_argument_group("running")
    running.add_argument(
        "--min-confidence",
        type=float,
        default=0.0,
        metavar="C",
        help="answers below are rejected, as by the node's parameter (0: as the bundle says)",
    )
    running.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    running.add_argument(
        "--batch-size",
        type=int,
        default=16,
        metavar="N",
        help="images to a pass of the network; 1 gives the very poses of the node (default: 16)",
    )
    running.add_argument(
        "--threads", type=int, default=2, metavar="N", help="that decode images (default: 2)"
    )
    running.add_argument(
        "--images", type=int, default=4, metavar="N", help="best and worst to show (default: 4)"
    )


def _add_truth_arguments(parser: argparse.ArgumentParser) -> None:
    truth = parser.add_argument_group("truth")
    truth.add_argument(
        "--truth",
        default="none",
        metavar="SOURCE",
        help="'tf:map->camera_optical', or a topic, as for `mspr import bag --pose`; none: how "
        "steady the answers are and how they agree with odometry (default: none)",
    )
    truth.add_argument(
        "--extrinsic",
        default="",
        metavar="E",
        help="from the body whose poses these are to the camera's optical frame: "
        "'tf:base_link->camera_optical' or x,y,z,qx,qy,qz,qw (default: none)",
    )
    truth.add_argument(
        "--scene",
        action="append",
        default=[],
        metavar="NAME",
        help="the scene of the true poses, once, or once a bag in their order (default: what "
        "/ground_truth/scene says, or the bundle's only one)",
    )
    truth.add_argument(
        "--max-gap",
        type=float,
        default=0.1,
        metavar="SECONDS",
        help="poses further apart are not interpolated between (default: 0.1)",
    )
    truth.add_argument(
        "--odometry",
        default="",
        metavar="SOURCE",
        help="compare motion with this too (default without truth: the Odometry topic or "
        "'tf:odom->camera', whichever the bag has)",
    )
    truth.add_argument(
        "--odometry-extrinsic", default="", metavar="E", help="from its body to the camera"
    )
    clocks = truth.add_mutually_exclusive_group()
    clocks.add_argument(
        "--offset",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="add this to an image's stamp to get the time of the truth",
    )
    clocks.add_argument(
        "--estimate-offset",
        action="store_true",
        help="find the offset from the rotation seen in the images",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge, print the table and write the report."""
    _check(args)
    from mspr_ros.evaluation.bag_metrics import judge_run
    from mspr_ros.evaluation.bag_report import write_bag_report
    from mspr_ros.evaluation.bag_run import run_bundle
    from mspr_ros.localizer import Localizer

    bundles = dict(zip(_names([args.bundle, *args.compare]), [args.bundle, *args.compare],
                       strict=True))  # fmt: skip
    localizers = {
        name: Localizer.load(path, device=args.device, min_confidence=args.min_confidence)
        for name, path in bundles.items()
    }
    bags = tuple(
        _bag_input(args, path, name, place)
        for place, (path, name) in enumerate(zip(args.bags, _names(args.bags), strict=True))
    )
    verdicts = []
    for name, localizer in localizers.items():
        own = run_bundle(
            name,
            bundles[name],
            localizer,
            bags,
            batch_size=args.batch_size,
            num_threads=args.threads,
        )
        verdicts.append(judge_run(own))
    _print(verdicts)
    with _output_folder(args.output, args.overwrite) as folder:
        metrics = write_bag_report(folder, verdicts, num_images=args.images)
    print(f"report: {args.output / 'report.html'}")
    return metrics


def _check(args: argparse.Namespace) -> None:
    """Refuse bad numbers and an output in the way before any long work."""
    if args.batch_size < 1 or args.threads < 1 or args.images < 0:
        raise MsprError("--batch-size and --threads must be at least 1, --images at least 0")
    if not 0.0 < args.max_gap < float("inf"):
        raise MsprError(f"--max-gap must be a positive number of seconds, got {args.max_gap:g}")
    if args.truth == "none" and (args.extrinsic or args.offset or args.estimate_offset):
        raise MsprError("--extrinsic, --offset and --estimate-offset are about --truth: give one")
    if args.truth == "none" and args.scene:
        raise MsprError("--scene is about the poses of --truth: give one")
    if args.odometry_extrinsic and not args.odometry:
        raise MsprError("--odometry-extrinsic is about --odometry: give one")
    if len(args.scene) not in (0, 1, len(args.bags)):
        raise MsprError(
            f"--scene is given {len(args.scene)} times for {len(args.bags)} bags: name the scene "
            "once for all, or once a bag"
        )
    check_place(args.output)
    if args.output.exists():
        is_report = args.output.is_dir() and (
            (args.output / "report.html").is_file() or not any(args.output.iterdir())
        )
        if not (args.overwrite and is_report):
            remedy = "add --overwrite" if is_report else "it is no report"
            raise MsprError(
                f"{args.output} exists and is not overwritten; name another folder ({remedy})"
            )


def _names(paths: list[Path]) -> list[str]:
    """Name bundles and bags by their folders, shortly and differently."""
    names = []
    for path in paths:
        whole = path.resolve()
        stem = whole.name.removesuffix(".mcap").removesuffix(".db3").removesuffix(".bag")
        # Every run folder calls its bundle so.
        names.append(whole.parent.name if stem == "bundle" else stem)
    return distinct_names(names)


def _bag_input(args: argparse.Namespace, path: Path, name: str, place: int) -> BagInput:
    """Read a bag's stamps and poses: its truth, and odometry where that is wanted."""
    from mspr_ros.bags.scanning import BagOptions, scan_bag
    from mspr_ros.data.cameras import parse_intrinsics, read_camera_info
    from mspr_ros.evaluation.bag_images import BagInput

    intrinsics: Any = None
    if args.intrinsics:
        intrinsics = parse_intrinsics(args.intrinsics)
    elif args.camera_info:
        intrinsics = read_camera_info(args.camera_info)
    options = BagOptions(
        pose="" if args.truth == "none" else args.truth,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        extrinsic=args.extrinsic,
        max_gap_s=args.max_gap,
        offset_s=args.offset,
        estimate_offset=args.estimate_offset,
        intrinsics=intrinsics,
        every_image=True,
    )
    scan = scan_bag(path, options)
    scene = args.scene[min(place, len(args.scene) - 1)] if args.scene else ""
    bag = BagInput(name, scan, options, scene)
    if args.odometry or args.truth == "none":
        return _with_odometry(args, bag)
    return bag


def _with_odometry(args: argparse.Namespace, bag: BagInput) -> BagInput:
    """Add odometry: as it was asked for, or what the bag has; a note tells why there is none."""
    import numpy as np

    from mspr_ros.bags.odometry import find_odometry
    from mspr_ros.bags.scanning import scan_bag

    path, frame = bag.scan.path, bag.scan.frame_ids[0]
    source, extrinsic = args.odometry, args.odometry_extrinsic
    if not source:
        source, extrinsic = find_odometry(path, frame)
    if not source:
        return bag
    options: BagOptions = replace(
        bag.options, pose=source, extrinsic=extrinsic, estimate_offset=False, offset_s=0.0
    )
    try:
        scan = scan_bag(path, options)
    except DatasetError as error:
        if args.odometry:
            raise
        note = f"not compared with odometry ({source}): {error}"
        return replace(bag, scan=replace(bag.scan, notes=(*bag.scan.notes, note)))
    # Estimating an offset leaves images out that cannot be decoded; this scan has them all.
    places = np.searchsorted(scan.ordinals, bag.scan.ordinals)
    return replace(bag, odometry=scan.T_map_cam[places], odometry_source=source)


def _output_folder(output: Path, overwrite: bool) -> Any:
    """Give a folder to write into that becomes the report once it is whole."""
    import contextlib
    import shutil

    from mspr_ros.data.dataset import new_folder

    @contextlib.contextmanager
    def replaced() -> Any:
        fresh = output.with_name(f".{output.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        with new_folder(fresh) as folder:
            yield folder
        shutil.rmtree(output)
        fresh.rename(output)

    return replaced() if overwrite and output.exists() else new_folder(output)


def _print(verdicts: list[BundleVerdict]) -> None:
    from mspr_ros.evaluation.tables import format_table

    for verdict in verdicts:
        for count in verdict.metrics["bags"]:
            print(
                f"{verdict.run.name}, {count['bag']}: {count['images']} images, "
                f"{count['accepted']} accepted, {count['judged']} judged"
            )
            for reason, number in {**count["unusable_images"], **count["problems"]}.items():
                print(f"  {number}: {reason}")
            for note in count["notes"]:
                print(f"  {note}")
        if verdict.groups:
            print(format_table(verdict.groups, verdict.run.name))
        for one in verdict.metrics["jumps"]:
            print(f"{one['bag']}: {one['jumps']} jumps in {one['steps']} steps "
                  f"(against {one['against']})")  # fmt: skip
