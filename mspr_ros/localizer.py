"""From pictures to poses: the one way in for the node, the evaluation and Python users."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mspr_ros.bundle import UNKNOWN_SCENE, Bundle, BundleMetadata, load_bundle
from mspr_ros.camera import CameraModel
from mspr_ros.errors import ConfigError
from mspr_ros.geometry import Array, transform_from_pose
from mspr_ros.network.regressor import PoseRegressor, RegressorOutput
from mspr_ros.preprocess import ImageU8, Preprocessor

# Where no validation frame ever told: a metre and a quarter turn of standard deviation.
FALLBACK_COVARIANCE = np.diag([1.0, 1.0, 1.0, 2.5, 2.5, 2.5])


@dataclass(frozen=True)
class PoseHypothesis:
    """One way to read the image.

    Args:
        T_map_cam: (4, 4) pose of the camera's optical frame in the scene's map.
        scene: Its scene.
        probability: Product of the scene's and the clusters' probabilities.
        position_cluster, orientation_cluster: Ids of the clusters it was built on.
    """

    T_map_cam: Array
    scene: str
    probability: float
    position_cluster: int
    orientation_cluster: int


@dataclass(frozen=True)
class PoseEstimate:
    """What one image says about where its camera is.

    Args:
        T_map_cam: (4, 4) float64, camera optical frame to the recognised scene's map.
        scene: The recognised scene; `unknown` where the answer is not accepted.
        scene_probability: Of the recognised scene; 1 where the scene was forced.
        covariance: (6, 6) of x y z (metres) and rotation about the map's X Y Z (radians), at
            the camera's centre.
        confidence: 0 to 1; until calibrated, the product of the scene's and the clusters'
            probabilities.
        accepted: Whether the pose may be used.
        rejection: Why not; empty where it is accepted.
        hypotheses: The most likely reading first.
        timings: Milliseconds by stage: `preprocess_ms`, `network_ms`, `postprocess_ms`. Of a
            batch, each frame carries its share.
        map_frame: The frame the pose is given in.
        calibrated: Whether covariance and confidence were calibrated on held-out frames.
    """

    T_map_cam: Array
    scene: str
    scene_probability: float
    covariance: Array
    confidence: float
    accepted: bool
    rejection: str
    hypotheses: tuple[PoseHypothesis, ...]
    timings: dict[str, float]
    map_frame: str
    calibrated: bool


class Localizer:
    """Give the poses of pictures with the network of one bundle.

    Args:
        bundle: The network and what is known of it.
        device: Where to run it.
        min_confidence: Answers of a lower confidence are not accepted.
        scene: Force this scene instead of recognising it; empty to recognise.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device,
        *,
        min_confidence: float = 0.0,
        scene: str = "",
    ) -> None:
        names = bundle.metadata.scene_names
        if scene and scene not in names:
            raise ConfigError(f"the bundle does not know scene '{scene}', only {', '.join(names)}")
        self.metadata: BundleMetadata = bundle.metadata
        self.content_hash = bundle.content_hash
        self.device = device
        self.backend, self.precision = "torch", "fp32"
        self.min_confidence = min_confidence
        self.network: PoseRegressor = bundle.network.to(device).eval()
        self.preprocessor = Preprocessor(bundle.metadata.preprocess)
        self._forced_scene = names.index(scene) if scene else None
        self._covariances = [
            FALLBACK_COVARIANCE
            if info.residual_covariance is None
            else np.array(info.residual_covariance).reshape(6, 6)
            for info in bundle.metadata.scenes
        ]

    @classmethod
    def load(
        cls,
        bundle: Path | str,
        device: str = "auto",
        backend: str = "torch",
        precision: str = "auto",
        *,
        min_confidence: float = 0.0,
        scene: str = "",
    ) -> Localizer:
        """Read a bundle folder and put its network on a device.

        Args:
            bundle: The folder.
            device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
            backend: `torch`.
            precision: `auto` or `fp32`, both fp32.
            min_confidence: Answers of a lower confidence are not accepted.
            scene: Force this scene; empty to recognise it.

        Raises:
            BundleError: If the bundle is missing or damaged.
            ConfigError: If device, backend, precision or scene cannot be had.
        """
        if backend != "torch":
            raise ConfigError(f"unknown backend '{backend}', expected torch")
        if precision not in ("auto", "fp32"):
            raise ConfigError(f"unknown precision '{precision}', expected auto or fp32")
        chosen = choose_device(device)
        return cls(load_bundle(Path(bundle)), chosen, min_confidence=min_confidence, scene=scene)

    def localize(self, image_rgb_u8: ImageU8, camera: CameraModel | None = None) -> PoseEstimate:
        """Give the pose of one picture, (H, W, 3) RGB uint8.

        Raises:
            ImageError: If the picture cannot be used.
        """
        return self.localize_batch([image_rgb_u8], [camera])[0]

    def localize_batch(
        self, images: Sequence[ImageU8], cameras: Sequence[CameraModel | None] | None = None
    ) -> list[PoseEstimate]:
        """Give the poses of pictures of any sizes, each with its camera where that is known.

        Raises:
            ImageError: If a picture cannot be used.
        """
        if not images:
            return []
        start = time.perf_counter()
        tensor = self.preprocessor.tensor(images, cameras).to(self.device)
        preprocessed = time.perf_counter()
        with torch.inference_mode():
            output = self._forward(tensor)
            # Copies to the CPU, which waits for a GPU.
            answers = _Answers.from_output(output, forced=self._forced_scene is not None)
        answered = time.perf_counter()
        estimates = [self._estimate(answers, row) for row in range(len(images))]
        finished = time.perf_counter()
        share = 1000.0 / len(images)
        timings = {
            "preprocess_ms": (preprocessed - start) * share,
            "network_ms": (answered - preprocessed) * share,
            "postprocess_ms": (finished - answered) * share,
        }
        for estimate in estimates:
            estimate.timings.update(timings)
        return estimates

    def _forward(self, tensor: torch.Tensor) -> RegressorOutput:
        if self._forced_scene is None:
            return self.network(tensor)  # type: ignore[no-any-return]
        scene = torch.full((len(tensor),), self._forced_scene, device=self.device)
        return self.network(tensor, scene=scene)  # type: ignore[no-any-return]

    def _estimate(self, answers: _Answers, row: int) -> PoseEstimate:
        scene_id = int(answers.scene[row])
        info = self.metadata.scenes[scene_id]
        finite = bool(np.isfinite(answers.position[row]).all()) and bool(
            np.isfinite(answers.orientation[row]).all()
        )
        T_map_cam = (
            transform_from_pose(answers.position[row], answers.orientation[row])
            if finite
            else np.full((4, 4), np.nan)
        )
        confidence = float(answers.confidence[row]) if finite else 0.0
        rejection = ""
        if not finite:
            rejection = "the network's answer is not finite"
        elif confidence < self.min_confidence:
            rejection = f"confidence {confidence:.2f} is below {self.min_confidence:.2f}"
        hypothesis = PoseHypothesis(
            T_map_cam,
            info.name,
            confidence,
            int(answers.position_cluster[row]),
            int(answers.orientation_cluster[row]),
        )
        return PoseEstimate(
            T_map_cam=T_map_cam,
            scene=UNKNOWN_SCENE if rejection else info.name,
            scene_probability=float(answers.scene_probability[row]),
            covariance=self._covariances[scene_id].copy(),
            confidence=confidence,
            accepted=not rejection,
            rejection=rejection,
            hypotheses=(hypothesis,),
            timings={},
            map_frame=info.map_frame,
            calibrated=self.metadata.calibration is not None,
        )


