"""Measure training throughput at the paper's configuration, beside what the processor can do.

    python benchmarks/train_speed.py [--config config/train/paper/7scenes_stage2.yaml] [-o JSON]

Whole training steps (forward, loss, backward, optimizer) on random pictures of 7 scenes, without
reading images. Ways to train take turns, after a warm-up: fp32 with single attention weights
dropped, as the paper does, or whole keys, and the latter in bf16 where the machine is faster at
that; median and spread of the steps. The rates of a 1024x1024 matrix product in fp32 and bf16 tell
how fast the machine is: the paper's own code makes 0.63 to 0.72 images/s at batch 8 where they are
124 and 347 GFLOP/s.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from mspr_ros.bench.machine import MATRIX_FLOP, matrix_product
from mspr_ros.bench.timing import time_in_turns
from mspr_ros.bench.training_step import make_step
from mspr_ros.training.configuration import load_train_config

ORIGINAL_IMAGES_PER_S, ORIGINAL_GFLOPS = 0.675, 124.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--config", type=Path, default=Path("config/train/paper/7scenes_stage2.yaml")
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    config = load_train_config(args.config)
    gflops = {name: matrix_rate(getattr(torch, name), device) for name in ("float32", "bfloat16")}
    ways = ["weights, fp32", "keys, fp32"]
    if gflops["bfloat16"] > gflops["float32"]:
        ways.append("keys, bf16")
    steps = {}
    for way in ways:
        dropped, precision = way.split(", ")
        steps[way] = make_step(config, dropped, device, half=precision == "bf16")
    timings = time_in_turns(steps, rounds=args.steps, warm_up=1, device=device)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "threads": args.threads,
        "config": str(args.config),
        "batch_size": config.batch_size,
        "gflops": gflops,
        "images_per_s": {},
    }
    print(f"1024x1024 matrix product: {gflops['float32']:.0f} GFLOP/s in fp32, "
          f"{gflops['bfloat16']:.0f} in bf16")  # fmt: skip
    for way, timing in timings.items():
        values = timing.wall_s
        rate = config.batch_size / statistics.median(values)
        slow, fast = config.batch_size / max(values), config.batch_size / min(values)
        factor = rate / ORIGINAL_IMAGES_PER_S * ORIGINAL_GFLOPS / gflops["float32"]
        result["images_per_s"][way] = {
            "median": rate, "slowest": slow, "fastest": fast, "factor": factor,
        }  # fmt: skip
        print(f"dropping {way}: {rate:.2f} images/s [{slow:.2f}, {fast:.2f}], "
              f"{factor:.1f} times the original code at equal fp32 rate")  # fmt: skip
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Give the median GFLOP/s of 1024x1024 matrix products."""
    product = {"product": matrix_product(dtype, device)}
    timing = time_in_turns(product, rounds=5, warm_up=1, device=device)["product"]
    return MATRIX_FLOP / statistics.median(timing.wall_s) / 1e9


if __name__ == "__main__":
    main()
