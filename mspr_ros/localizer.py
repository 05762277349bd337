"""From pictures to poses: the one way in for the node, the evaluation and Python users."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mspr_ros.backends.answer import Backend
from mspr_ros.backends.choice import choose_backend
from mspr_ros.backends.exported import FORMATS
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.bundle import UNKNOWN_SCENE, Bundle, BundleMetadata, load_bundle
from mspr_ros.calibration.assessment import Assessment, Assessor
from mspr_ros.calibration.features import Votes
from mspr_ros.calibration.hypotheses import LEAST_PROBABILITY, PoseHypothesis, hypotheses_of
from mspr_ros.calibration.signals import Signals, probabilities
from mspr_ros.calibration.views import MAX_VIEWS, combine_views, view_rotations
from mspr_ros.camera import CameraModel
from mspr_ros.device import choose_device
from mspr_ros.errors import ConfigError
from mspr_ros.geometry import Array
from mspr_ros.network.regressor import Encoded, PoseRegressor
from mspr_ros.preprocess import ImageU8, Preprocessor


@dataclass(frozen=True)
class PoseEstimate:
    """What one image says about where its camera is.

    Args:
        T_map_cam: (4, 4) float64, camera optical frame to the recognised scene's map.
        scene: The recognised scene; `unknown` where the answer is not accepted.
        scene_probability: Of the recognised scene; 1 where the scene was forced.
        covariance: (6, 6) of x y z (metres) and rotation about the map's X Y Z (radians), at
            the camera's centre.
        confidence: 0 to 1, the probability that the pose is right within the calibration's
            limits; until calibrated, the product of the scene's and the clusters' probabilities.
        accepted: Whether the pose may be used.
        rejection: Why not; empty where it is accepted.
        hypotheses: The most likely reading first.
        timings: Milliseconds by stage: `preprocess_ms`, `network_ms`, `postprocess_ms`. Of a
            batch, each frame carries its share.
        map_frame: The frame the pose is given in.
        calibrated: Whether covariance and confidence were calibrated on held-out frames.
        known_score: How familiar the picture looks, in standard deviations of pictures of the
            taught place: 0 the usual, far below 0 another place. NaN until calibrated.
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
    known_score: float = float("nan")


