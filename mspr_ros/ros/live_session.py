"""One live run from start to report: what `mspr demo` and `mspr replay` share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mspr_ros.ros.live_collector import Collector
from mspr_ros.ros.live_match import match
from mspr_ros.ros.live_report import format_report, metrics_of, write_live_report
from mspr_ros.ros.live_run import LiveNode, run_live


def run_session(
    *,
    output: Path,
    bundle: Path,
    device: str,
    source: LiveNode,
    total: int,
    title: str,
    localizer_parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run camera and localizer, print the table, write the result.

    Args:
        output: Folder, made already.
        bundle: Folder of the bundle.
        device: For the network.
        source: The camera.
        total: How many images it will send, for the progress bar.
        title: Of the picture.
        localizer_parameters: More of them.

    Returns:
        The metrics.

    Raises:
        MsprError: If a process fails or no pose came.
    """
    localizer = LiveNode(
        "mspr_ros.ros.localizer_node",
        {
            "bundle": str(bundle),
            "device": device,
            # Best effort would lose most large images between processes.
            "reliability": "reliable",
            **(localizer_parameters or {}),
        },
        output / "localizer.log",
    )
    with tqdm(total=total, desc="poses", unit="pose") as bar:

        def progress(collector: Collector) -> None:
            if len(collector.record.poses) > bar.n:
                bar.update(len(collector.record.poses) - bar.n)

        collector = run_live(localizer, source, progress)
    matched = match(collector)
    metrics = metrics_of(collector.record, matched, source.num_sent())
    files = write_live_report(output, metrics, matched, title)
    print(format_report(metrics))
    print("wrote " + ", ".join(str(path) for path in files))
    return metrics
