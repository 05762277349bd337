"""Which backend runs a bundle here: the one asked for, or the fastest, measured once."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from mspr_ros.backends.answer import Backend
from mspr_ros.backends.exported import FORMATS, ExportInfo, is_installed, missing, open_exported
from mspr_ros.backends.processor import has_bf16, has_int8, num_usable_cores, processor_name
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.bundle import Bundle
from mspr_ros.errors import BundleError, ConfigError

BACKENDS = ("torch", *FORMATS)
_ROUNDS, _WARM_UP = 5, 2


def choose_backend(
    folder: Path, bundle: Bundle, device: torch.device, backend: str, precision: str
) -> Backend:
    """Make the backend that runs a bundle.

    Args:
        folder: The bundle's; `mspr export` writes such with a network for other runtimes.
        bundle: As loaded from there.
        device: Where torch runs; the others run on the CPU.
        backend: `torch`, `onnxruntime`, `openvino`, or `auto`: the fastest of those that this
            folder and this machine have, measured at the first start and remembered.
        precision: Of the exported network, or `auto`: whatever that is, but for `backend: auto`
            only one that the processor has instructions for. In torch, `auto` is fp32.

    Raises:
        ConfigError: If backend or precision cannot be had.
        BundleError: If the export is damaged, or of another state of the bundle.
    """
    if backend not in (*BACKENDS, "auto"):
        raise ConfigError(f"unknown backend '{backend}', expected {', '.join(BACKENDS)} or auto")
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    if backend == "torch":
        if precision == "bf16" and not has_bf16(device):
            raise ConfigError("this processor has no bf16 instructions: bf16 would be slower")
        return TorchBackend(bundle.network, *size, device, precision)
    info = ExportInfo.read(folder)
    if info is not None and info.bundle_hash != bundle.content_hash:
        raise BundleError(
            f"{folder} holds a network exported from another state of the bundle "
            f"({info.bundle_hash}, not {bundle.content_hash}); export the bundle again"
        )
    if backend == "auto":
        return _fastest(folder, bundle, device, precision, info)
    if info is None:
        kind = FORMATS[backend][0]
        raise ConfigError(
            f"{folder} has no exported network for {backend}; "
            f"mspr export {folder} --format {kind} -o DIR writes a folder that has"
        )
    if precision not in ("auto", info.precision):
        raise ConfigError(f"{folder} was exported in {info.precision}, not in {precision}")
    if not is_installed(backend):
        raise ConfigError(missing(backend))
    return open_exported(folder, info, backend)


def _fastest(
    folder: Path, bundle: Bundle, device: torch.device, precision: str, info: ExportInfo | None
) -> Backend:
    names = ["torch"] if precision in ("auto", "fp32", "bf16") else []
    if info is not None and device.type == "cpu" and _is_wanted(info.precision, precision):
        names += [n for n in FORMATS if info.format in FORMATS[n] and is_installed(n)]
    if not names:
        raise ConfigError(f"nothing here runs {folder} in {precision}; see mspr export")
    if len(names) == 1:
        return choose_backend(folder, bundle, device, names[0], precision)
    threads = f"{torch.get_num_threads()} of {num_usable_cores()} threads"
    machine = (processor_name(), threads, f"torch {torch.__version__}")
    key = "|".join((bundle.content_hash, *machine, precision, *names))
    remembered = _remembered().get(key)
    if remembered in names:
        return choose_backend(folder, bundle, device, remembered, precision)
    candidates = {name: choose_backend(folder, bundle, device, name, precision) for name in names}
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    medians = median_seconds(candidates, torch.zeros(1, 3, *size, device=device))
    best = min(medians, key=lambda name: medians[name])
    _remember(key, best)
    return candidates[best]


def _is_wanted(exported: str, precision: str) -> bool:
    if precision != "auto":
        return exported == precision
    return exported == "fp32" or (exported == "int8" and has_int8())


def median_seconds(backends: Mapping[str, Backend], images: torch.Tensor) -> dict[str, float]:
    """Give every backend's median time for these images, measured in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in backends}
    for number in range(_WARM_UP + _ROUNDS):
        for name, backend in backends.items():
            start = time.perf_counter()
            backend.look(images)
            if number >= _WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory_file() -> Path:
    """Give the file in which this machine's choices are kept.

    Raises:
        RuntimeError: If there is no home to keep it in.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mspr_ros" / "backends.json"


def _remembered() -> dict[str, str]:
    try:
        values = json.loads(memory_file().read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError, RuntimeError):
        return {}  # measured again


def _remember(key: str, name: str) -> None:
    text = json.dumps({**_remembered(), key: name}, indent=2) + "\n"
    try:
        path = memory_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except (OSError, RuntimeError):
        return  # a robot without a home, or a writable one, measures at every start
