"""The nearest-neighbour baseline: the pose of the training picture that looks most alike.

A pose regressor that does not beat it has learned nothing that a lookup does not know. It is kept
fixed, whatever network is measured: features of ImageNet weights, never of the bundle's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from tqdm import tqdm

from mspr_ros.data.dataset import Dataset, Frame
from mspr_ros.errors import ImageError
from mspr_ros.evaluation.answers import Answer, ImageU8, no_answer, read_batches
from mspr_ros.network.backbone import Backbone
from mspr_ros.preprocess import PreprocessConfig, Preprocessor

BASELINE_BACKBONE = "tf_efficientnet_lite0"
# These weights were trained on pixels scaled to [-1, 1], not with ImageNet's mean and deviation.
BASELINE_PREPROCESS = PreprocessConfig(
    width=224, height=224, resize_shorter_px=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
Features = npt.NDArray[np.float32]


class FeatureExtractor:
    """Describe pictures by the backbone's map of stride 16, pooled to 4x4, as unit vectors.

    Args:
        device: Where the backbone runs.

    Raises:
        CheckpointError: If the ImageNet weights cannot be had.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        backbone = Backbone(name=BASELINE_BACKBONE, strides=(16,), pretrained=True)
        self.backbone = backbone.eval().to(self.device)
        self.preprocessor = Preprocessor(BASELINE_PREPROCESS)

    def __call__(self, images: Sequence[ImageU8]) -> Features:
        """Give (N, D) float32 unit vectors for N RGB uint8 pictures of any sizes."""
        tensor = self.preprocessor.tensor(images).to(self.device)
        with torch.inference_mode():
            (features,) = self.backbone(tensor)
            pooled = functional.adaptive_avg_pool2d(features, 4).flatten(1)
            unit = functional.normalize(pooled, dim=1).cpu().numpy()
        return np.asarray(unit, dtype=np.float32)


class NearestNeighbour:
    """Answer with the pose and scene of the training picture of the largest cosine similarity.

    Args:
        training: Frames to choose from, over all their scenes.
        extract: Gives unit vectors for pictures.
        batch_size: Pictures to a pass of the backbone.
        num_threads: Threads that read and decode pictures.
        show_progress: Draw a progress bar on a terminal.

    Raises:
        ImageError: If a training picture cannot be read.
        ValueError: If there are no training frames.
    """

    def __init__(
        self,
        training: Sequence[Dataset],
        extract: FeatureExtractor,
        *,
        batch_size: int = 16,
        num_threads: int = 2,
        show_progress: bool = True,
    ) -> None:
        self._frames: list[Frame] = [frame for dataset in training for frame in dataset.frames]
        if not self._frames:
            raise ValueError("the nearest-neighbour baseline needs training frames")
        self._extract = extract
        self._reading = (batch_size, num_threads)
        self._show_progress = show_progress
        described = []
        for dataset in training:
            features, problems = self._describe(dataset, "training pictures of")
            for problem in problems:
                if problem is not None:
                    raise problem
            described.append(features)
        self._features = np.concatenate(described)

    def answer(self, dataset: Dataset) -> list[Answer]:
        """Answer every frame of a dataset, in its order; unreadable pictures have no answer."""
        features, problems = self._describe(dataset, "nearest neighbours of")
        answers = []
        for feature, problem in zip(features, problems, strict=True):
            if problem is not None:
                answers.append(no_answer(str(problem)))
                continue
            nearest = self._frames[int(np.argmax(self._features @ feature))]
            answers.append(
                Answer(nearest.scene, np.array(nearest.position), np.array(nearest.quat_xyzw))
            )
        return answers

    def _describe(self, dataset: Dataset, what: str) -> tuple[Features, list[ImageError | None]]:
        """Give (N, D) features, and for each picture the error where it cannot be read."""
        rows: list[npt.NDArray[np.float32] | None] = []
        problems: list[ImageError | None] = []
        with tqdm(
            total=len(dataset),
            desc=f"{what} {dataset.name}",
            unit="frame",
            disable=None if self._show_progress else True,
        ) as bar:
            for frames, images in read_batches(dataset, *self._reading):
                readable = [image for image in images if not isinstance(image, ImageError)]
                described = iter(self._extract(readable)) if readable else iter(())
                for image in images:
                    failed = isinstance(image, ImageError)
                    problems.append(image if isinstance(image, ImageError) else None)
                    rows.append(None if failed else next(described))
                bar.update(len(frames))
        width = next((len(row) for row in rows if row is not None), 0)
        blank = np.zeros(width, dtype=np.float32)
        features = np.array([blank if row is None else row for row in rows], dtype=np.float32)
        return features.reshape(len(rows), width), problems
