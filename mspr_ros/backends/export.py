"""Write a bundle's network for other runtimes, and refuse what does not answer like torch."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mspr_ros.backends.answer import ANY_SCENE, AnswerByName, Backend
from mspr_ros.backends.comparison import Truth, compare_backends
from mspr_ros.backends.exported import (
    FILES,
    ExportInfo,
    OnnxRuntimeBackend,
    OpenVinoBackend,
    is_installed,
    missing,
)
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.bundle import (
    METADATA_FILE,
    PROTOTYPES_FILE,
    WEIGHTS_FILE,
    Bundle,
    package_version,
)
from mspr_ros.errors import ConfigError
from mspr_ros.network.inference import prepare_for_inference

PRECISIONS = ("fp32", "fp16", "int8")
OPSET = 17
_UNQUANTIZED = 4  # of the first convolutions
_NEEDED = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
_LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino")


def check_packages(format_name: str, precision: str) -> None:
    """Refuse an export that lacks a package, or that nothing here can write.

    Raises:
        ConfigError: Naming the package or the precisions there are.
    """
    if format_name not in FILES:
        raise ConfigError(f"unknown format '{format_name}', expected {' or '.join(FILES)}")
    if precision not in PRECISIONS:
        raise ConfigError(
            f"unknown precision '{precision}', expected {', '.join(PRECISIONS[:-1])} or int8"
        )
    needed = {*_NEEDED[format_name], *(("onnxruntime",) if precision == "int8" else ())}
    for package in sorted(needed):
        if not is_installed(package):
            raise ConfigError(missing(package))


def export_bundle(
    folder: Path,
    bundle: Bundle,
    output: Path,
    *,
    format_name: str,
    precision: str,
    images: Tensor,
    truth: Truth | None = None,
    calibration: Tensor | None = None,
    max_rise: float = 0.02,
) -> ExportInfo:
    """Write a folder with a bundle and its network in another format, checked against torch.

    Args:
        folder: The bundle's.
        bundle: As loaded from there.
        output: A folder that does not exist yet.
        format_name: `onnx` or `openvino`.
        precision: `fp32`, `fp16` or `int8`.
        images: (B, 3, H, W) real pictures as the network reads them, to compare with.
        truth: Their true poses, without which lower precisions cannot be judged.
        calibration: (B, 3, H, W) training pictures, for int8.
        max_rise: By how much the median errors may rise in a lower precision, as a share.

    Raises:
        ConfigError: If a package or what the precision needs is missing.
        MsprError: If the exported network's answers differ; nothing is written then.
    """
    check_packages(format_name, precision)
    if output.exists():
        raise ConfigError(f"{output} exists and is not overwritten; name another folder")
    if precision != "fp32" and truth is None:
        raise ConfigError(f"{precision} changes the answers: give a dataset to judge them by")
    if precision == "int8" and (calibration is None or not len(calibration)):
        raise ConfigError("int8 needs training pictures to calibrate with: give a dataset")
    output.parent.mkdir(parents=True, exist_ok=True)
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as temporary:
        partial = Path(temporary) / output.name
        partial.mkdir()
        onnx_file = Path(temporary) / "network.onnx"
        write_onnx(bundle, onnx_file)
        if precision == "int8":
            assert calibration is not None
            onnx_file = quantize(onnx_file, calibration)
        elif precision == "fp16" and format_name == "onnx":
            halve(onnx_file)
        exported: Backend
        target = partial / FILES[format_name]
        if format_name == "onnx":
            shutil.move(onnx_file, target)
            exported = OnnxRuntimeBackend(target, precision)
        else:
            convert_to_openvino(onnx_file, target, half=precision == "fp16")
            exported = OpenVinoBackend(target, precision)
        torch_backend = TorchBackend(bundle.network, *size, torch.device("cpu"), "fp32")
        check = compare_backends(
            torch_backend, exported, images, truth, exact=precision == "fp32", max_rise=max_rise
        )
        for name in (WEIGHTS_FILE, METADATA_FILE, PROTOTYPES_FILE):
            if (folder / name).is_file():  # only a calibrated bundle has prototypes
                shutil.copy(folder / name, partial / name)
        info = ExportInfo(format_name, precision, bundle.content_hash, check, _versions())
        info.write(partial)
        partial.rename(output)
    return info


def write_onnx(bundle: Bundle, path: Path) -> None:
    """Write the network, prepared for inference, as ONNX with a free batch size."""
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    graph = AnswerByName(prepare_for_inference(bundle.network, *size), *size)
    example = torch.zeros(2, 3, *size), torch.full((2,), ANY_SCENE)
    names = ["images", "scene", *graph.names]
    with warnings.catch_warnings(), _errors_only("torch.onnx"), torch.no_grad():
        warnings.simplefilter("ignore")  # of constants that are meant as such
        torch.onnx.export(
            graph,
            example,
            str(path),
            dynamo=False,  # the newer exporter needs one package more, and minutes
            opset_version=OPSET,
            input_names=names[:2],
            output_names=names[2:],
            dynamic_axes={name: {0: "batch"} for name in names},
        )


def convert_to_openvino(onnx_file: Path, target: Path, *, half: bool) -> None:
    """Write an ONNX file as an OpenVINO model (.xml, .bin), its weights in fp16 if `half`."""
    import openvino

    model = openvino.convert_model(str(onnx_file))
    openvino.save_model(model, str(target), compress_to_fp16=half)


def halve(path: Path) -> None:
    """Turn an ONNX file's numbers into fp16, but its inputs and outputs."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers too small for fp16
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def quantize(path: Path, calibration: Tensor) -> Path:
    """Quantize an ONNX file's convolutions to int8; give the new file.

    Ranges of activations come from the calibration pictures. Weights are quantized by channel and
    to seven bits: without VNNI instructions, sums of eight-bit products overflow. The first
    convolutions and the depthwise ones stay as they are: they are where the errors come from, and
    few of the operations.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self, pictures: Iterable[Tensor]) -> None:
            self._pictures = iter(pictures)

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            picture = next(self._pictures, None)
            if picture is None:
                return None
            one = np.full((1,), ANY_SCENE, dtype=np.int64)
            return {"images": np.ascontiguousarray(picture.unsqueeze(0).numpy()), "scene": one}

    convolutions = [node for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    kept = [
        node.name
        for number, node in enumerate(convolutions)
        if number < _UNQUANTIZED
        or any(each.name == "group" and each.i > 1 for each in node.attribute)
    ]
    target = path.with_name("network_int8.onnx")
    with _errors_only():
        quantize_static(
            str(path),
            str(target),
            Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    return target


@contextmanager
def _errors_only(logger_name: str = "") -> Iterator[None]:
    """Keep a logger (all of them by default) to errors for a while."""
    logger = logging.getLogger(logger_name or None)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _versions(packages: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    return {name: package_version(name) for name in packages if is_installed(name)}
