"""What `mspr doctor` looks at without ROS: Python, PyTorch, GPU, bundle, and an answer."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mspr_ros.errors import MsprError

OK, WARNING, FAILED, UNCHECKED = "ok", "warning", "failed", "unchecked"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)
SLOW_MS = 500.0  # an answer that takes longer is hardly of use to a robot that moves
NUM_ANSWERS = 3


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Args:
        name: What was looked at.
        level: `ok`, `warning`, `failed`, or `unchecked` where it could not be looked at.
        text: What was found.
        remedy: What to do about it; empty where nothing is to be done.
        values: Numbers and names found, for the JSON report.
    """

    name: str
    level: str
    text: str
    remedy: str = ""
    values: dict[str, Any] | None = None


def check_python() -> Check:
    """Look at the interpreter."""
    version = sys.version_info[:2]
    text = f"{sys.version.split()[0]} ({sys.executable})"
    if OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        return Check("python", OK, text)
    wanted = " to ".join(f"{a}.{b}" for a, b in (OLDEST_PYTHON, NEWEST_PYTHON))
    return Check("python", WARNING, text, f"mspr_ros is tested with Python {wanted}")


def check_torch() -> Check:
    """Look at PyTorch and the network library."""
    remedy = "pip install -r requirements.txt, in the environment that the node runs in"
    versions = {}
    try:
        for name in ("numpy", "cv2", "torch"):
            versions[name] = str(importlib.import_module(name).__version__)
        from mspr_ros.network.backbone import import_timm

        versions["timm"] = str(import_timm().__version__)
    except Exception as error:  # a broken binary raises anything, not only ImportError
        return Check("torch", FAILED, f"cannot be imported: {error}", remedy, versions)
    import torch

    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    threads = torch.get_num_threads()
    return Check("torch", OK, f"{text}; {threads} CPU threads", values=versions)


def check_cuda(device: str) -> Check:
    """Look at the GPU: compute something on it.

    Args:
        device: The one the node shall use.
    """
    import torch

    if device == "cpu":
        return Check("cuda", OK, "not wanted: --device cpu")
    if not torch.cuda.is_available():
        level = WARNING if device == "auto" else FAILED
        build = torch.version.cuda
        text = "no GPU: " + ("torch is built without CUDA" if not build else "torch sees none")
        remedy = (
            "install a torch with CUDA (pytorch.org), on Jetson NVIDIA's own wheel"
            if not build
            else "nvidia-smi must show the GPU, and its driver must fit CUDA " + str(build)
        )
        return Check(
            "cuda", level, text + ("; the CPU is used" if level == WARNING else ""), remedy
        )
    try:
        wanted = torch.device("cuda" if device == "auto" else device)
        total = torch.ones(256, 256, device=wanted).sum().item()
        free_bytes, all_bytes = torch.cuda.mem_get_info(wanted)
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        return Check("cuda", FAILED, text, "see nvidia-smi: memory, driver, other processes")
    name = torch.cuda.get_device_name(wanted)
    text = f"{name}, {free_bytes / 2**30:.1f} of {all_bytes / 2**30:.1f} GiB free"
    if total != 256 * 256:
        return Check("cuda", FAILED, f"{text}; it computes wrongly", "a driver or hardware fault")
    return Check("cuda", OK, text)


def check_bundle(bundle: Path, device: str) -> tuple[Check, Any]:
    """Load the bundle; give the localizer too, None where that failed."""
    from mspr_ros.localizer import Localizer

    start_s = time.perf_counter()
    try:
        localizer = Localizer.load(bundle, device=device)
    except MsprError as error:
        remedy = "give the folder that `mspr train` wrote: RUN/bundle"
        return Check("bundle", FAILED, str(error), remedy), None
    seconds = time.perf_counter() - start_s
    scenes = localizer.metadata.scene_names
    text = (
        f"{bundle}: {localizer.content_hash}, {len(scenes)} scenes ({', '.join(scenes)}), "
        f"loaded in {seconds:.1f} s"
    )
    values = {"hash": localizer.content_hash, "scenes": list(scenes)}
    if localizer.metadata.calibration is None:
        remedy = "covariance and confidence are rough: calibrate before fusing"
        return Check("bundle", WARNING, f"{text}; uncalibrated", remedy, values), localizer
    return Check("bundle", OK, text, values=values), localizer


def check_answer(localizer: Any, image: Any = None, camera: Any = None) -> Check:
    """Ask for the pose of a picture.

    Args:
        localizer: As `check_bundle` gives it.
        image: (H, W, 3) RGB uint8 of the camera; None takes a grey one, which has no true pose.
        camera: Its intrinsics, if they are known.
    """
    if localizer is None:
        return Check("answer", UNCHECKED, "no bundle could be loaded")
    import numpy as np

    if image is None:
        size = localizer.metadata.preprocess
        picture = np.full((size.height, size.width, 3), 127, np.uint8)
    else:
        picture = image
    times_ms = []
    try:
        for _ in range(NUM_ANSWERS):
            start_s = time.perf_counter()
            estimate = localizer.localize(picture, camera)
            times_ms.append(1e3 * (time.perf_counter() - start_s))
    except Exception as error:  # whatever it is, the node would meet it too
        text = f"{type(error).__name__}: {error}"
        return Check("answer", FAILED, text, "the same happens to the node: report it")
    x, y, z = estimate.T_map_cam[:3, 3]
    source = "a grey picture" if image is None else "the camera's image"
    text = (
        f"{source} in {min(times_ms):.0f} ms: {estimate.scene}, x {x:.2f} y {y:.2f} z {z:.2f} m, "
        f"confidence {estimate.confidence:.2f}"
    )
    values = {"milliseconds": min(times_ms), "confidence": estimate.confidence}
    if not np.isfinite(estimate.T_map_cam).all():
        return Check("answer", FAILED, text, "the weights are damaged: train or copy anew", values)
    if min(times_ms) > SLOW_MS:
        remedy = "use a GPU, a smaller backbone, or max_rate_hz"
        return Check("answer", WARNING, text, remedy, values)
    return Check("answer", OK, text, values=values)