class Localizer:
    """Give the poses of pictures with the network of one bundle.

    Args:
        bundle: The network and what is known of it.
        device: Where to run it.
        min_confidence: Answers of a lower confidence are not accepted. 0 leaves that to the
            bundle's calibration, whose threshold for unknown places holds in any case.
        scene: Force this scene instead of recognising it; empty to recognise.
        tta: Ask about so many slightly turned views of every picture besides, average the
            answers and widen the covariance by their spread; each costs as much as the picture.
        backend: What runs nearly all of the network; by default torch in fp32.

    Raises:
        ConfigError: If the scene is not known or `tta` is out of range.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device,
        *,
        min_confidence: float = 0.0,
        scene: str = "",
        tta: int = 0,
        backend: Backend | None = None,
    ) -> None:
        names = bundle.metadata.scene_names
        if scene and scene not in names:
            raise ConfigError(f"the bundle does not know scene '{scene}', only {', '.join(names)}")
        if not 0 <= tta <= MAX_VIEWS:
            raise ConfigError(f"tta must lie in [0, {MAX_VIEWS}], got {tta}")
        self.tta = tta
        self.metadata: BundleMetadata = bundle.metadata
        self.content_hash = bundle.content_hash
        self.device = device
        self.min_confidence = min_confidence
        self.network: PoseRegressor = bundle.network.to(device).eval()
        size = (bundle.metadata.preprocess.height, bundle.metadata.preprocess.width)
        self._backend = backend or TorchBackend(self.network, *size, device)
        self.backend, self.precision = self._backend.name, self._backend.precision
        self.preprocessor = Preprocessor(bundle.metadata.preprocess)
        self._forced_scene = names.index(scene) if scene else None
        self._assessor = Assessor(
            bundle.metadata.calibration,
            bundle.prototypes,
            np.array(
                [
                    np.full((6, 6), np.nan)
                    if info.residual_covariance is None
                    else np.reshape(info.residual_covariance, (6, 6))
                    for info in bundle.metadata.scenes
                ]
            ),
            scene_forced=bool(scene),
        )

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
        tta: int = 0,
    ) -> Localizer:
        """Read a bundle folder and put its network on a device.

        Args:
            bundle: The folder.
            device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`; the CPU for
                `onnxruntime` and `openvino`.
            backend: `torch`; `onnxruntime` or `openvino` for a folder that `mspr export` wrote;
                `auto` for the fastest of those, measured at the first start.
            precision: `auto`, or what the backend has: `fp32`, `bf16`, or that of the export.
            min_confidence: Answers of a lower confidence are not accepted; 0 leaves that to
                the bundle's calibration.
            scene: Force this scene; empty to recognise it.
            tta: Turned views to ask about besides each picture.

        Raises:
            BundleError: If the bundle is missing or damaged.
            ConfigError: If device, backend, precision or scene cannot be had.
        """
        folder = Path(bundle)
        if backend in FORMATS and device not in ("auto", "cpu"):
            raise ConfigError(f"{backend} runs on the CPU: take device auto or cpu, not {device}")
        chosen = choose_device("cpu" if backend in FORMATS else device)
        loaded = load_bundle(folder)
        return cls(
            loaded,
            chosen,
            min_confidence=min_confidence,
            scene=scene,
            tta=tta,
            backend=choose_backend(folder, loaded, chosen, backend, precision),
        )

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
            # Copies to the CPU, which waits for a GPU.
            readings, spread = self._ask(images, cameras, self._backend.look(tensor))
        answered = time.perf_counter()
        assessment = self._assessor.assess(readings[0], spread)
        others = [Votes.of(signals, self._assessor.temperatures) for signals in readings[1:]]
        votes = [assessment.votes, *others]
        estimates = [
            self._estimate(readings, votes, assessment, row) for row in range(len(images))
        ]
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

    def _ask(
        self,
        images: Sequence[ImageU8],
        cameras: Sequence[CameraModel | None] | None,
        encoded: Encoded,
    ) -> tuple[list[Signals], Array]:
        """Answer what was seen, for the chosen scenes first, and give the spread of views."""
        first = self._answer(encoded, self._forced_scenes(len(images)))
        readings = [first]
        num_scenes = len(self.metadata.scenes)
        if self._forced_scene is None and num_scenes > 1:
            order = np.argsort(-first.scene_logits, axis=1, kind="stable")
            chance = probabilities(first.scene_logits, self._assessor.temperatures.scene)
            if np.take_along_axis(chance, order[:, 1:2], axis=1).max() >= LEAST_PROBABILITY:
                readings.append(self._answer(encoded, torch.from_numpy(order[:, 1].copy())))
        spread = np.zeros((len(images), 6, 6))
        if self.tta:
            readings[0], spread = self._ask_turned(images, cameras, first)
        return readings, spread

    def _answer(self, encoded: Encoded, scene: torch.Tensor | None) -> Signals:
        if scene is not None:
            scene = scene.to(self.device)
        output = self.network.answer(encoded.position_out, encoded.orientation_out, scene=scene)
        return Signals.from_output(output, encoded.descriptor)

    def _forced_scenes(self, count: int) -> torch.Tensor | None:
        return None if self._forced_scene is None else torch.full((count,), self._forced_scene)

    def _ask_turned(
        self,
        images: Sequence[ImageU8],
        cameras: Sequence[CameraModel | None] | None,
        plain: Signals,
    ) -> tuple[Signals, Array]:
        """Ask about turned views, in the plain answers' scenes, and combine the answers.

        Pictures without a known camera cannot be turned: their views are the picture itself.
        """
        known = cameras if cameras is not None else [None] * len(images)
        virtual = self.metadata.preprocess.virtual_camera
        scene = torch.from_numpy(plain.scene)
        answers, rotations = [], []
        for rotation in view_rotations(self.tta):
            turned = [
                rotation if camera is not None and virtual is not None else None
                for camera in known
            ]
            views = [
                self.preprocessor.geometric(image, camera, R_cam_virtual)
                for image, camera, R_cam_virtual in zip(images, known, turned, strict=True)
            ]
            tensor = self.preprocessor.normalize(torch.from_numpy(np.stack(views)))
            answers.append(self._answer(self._backend.look(tensor.to(self.device)), scene))
            rotations.append(np.stack([np.eye(3) if one is None else one for one in turned]))
        return combine_views(plain, answers, rotations)

    def _estimate(
        self, readings: list[Signals], votes: list[Votes], assessment: Assessment, row: int
    ) -> PoseEstimate:
        info = self.metadata.scenes[int(readings[0].scene[row])]
        finite = bool(readings[0].is_finite[row])
        confidence = float(assessment.confidence[row])
        if not (finite and np.isfinite(confidence)):
            confidence = 0.0
        rejection = self._assessor.rejection(assessment, row, self.min_confidence)
        if not finite:
            rejection = "the network's answer is not finite"
        hypotheses = hypotheses_of(
            readings,
            votes,
            row,
            self.metadata.scene_names,
            scene_forced=self._forced_scene is not None,
        )
        return PoseEstimate(
            T_map_cam=hypotheses[0].T_map_cam,
            scene=UNKNOWN_SCENE if rejection else info.name,
            scene_probability=float(assessment.scene_probability[row]),
            covariance=assessment.covariance[row].copy(),
            confidence=confidence,
            accepted=not rejection,
            rejection=rejection,
            hypotheses=hypotheses,
            timings={},
            map_frame=info.map_frame,
            calibrated=self.metadata.calibration is not None,
            known_score=float(assessment.known_score[row]) if finite else float("nan"),
        )