@dataclass(frozen=True)
class _Answers:
    """The parts of a batch's output that estimates are made of, as NumPy arrays."""

    scene: Array
    scene_probability: Array
    confidence: Array
    position: Array
    orientation: Array
    position_cluster: Array
    orientation_cluster: Array

    @classmethod
    def from_output(cls, output: RegressorOutput, *, forced: bool) -> _Answers:
        scene = output.selection.scene
        scene_probability = _probability(output.scene_logits, scene)
        if forced:
            scene_probability = torch.ones_like(scene_probability)
        clusters = _probability(
            output.position_cluster_logits, output.selection.position_cluster
        ) * _probability(output.orientation_cluster_logits, output.selection.orientation_cluster)
        columns = (
            scene,
            scene_probability,
            scene_probability * clusters,
            output.position,
            output.orientation,
            output.selection.position_cluster,
            output.selection.orientation_cluster,
        )
        return cls(*(column.double().cpu().numpy() for column in columns))


def _probability(logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return logits.float().softmax(dim=1).gather(1, index[:, None]).squeeze(1)


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that exists.

    Raises:
        ConfigError: If it does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}', expected auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device '{name}', expected auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{name}' asked for, but torch sees {torch.cuda.device_count()} CUDA devices; "
            "use auto or cpu"
        )
    return device
