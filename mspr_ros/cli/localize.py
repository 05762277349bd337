"""`mspr localize`: give the poses of image files, as a table or a TUM trajectory."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli.camera_arguments import (
    add_camera_arguments,
    camera_finder,
    tell_missing_intrinsics,
)
from mspr_ros.errors import ImageError, MsprError

if TYPE_CHECKING:
    from mspr_ros.camera import CameraModel
    from mspr_ros.evaluation.answers import ImageU8
    from mspr_ros.localizer import Localizer

COLUMNS = ("image", "tx", "ty", "tz", "qx", "qy", "qz", "qw", "scene", "map_frame", "confidence")
_NUMBERS = COLUMNS[1:8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image file")
    add_camera_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the poses: .csv as a table, any other name as a TUM trajectory "
        "(stamp tx ty tz qx qy qz qw)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Localize the pictures one by one, and print or write their poses."""
    if args.output and args.output.exists() and not args.overwrite:
        raise MsprError(
            f"{args.output} exists and is not overwritten; name another file or add --overwrite"
        )
    from tqdm import tqdm

    from mspr_ros.localizer import Localizer

    camera_of = camera_finder(args)
    localizer = Localizer.load(args.bundle, device=args.device)
    num_blind = 0 if args.camera_info or args.intrinsics else len(args.images)
    remedy = "give --camera-info or --intrinsics"
    tell_missing_intrinsics(localizer.metadata, num_blind, len(args.images), remedy)
    rows = []
    for path in tqdm(args.images, desc="localizing", unit="image", disable=None, leave=False):
        rows.append(_localize(localizer, path, camera_of))
    problems = [row for row in rows if row["problem"]]
    if len(problems) == len(rows):
        raise ImageError(f"no pose for any image; the first: {problems[0]['problem']}")
    if args.output is None:
        print(format_rows(rows))
    else:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write = write_table if args.output.suffix.lower() == ".csv" else write_trajectory
        write(args.output, rows)
        print(f"{len(rows) - len(problems)} of {len(rows)} poses: {args.output}")
    return {"bundle": str(args.bundle), "num_failures": len(problems), "poses": rows}


def _localize(localizer: Localizer, path: Path, camera_of: Any) -> dict[str, Any]:
    """Give one picture's row; a picture that cannot be used gets a row that says why."""
    from mspr_ros.data.images import read_image
    from mspr_ros.geometry import quat_xyzw_from_rotation

    row: dict[str, Any] = {"image": str(path), **dict.fromkeys(COLUMNS[1:]), "problem": ""}
    try:
        image: ImageU8 = read_image(path)
        camera: CameraModel | None = camera_of(image)
        estimate = localizer.localize(image, camera)
    except ImageError as error:
        return {**row, "problem": str(error)}
    if not estimate.accepted:
        return {**row, "problem": estimate.rejection}
    quat_xyzw = quat_xyzw_from_rotation(estimate.T_map_cam[:3, :3])
    numbers = [*estimate.T_map_cam[:3, 3].tolist(), *quat_xyzw.tolist()]
    return {
        **row,
        **dict(zip(_NUMBERS, numbers, strict=True)),
        "scene": estimate.scene,
        "map_frame": estimate.map_frame,
        "confidence": estimate.confidence,
    }


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the poses out for the terminal."""
    lines = [list(COLUMNS)]
    for row in rows:
        if row["problem"]:
            lines.append([row["image"], f"no pose: {row['problem']}"])
            continue
        numbers = [f"{row[name]:.4f}" for name in _NUMBERS]
        lines.append(
            [row["image"], *numbers, row["scene"], row["map_frame"], f"{row['confidence']:.3f}"]
        )
    complete = [line for line in lines if len(line) == len(COLUMNS)]
    widths = [max(len(line[column]) for line in complete) for column in range(len(COLUMNS))]
    widths[0] = max(len(line[0]) for line in lines)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()
        for line in lines
    )


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write all that is known of every picture as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[*COLUMNS, "problem"])
        writer.writeheader()
        writer.writerows(rows)


def write_trajectory(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the poses as TUM has them; pictures without a pose become comments.

    The stamp is the file's name where every name is a time in seconds (as in TUM's own
    recordings), else the picture's place in the list.
    """
    stamps = [_stamp(Path(row["image"])) for row in rows]
    named = all(math.isfinite(float(stamp)) for stamp in stamps)
    meaning = "seconds, from the files' names" if named else "number of the image, from 0"
    lines = [f"# stamp tx ty tz qx qy qz qw, T_map_cam; the stamp: {meaning}"]
    for index, row in enumerate(rows):
        stamp = stamps[index] if named else str(index)
        if row["problem"]:
            lines.append(f"# {stamp} {row['image']}: {' '.join(row['problem'].split())}")
        else:
            lines.append(" ".join([stamp, *(f"{row[name]:.9g}" for name in _NUMBERS)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _stamp(path: Path) -> str:
    """Give the time in a file's name as it is written, or `nan`."""
    whole, _, fraction = path.stem.partition(".")
    return path.stem if whole.isdecimal() and fraction.isdecimal() else "nan"
