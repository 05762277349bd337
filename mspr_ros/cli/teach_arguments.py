"""The arguments of `mspr teach`, and what they say of each scene."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli.import_bag import add_selection_arguments
from mspr_ros.errors import MsprError

if TYPE_CHECKING:
    from mspr_ros.bags.scanning import BagOptions

# Options that may differ from scene to scene: VALUE for all, or SCENE=VALUE (repeatable).
OF_SCENE = {
    "pose": ("SOURCE", "'tf:map->camera_optical', or a topic with poses"),
    "extrinsic": ("E", "from the body whose poses these are to the camera, as in mspr import"),
    "image_topic": ("T", "raw or compressed (default: the only one)"),
    "camera_info_topic": ("T", "(default: the one beside the images)"),
    "intrinsics": ("fx,fy,cx,cy,...", "the camera, whatever the bags say"),
    "offset": ("SECONDS", "add this to an image's stamp to get the time of the pose source"),
    "map_frame": ("FRAME", "the map frame that the poses are given in (default: map)"),
}


@dataclass(frozen=True)
class SceneBags:
    """The bags of one scene and how to read them.

    Args:
        name: Of the scene.
        bags: The split of each bag.
        options: Values of `OF_SCENE`, empty where not given.
    """

    name: str
    bags: dict[Path, str]
    options: dict[str, str]

    @property
    def has_test_bag(self) -> bool:
        """Whether a bag of its own is held back."""
        return "test" in self.bags.values()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bags", type=Path, nargs="*", metavar="BAG", help="drives in one scene")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle to make"
    )
    parser.add_argument(
        "--scene",
        action="append",
        default=[],
        metavar="NAME[=BAG,BAG...]",
        help="name of the scene of the bags above; or a scene with its bags (repeatable)",
    )
    parser.add_argument(
        "--test-bag",
        action="append",
        default=[],
        metavar="[SCENE=]BAG",
        help="a drive to judge the result by (default: blocks of time cut out of the bags)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="data sets, training run and report (default: BUNDLE.work); the same command goes "
        "on there where it stopped",
    )
    parser.add_argument(
        "--config", type=Path, help="training configuration (default: a small one)"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="train about so long (default: 15, or as much as --config says)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    _add_bag_arguments(parser)
    further = parser.add_argument_group("teaching a bundle further")
    further.add_argument("--add-to", type=Path, metavar="BUNDLE", help="the bundle; it stays")
    further.add_argument(
        "--rehearse",
        type=Path,
        nargs="+",
        default=[],
        metavar="DATASET",
        help="data sets of its scenes, to learn again beside the new ones; without them, what "
        "answers for the old scenes is frozen",
    )
    further.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        default=[],
        metavar="DATASET",
        help="data sets whose test frames show the old scenes before and after (default: those of "
        "--rehearse)",
    )


def _add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group(
        "reading the bags: VALUE for all scenes, or SCENE=VALUE for one (repeatable)"
    )
    for option, (metavar, text) in OF_SCENE.items():
        name = f"--{option.replace('_', '-')}"
        reading.add_argument(
            name, action="append", default=[], metavar=f"[SCENE=]{metavar}", help=text
        )
    parser.add_argument(
        "--estimate-offset",
        action="store_true",
        help="find the offset of the clocks from the rotation seen in the images",
    )
    parser.add_argument("--max-gap", type=float, default=0.1, metavar="SECONDS")
    parser.add_argument(
        "--test-fraction",
        type=float,
        default=0.15,
        metavar="F",
        help="share held back as guarded blocks of time where a scene has no test bag (0.15)",
    )
    parser.add_argument(
        "--jpeg-quality", type=int, default=95, choices=range(101), metavar="Q", help="0: PNG"
    )
    add_selection_arguments(parser)
    # Standing still teaches nothing twice.
    parser.set_defaults(min_translation=0.02, min_rotation_deg=1.0, max_frames=4000)


def scenes_of(args: argparse.Namespace) -> list[SceneBags]:
    """Read which bags teach which scene.

    Raises:
        MsprError: If scenes or bags are missing, or an option does not fit.
    """
    bags: dict[str, dict[Path, str]] = {}
    for text in args.scene:
        name, equal, listed = text.partition("=")
        if not name or name in bags:
            raise MsprError(f"--scene {text}: every scene needs a name of its own")
        bags[name] = {Path(word): "train" for word in listed.split(",") if word} if equal else {}
    open_scenes = [name for name, own in bags.items() if not own]
    if args.bags:
        if len(open_scenes) != 1:
            raise MsprError("bags without a scene: say which with one --scene NAME")
        bags[open_scenes[0]] = dict.fromkeys(args.bags, "train")
    elif open_scenes or not bags:
        raise MsprError("no bags: give BAG... --scene NAME, or --scene NAME=BAG,BAG")
    for text in args.test_bag:
        for name, path in _by_scene(text, bags, "--test-bag").items():
            if len(bags) > 1 and not text.startswith(f"{name}="):
                raise MsprError(f"--test-bag {text}: say of which scene, SCENE=BAG")
            bags[name] = {**bags[name], Path(path): "test"}
    options: dict[str, dict[str, str]] = {name: {} for name in bags}
    for option in OF_SCENE:
        # Those for all scenes first, so that those for one overrule them.
        texts = sorted(getattr(args, option), key=lambda text: text.partition("=")[0] in bags)
        for text in texts:
            for name, value in _by_scene(text, bags, option).items():
                options[name][option] = value
    poseless = [name for name in bags if not options[name].get("pose")]
    if poseless:
        raise MsprError(
            f"say where the poses of {', '.join(poseless)} come from: --pose 'tf:map->FRAME' or a "
            "topic"
        )
    return [SceneBags(name, own, options[name]) for name, own in bags.items()]


def _by_scene(text: str, scenes: dict[str, Any], option: str) -> dict[str, str]:
    """Read SCENE=VALUE, or VALUE for every scene."""
    name, equal, value = text.partition("=")
    if not equal:
        return dict.fromkeys(scenes, text)
    if name not in scenes:
        raise MsprError(f"{option} {text}: there is no scene '{name}', only {', '.join(scenes)}")
    return {name: value}


def bag_options(scene: SceneBags, args: argparse.Namespace) -> BagOptions:
    """Say what to take from the bags of a scene.

    Raises:
        MsprError: If a value cannot be read.
    """
    from mspr_ros.bags.scanning import BagOptions
    from mspr_ros.data.cameras import parse_intrinsics
    from mspr_ros.data.selection import Selection

    own = scene.options
    try:
        offset_s = float(own.get("offset", 0.0))
    except ValueError:
        raise MsprError(f"--offset takes seconds, got '{own['offset']}'") from None
    if offset_s and args.estimate_offset:
        raise MsprError("--offset and --estimate-offset exclude each other")
    return BagOptions(
        pose=own["pose"],
        image_topic=own.get("image_topic", ""),
        camera_info_topic=own.get("camera_info_topic", ""),
        extrinsic=own.get("extrinsic", ""),
        max_gap_s=args.max_gap,
        offset_s=offset_s,
        estimate_offset=args.estimate_offset,
        selection=Selection(
            min_translation_m=args.min_translation,
            min_rotation_deg=args.min_rotation_deg,
            min_sharpness=args.min_sharpness,
            max_frames=args.max_frames,
        ),
        intrinsics=parse_intrinsics(own["intrinsics"]) if "intrinsics" in own else None,
    )
