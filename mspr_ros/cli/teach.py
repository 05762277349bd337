"""`mspr teach BAG... -o BUNDLE`: the whole lesson, from recorded drives to a bundle and a report.

Import, choose clusters, train, calibrate, judge on what was held back. All but the bundle goes to
a work folder; the same command goes on there where it stopped:

    WORK/teach.json       the command
    WORK/datasets/        a data set for each scene
    WORK/config.yaml      the training configuration, with what was chosen
    WORK/run/             the training run (`mspr train`), with its own report
    WORK/evaluation/      the report on the held-back frames (`mspr evaluate`)
    WORK/report.md        what was taught and how well it was learned: read this one
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mspr_ros.cli.teach_arguments import SceneBags, add_arguments, bag_options, scenes_of
from mspr_ros.errors import ConfigError, MsprError

if TYPE_CHECKING:
    from mspr_ros.training.configuration import TrainConfig

__all__ = ["add_arguments", "run"]

DEFAULT_MINUTES = 15.0
RATE_SECONDS = 10.0
TEST_BLOCKS = 2
# Words of the command that may differ when it goes on.
_NOT_THE_LESSON = ("command", "run", "json", "device", "work", "output", "compare")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Teach, and give where bundle and report are and what was measured."""
    scenes = scenes_of(args)
    work = args.work or args.output.with_name(args.output.name + ".work")
    _check(args)
    _open(work, args)
    try:
        imported = [_import(scene, args, work / "datasets") for scene in scenes]
        datasets = [Path(entry["dataset"]) for entry in imported]
        chosen = _configure(args, scenes, datasets, work)
        trained = _once(work / "trained.json", lambda: _train(args, work))
    except (KeyboardInterrupt, MsprError) as error:
        if isinstance(error, KeyboardInterrupt) or _is_interruption(error):
            print("stopped; the same `mspr teach` command goes on from there", file=sys.stderr)
            raise KeyboardInterrupt from None
        raise
    bundle = work / "run" / "bundle"
    grown: dict[str, Any] = {}
    if args.add_to and not args.rehearse:
        bundle, grown = _grow(args, work)
    judged = _evaluate(args, bundle, datasets, work / "evaluation")
    before_after = _compare(args, bundle)
    result = {
        "bundle": str(args.output),
        "report": str(work / "report.md"),
        "imported": imported,
        "chosen": chosen,
        "trained": trained,
        "grown": grown,
        "evaluation": judged,
        "old_scenes": before_after,
    }
    from mspr_ros.cli.teach_report import write_page

    write_page(work / "report.md", result)
    _deliver(bundle, args.output)
    print(f"bundle: {args.output}\nreport: {work / 'report.md'}")
    return result


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot end well before any long work."""
    if args.output.exists():
        raise MsprError(f"{args.output} exists and is not overwritten; name another bundle")
    if not 0.0 <= args.test_fraction < 1.0:
        raise MsprError(f"--test-fraction must lie in [0, 1), got {args.test_fraction}")
    if args.minutes is not None and args.minutes <= 0.0:
        raise MsprError(f"--minutes must be positive, got {args.minutes}")
    if (args.rehearse or args.compare) and not args.add_to:
        raise MsprError("--rehearse and --compare go with --add-to")
    _check_names([scene.name for scene in scenes_of(args)])
    if not args.add_to:
        return
    from mspr_ros.bundle import load_metadata
    from mspr_ros.data.dataset import Dataset

    known = set(load_metadata(args.add_to).scene_names)
    again = sorted(known & {scene.name for scene in scenes_of(args)})
    if again:
        raise MsprError(f"{args.add_to} already knows {', '.join(again)}; name the place anew")
    rehearsed = {scene for folder in args.rehearse for scene in Dataset.load(folder).scenes}
    if args.rehearse and rehearsed != known:
        raise MsprError(
            f"--rehearse must hold just the scenes of {args.add_to} ({', '.join(sorted(known))}), "
            f"but holds {', '.join(sorted(rehearsed))}: what is not rehearsed is forgotten"
        )
    compared = {scene for folder in args.compare for scene in Dataset.load(folder).scenes}
    if not compared <= known:
        raise MsprError(
            f"--compare must hold scenes of {args.add_to} ({', '.join(sorted(known))}), but holds "
            f"{', '.join(sorted(compared - known))}, too"
        )


def _check_names(scenes: Sequence[str]) -> None:
    """Refuse scenes whose data sets would have one folder."""
    from mspr_ros.data.writer import file_name

    names: dict[str, str] = {}
    for scene in scenes:
        other = names.setdefault(file_name(scene), scene)
        if other != scene:
            raise MsprError(
                f"scenes '{other}' and '{scene}' would share the data set folder "
                f"{file_name(scene)}; name one of them otherwise"
            )


def _open(work: Path, args: argparse.Namespace) -> None:
    """Begin a work folder, or go on with that of the same command.

    Raises:
        MsprError: If it belongs to another command or to something else.
    """
    values = {key: value for key, value in vars(args).items() if key not in _NOT_THE_LESSON}
    text = json.dumps(values, indent=2, sort_keys=True, default=str) + "\n"
    file = work / "teach.json"
    if not file.is_file():
        if work.exists() and any(work.iterdir()):
            raise MsprError(f"{work} is not empty and no lesson; name another one with --work")
        work.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    before, now = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in changed)
        raise MsprError(
            f"{work} was begun with other values of {options}; give those, name another folder "
            "with --work, or remove it"
        )
    print(f"going on in {work}")


def _once(file: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a piece of work unless its result is there already."""
    if file.is_file():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    result = work()
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)
    return result


