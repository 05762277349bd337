"""The measurement as JSON-ready values, as a table, compared with an earlier one, and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mspr_ros.bench.machine import COPY_BYTES, MATRIX_FLOP
from mspr_ros.bench.stages import Stage
from mspr_ros.bench.timing import Timing
from mspr_ros.errors import MsprError

# What the machine can do, measured in the same turns.
MATRIX_FP32, MATRIX_BF16, MEMORY = "matrix product fp32", "matrix product bf16", "memory copy"
CLOCKS = {"wall": "median_ms", "processor": "cpu_median_ms"}
# The paper's own code at the paper's size, on 2 cores of 124 GFLOP/s together: milliseconds for
# one image and for eight, in fp32.
ORIGINAL_GFLOPS = 124.0
ORIGINAL_MS = {1: 255.0, 8: 2291.0}


def rates(timings: Mapping[str, Timing], clock: str) -> dict[str, float]:
    """Give GFLOP/s of the matrix products and GB/s of the copy, by one clock."""
    work = {MATRIX_FP32: MATRIX_FLOP, MATRIX_BF16: MATRIX_FLOP, MEMORY: 2 * COPY_BYTES}
    return {
        name: amount / (timings[name].summary()[CLOCKS[clock]] * 1e6)
        for name, amount in work.items()
        if name in timings
    }


def stage_result(
    stage: Stage, timing: Timing, gflops: float, clock: str, *, is_paper: bool
) -> dict[str, Any]:
    """Give a stage's times, its floor (counted operations at the matrix rate) and ratios."""
    result: dict[str, Any] = {"images": stage.images, **timing.summary()}
    time_ms = result[CLOCKS[clock]]
    result["images_per_s"] = 1e3 * stage.images / time_ms
    if stage.flop:
        floor_ms = stage.flop / (gflops * 1e6)
        result.update(gflop=stage.flop / 1e9, floor_ms=floor_ms, times_floor=time_ms / floor_ms)
        if is_paper and stage.images in ORIGINAL_MS:
            original_ms = ORIGINAL_MS[stage.images] * ORIGINAL_GFLOPS / gflops
            result.update(original_ms=original_ms, times_original=original_ms / time_ms)
    return result


def format_table(report: Mapping[str, Any]) -> str:
    """Lay the result out for the terminal."""
    machine, clock = report["machine"], report["clock"]
    told = ", ".join(f"{name} {rate:.1f}" for name, rate in report["rates"].items())
    lines = [
        f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores, "
        f"{machine['device']}, torch {machine['torch']}, load {machine['load_at_start']:.1f}",
        f"by {clock} time: {told} (GFLOP/s, GB/s)",
        f"{'stage':36} {'median':>9} {'quartiles':>17} {'p99':>9} {'images/s':>9} "
        f"{'floor':>8} {'x floor':>7} {'x original':>10}",
    ]
    for name, stage in report["stages"].items():
        prefix = "cpu_" if clock == "processor" else ""
        low, high = stage[f"{prefix}quartiles_ms"]
        columns = [
            f"{name:36} {stage[CLOCKS[clock]]:9.2f} {low:8.2f}-{high:8.2f} "
            f"{stage[f'{prefix}p99_ms']:9.2f}",
            f"{stage['images_per_s']:9.1f}",
            f"{stage['floor_ms']:8.2f}" if "floor_ms" in stage else " " * 8,
            f"{stage['times_floor']:7.1f}" if "times_floor" in stage else " " * 7,
            f"{stage['times_original']:10.2f}" if "times_original" in stage else "",
        ]
        lines.append(" ".join(columns).rstrip())
    return "\n".join(lines)


def read_report(path: Path) -> dict[str, Any]:
    """Read what an earlier run wrote.

    Raises:
        MsprError: If it is no such file.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        told, clock, stages = (report[key] for key in ("rates", "clock", "stages"))
        # All that a comparison needs is there.
        needed = [told[MATRIX_FP32], *(stage[CLOCKS[clock]] for stage in stages.values())]
        if not all(value > 0.0 for value in needed):
            raise ValueError("a time or a rate that is not above zero")
        return {"rates": told, "clock": clock, "stages": stages}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MsprError(f"{path} is no result of mspr bench: {error!r}") from None


def compare(report: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Give how many times faster each stage is than in another run.

    `plain` compares the medians as they are; `at_equal_rate` as if both machines multiplied
    matrices equally fast.
    """
    speed = report["rates"][MATRIX_FP32] / other["rates"][MATRIX_FP32]
    result = {}
    for name, stage in report["stages"].items():
        if name in other["stages"]:
            before = other["stages"][name][CLOCKS[other["clock"]]]
            plain = before / stage[CLOCKS[report["clock"]]]
            result[name] = {"plain": plain, "at_equal_rate": plain / speed}
    return result


def format_comparison(comparison: Mapping[str, Mapping[str, float]]) -> str:
    """Lay a comparison out for the terminal."""
    lines = [f"{'times faster than the other run':36} {'plain':>8} {'at equal matrix rate':>22}"]
    for name, pair in comparison.items():
        lines.append(f"{name:36} {pair['plain']:8.2f} {pair['at_equal_rate']:22.2f}")
    return "\n".join(lines)


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw every stage's median, its quartiles, and the floor where it was counted."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mspr_ros.naming import as_label

    stages, key = report["stages"], CLOCKS[report["clock"]]
    quartiles = "cpu_quartiles_ms" if report["clock"] == "processor" else "quartiles_ms"
    names = list(stages)
    figure = Figure(figsize=(9.0, 1.2 + 0.3 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    medians = [stages[name][key] for name in names]
    around = [
        [stages[name][key] - stages[name][quartiles][0] for name in names],
        [stages[name][quartiles][1] - stages[name][key] for name in names],
    ]
    axes.barh(names, medians, xerr=around, color="tab:blue", ecolor="0.3", label="measured")
    floors = [(name, stages[name]["floor_ms"]) for name in names if "floor_ms" in stages[name]]
    if floors:
        places = [names.index(name) for name, _ in floors]
        values = [value for _, value in floors]
        axes.plot(values, places, "|", color="tab:red", markersize=14, label="floor")
    axes.set_xscale("log")
    axes.set_xlabel(f"{report['clock']} time, ms")
    axes.invert_yaxis()
    axes.legend()
    axes.set_title(f"{as_label(report['bundle'])} on {report['machine']['processor']}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
