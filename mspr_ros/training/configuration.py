"""What a training run is: everything but the machine it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mspr_ros.config import from_mapping, load_yaml, set_key
from mspr_ros.data.augmentation import AugmentationConfig
from mspr_ros.network.configuration import MAX_MAP_CELLS, NetworkConfig
from mspr_ros.network.losses import LossConfig
from mspr_ros.preprocess import PreprocessConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move; the defaults are the paper's.

    Args:
        name: `adam` (weight decay as L2 in the gradient) or `adamw` (decoupled).
        learning_rate: Its highest value.
        weight_decay: Applied to all weights.
        eps: Of Adam.
        schedule: `step` multiplies by `step_factor` every `step_epochs`; `cosine` falls to zero
            at the last step.
        warmup_steps: The learning rate rises linearly from zero over these.
        gradient_clip_norm: 0 leaves gradients alone.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    eps: float = 1e-10
    schedule: Literal["step", "cosine"] = "step"
    step_epochs: int = 10
    step_factor: float = 0.1
    warmup_steps: int = 0
    gradient_clip_norm: float = 0.0

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        problems = []
        if self.learning_rate <= 0:
            problems.append(f"learning_rate must be positive, got {self.learning_rate}")
        if self.step_epochs < 1:
            problems.append(f"step_epochs must be at least 1, got {self.step_epochs}")
        for name in ("weight_decay", "warmup_steps", "gradient_clip_norm"):
            if getattr(self, name) < 0:
                problems.append(f"{name} must not be negative, got {getattr(self, name)}")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class ValidationConfig:
    """How validation frames are cut out of the training split, in guarded blocks of time.

    A scene that has frames of split `val` is validated on those, and nothing is cut out of it.

    Args:
        fraction: Share of each sequence that validates; 0 validates nothing, split `val` neither.
        blocks_per_sequence: Into how many blocks that share is cut.
        guard_frames: Frames on either side of a block that neither train nor validate.
        every_epochs: How often to validate; the last epoch always does.
        early_stop_epochs: Stop after a validation so many epochs (or more) after the best one,
            and take the best; 0 trains all epochs.
    """

    fraction: float = 0.1
    blocks_per_sequence: int = 3
    guard_frames: int = 5
    every_epochs: int = 1
    early_stop_epochs: int = 0

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        if not 0.0 <= self.fraction < 1.0:
            raise ValueError(f"fraction must lie in [0, 1), got {self.fraction}")
        if min(self.blocks_per_sequence, self.every_epochs) < 1 or self.guard_frames < 0:
            raise ValueError("blocks_per_sequence and every_epochs are at least 1, guard_frames 0")
        if self.early_stop_epochs < 0:
            raise ValueError(
                f"early_stop_epochs must not be negative, got {self.early_stop_epochs}"
            )
        if self.early_stop_epochs > 0 and self.fraction == 0.0:
            raise ValueError("early_stop_epochs needs validation frames; set fraction above 0")


@dataclass(frozen=True)
class CalibrationConfig:
    """What is done with the validation frames after training; see docs/uncertainty.md.

    Args:
        enabled: Calibrate covariance, confidence and the answer "unknown", where there are
            enough validation frames.
        right_within: Metres and degrees within which an answer counts as right; `confidence` is
            the probability of that.
        false_reject_rate: Share of good answers that the thresholds may refuse.
        frames_per_scene: Training frames that prototypes are chosen from, at most.
    """

    enabled: bool = True
    right_within: tuple[float, float] = (0.25, 5.0)
    false_reject_rate: float = 0.02
    frames_per_scene: int = 600

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        problems = []
        if min(self.right_within) <= 0.0:
            problems.append(f"right_within must be above zero, got {self.right_within}")
        if not 0.0 < self.false_reject_rate < 0.5:
            problems.append(
                f"false_reject_rate must lie in (0, 0.5), got {self.false_reject_rate}"
            )
        if self.frames_per_scene < 1:
            problems.append(f"frames_per_scene must be at least 1, got {self.frames_per_scene}")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class ChecksConfig:
    """Early looks at the young network, for signs that training on will not help.

    They warn with a remedy and stop nothing; see docs/training.md.

    Args:
        enabled: Make them.
        at: After these shares of the epochs, rounded up to whole ones.
        frames: Validation frames to look at, of all scenes alike; training frames where none
            are held back.
    """

    enabled: bool = True
    at: tuple[float, ...] = (0.1, 0.3)
    frames: int = 32

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        if not all(0.0 < share <= 1.0 for share in self.at):
            raise ValueError(f"at must lie in (0, 1], got {list(self.at)}")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")


@dataclass(frozen=True)
class TrainConfig:
    """Describe a training run.

    Args:
        datasets: Dataset folders, relative to where the command runs.
        network: The network's shape.
        preprocess: The image pipeline.
        clusters: `auto` chooses the numbers of clusters from the training poses, whatever the
            network's section says; RUN/config.yaml says which (docs/studies.md).
        fit_virtual_camera: Take the virtual camera of preprocess' size that sees all that the
            widest camera of the datasets does; the bundle and RUN/config.yaml say which it is.
        augmentation: How training pictures are varied.
        optimizer: How weights move.
        validation: What is held back.
        calibration: What the held-back frames are used for at the end.
        checks: Warnings after the first epochs.
        scenes: Train on these scenes of the datasets only; empty takes all.
        train_split: The split of the datasets to train on; empty takes frames of no split.
        loss: What is minimised.
        epochs: Passes over as many frames as there are.
        total_images: Instead of `epochs`, so many pictures in all, to the nearest whole epoch:
            the same work for a small data set and a large one. 0 goes by `epochs`.
        batch_size: Frames a step.
        balance: `none` draws every frame once an epoch; `scenes` every scene equally often;
            `clusters` every scene equally often and, within it, every position cluster.
        initial_weights: A bundle folder, relative to where the command runs: every tensor that
            fits by name and shape is taken, scenes are matched by name. Empty starts afresh. A
            resumed run does not read it.
        frozen_parts: Modules of the network that are not trained and stay in evaluation mode,
            such as `backbone` or `position_transformer`.
        pretrained_backbone: Start the backbone from ImageNet weights.
        freeze_batch_norm: Keep the backbone's batch statistics as they are.
        frozen_backbone_stages: So many first stages of the backbone (after the stem) are not
            trained, nor is the stem; -1 trains everything, as the paper does.
        ema_decay: Average the weights over about 1 / (1 - decay) steps; 0 takes them as they
            are.
        precision: `bf16` trains all but heads and losses in bfloat16: faster where the processor
            or GPU has the instructions, far slower elsewhere. Answers are given in fp32.
        half_precision_bundle: Store the bundle's weights as fp16.
        map_frames: Map frame by scene, where it is not `map`.
        num_workers: Threads that read and warp pictures, beside those that train.
        image_cache: A folder for decoded pictures, relative to where the command runs; later
            runs on the same data share them. Empty decodes the files anew in every epoch.
        checkpoint_minutes: How often the state is saved between epochs.
        seed: Of everything drawn by chance.
    """

    datasets: tuple[str, ...]
    network: NetworkConfig = field(default_factory=NetworkConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    clusters: Literal["as_given", "auto"] = "as_given"
    fit_virtual_camera: bool = False
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    scenes: tuple[str, ...] = ()
    train_split: str = "train"
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 60
    total_images: int = 0
    batch_size: int = 8
    balance: Literal["none", "scenes", "clusters"] = "none"
    initial_weights: str = ""
    frozen_parts: tuple[str, ...] = ()
    pretrained_backbone: bool = True
    freeze_batch_norm: bool = False
    frozen_backbone_stages: int = -1
    ema_decay: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    half_precision_bundle: bool = False
    map_frames: dict[str, str] = field(default_factory=dict)
    num_workers: int = 2
    image_cache: str = ""
    checkpoint_minutes: float = 5.0
    seed: int = 0

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        problems = []
        if not self.datasets:
            problems.append("datasets must name at least one dataset folder")
        if min(self.epochs, self.batch_size) < 1:
            problems.append(
                f"epochs and batch_size must be at least 1, got {self.epochs} and "
                f"{self.batch_size}"
            )
        if self.total_images < 0:
            problems.append(f"total_images must not be negative, got {self.total_images}")
        if self.num_workers < 1:
            problems.append(f"num_workers must be at least 1, got {self.num_workers}")
        if not 0.0 <= self.ema_decay < 1.0:
            problems.append(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if self.frozen_backbone_stages < -1:
            problems.append(
                f"frozen_backbone_stages must be at least -1, got {self.frozen_backbone_stages}"
            )
        if self.balance == "clusters" and self.network.num_position_clusters < 1:
            problems.append("balance: clusters needs network.num_position_clusters above 0")
        if self.seed < 0:
            problems.append(f"seed must not be negative, got {self.seed}")
        stride = min(self.network.position_stride, self.network.orientation_stride)
        most_px = stride * MAX_MAP_CELLS
        if max(self.preprocess.width, self.preprocess.height) > most_px:
            problems.append(
                f"an input of {self.preprocess.width}x{self.preprocess.height} is larger than "
                f"the {most_px} pixels that stride {stride} allows"
            )
        virtual = self.preprocess.virtual_camera is not None
        if virtual and self.fit_virtual_camera:
            problems.append("preprocess has a virtual camera; leave out fit_virtual_camera")
        virtual |= self.fit_virtual_camera
        if self.augmentation.moves_camera and not virtual:
            problems.append(
                "augmentation moves the virtual camera, but preprocess has none; set yaw_deg, "
                "pitch_deg, roll_deg and focal to 0, or fit_virtual_camera to true"
            )
        if problems:
            raise ValueError("; ".join(problems))


def load_train_config(
    path: Path, datasets: Sequence[str] = (), changes: Sequence[str] = ()
) -> TrainConfig:
    """Read a training configuration from YAML.

    Args:
        path: The file.
        datasets: Dataset folders instead of those it names; it need not name any then.
        changes: Other values for single keys, each `section.key=value` with a value in YAML.

    Raises:
        ConfigError: With every problem in it.
    """
    values = load_yaml(path)
    if datasets:
        values["datasets"] = list(datasets)
    for change in changes:
        set_key(values, change)
    return from_mapping(TrainConfig, values, str(path))
