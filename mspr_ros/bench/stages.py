"""The stages from an image's bytes to its pose, each as a function to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from mspr_ros.backends.answer import Backend
from mspr_ros.backends.exported import FORMATS, ExportInfo, is_installed, open_exported
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.bench.machine import count_flop
from mspr_ros.bundle import Bundle, BundleMetadata, SceneInfo
from mspr_ros.camera import CameraModel
from mspr_ros.data.images import decode_image
from mspr_ros.localizer import Localizer
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.inference import prepare_for_inference
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import ImageU8, PreprocessConfig, Preprocessor

CAMERA = CameraModel(640, 480, 525.0, 525.0, 319.5, 239.5)
# The paper's network (section 4) for the seven scenes of 7-Scenes.
PAPER = NetworkConfig(num_heads=8)
PAPER_SCENES = 7


@dataclass(frozen=True)
class Stage:
    """Something to time.

    Args:
        function: One call is one timed unit.
        images: How many images it works on.
        flop: Operations of its products, where they were counted.
    """

    function: Callable[[], object]
    images: int = 1
    flop: int | None = None


def paper_bundle() -> Bundle:
    """Give the paper's network with random weights."""
    torch.manual_seed(0)
    network = PoseRegressor(config=PAPER, num_scenes=PAPER_SCENES).eval()
    scenes = tuple(SceneInfo(f"scene_{number}") for number in range(PAPER_SCENES))
    metadata = BundleMetadata(network=PAPER, preprocess=PreprocessConfig(), scenes=scenes)
    return Bundle(network, metadata, "random weights")


def is_papers_network(bundle: Bundle) -> bool:
    """Tell whether times of the paper's own code are of a network of this size."""
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    network, num_scenes = bundle.metadata.network, len(bundle.metadata.scenes)
    return (network, num_scenes, size) == (PAPER, PAPER_SCENES, (224, 224))


def picture() -> ImageU8:
    """Give a 640x480 picture with content at all scales."""
    rng = np.random.default_rng(0)
    layers = [
        cv2.resize(rng.integers(0, 255, (6 * 2**k, 8 * 2**k, 3), dtype=np.uint8), (640, 480))
        for k in range(5)
    ]
    return np.asarray(np.mean(layers, axis=0), dtype=np.uint8)


def image_stages(metadata: BundleMetadata) -> dict[str, Stage]:
    """Give decoding and preprocessing of one 640x480 picture."""
    image = picture()
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].ravel()
    preprocessor = Preprocessor(metadata.preprocess)
    camera = CAMERA if metadata.preprocess.virtual_camera else None
    geometric = torch.from_numpy(preprocessor.geometric(image, camera)).unsqueeze(0)
    return {
        "decode JPEG": Stage(lambda: decode_image(jpeg, "the picture")),
        "preprocess": Stage(lambda: preprocessor.tensor([image], [camera])),
        "preprocess, warp or resize": Stage(lambda: preprocessor.geometric(image, camera)),
        "preprocess, normalize": Stage(lambda: preprocessor.normalize(geometric)),
    }


def random_images(metadata: BundleMetadata, count: int, device: torch.device) -> torch.Tensor:
    """Give a batch of network inputs, channels last as preprocessing makes them."""
    size = metadata.preprocess
    images = torch.randn(count, 3, size.height, size.width)
    return images.to(device, memory_format=torch.channels_last)


def network_stages(
    bundle: Bundle, folder: Path | None, device: torch.device, batch_size: int, num_threads: int
) -> dict[str, Stage]:
    """Give the network as trained, prepared, and in every other runtime, for one and for many."""
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    network = bundle.network.to(device)
    backends: dict[str, Backend] = {"torch": TorchBackend(network, *size, device, "fp32")}
    info = ExportInfo.read(folder) if folder else None
    for name, formats in FORMATS.items():
        if folder and info and info.format in formats and is_installed(name):
            backends[f"{name} {info.precision}"] = open_exported(
                folder, info, name, num_threads=num_threads
            )
    stages: dict[str, Stage] = {}
    for count in sorted({1, batch_size}):
        images = random_images(bundle.metadata, count, device)
        flop = count_flop(partial(network, images))
        stages[f"network as trained, batch {count}"] = Stage(partial(network, images), count, flop)
        for name, backend in backends.items():
            stages[f"network {name}, batch {count}"] = Stage(partial(backend, images), count, flop)
    return stages


def block_stages(bundle: Bundle, device: torch.device) -> dict[str, Stage]:
    """Give the parts of the prepared network, for one image."""
    size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
    with torch.inference_mode():
        network = prepare_for_inference(bundle.network.to(device), *size)
        images = random_images(bundle.metadata, 1, device)
        functions: dict[str, Callable[[], object]] = {"backbone": lambda: network.backbone(images)}
        outputs = []
        tasks = ("position", "orientation")
        for task, features in zip(tasks, network.backbone(images), strict=True):
            shared = network.config.shared_encoder
            encoder = getattr(network, f"{'position' if shared else task}_transformer")
            decoder = getattr(network, f"{task}_transformer")
            projected = getattr(network, f"{task}_projection")(features)
            encoding = network.position_encoding(*projected.shape[-2:])
            cells = projected.flatten(2).transpose(1, 2)
            memory = encoder.encode(cells, encoding)
            outputs.append(decoder.decode(memory, encoding))
            functions[f"{task} encoder"] = partial(encoder.encode, cells, encoding)
            functions[f"{task} decoder"] = partial(decoder.decode, memory, encoding)
        functions["heads"] = lambda: network.answer(*outputs)
        return {
            f"block: {name}": Stage(function, 1, count_flop(function))
            for name, function in functions.items()
        }


def localizer_stages(bundle: Bundle, device: torch.device) -> dict[str, Stage]:
    """Give the whole way from a decoded picture to its pose, and what follows the network."""
    localizer = Localizer(bundle, device)
    image = picture()
    camera = CAMERA if bundle.metadata.preprocess.virtual_camera else None
    return {"localize, picture to pose": Stage(lambda: localizer.localize(image, camera))}


def scene_stages(
    metadata: BundleMetadata, counts: tuple[int, ...], device: torch.device
) -> dict[str, Stage]:
    """Give networks of the bundle's shape, with random weights, for growing numbers of scenes."""
    size = (metadata.preprocess.height, metadata.preprocess.width)
    images = random_images(metadata, 1, device)
    stages = {}
    for count in counts:
        network = PoseRegressor(config=metadata.network, num_scenes=count).eval().to(device)
        backend = TorchBackend(network, *size, device, "fp32")
        stages[f"network, {count} scenes"] = Stage(partial(backend, images))
    return stages
