"""`mspr import check DATASET -o cameras.png`: look at a dataset's convention."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mspr_ros.cli.outputs import check_picture


def run(folder: Path, picture: Path) -> dict[str, Any]:
    """Check a dataset's convention, draw its cameras, and print what was found."""
    from mspr_ros.data.check import check_dataset
    from mspr_ros.data.dataset import Dataset
    from mspr_ros.evaluation.camera_plot import SceneView, cameras_figure
    from mspr_ros.evaluation.plots import save_figure

    check_picture(picture)
    dataset = Dataset.load(folder)
    checks = check_dataset(dataset)
    views = []
    for check in checks:
        frames = dataset.select(scene=check.scene)
        sequences = [frame.sequence for frame in frames.frames]
        note = "; ".join(check.warnings) or check.verdict
        views.append(
            SceneView(check.scene, frames.T_map_cam, sequences, note, bool(check.warnings))
        )
        print(f"{check.scene}: {check.frames} frames, {check.verdict}")
        for warning in check.warnings:
            print(f"WARNING: {check.scene}: {warning}", file=sys.stderr)
    save_figure(cameras_figure(views, dataset.name), picture)
    print(f"wrote {picture}")
    return {
        "picture": str(picture),
        "scenes": [
            {
                "scene": check.scene,
                "frames": check.frames,
                "verdict": check.verdict,
                "warnings": list(check.warnings),
                "image_pairs": check.images.pairs,
                "image_readings": list(check.images.readings),
            }
            for check in checks
        ],
    }
