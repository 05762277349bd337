"""`mspr calibrate`: set covariances, confidence and thresholds of a bundle on held-out frames."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.errors import ConfigError, DatasetError, MsprError

if TYPE_CHECKING:
    from mspr_ros.bundle import Bundle
    from mspr_ros.calibration.model import Calibration
    from mspr_ros.calibration.prototypes import Prototypes
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.training.configuration import CalibrationConfig, TrainConfig
    from mspr_ros.training.samples import LabeledFrame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument(
        "datasets", type=Path, nargs="*", metavar="DATASET",
        help="recordings that the bundle was not trained on (default: the validation frames of "
        "the datasets it was trained on)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="BUNDLE2", help="the calibrated bundle"
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test", "all"), default="all",
        help="frames of the recordings to calibrate on (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--train", type=Path, nargs="+", default=[], metavar="DATASET",
        help="datasets that the bundle was trained on: prototypes are chosen anew from their "
        "split train (default: the bundle's own prototypes)",
    )  # fmt: skip
    parser.add_argument(
        "--right-within", type=float, nargs=2, default=(0.25, 5.0), metavar=("METRES", "DEGREES"),
        help="errors up to which an answer is right; confidence is the probability of that "
        "(default: 0.25 5)",
    )  # fmt: skip
    parser.add_argument(
        "--false-reject-rate", type=float, default=0.02, metavar="SHARE",
        help="share of good answers that the thresholds may refuse (default: 0.02)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Calibrate, write the bundle and print what was found."""
    from mspr_ros.bundle import load_bundle, save_bundle

    if args.output.exists():
        raise MsprError(f"{args.output} exists and is not overwritten; name another folder")
    bundle = load_bundle(args.bundle)
    calibration, prototypes = _calibrate(args, bundle)
    metadata = dataclasses.replace(bundle.metadata, calibration=calibration)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    half = _is_half_precision(bundle)
    save_bundle(args.output, bundle.network, metadata, half_precision=half, prototypes=prototypes)
    print(describe(calibration))
    print(f"bundle: {args.output}")
    from mspr_ros.config import to_mapping

    return {"bundle": str(args.output), "calibration": to_mapping(calibration)}


def describe(calibration: Calibration) -> str:
    """Give a calibration in a few lines for people."""
    lines = [
        f"calibrated on {calibration.num_frames} frames in {calibration.num_blocks} blocks",
        f"features: {', '.join(calibration.features) or 'none'}",
        f"scene temperature {calibration.scene_temperature:.2f}; refused of them: "
        f"{calibration.rejected:.1%}",
    ]
    lines += [
        f"  {one.level:.0%} regions, cross-validated: position {one.position:.1%}, "
        f"orientation {one.orientation:.1%}, both {one.both:.1%}"
        for one in calibration.coverage
    ]
    pooled = [info.name for info in calibration.scenes if info.pooled]
    if pooled:
        lines.append(f"too few frames of their own, pooled: {', '.join(pooled)}")
    return "\n".join(lines)


def _calibrate(args: argparse.Namespace, bundle: Bundle) -> tuple[Calibration, Prototypes | None]:
    from mspr_ros.calibration.fit import MIN_FRAMES, CalibrationOptions
    from mspr_ros.device import choose_device
    from mspr_ros.preprocess import Preprocessor
    from mspr_ros.training.calibrating import calibrate_on, prototypes_of

    limits = _limits(args)
    device = choose_device(args.device)
    network = bundle.network.to(device)
    preprocessor = Preprocessor(bundle.metadata.preprocess)
    train, frames, source = _frames(args, bundle)
    if not frames:
        raise DatasetError("there are no frames to calibrate on")
    prototypes = bundle.prototypes
    if train:
        print(f"choosing prototypes among {len(train)} training frames")
        prototypes = prototypes_of(network, train, preprocessor, device, limits.frames_per_scene)
    elif prototypes is None:
        print("no prototypes: unknown places cannot be told; name training data with --train")
    print(f"asking about {len(frames)} frames of {source}")
    options = CalibrationOptions(limits.right_within, limits.false_reject_rate, source=source)
    trust = calibrate_on(
        network, frames, preprocessor, device, bundle.metadata.scene_names, prototypes, options
    )
    if trust is None:
        raise DatasetError(
            f"fewer than {MIN_FRAMES} of {len(frames)} frames were answered in the right scene: "
            "too few to calibrate on"
        )
    return trust.calibration, trust.prototypes


