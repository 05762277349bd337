"""`mspr study NAME`: train and measure to answer a question about the method."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from mspr_ros.studies import STUDIES

# For datasets that are given, and for the simulator's places.
GIVEN_CONFIG, SIMULATOR_CONFIG = "config/train/small.yaml", "config/train/demo.yaml"
# What every study has; the rest of the arguments are the study's own.
_COMMON = {
    *("command", "run", "json", "study", "datasets", "output", "budget", "seeds", "config"),
    *("set", "frames", "quick", "device"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of every study."""
    studies = parser.add_subparsers(dest="study", required=True, metavar="NAME")
    for name, module_name in STUDIES.items():
        module = importlib.import_module(f"mspr_ros.studies.{module_name}")
        one = studies.add_parser(name, help=module.QUESTION, description=module.QUESTION)
        _add_common(one)
        module.add_arguments(one)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "datasets",
        nargs="*",
        type=Path,
        metavar="DATASET",
        help="dataset folders with splits train and test; none: the simulator's places",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the study"
    )
    parser.add_argument(
        "--budget", type=float, default=60.0, metavar="MINUTES", help="for all of it (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--config",
        type=Path,
        help=f"training configuration to start from ({GIVEN_CONFIG}; without datasets "
        f"{SIMULATOR_CONFIG})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value for one key of the configuration (repeatable)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=400,
        help="training frames of a simulated place (%(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer values of every factor")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the study and give its result."""
    from mspr_ros.config import load_yaml, set_key
    from mspr_ros.errors import ConfigError
    from mspr_ros.ros.resources import shared_path
    from mspr_ros.studies.runner import run_study
    from mspr_ros.studies.study import Setting

    if args.seeds < 1 or args.budget <= 0.0 or args.frames < 20:
        raise ConfigError("--seeds is at least 1, --budget above 0 and --frames at least 20")
    base = load_yaml(
        args.config or shared_path(GIVEN_CONFIG if args.datasets else SIMULATOR_CONFIG)
    )
    for change in args.set:
        set_key(base, change)
    own = {key: value for key, value in vars(args).items() if key not in _COMMON}
    setting = Setting(
        output=args.output,
        datasets=tuple(args.datasets),
        base=base,
        seeds=tuple(range(args.seeds)),
        budget_minutes=args.budget,
        frames=args.frames,
        quick=args.quick,
        device=args.device,
        options=argparse.Namespace(**own),
    )
    module = importlib.import_module(f"mspr_ros.studies.{STUDIES[args.study]}")
    return run_study(module, args.study, setting)
