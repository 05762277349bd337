"""`mspr bench`: how fast a bundle answers on this machine, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli.outputs import check_picture
from mspr_ros.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from mspr_ros.bench.stages import Stage
    from mspr_ros.bundle import Bundle

TRAIN_CONFIG = "config/train/paper/7scenes_stage2.yaml"
LIVE_SECONDS = 20.0
LIVE_PICTURES = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        metavar="BUNDLE",
        help="bundle folder, also one that mspr export wrote (default: the paper's network with "
        "random weights)",
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        default=("image", "network", "blocks", "localize"),
        choices=("image", "network", "blocks", "localize", "scenes", "train", "live"),
        help="what to measure; live runs camera and localizer as two processes over DDS "
        "(default: image network blocks localize)",
    )
    parser.add_argument("--rounds", type=int, default=30, help="timed calls a stage")
    parser.add_argument("--warm-up", type=int, default=3, help="calls before that")
    parser.add_argument("--batch", type=int, default=8, help="images of the larger batch")
    parser.add_argument(
        "--scenes",
        type=int,
        nargs="+",
        default=(1, 7, 64, 256),
        help="numbers of scenes, for --stages scenes",
    )
    parser.add_argument(
        "--train-config",
        type=Path,
        help="configuration whose training step is measured, for --stages train "
        f"(default: {TRAIN_CONFIG})",
    )
    parser.add_argument("--threads", type=int, default=0, help="default: all usable cores")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--clock",
        default="wall",
        choices=("wall", "processor"),
        help="judge by wall time, or by processor time where other programs are running",
    )
    parser.add_argument("--compare", type=Path, metavar="OTHER.json", help="an earlier --json")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the result")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the table, and compare or draw it."""
    from mspr_ros.bench.report import compare, draw, format_comparison, format_table, read_report

    _check(args)
    other = read_report(args.compare) if args.compare else None
    report = measure(args)
    print(format_table(report))
    if "live" in args.stages:
        report["live"] = run_live_stage(args, report)
        print(report["live"]["text"])
    if other:
        report["comparison"] = compare(report, other)
        print(format_comparison(report["comparison"]))
    if args.plot:
        draw(report, args.plot)
    return report


def _check(args: argparse.Namespace) -> None:
    """Refuse bad numbers, stages that lack another, and a picture in the way before any work."""
    if min(args.rounds, args.batch, *args.scenes) < 1 or min(args.warm_up, args.threads) < 0:
        raise ConfigError("--rounds, --batch and --scenes must be at least 1")
    if "live" in args.stages and (args.bundle is None or "localize" not in args.stages):
        raise ConfigError("--stages live needs a BUNDLE, and localize to know the network's rate")
    if args.plot:
        check_picture(args.plot)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time all stages but `live`, in turns with what tells the machine's speed."""
    import cv2
    import torch
    from tqdm import tqdm

    from mspr_ros.backends.processor import has_bf16, num_usable_cores
    from mspr_ros.bench import machine, report
    from mspr_ros.bench.stages import Stage, is_papers_network, paper_bundle
    from mspr_ros.bench.timing import time_in_turns
    from mspr_ros.bundle import load_bundle
    from mspr_ros.device import choose_device

    device = choose_device(args.device)
    num_threads = args.threads or num_usable_cores()
    torch.set_num_threads(num_threads)
    cv2.setNumThreads(num_threads)
    told = machine.describe_machine(device, num_threads)
    bundle = load_bundle(args.bundle) if args.bundle else paper_bundle()
    stages = choose_stages(args, bundle, device, num_threads)
    stages[report.MATRIX_FP32] = Stage(machine.matrix_product(torch.float32, device))
    if has_bf16(device):  # without instructions for it, one product takes seconds
        stages[report.MATRIX_BF16] = Stage(machine.matrix_product(torch.bfloat16, device))
    stages[report.MEMORY] = Stage(machine.memory_copy(device))
    bar = tqdm(total=args.warm_up + args.rounds, desc="measuring", disable=None)
    with bar, torch.inference_mode("train" not in args.stages):
        timings = time_in_turns(
            {name: stage.function for name, stage in stages.items()},
            rounds=args.rounds,
            warm_up=args.warm_up,
            device=device,
            on_round=bar.update,
        )
    rates = report.rates(timings, args.clock)
    return {
        "machine": told,
        "bundle": str(args.bundle or "the paper's network, random weights"),
        "clock": args.clock,
        "rates": rates,
        "stages": {
            name: report.stage_result(
                stage,
                timings[name],
                rates[report.MATRIX_FP32],
                args.clock,
                is_paper=is_papers_network(bundle) and name.startswith("network "),
            )
            for name, stage in stages.items()
        },
    }


def choose_stages(
    args: argparse.Namespace, bundle: Bundle, device: torch.device, num_threads: int
) -> dict[str, Stage]:
    """Give the stages asked for."""
    from mspr_ros.bench import stages

    chosen: dict[str, Stage] = {}
    if "image" in args.stages:
        chosen.update(stages.image_stages(bundle.metadata))
    if "network" in args.stages:
        chosen.update(stages.network_stages(bundle, args.bundle, device, args.batch, num_threads))
    if "blocks" in args.stages:
        chosen.update(stages.block_stages(bundle, device))
    if "localize" in args.stages:
        chosen.update(stages.localizer_stages(bundle, device))
    if "scenes" in args.stages:
        chosen.update(stages.scene_stages(bundle.metadata, tuple(args.scenes), device))
    if "train" in args.stages:
        from mspr_ros.bench.training_step import training_stages
        from mspr_ros.ros.resources import shared_path

        config = args.train_config or shared_path(TRAIN_CONFIG)
        chosen.update(training_stages(config, device))
    return chosen


def run_live_stage(args: argparse.Namespace, report: dict[str, Any]) -> dict[str, Any]:
    """Run a camera and the localizer over DDS, at 0.8 of the network's own rate."""
    from mspr_ros.bench.report import CLOCKS
    from mspr_ros.bundle import load_metadata
    from mspr_ros.ros.live_bench import measure_live
    from mspr_ros.simulator.drive import Drive
    from mspr_ros.simulator.recording import pinhole
    from mspr_ros.simulator.renderer import Renderer
    from mspr_ros.simulator.world import World

    median_ms = report["stages"]["localize, picture to pose"][CLOCKS["wall"]]
    rate_hz = min(30.0, 0.8e3 / median_ms)
    world, camera = World.build("demo"), pinhole(640, 480, 70.0)
    # Where the simulator does not know the bundle's places, any will do.
    names = [name for name in load_metadata(args.bundle).scene_names if world.knows(name)]
    drive = Drive(
        world,
        (names or list(world.scenes))[:1],
        seed=2026,
        rate_hz=rate_hz,
        frames_per_scene=LIVE_PICTURES,
    )
    renderer = Renderer(world, camera)
    images = [renderer.render(frame.scene, frame.T_map_cam, frame.light) for frame in drive]
    return measure_live(
        args.bundle,
        images,
        camera,
        rate_hz=rate_hz,
        num_images=round(LIVE_SECONDS * rate_hz),
        device=args.device,
        num_threads=args.threads,
    )
