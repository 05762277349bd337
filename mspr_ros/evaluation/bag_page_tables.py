"""The page's sections that are tables: the answers as a trajectory, their speed, the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mspr_ros.evaluation.bag_metrics import BundleVerdict
from mspr_ros.evaluation.bag_motion import RPE_DELTA_S
from mspr_ros.evaluation.html_page import Section

Verdicts = Sequence[BundleVerdict]


def number(value: float | None, digits: int = 3) -> str:
    """Write a number of the JSON, in which an infinite one is None."""
    return "∞" if value is None else f"{value:.{digits}f}"


def motion_section(verdicts: Verdicts) -> Section:
    """Tell of drift, of odometry, and of steps from one answer to the next."""
    section = Section("motion", "As a trajectory")
    drift = [["", "images used", "ATE m (rms)", "after alignment", f"RPE m in {RPE_DELTA_S:g} s",
              "RPE °", "RPE m, next image", "RPE °"]]  # fmt: skip
    odometry = [["", "images used", "m in 1 s (rms)", "°", "m, next image", "°"]]
    jumps = [["", "steps", "jumps", "against", "step m: median", "p90", "max",
              "step °: median", "max", "scene changes"]]  # fmt: skip
    for verdict in verdicts:
        name = f"{verdict.run.name}: " if len(verdicts) > 1 else ""
        for one in verdict.metrics["trajectories"]:
            label = f"{name}{one['bag']}, {one['scene']}"
            ate = [_rms(one.get("ate"))[0], _rms(one.get("ate_aligned"))[0]]
            relative = [*_rms(one.get("rpe_1s")), *_rms(one.get("rpe_next_image"))]
            drift.append([label, f"{one['num_used']} of {one['num_images']}", *ate, *relative])
        for one in verdict.metrics["odometry"]:
            label = f"{name}{one['bag']}, {one['scene']}"
            agreement = [*_rms(one["1s"]), *_rms(one["next_image"])]
            odometry.append([label, str(one["num_used"]), *agreement])
        jumps += [_jump_row(name, one) for one in verdict.metrics["jumps"]]
    if len(drift) > 1:
        section.heading("Absolute and relative error")
        section.text(
            "Accepted answers in the right scene. Alignment moves all answers rigidly onto the "
            "truth; a robot in a map has no such help, so that the number before it counts.",
            "soft",
        )
        section.table(drift)
    if len(odometry) > 1:
        section.heading("Motion between answers against odometry")
        section.table(odometry)
    limits = verdicts[0].metrics["jumps"][0]["jump_means"]
    section.heading("Steps from one answer to the next")
    section.text(
        f"A jump is a step that differs by more than {limits['position_m']:g} m or "
        f"{limits['orientation_deg']:g}° from the motion it is held against.", "soft",
    )  # fmt: skip
    section.table(jumps)
    return section


def _rms(error: dict[str, Any] | None) -> tuple[str, str]:
    if error is None:
        return "-", "-"
    return f"{error['position_m']['rmse']:.3f}", f"{error['orientation_deg']['rmse']:.2f}"


def _jump_row(name: str, told: dict[str, Any]) -> list[str]:
    row = [f"{name}{told['bag']}", str(told["steps"]), str(told["jumps"]), told["against"]]
    metres, degrees = told["step_m"], told["step_deg"]
    if metres is None:
        row += ["-"] * 5
    else:
        row += [f"{metres[key]:.3f}" for key in ("median", "p90", "max")]
        row += [f"{degrees[key]:.2f}" for key in ("median", "max")]
    return [*row, str(told["scene_changes"])]


def speed_section(verdicts: Verdicts) -> Section:
    """Tell how long an image takes."""
    section = Section("speed", "Speed")
    names = {"decode_ms": "decode", "preprocess_ms": "prepare", "network_ms": "network",
             "postprocess_ms": "answer", "localize_ms": "localize in all"}  # fmt: skip
    rows = [["milliseconds an image", "median", "p90", "p99", "max"]]
    for verdict in verdicts:
        latency = verdict.metrics["latency"]
        name = f"{verdict.run.name}: " if len(verdicts) > 1 else ""
        for key, what in names.items():
            if latency.get(key):
                values = [latency[key][part] for part in ("median", "p90", "p99", "max")]
                rows.append([name + what, *(number(value, 1) for value in values)])
        section.text(
            f"{name}{number(latency['images_per_second'], 1)} images a second on "
            f"{latency['device']}, {latency['batch_size']} to a pass of the network (each image "
            "carries its share); decoding runs beside it. A live node answers images one by one.",
            "soft",
        )
    section.table(rows)
    return section


def input_section(verdicts: Verdicts) -> Section:
    """Tell what was judged, and everything that is odd about it."""
    section = Section("input", "What was judged")
    rows = [["bag", "images", "judged", "image topic", "truth", "odometry"]]
    for counts in zip(*(verdict.metrics["bags"] for verdict in verdicts), strict=True):
        count = counts[0]
        judged = [str(one["judged"]) for one in counts]  # by bundle: each knows its own scenes
        rows.append(
            [
                *(count["bag"], str(count["images"])),
                judged[0] if len(set(judged)) == 1 else ", ".join(judged),
                *(count["image_topic"], count["truth"] or "none", count["odometry"] or "none"),
            ]
        )
    section.table(rows, "text")
    for verdict in verdicts:
        for count in verdict.metrics["bags"]:
            reasons = {**count["unusable_images"], **count["problems"]}
            for why, number in reasons.items():
                section.text(f"{verdict.run.name}, {count['bag']}: {number} images: {why}", "note")
            for note in count["notes"]:
                section.text(f"{count['bag']}: {note}", "note")
            if count["offset_s"] is not None:
                section.text(
                    f"{count['bag']}: pose time = image stamp {1e3 * count['offset_s']:+.1f} ms, "
                    f"standard deviation {1e3 * count['offset_sigma_s']:.1f} ms"
                )
    section.text(
        "Beside this page: metrics.json, frames.csv, trajectories/*.tum, and result.mcap with "
        "poses, TF and markers at the images' stamps, to be replayed beside the bag.", "soft",
    )  # fmt: skip
    return section
