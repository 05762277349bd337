"""The bundle: a folder with all that inference needs, `weights.safetensors` and `bundle.json`.

A calibrated one has `prototypes.safetensors` besides: some training frames as a few numbers each.

The network is built from the JSON and its tensors are loaded with strict=True. No pickle is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from importlib import metadata as importlib_metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from mspr_ros.calibration.model import Calibration
from mspr_ros.calibration.prototypes import Prototypes
from mspr_ros.config import from_mapping, to_mapping
from mspr_ros.errors import BundleError, ConfigError
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.network.threads import one_thread
from mspr_ros.preprocess import PreprocessConfig

FORMAT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
METADATA_FILE = "bundle.json"
PROTOTYPES_FILE = "prototypes.safetensors"
UNKNOWN_SCENE = "unknown"
_LIBRARIES = ("torch", "timm", "numpy", "opencv-python-headless", "safetensors")


@dataclass(frozen=True)
class SceneInfo:
    """What a bundle knows of one scene.

    Args:
        name: Any but `unknown`.
        map_frame: The frame its poses are given in.
        residual_covariance: 36 numbers, the 6x6 covariance (row-major; x y z, then rotation
            about the map's X Y Z) of the errors on validation frames; None where there were
            none.
        position_min, position_max: Bounds of the training positions in the map, metres.
    """

    name: str
    map_frame: str = "map"
    residual_covariance: tuple[float, ...] | None = None
    position_min: tuple[float, float, float] | None = None
    position_max: tuple[float, float, float] | None = None

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        if not self.name or self.name == UNKNOWN_SCENE:
            raise ValueError(f"a scene cannot be called '{self.name}'; choose another name")
        if self.residual_covariance is not None and len(self.residual_covariance) != 36:
            raise ValueError(
                f"residual_covariance takes 36 numbers, got {len(self.residual_covariance)}"
            )


@dataclass(frozen=True)
class BundleMetadata:
    """Everything in a bundle but the tensors.

    Args:
        network: The network's shape.
        preprocess: The image pipeline it was trained with.
        scenes: In the order of the network's scene ids.
        cameras: The cameras it was trained with, by name.
        validation: Metrics on the validation frames.
        training: The resolved training configuration.
        data_hash: Of the datasets it was trained on.
        scene_groups: Numbers of scenes that were learned together, in their order; empty where
            all were. Later groups have parts of their own (network/grown.py).
        calibration: Of covariance, confidence and unknown places; None until there is one.
        libraries: Versions that wrote the bundle.
        format_version: Of the bundle's files.
    """

    network: NetworkConfig
    preprocess: PreprocessConfig
    scenes: tuple[SceneInfo, ...]
    cameras: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    data_hash: str = ""
    scene_groups: tuple[int, ...] = ()
    calibration: Calibration | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        names = self.scene_names
        if not names:
            raise ValueError("a bundle needs at least one scene")
        if len(set(names)) != len(names):
            raise ValueError(f"scene names repeat: {', '.join(names)}")
        if self.calibration is not None:
            calibrated = tuple(info.name for info in self.calibration.scenes)
            if calibrated != names:
                raise ValueError(
                    f"the calibration is of scenes {', '.join(calibrated)}, the bundle of "
                    f"{', '.join(names)}"
                )
        groups = self.scene_groups
        if groups and (min(groups) < 1 or sum(groups) != len(names)):
            raise ValueError(f"scene_groups {list(groups)} do not add up to {len(names)} scenes")

    def build_network(self) -> PoseRegressor:
        """Build the network that these metadata describe, without its weights."""
        if len(self.scene_groups) > 1:
            return GrownRegressor(config=self.network, groups=self.scene_groups)
        return PoseRegressor(config=self.network, num_scenes=len(self.scenes))

    @property
    def scene_names(self) -> tuple[str, ...]:
        """Scene names in the order of the network's ids."""
        return tuple(scene.name for scene in self.scenes)


@dataclass(frozen=True)
class Bundle:
    """A network in evaluation mode, on the CPU, and what is known of it.

    Args:
        network: Ready to answer.
        metadata: What is known of it.
        content_hash: Of all files.
        prototypes: Training frames to compare images with; None in bundles without.
    """

    network: PoseRegressor
    metadata: BundleMetadata
    content_hash: str
    prototypes: Prototypes | None = None


def save_bundle(
    folder: Path,
    network: PoseRegressor,
    metadata: BundleMetadata,
    *,
    half_precision: bool = False,
    prototypes: Prototypes | None = None,
) -> None:
    """Write a bundle folder; an existing bundle there is replaced as a whole.

    Args:
        folder: Where; its parent must exist. Of a link, the folder it leads to is replaced.
        network: Its tensors are written as they stand.
        metadata: Library versions are filled in.
        half_precision: Store floating-point parameters as fp16 (they are read back as fp32);
            the centroids stay fp32.
        prototypes: Written beside, where there are any.

    Raises:
        BundleError: If the folder holds other files, or a number is not finite.
    """
    if folder.is_file():
        raise BundleError(f"{folder} is a file; a bundle is a folder, name another place")
    folder = folder.resolve()
    if folder.exists() and any(
        file.name not in (WEIGHTS_FILE, METADATA_FILE, PROTOTYPES_FILE)
        for file in folder.iterdir()
    ):
        raise BundleError(f"{folder} holds other files than a bundle; it is not replaced")
    tensors = {}
    for name, tensor in network.state_dict().items():
        halve = half_precision and tensor.is_floating_point() and "centroids" not in name
        stored = tensor.detach().cpu().to(torch.float16 if halve else tensor.dtype)
        if not bool(torch.isfinite(stored).all()):
            raise BundleError(f"{name} holds numbers that are not finite when stored")
        tensors[name] = stored.contiguous()
    values = to_mapping(metadata)
    values["libraries"] = {name: package_version(name) for name in _LIBRARIES}
    # Written beside, then moved: a bundle is never seen half-written.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".bundle-") as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        # Not save_file, which makes a file that only its owner may read.
        (partial / WEIGHTS_FILE).write_bytes(safetensors.torch.save(tensors))
        text = json.dumps(values, indent=2) + "\n"
        (partial / METADATA_FILE).write_text(text, encoding="utf-8")
        if prototypes is not None:
            (partial / PROTOTYPES_FILE).write_bytes(_prototype_bytes(prototypes))
        _replace(folder, partial, Path(temporary) / "before")


def _replace(folder: Path, new: Path, aside: Path) -> None:
    """Move a new folder to where another may stand, which is moved aside and kept on failure."""
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(aside)
    try:
        new.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise


@one_thread()
def load_bundle(folder: Path) -> Bundle:
    """Read a bundle folder and build its network.

    Raises:
        BundleError: If a file is missing, damaged, of another version, or does not fit.
    """
    metadata = load_metadata(folder)
    weights_path = folder / WEIGHTS_FILE
    try:
        content = weights_path.read_bytes()
        # Not load_file, which leaks some kilobytes a call (safetensors 0.8).
        state = safetensors.torch.load(content)
        content += (folder / METADATA_FILE).read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: {WEIGHTS_FILE} is missing") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{weights_path} is damaged: {error}") from None
    network = metadata.build_network()
    wanted = network.state_dict()
    state = {
        name: tensor.to(wanted[name].dtype) if name in wanted else tensor
        for name, tensor in state.items()
    }
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise BundleError(f"{weights_path} does not fit {METADATA_FILE}: {detail}") from None
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise BundleError(f"{weights_path} holds numbers that are not finite: {broken[:3]}")
    prototypes = None
    if (folder / PROTOTYPES_FILE).is_file():
        prototypes = _read_prototypes(folder / PROTOTYPES_FILE, len(metadata.scenes))
        content += (folder / PROTOTYPES_FILE).read_bytes()
    _check_calibration(folder, network, metadata, prototypes)
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Bundle(network.eval(), metadata, digest, prototypes)