def _limits(args: argparse.Namespace) -> CalibrationConfig:
    from mspr_ros.training.configuration import CalibrationConfig

    try:
        metres, degrees = args.right_within
        return CalibrationConfig(
            right_within=(metres, degrees), false_reject_rate=args.false_reject_rate
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _frames(
    args: argparse.Namespace, bundle: Bundle
) -> tuple[list[LabeledFrame], list[LabeledFrame], str]:
    """Give training frames (for prototypes), frames to calibrate on, and what these are."""
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.training.samples import labeled_frames

    names = bundle.metadata.scene_names
    if not args.datasets:
        return _trained_on(args, bundle)
    given = [Dataset.load(folder) for folder in args.datasets]
    datasets = [_some(dataset, args.split) for dataset in given]
    training = [Dataset.load(folder).select(split="train") for folder in args.train]
    _refuse_trained([*training, *_training_data(bundle, given)], datasets)
    source = ", ".join(dataset.name for dataset in datasets)
    return labeled_frames(training, names), labeled_frames(datasets, names), source


def _some(dataset: Dataset, split: str) -> Dataset:
    return dataset if split == "all" else dataset.select(split=split)


def _training_data(bundle: Bundle, given: Sequence[Dataset]) -> list[Dataset]:
    """Give what a bundle was trained on, as far as it is at hand, and say what is not.

    These are the datasets that its configuration names, and given ones of the same content.
    """
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.training.lesson import hash_of

    training, data_hash = bundle.metadata.training, bundle.metadata.data_hash
    found = list(given) if hash_of(given) == data_hash else []
    found += [dataset for dataset in given if hash_of([dataset]) == data_hash]
    for folder in training.get("datasets", ()):
        try:
            found.append(Dataset.load(folder))
        except DatasetError:
            print(f"{folder}, which the bundle was trained on, is not at hand to compare with")
    split, scenes = training.get("train_split", "train"), training.get("scenes")
    return [
        dataset.subset(
            number
            for number, frame in enumerate(dataset.frames)
            if frame.split == split and (not scenes or frame.scene in scenes)
        )
        for dataset in found
    ]


def _refuse_trained(training: Sequence[Dataset], datasets: Sequence[Dataset]) -> None:
    """Refuse to calibrate on frames of the training data, whatever links lead to them.

    Raises:
        DatasetError: With the first of them.
    """
    seen = {os.path.realpath(frame.image) for dataset in training for frame in dataset.frames}
    frames = [frame.image for dataset in datasets for frame in dataset.frames]
    known = [image for image in frames if os.path.realpath(image) in seen]
    if known:
        raise DatasetError(
            f"{len(known)} of {len(frames)} frames to calibrate on are training data, the first "
            f"is {known[0]}; a network is always sure of frames it was trained on: give --split "
            "test or val where there is one, recordings that it has not seen, or none at all to "
            "calibrate on its validation frames"
        )


def _trained_on(
    args: argparse.Namespace, bundle: Bundle
) -> tuple[list[LabeledFrame], list[LabeledFrame], str]:
    """Cut training and validation frames as the run did that made the bundle."""
    from mspr_ros.training.lesson import prepare_lesson

    training = bundle.metadata.training
    config = _run_config(training, [str(folder) for folder in args.train])
    lesson = prepare_lesson(config)
    if lesson.data_hash != bundle.metadata.data_hash:
        raise DatasetError(
            "the datasets are not those the bundle was trained on: its validation frames cannot "
            "be found; name recordings that it has not seen"
        )
    for note in lesson.notes:
        print(note)
    return lesson.train, lesson.validation, lesson.validation_source


def _run_config(training: dict[str, Any], datasets: Sequence[str]) -> TrainConfig:
    """Read what is needed of the configuration of a run, also of an older version."""
    from mspr_ros.config import from_mapping
    from mspr_ros.network.configuration import NetworkConfig
    from mspr_ros.training.configuration import TrainConfig

    if not training:
        raise ConfigError("the bundle does not say how it was trained; name recordings")
    network_keys = {field.name for field in dataclasses.fields(NetworkConfig)}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    values = {key: value for key, value in training.items() if key in known}
    network = values.get("network", {})
    values["network"] = {key: network[key] for key in network if key in network_keys}
    values["initial_weights"], values["frozen_parts"] = "", []
    if datasets:
        values["datasets"] = list(datasets)
    return from_mapping(TrainConfig, values, "the bundle's training configuration")


def _is_half_precision(bundle: Bundle) -> bool:
    return bool(bundle.metadata.training.get("half_precision_bundle", False))
