"""An exported network: the folder it lies in, and the runtimes that run it.

The folder is a bundle (`bundle.json`, `weights.safetensors`) with the exported file beside, and
`export.json`, which tells what that is and of which weights.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mspr_ros.backends.answer import (
    ANY_SCENE,
    ENCODED,
    NetworkAnswer,
    answer_from_named,
    known_names,
)
from mspr_ros.errors import BundleError, ConfigError
from mspr_ros.network.regressor import Encoded

EXPORT_FILE = "export.json"
FILES = {"onnx": "network.onnx", "openvino": "network.xml"}
# What each runtime reads.
FORMATS = {"onnxruntime": ("onnx",), "openvino": ("openvino", "onnx")}


@dataclass(frozen=True)
class ExportInfo:
    """What `export.json` says.

    Args:
        format: `onnx` or `openvino`.
        precision: `fp32`, `fp16` or `int8`.
        bundle_hash: Of the bundle it was made from.
        check: How it compares with torch.
        libraries: Versions that wrote it.
    """

    format: str
    precision: str
    bundle_hash: str
    check: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / EXPORT_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ExportInfo | None:
        """Read it; None where nothing was exported to this folder.

        Raises:
            BundleError: If it is damaged, or the exported file is missing.
        """
        path = folder / EXPORT_FILE
        if not path.is_file():
            return None
        try:
            info = cls(**json.loads(path.read_text(encoding="utf-8")))
            exported = folder / FILES[info.format]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{path} is damaged: {error!r}") from None
        if not exported.is_file():
            raise BundleError(f"{folder} is incomplete: {exported.name} is missing")
        return info


class OnnxRuntimeBackend:
    """Run an ONNX file with onnxruntime.

    Args:
        path: The file.
        precision: Of its numbers.
        providers: Of onnxruntime, first choice first. `TensorrtExecutionProvider` is untested.

    Raises:
        ConfigError: If onnxruntime is not installed.
        BundleError: If it cannot read the file.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        precision: str,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
        num_threads: int | None = None,
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(missing("onnxruntime")) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=list(providers)
            )
        except Exception as error:  # onnxruntime raises kinds of its own
            raise BundleError(f"onnxruntime cannot read {path}: {_first_line(error)}") from None
        self.precision = precision
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: Tensor, scene: Tensor | None = None) -> NetworkAnswer:
        """Answer a batch; see `Backend`."""
        return answer_from_named(self._run(self._names, images, scene))

    def look(self, images: Tensor) -> Encoded:
        """Do nearly all of the work; see `Backend`."""
        return Encoded(**self._run(ENCODED, images, None))

    def _run(
        self, names: Sequence[str], images: Tensor, scene: Tensor | None
    ) -> dict[str, Tensor]:
        arrays = self._session.run(list(names), _inputs(images, scene))
        return {n: torch.from_numpy(array) for n, array in zip(names, arrays, strict=True)}


class OpenVinoBackend:
    """Run an ONNX file or an OpenVINO model with OpenVINO, on the CPU.

    Args:
        path: `.onnx` or `.xml`.
        precision: Of its numbers.
        num_threads: At most so many; by default as many as torch takes.

    Raises:
        ConfigError: If OpenVINO is not installed.
        BundleError: If it cannot read the file.
    """

    name = "openvino"

    def __init__(self, path: Path, precision: str, num_threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError:
            raise ConfigError(missing("openvino")) from None
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": num_threads or torch.get_num_threads(),
            # Left to itself, it computes in bf16 where it can, whatever the file says.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError of several origins
            raise BundleError(f"openvino cannot read {path}: {_first_line(error)}") from None
        self.precision = precision
        self._request = compiled.create_infer_request()
        # A tensor also carries names that the graph's inside gave it.
        known = known_names()
        self._names = [tuple(known & output.get_names()) for output in compiled.outputs]

    def __call__(self, images: Tensor, scene: Tensor | None = None) -> NetworkAnswer:
        """Answer a batch; see `Backend`."""
        return answer_from_named(self._run(images, scene))

    def look(self, images: Tensor) -> Encoded:
        """Do nearly all of the work; see `Backend`."""
        named = self._run(images, None)
        return Encoded(*(named[name] for name in ENCODED))

    def _run(self, images: Tensor, scene: Tensor | None) -> dict[str, Tensor]:
        self._request.infer(_inputs(images, scene), share_inputs=True)
        # Copies: the next call writes into the same memory.
        return {
            name: torch.from_numpy(np.array(self._request.get_output_tensor(index).data))
            for index, names in enumerate(self._names)
            for name in names
        }


def open_exported(
    folder: Path, info: ExportInfo, backend: str, num_threads: int | None = None
) -> OnnxRuntimeBackend | OpenVinoBackend:
    """Load the exported network of a folder into a runtime.

    Raises:
        ConfigError: If the runtime does not read this format, or is not installed.
        BundleError: If it cannot read the file.
    """
    if info.format not in FORMATS.get(backend, ()):
        raise ConfigError(
            f"{backend} does not read what was exported to {folder} ({info.format}); "
            f"mspr export BUNDLE --format {FORMATS.get(backend, ('onnx',))[0]} -o DIR"
        )
    path = folder / FILES[info.format]
    if backend == "onnxruntime":
        return OnnxRuntimeBackend(path, info.precision, num_threads=num_threads)
    return OpenVinoBackend(path, info.precision, num_threads=num_threads)


def _inputs(images: Tensor, scene: Tensor | None) -> dict[str, np.ndarray[Any, Any]]:
    if scene is None:
        scene = torch.full((len(images),), ANY_SCENE)
    return {
        "images": np.ascontiguousarray(images.cpu().numpy()),
        "scene": scene.cpu().numpy().astype(np.int64),
    }


def missing(package: str) -> str:
    """Tell what to do about a runtime that is not installed."""
    return f"{package} is not installed; 'pip install {package}', or choose the backend torch"


def is_installed(package: str) -> bool:
    """Tell whether a package is there, without importing it."""
    return importlib.util.find_spec(package) is not None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