def _prototype_bytes(prototypes: Prototypes) -> bytes:
    single = np.float32
    tensors = {
        "mean": prototypes.mean.astype(single),
        "basis": prototypes.basis.astype(single),
        "descriptor": prototypes.descriptor.astype(np.float16),
        "scene": prototypes.scene.astype(np.int64),
        "position": prototypes.position.astype(single),
        "quat_xyzw": prototypes.quat_xyzw.astype(single),
        "embedding_mean": prototypes.embedding_mean.astype(single),
        "span": prototypes.span.astype(single),
    }
    return safetensors.torch.save(
        {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
    )


def _read_prototypes(path: Path, num_scenes: int) -> Prototypes:
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}") from None
    names = {field.name for field in dataclasses.fields(Prototypes)}
    if set(tensors) != names:
        raise BundleError(f"{path} holds {sorted(tensors)}, expected {sorted(names)}")
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise BundleError(f"{path} holds numbers that are not finite: {broken}")
    scene = tensors.pop("scene").numpy()
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    count, (width, dimensions) = len(scene), arrays["basis"].shape
    shapes = {
        "mean": (width,),
        "descriptor": (count, dimensions),
        "position": (count, 3),
        "quat_xyzw": (count, 4),
        "embedding_mean": arrays["span"].shape[:1],
    }
    wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
    if wrong or (count and not 0 <= scene.min() <= scene.max() < num_scenes):
        raise BundleError(f"{path} does not fit {METADATA_FILE}: {', '.join(wrong) or 'scene'}")
    return Prototypes(scene=scene, **arrays)


def _check_calibration(
    folder: Path,
    network: PoseRegressor,
    metadata: BundleMetadata,
    prototypes: Prototypes | None,
) -> None:
    """Refuse a bundle that lacks what its calibration speaks of."""
    calibration = metadata.calibration
    if calibration is None:
        return
    if calibration.uses_head and network.uncertainty_head is None:
        raise BundleError(f"{folder}: the calibration is of a network with an uncertainty head")
    if "distance" in calibration.features and prototypes is None:
        raise BundleError(f"{folder}: {PROTOTYPES_FILE} is missing, which the calibration needs")


def load_metadata(folder: Path) -> BundleMetadata:
    """Read and check `bundle.json` alone.

    Raises:
        BundleError: If it is missing, damaged or of another version.
    """
    path = folder / METADATA_FILE
    if folder.is_file():
        raise BundleError(f"{folder} is a file; give the bundle's folder, {folder.parent}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: {METADATA_FILE} is missing") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, this package reads {FORMAT_VERSION}; "
            "export the bundle again with a matching version"
        )
    try:
        return from_mapping(BundleMetadata, values, str(path))
    except ConfigError as error:
        raise BundleError(str(error)) from None


def package_version(package: str) -> str:
    """Give the version of an installed package; `unknown` where its builder did not say."""
    try:
        return importlib_metadata.version(package)
    except importlib_metadata.PackageNotFoundError:
        return "unknown"
