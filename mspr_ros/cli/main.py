"""The `mspr` command: one module per subcommand, imported only when it is called.

Every subcommand module has `add_arguments(parser)` and `run(args)`; `run` returns the result as
plain JSON-ready values. Exit status: 0 ok, 1 a known error told in one line, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mspr_ros import __version__
from mspr_ros.cli.outputs import check_file
from mspr_ros.errors import MsprError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "run the simulator's camera and the localizer, and measure the poses"),
    "simulate": ("simulate", "write a dataset from the simulator"),
    "import": ("import_", "turn a recording in a known format into a dataset"),
    "train": ("train", "train a bundle from datasets"),
    "teach": ("teach", "teach a bundle places from recorded drives (bags)"),
    "calibrate": ("calibrate", "calibrate a bundle's uncertainty on held-out frames"),
    "evaluate": ("evaluate", "measure a bundle on a dataset"),
    "evaluate-bag": ("evaluate_bag", "let recorded drives (bags) judge a bundle"),
    "localize": ("localize", "give the poses of image files"),
    "attention": ("attention", "draw what the network looks at in an image"),
    "import-reference": ("import_reference", "turn the paper's own weights into a bundle"),
    "doctor": ("doctor", "look at everything the node depends on, and name remedies"),
    "export": ("export", "write a bundle's network for onnxruntime or openvino, checked"),
    "study": ("study", "answer a question about the method by training and measuring"),
    "bench": ("bench", "measure how fast a bundle answers here, stage by stage"),
    "make-bag": ("make_bag", "write a dataset's frames into a ROS 2 bag"),
    "replay": ("replay", "play a bag into the running node and measure its poses"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status."""
    if not sys.stderr.isatty():  # a log file wants no ten bars a second (tqdm 4.66 and later)
        os.environ.setdefault("TQDM_MININTERVAL", "30")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in arguments if not word.startswith("-")), None)
    parser = build_parser(name if name in COMMANDS else None)
    args = parser.parse_args(arguments)
    try:
        if args.json is not None:
            check_file(args.json)
        result = args.run(args)
        if args.json is not None:
            write_json(args.json, result)
    except MsprError as error:
        print(f"mspr {args.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full, a folder that may not be written
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"mspr {args.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"mspr {args.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def write_json(path: Path, result: Any) -> None:
    """Write a command's result, plain JSON-ready values, to a new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Build the parser; `only` names the one subcommand whose module is imported."""
    parser = argparse.ArgumentParser(prog="mspr", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"mspr_ros {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module_name, summary) in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=summary)
        if name == only:
            module = importlib.import_module(f"mspr_ros.cli.{module_name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
            subparser.add_argument(
                "--json", type=Path, metavar="FILE", help="also write the result as JSON"
            )
    return parser


def console() -> None:
    """Serve as the entry point of the installed `mspr` script."""
    sys.exit(main())