def _is_interruption(error: BaseException) -> bool:
    from mspr_ros.training.interrupt import Interrupted

    return isinstance(error, Interrupted)


def _import(scene: SceneBags, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Turn the bags of a scene into a data set, and say what came of them."""
    from mspr_ros.data.writer import file_name

    output = (folder / file_name(scene.name)).absolute()

    def import_them() -> dict[str, Any]:
        from mspr_ros.bags.importing import import_bags
        from mspr_ros.cli.import_ import print_summary
        from mspr_ros.cli.import_bag import BagResult, print_reports

        if output.exists():  # written, but its summary was not
            shutil.rmtree(output)
        summary, reports = import_bags(
            scene.bags,
            output,
            bag_options(scene, args),
            scene=scene.name,
            test_fraction=0.0 if scene.has_test_bag else args.test_fraction,
            test_blocks=TEST_BLOCKS,
            jpeg_quality=args.jpeg_quality,
        )
        print_reports(reports)
        print_summary(summary, output)
        return {
            "scene": scene.name,
            "dataset": str(output),
            "frames": {split: count for (_, split), count in summary.frames.items()},
            "left_out": summary.left_out,
            "held_back": _held_back(scene, args),
            **BagResult(summary, reports).as_json(),
        }

    folder.mkdir(parents=True, exist_ok=True)
    return _once(folder / f"{output.name}.json", import_them)


def _held_back(scene: SceneBags, args: argparse.Namespace) -> str:
    if scene.has_test_bag:
        return "a drive of its own"
    if args.test_fraction == 0.0:
        return "nothing"
    return f"{args.test_fraction:.0%} of every drive, in blocks of time between guards"


def _configure(
    args: argparse.Namespace, scenes: list[SceneBags], datasets: list[Path], work: Path
) -> dict[str, Any]:
    """Choose how to train, write `config.yaml`, and say what was chosen."""

    def choose() -> dict[str, Any]:
        import dataclasses

        from mspr_ros.bundle import load_metadata
        from mspr_ros.config import dump_yaml, to_mapping
        from mspr_ros.data.dataset import Dataset
        from mspr_ros.ros.resources import shared_path
        from mspr_ros.training.configuration import load_train_config
        from mspr_ros.training.growing import with_frozen_trunk
        from mspr_ros.training.teaching import with_network_of, with_own_network

        file = args.config or shared_path("config/train/teach.yaml")
        all_data = [*(folder.absolute() for folder in args.rehearse), *datasets]
        config = load_train_config(file, [str(folder) for folder in all_data])
        frames = {s.name: s.options["map_frame"] for s in scenes if "map_frame" in s.options}
        config = dataclasses.replace(config, map_frames={**config.map_frames, **frames})
        notes: list[str] = []
        if args.add_to:
            metadata = load_metadata(args.add_to)
            config = with_network_of(config, args.add_to.absolute(), metadata)
            if args.rehearse:
                old = {info.name: info.map_frame for info in metadata.scenes}
                config = dataclasses.replace(config, map_frames={**old, **config.map_frames})
            else:
                config = with_frozen_trunk(config)
        else:
            config, notes = with_own_network(config, [Dataset.load(d) for d in datasets])
        if not config.image_cache:
            config = dataclasses.replace(config, image_cache=str((work / "cache").absolute()))
        config, rate = _budget(args, config)
        text = dump_yaml(to_mapping(config))
        (work / "config.yaml").write_text(text, encoding="utf-8")
        for note in notes:
            print(note)
        return {
            "position_clusters": config.network.num_position_clusters,
            "orientation_clusters": config.network.num_orientation_clusters,
            "images_per_second": rate,
            "total_images": config.total_images,
            "epochs": config.epochs if not config.total_images else None,
            "notes": notes,
        }

    return _once(work / "chosen.json", choose)


def _budget(args: argparse.Namespace, config: TrainConfig) -> tuple[TrainConfig, float | None]:
    """Choose the number of pictures for the minutes there are, by a short measurement."""
    from mspr_ros.device import choose_device
    from mspr_ros.training import teaching

    minutes = args.minutes
    if minutes is None and args.config is not None:
        return config, None
    minutes = minutes or DEFAULT_MINUTES
    seconds = min(RATE_SECONDS, 6.0 * minutes)  # a tenth of the time at most
    rate, num_frames = teaching.measure_rate(config, choose_device(args.device), seconds)
    config = teaching.with_budget(config, minutes, rate)
    print(f"{rate:.1f} pictures a second: {config.total_images} in about {minutes:g} minutes")
    return teaching.with_few_validations(config, num_frames), rate


def _train(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Train by the very command that trains anything else."""
    from mspr_ros.cli import train

    folder = work / "run"
    words = [str(work / "config.yaml"), "-o", str(folder), "--device", args.device]
    if (folder / "last.ckpt").is_file():
        words.append("--resume")
    elif folder.exists():
        shutil.rmtree(folder)  # nothing was learned in it yet
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return train.run(argparse.Namespace(**vars(parser.parse_args(words)), json=None))


def _grow(args: argparse.Namespace, work: Path) -> tuple[Path, dict[str, Any]]:
    """Join what was learned of the new scenes to the old bundle."""
    from mspr_ros.device import choose_device
    from mspr_ros.training.growing import grow_bundle

    bundle = work / "grown"
    result = _once(
        work / "grown.json",
        lambda: grow_bundle(args.add_to, work / "run", bundle, device=choose_device(args.device)),
    )
    return bundle, result


def _evaluate(
    args: argparse.Namespace, bundle: Path, datasets: list[Path], output: Path
) -> dict[str, Any]:
    """Judge the new scenes on the frames held back, by the very command that judges anything."""
    from mspr_ros.cli import evaluate
    from mspr_ros.data.dataset import Dataset

    held_back = [folder for folder in datasets if "test" in Dataset.load(folder).splits]
    if not held_back:
        print("nothing was held back, so nothing is judged")
        return {}
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    words = [str(bundle), *map(str, held_back), "--split", "test", "--device", args.device]
    return evaluate.run(parser.parse_args([*words, "-o", str(output), "--overwrite"]))


def _compare(args: argparse.Namespace, bundle: Path) -> dict[str, Any]:
    """Show the old scenes before and after, where their frames are at hand."""
    folders = args.compare or args.rehearse
    if not folders:
        return {}
    from mspr_ros.cli.teach_report import compare_bundles

    return compare_bundles(args.add_to, bundle, folders, args.device)


def _deliver(bundle: Path, output: Path) -> None:
    """Copy the bundle to where it is wanted: whole or not at all."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bundle-") as folder:
            partial = Path(folder) / output.name
            shutil.copytree(bundle, partial)
            partial.rename(output)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error}") from None
