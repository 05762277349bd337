"""`mspr import FORMAT SRC -o DATASET`: turn a recording into a dataset; `check` looks at one.

Bags have options of their own and are imported by `import_bag`, the check is in `import_check`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli import import_bag, import_check
from mspr_ros.cli.import_arguments import (
    AXES,
    BAG,
    CHECK,
    CHECK_FILE,
    CONVENTIONS,
    FORMATS,
    FORMATS_OF_OPTION,
    add_arguments,
)
from mspr_ros.errors import DatasetError, MsprError

if TYPE_CHECKING:
    from mspr_ros.camera import CameraModel
    from mspr_ros.data.cameras import Intrinsics
    from mspr_ros.data.importers import ImportSummary

__all__ = ["AXES", "CONVENTIONS", "FORMATS", "FORMATS_OF_OPTION", "add_arguments", "run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Import, print the summary, and give it."""
    _refuse_strange_options(args)
    if args.format == BAG:
        result = import_bag.run(args, _intrinsics(args))
        print_summary(result.summary, args.output)
        return {**_as_json(result.summary, args.output), **result.as_json(), **_checked(args)}
    if len(args.source) != 1:
        raise MsprError(f"{args.format} takes one source, got {len(args.source)}")
    if args.format == CHECK:
        return import_check.run(args.source[0], args.output)
    from mspr_ros.data.importers import import_dataset

    summary = import_dataset(
        args.format,
        args.source[0],
        args.output,
        options=_options(args),
        name=args.name,
        intrinsics=_intrinsics(args),
        placing=args.place,
        skip_broken=args.skip_broken,
        test_fraction=args.test_fraction,
        test_blocks=args.test_blocks,
    )
    print_summary(summary, args.output)
    return {**_as_json(summary, args.output), **_checked(args)}


def _checked(args: argparse.Namespace) -> dict[str, Any]:
    """Check the new dataset, where that is asked for."""
    if not args.check:
        return {}
    return {"check": import_check.run(args.output, args.output / CHECK_FILE)}


def _refuse_strange_options(args: argparse.Namespace) -> None:
    problems = import_bag.strange_options(args) if args.format != BAG else []
    problems += [
        f"--{option.replace('_', '-')} is for the format {' or '.join(formats)}, "
        f"not for {args.format}"
        for option, formats in FORMATS_OF_OPTION.items()
        if getattr(args, option) and args.format not in formats
    ]
    if problems:
        raise MsprError("; ".join(problems))


def _options(args: argparse.Namespace) -> Any:
    from mspr_ros.data.recording import ImportOptions

    options = ImportOptions(
        scene=args.scene,
        split=args.split,
        rate_hz=args.rate_hz,
        max_gap_s=args.max_gap or ImportOptions.max_gap_s,
        convention=args.convention,
        image_root=args.image_root,
        poses_only=args.poses_only,
        quaternion=args.quaternion,
        axes=args.axes,
        columns=args.columns,
        trajectory=args.trajectory,
        scale=args.scale,
        max_difference_s=args.max_difference or ImportOptions.max_difference_s,
    )
    return options


def _as_json(summary: ImportSummary, output: Path) -> dict[str, Any]:
    return {
        "dataset": str(output),
        "name": summary.name,
        "frames": [
            {"scene": scene, "split": split, "count": count}
            for (scene, split), count in summary.frames.items()
        ],
        "left_out": [
            {"reason": reason, "count": count} for reason, count in summary.left_out.items()
        ],
        "synthetic_stamps": summary.synthetic_stamps,
        "problems": list(summary.problems),
    }


def _intrinsics(args: argparse.Namespace) -> CameraModel | Intrinsics | None:
    from mspr_ros.data.cameras import parse_intrinsics, read_camera_info

    if args.poses_only and (args.intrinsics or args.camera_info):
        raise MsprError("--poses-only goes without images, so it takes no camera")
    if args.intrinsics:
        return parse_intrinsics(args.intrinsics)
    return read_camera_info(args.camera_info) if args.camera_info else None


def print_summary(summary: ImportSummary, output: Path) -> None:
    """Say what was imported and what was not."""
    width = max(5, *(len(scene) for scene, _ in summary.frames))
    print(f"{'scene':<{width}}  split  frames")
    for (scene, split), count in summary.frames.items():
        print(f"{scene:<{width}}  {split or '-':<5}  {count:>6}")
    for reason, count in summary.left_out.items():
        print(f"left out: {count} ({reason})")
    if summary.problems:
        print(DatasetError("skipped:", summary.problems))
    if summary.synthetic_stamps:
        print("the source has no times: stamps were made up and the dataset says so")
    if not summary.cameras:
        print("no intrinsics: images will be resized and cropped, not undistorted")
    print(f"wrote {output}")
