"""Load the bundle that the node's parameters name; on the CPU where the GPU has no room for it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from rclpy.node import Node

from mspr_ros.device import is_out_of_gpu_memory
from mspr_ros.errors import MsprError
from mspr_ros.ros.frames import LocalizerLike
from mspr_ros.ros.parameter_specs import NodeParameters
from mspr_ros.ros.resources import shared_path

LocalizerFactory = Callable[..., LocalizerLike]


class BundleLoader:
    """Load what the parameters ask for.

    Args:
        node: Says in its log what is unexpected.
        parameters: Its parameters.
        factory: Called as `Localizer.load` is.
    """

    def __init__(self, node: Node, parameters: NodeParameters, factory: LocalizerFactory) -> None:
        self._node = node
        self._parameters = parameters
        self.factory = factory
        self._last: dict[str, Any] = {}  # what the factory was called with
        self.fallback = ""  # why the CPU does the GPU's work; empty where it does not
        # Each thread of Python's has its own number of torch's: whoever computes sets this one.
        self.num_threads = int(parameters["num_threads"]) or torch.get_num_threads()

    def load(self) -> LocalizerLike:
        """Load the bundle and run it once, so that the first image does not wait for that.

        A GPU without room for it makes way for the CPU; see `load_on_cpu`.

        Raises:
            MsprError: If the bundle is missing or damaged, or device or scene cannot be had.
        """
        arguments = self._arguments()
        try:
            localizer = self._load(arguments)
        except Exception as error:
            if arguments["device"] == "cpu" or not is_out_of_gpu_memory(error):
                raise
            release_gpu_memory(error)
            return self._on_cpu(arguments, error)
        self.fallback = ""
        return localizer

    def load_on_cpu(self, error: Exception) -> LocalizerLike:
        """Load the last bundle on the CPU since the GPU is out of memory, and say so.

        Args:
            error: What the GPU raised.

        Raises:
            MsprError: If the bundle is missing or damaged.
        """
        return self._on_cpu(self._last, error)

    def _on_cpu(self, arguments: dict[str, Any], error: Exception) -> LocalizerLike:
        # torch tells the sizes in its first sentence, then much advice.
        reason = one_line(error).split(". ")[0]
        self.fallback = (
            "the GPU is out of memory: the CPU answers instead, more slowly; free memory on the "
            f"GPU, then call ~/reload ({reason})"
        )
        self._node.get_logger().error(self.fallback)
        # Not every processor has the precision of the GPU.
        return self._load({**arguments, "device": "cpu", "precision": "auto"})

    def _arguments(self) -> dict[str, Any]:
        bundle = self._parameters["bundle"]
        if not bundle:
            bundle = str(shared_path("models/demo"))
            self._node.get_logger().warning(
                "no bundle given: using the demo one, which knows only the simulator's rooms"
            )
        names = ("device", "backend", "precision", "scene")
        return {"bundle": bundle, **{name: self._parameters[name] for name in names}}

    def _load(self, arguments: dict[str, Any]) -> LocalizerLike:
        torch.set_num_threads(self.num_threads)
        cv2.setNumThreads(self.num_threads)
        localizer = self.factory(arguments["bundle"], **_without_bundle(arguments))
        size = localizer.metadata.preprocess
        localizer.localize(np.zeros((size.height, size.width, 3), np.uint8))
        self._last = arguments
        return localizer


def _without_bundle(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "bundle"}


def release_gpu_memory(error: Exception) -> None:
    """Give back what a failed computation held of the GPU's memory.

    Args:
        error: What it raised; the variables of its frames are let go.
    """
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def one_line(error: Exception) -> str:
    """Tell an error in one line; its kind too where it is not one of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MsprError) else f"{type(error).__name__}: {text}"
