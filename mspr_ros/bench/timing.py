"""Time functions in turns, so that whatever else the machine does disturbs all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass
class Timing:
    """The calls of one function.

    Args:
        wall_s: Seconds of each call, the device's work included.
        cpu_s: Processor seconds of all threads of this process in each call: what other programs
            take does not count. Of no use for a GPU.
    """

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Give medians, quartiles and 99th percentiles in milliseconds."""
        wall, cpu = 1e3 * np.array(self.wall_s), 1e3 * np.array(self.cpu_s)
        low, median, high, late = np.percentile(wall, (25, 50, 75, 99)).tolist()
        return {
            "calls": len(wall),
            "median_ms": median,
            "quartiles_ms": [low, high],
            "p99_ms": late,
            "min_ms": float(wall.min()),
            "cpu_median_ms": float(np.median(cpu)),
            "cpu_quartiles_ms": np.percentile(cpu, (25, 75)).tolist(),
            "cpu_p99_ms": float(np.percentile(cpu, 99)),
        }


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; a CPU has done its work already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_in_turns(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int,
    device: torch.device,
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Call every function once a round, and time the calls after the warm-up.

    Args:
        functions: By name.
        rounds: That are timed.
        warm_up: Rounds before.
        device: Waited for inside of the timed part.
        on_round: Called after each round.
    """
    timings = {name: Timing() for name in functions}
    for number in range(warm_up + rounds):
        for name, function in functions.items():
            synchronize(device)
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            synchronize(device)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if number >= warm_up:
                timings[name].wall_s.append(wall)
                timings[name].cpu_s.append(cpu)
        on_round()
    return timings
