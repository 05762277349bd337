"""Tell the node's state on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from mspr_ros.ros.cameras import CameraSubscriptions
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.frames import Frame
from mspr_ros.ros.pipeline import Pipeline
from mspr_ros.ros.readings import calibration_text, estimate_values
from mspr_ros.ros.worker import NewestFrameWorker

MALFORMED_RECENT_S = 10.0  # a bad message is warned of for this long; its count stays
TF_PROBLEM_RECENT_S = 3.0  # and of a transform that could not be had for this long


def node_report(
    *,
    name: str,
    state: str,
    failure: str,
    fallback: str,
    pipeline: Pipeline | None,
    worker: NewestFrameWorker[Frame] | None,
    statistics: FrameStatistics,
    cameras: CameraSubscriptions | None,
) -> DiagnosticArray:
    """Build the localizer's status; the stamp is left to the caller.

    Args:
        name: The node's.
        state: Its lifecycle state.
        failure: Why it is not configured, or why the last reload failed.
        fallback: Why the CPU does the GPU's work, if it does.
        pipeline: None while it is not configured.
        worker: None while it is not active.
        statistics: Counts and latencies since the start.
        cameras: What it listens to; None while it is not configured.
    """
    values = {"state": state, **statistics.values()}
    errors = [failure] if failure else []
    warnings = [fallback] if fallback else []
    if worker is not None:
        values.update(_worker_values(worker))
        if cameras is not None:
            values.update(cameras.values())
            warnings += cameras.warnings()
    if pipeline is not None:
        values.update(_pipeline_values(pipeline))
        if pipeline.decision is not None and pipeline.decision.is_problem:
            warnings.append(pipeline.decision.reason)
        elif pipeline.stamps.problem:
            warnings.append(pipeline.stamps.problem)
    if statistics.tf_problem_age_s() <= TF_PROBLEM_RECENT_S:
        warnings.append(values.get("last_tf_problem", ""))
    if statistics.malformed_age_s() <= MALFORMED_RECENT_S:
        last = values.get("last_malformed", "")
        warnings.append(f"{statistics.num_malformed} malformed messages, the last: {last}")
    hardware_id = values.get("bundle_hash", "")
    return diagnostic_array(f"{name}: localization", hardware_id, errors, warnings, state, values)


def _worker_values(worker: NewestFrameWorker[Frame]) -> dict[str, str]:
    counts = worker.counts
    return {
        "received": str(counts.received),
        "processed": str(counts.processed),
        "dropped": str(counts.dropped),
        "failed": str(counts.failed),
    }


def _pipeline_values(pipeline: Pipeline) -> dict[str, str]:
    localizer, decision = pipeline.localizer, pipeline.decision
    metadata = localizer.metadata
    return {
        "device": str(localizer.device),
        "backend": str(localizer.backend),
        "precision": str(localizer.precision),
        "model": str(metadata.network.backbone),
        "bundle_hash": str(localizer.content_hash),
        "scenes": ", ".join(metadata.scene_names),
        "scene": pipeline.scene,
        "calibration": calibration_text(metadata.calibration),
        **estimate_values(pipeline.estimate),
        "stamps": pipeline.stamps.problem or "of ROS time",
        "pose_frame": decision.frame if decision else "",
        "publishes_tf": str(decision.publish) if decision else "",
        "tf_child": decision.child if decision and decision.publish else "",
        "publish_tf": decision.reason if decision else "waiting for images and TF",
        **pipeline.rig.values(),
        **pipeline.tf_outputs.values(),
    }


def diagnostic_array(
    name: str,
    hardware_id: str,
    errors: Sequence[str],
    warnings: Sequence[str],
    healthy: str,
    values: Mapping[str, Any],
) -> DiagnosticArray:
    """Build the message of one status.

    Args:
        name: Of the status.
        hardware_id: What it is about.
        errors: If any, the level is ERROR.
        warnings: Else, if any, it is WARN.
        healthy: Told when there is neither.
        values: Key-value pairs.
    """
    level = DiagnosticStatus.OK
    if errors or warnings:
        level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.WARN
    status = DiagnosticStatus(
        level=level,
        name=name,
        message="; ".join([*errors, *warnings]) or healthy,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    return DiagnosticArray(status=[status])
