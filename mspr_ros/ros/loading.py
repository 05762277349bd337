"""Load the bundle that the node's parameters name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node

from mspr_ros.errors import MsprError
from mspr_ros.ros.frames import LocalizerLike
from mspr_ros.ros.parameter_specs import NodeParameters
from mspr_ros.ros.resources import shared_path

LocalizerFactory = Callable[..., LocalizerLike]


def load_localizer(
    node: Node, parameters: NodeParameters, factory: LocalizerFactory
) -> LocalizerLike:
    """Load the bundle and run it once, so that the first image does not wait for that.

    Raises:
        MsprError: If the bundle is missing or damaged, or device or scene cannot be had.
    """
    bundle = parameters["bundle"]
    if not bundle:
        bundle = str(shared_path("models/demo"))
        node.get_logger().warning(
            "no bundle given: using the demo one, which knows only the simulator's rooms"
        )
    localizer = factory(
        bundle,
        device=parameters["device"],
        backend=parameters["backend"],
        precision=parameters["precision"],
        scene=parameters["scene"],
    )
    size = localizer.metadata.preprocess
    localizer.localize(np.zeros((size.height, size.width, 3), np.uint8))
    return localizer


def one_line(error: Exception) -> str:
    """Tell an error in one line; its kind too where it is not one of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MsprError) else f"{type(error).__name__}: {text}"
