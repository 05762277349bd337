"""`mspr attention`: draw what the position and the orientation transformer look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mspr_ros.cli.camera_arguments import add_camera_arguments, camera_finder
from mspr_ros.cli.outputs import check_picture
from mspr_ros.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PNG", required=True, help="the picture to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing PNG")
    add_camera_arguments(parser)
    parser.add_argument(
        "--scene", default="", help="look with this scene's query (default: the recognised one's)"
    )
    parser.add_argument(
        "--layer",
        type=int,
        metavar="N",
        help="decoder layer, from 1 (default: the last, and the mean over all)",
    )
    parser.add_argument("--heads", action="store_true", help="show every head by itself")
    parser.add_argument(
        "--cell",
        metavar="X,Y",
        help="show as well what the encoder's cell at this pixel attends to "
        "(pixels of the picture as the network sees it)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Localize the picture, draw the attention and give its measures."""
    check_picture(args.output, overwrite=args.overwrite)
    pixel = _pixel(args.cell)
    from mspr_ros.data.images import read_image
    from mspr_ros.evaluation.attention import attend
    from mspr_ros.evaluation.attention_plots import attention_figure, choose_rows
    from mspr_ros.evaluation.plots import save_figure
    from mspr_ros.localizer import Localizer

    image = read_image(args.image)
    camera = camera_finder(args)(image)
    localizer = Localizer.load(args.bundle, device=args.device)
    num_layers = localizer.metadata.network.num_decoder_layers
    if args.layer is not None and not 1 <= args.layer <= num_layers:
        raise ConfigError(f"--layer {args.layer}: the decoders have layers 1 to {num_layers}")
    attention = attend(localizer, image, camera, scene=args.scene, pixel=pixel)
    rows = choose_rows(attention, layer=args.layer, heads=args.heads)
    save_figure(attention_figure(attention, rows), args.output)
    result = {"bundle": str(args.bundle), "image": str(args.image), **attention.to_dict()}
    _print_measures(result)
    print(f"attention: {args.output}")
    return {**result, "output": str(args.output)}


def _pixel(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"--cell {text}: expected two numbers, X,Y in pixels") from None
    return x, y


def _print_measures(result: dict[str, Any]) -> None:
    print(
        f"scene {result['recognised_scene']} recognised "
        f"({100 * result['recognised_probability']:.1f} %), asked for {result['scene']}"
    )
    for name in ("position", "orientation"):
        branch = result[name]
        rows, columns = branch["grid"]
        entropies = branch["cross_attention"]["relative_entropy"]
        print(
            f"{name}: {rows}x{columns} cells; entropy of the decoder's attention over uniform, "
            "layer by layer: " + " ".join(f"{entropy:.3f}" for entropy in entropies)
        )
        measures = branch["self_attention"]
        for layer, (distances, spreads, shares) in enumerate(
            zip(
                measures["query_key_distance"],
                measures["query_key_spread"],
                measures["query_dependence"],
                strict=True,
            ),
            start=1,
        ):
            print(
                f"  encoder layer {layer}: query-key distance by head "
                + " ".join(f"{value:.2f}" for value in distances)
                + "; spread "
                + " ".join(f"{value:.2f}" for value in spreads)
                + "; share that depends on the cell "
                + " ".join(f"{value:.3f}" for value in shares)
            )
