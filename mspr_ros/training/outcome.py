"""What a run comes to: validation metrics by scene, and the bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mspr_ros.bundle import BundleMetadata, save_bundle
from mspr_ros.config import to_mapping
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.calibrating import Trust
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.lesson import Lesson
from mspr_ros.training.validation import ValidationResult


def describe(result: ValidationResult, lesson: Lesson) -> dict[str, Any]:
    """Give the metrics of all validation frames and of each scene, as plain values."""
    present = {item.scene for item in lesson.validation}
    scenes = {
        info.name: result.summary(index).to_dict()
        for index, info in enumerate(lesson.scenes)
        if index in present
    }
    return {"all": result.summary().to_dict(), "scenes": scenes}


def in_words(result: ValidationResult) -> str:
    """Give the metrics of all validation frames in a line for people."""
    summary = result.summary()
    return (
        f"median {summary.position_error_m.median:.3f} m, "
        f"{summary.orientation_error_deg.median:.2f} deg, "
        f"scene accuracy {summary.scene_accuracy:.1%}"
    )


def write_bundle(
    folder: Path,
    network: PoseRegressor,
    config: TrainConfig,
    lesson: Lesson,
    result: ValidationResult | None,
    epoch: int,
    trust: Trust | None = None,
) -> dict[str, Any]:
    """Write a network as a bundle, and give what is known of it.

    Args:
        folder: Of the bundle.
        network: What answers.
        config: What it was trained by.
        lesson: What it was taught.
        result: Its answers to the validation frames; none where there are no such frames.
        epoch: After which it stood like this, from 1.
        trust: Its calibration and prototypes, where there are any.
    """
    scenes = lesson.scenes
    validation: dict[str, Any] = {}
    if result is not None:
        validation = {
            "epoch": epoch,
            "frames": len(lesson.validation),
            **describe(result, lesson),
        }
        scenes = tuple(
            dataclasses.replace(info, residual_covariance=result.residual_covariance(index))
            for index, info in enumerate(scenes)
        )
    metadata = BundleMetadata(
        network=config.network,
        preprocess=config.preprocess,
        scenes=scenes,
        cameras=lesson.cameras,
        validation=validation,
        training=to_mapping(config),
        data_hash=lesson.data_hash,
        calibration=trust.calibration if trust else None,
    )
    save_bundle(
        folder,
        network,
        metadata,
        half_precision=config.half_precision_bundle,
        prototypes=trust.prototypes if trust else None,
    )
    return {"bundle": str(folder), "validation": validation}
