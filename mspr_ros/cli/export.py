"""`mspr export`: a bundle's network for other runtimes, checked against torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import DatasetError

if TYPE_CHECKING:
    from torch import Tensor

    from mspr_ros.backends.comparison import Truth
    from mspr_ros.bundle import BundleMetadata
    from mspr_ros.data.dataset import Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("--format", required=True, choices=("onnx", "openvino"))
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="fp32 must answer as torch does; fp16 and int8 need --data to be judged by",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a new bundle folder"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATASET",
        help="dataset of the bundle's scenes: its pictures are compared, its truth judges lower "
        "precisions, its training pictures calibrate int8 (default: photographs that come with "
        "scikit-learn)",
    )
    parser.add_argument("--split", help="frames to compare (default: test where there is one)")
    parser.add_argument(
        "--frames", type=int, default=64, help="compare so many (default: %(default)s)"
    )
    parser.add_argument(
        "--max-rise",
        type=float,
        default=0.02,
        help="refuse a lower precision whose median errors rise by more than this share "
        "(default: %(default)s)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Export, compare, and tell how large the differences are."""
    from dataclasses import asdict

    from mspr_ros.backends.export import check_packages, export_bundle
    from mspr_ros.bundle import load_bundle
    from mspr_ros.errors import ConfigError

    if args.frames < 1:
        raise ConfigError("--frames must be at least 1")
    check_packages(args.format, args.precision)
    bundle = load_bundle(args.bundle)
    truth, calibration = None, None
    if args.data is None:
        images = photographs(bundle.metadata)
    else:
        images, truth, calibration = dataset_pictures(args, bundle.metadata)
    info = export_bundle(
        args.bundle,
        bundle,
        args.output,
        format_name=args.format,
        precision=args.precision,
        images=images,
        truth=truth,
        calibration=calibration,
        max_rise=args.max_rise,
    )
    print(describe(args.output, info.check))
    return asdict(info)


def describe(output: Path, check: dict[str, Any]) -> str:
    """Tell what the comparison found."""
    metres, degrees = check["shift_m"], check["shift_deg"]
    lines = [
        f"wrote {output}; against torch on {check['images']} pictures:",
        f"  largest difference of any number: {check['largest_difference']:.2g}",
        f"  poses move by {metres['median']:.2g} m, {degrees['median']:.2g} deg (median); "
        f"{metres['p99']:.2g} m, {degrees['p99']:.2g} deg (99 %)",
        f"  the same scene in {100.0 * check['scene_agreement']:.1f} %",
    ]
    if "median_errors_m_deg" in check:
        pairs = check["median_errors_m_deg"]
        told = (f"{side} {pair[0]:.4f} m, {pair[1]:.3f} deg" for side, pair in pairs.items())
        lines.append(f"  median errors: {'; '.join(told)}")
    return "\n".join(lines)


def photographs(metadata: BundleMetadata, crops: int = 8) -> Tensor:
    """Give parts of real photographs as the network reads them."""
    from sklearn.datasets import load_sample_images

    from mspr_ros.preprocess import Preprocessor

    pictures = []
    for number in range(crops):
        photograph = load_sample_images().images[number % 2]
        rows, columns = photograph.shape[:2]
        top, left = (number // 2) * rows // crops, (number // 4) * columns // 4
        pictures.append(photograph[top : top + rows // 2, left : left + columns // 2])
    return Preprocessor(metadata.preprocess).tensor(pictures)


def dataset_pictures(
    args: argparse.Namespace, metadata: BundleMetadata
) -> tuple[Tensor, Truth, Tensor]:
    """Give the pictures to compare, their truth, and training pictures to calibrate with.

    Raises:
        DatasetError: If there are no frames of the bundle's scenes.
    """
    from mspr_ros.backends.comparison import Truth
    from mspr_ros.cli.evaluate_frames import check_images, choose_split
    from mspr_ros.data.dataset import Dataset

    whole = Dataset.load(args.data)
    check_images(whole)
    known = [i for i, frame in enumerate(whole.frames) if frame.scene in metadata.scene_names]
    if not known:
        raise DatasetError(
            f"dataset {whole.name} has no frame of the bundle's scenes "
            f"({', '.join(metadata.scene_names)})"
        )
    taught = whole.subset(known)
    judged = _thinned(choose_split(taught, args.split), args.frames)
    truth = Truth(
        judged.positions, judged.quats_xyzw, judged.scene_indices(list(metadata.scene_names))
    )
    training = taught.select(split="train") if "train" in taught.splits else taught
    if args.precision != "int8":
        training = training.subset([])
    return _tensor(judged, metadata), truth, _tensor(_thinned(training, args.frames), metadata)


def _thinned(dataset: Dataset, count: int) -> Dataset:
    """Take so many frames, evenly over the whole."""
    step = max(1, -(-len(dataset) // count))
    return dataset.subset(range(0, len(dataset), step))


def _tensor(dataset: Dataset, metadata: BundleMetadata) -> Tensor:
    from mspr_ros.data.images import read_image
    from mspr_ros.preprocess import Preprocessor

    images = [read_image(frame.image) for frame in dataset.frames]
    cameras = [dataset.camera_of(frame) for frame in dataset.frames]
    return Preprocessor(metadata.preprocess).tensor(images, cameras)
