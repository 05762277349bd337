"""The training loop: `mspr train CONFIG -o RUN`.

A run folder holds `config.yaml` (resolved), `last.ckpt` and `best.ckpt`, `tensorboard/`,
`history.json` and, at the end, `bundle/`. What the loop does not know: where poses come from, how
pictures are varied (samples.py) and what the network looks like.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mspr_ros.bundle import BundleMetadata, SceneInfo, save_bundle
from mspr_ros.config import to_mapping
from mspr_ros.errors import CheckpointError, MsprError
from mspr_ros.network.losses import PoseCriterion
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.interrupt import GentleInterrupt
from mspr_ros.training.lesson import Lesson, prepare_lesson
from mspr_ros.training.samples import Batch, EpochBatches, TrainingSamples, load_batches
from mspr_ros.training.samples import steps_per_epoch as count_steps
from mspr_ros.training.schedule import (
    freeze_backbone,
    learning_rate_at,
    make_optimizer,
    set_training_mode,
)
from mspr_ros.training.validation import ValidationResult, validate


class Interrupted(MsprError):
    """Tell that a run was stopped by hand, saved, and how to go on."""


class Trainer:
    """Train a network on a lesson and write a bundle.

    Args:
        config: What to do.
        run: The run folder; it exists.
        device: Where to train.
        resume: Go on from the folder's last checkpoint.

    Raises:
        CheckpointError: If there is nothing to resume, or it was made by another configuration.
    """

    def __init__(
        self, config: TrainConfig, run: Path, device: torch.device, *, resume: bool = False
    ) -> None:
        self.config, self.run_folder, self.device = config, run, device
        self.lesson: Lesson = prepare_lesson(config)
        torch.manual_seed(config.seed)
        self.network = self._build_network(pretrained=config.pretrained_backbone and not resume)
        freeze_backbone(self.network, config)
        self.criterion = PoseCriterion(s_x=config.s_x, s_q=config.s_q).to(device)
        self.optimizer = make_optimizer(config.optimizer, [self.network, self.criterion])
        self.average: AveragedModel | None = None
        if config.ema_decay > 0.0:
            average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.progress = Progress()
        self.samples = TrainingSamples(
            self.lesson.train,
            config,
            self.lesson.position_centroids,
            self.lesson.orientation_centroids,
        )
        self.scene_of_frame = torch.tensor([item.scene for item in self.lesson.train]).numpy()
        self.steps_per_epoch = count_steps(len(self.samples), config.batch_size)
        self.num_steps = self.steps_per_epoch * config.epochs
        if resume:
            self._load(self.run_folder / "last.ckpt")

    def run(self) -> dict[str, Any]:
        """Train to the last epoch, write the bundle and give the validation metrics."""
        self._write_config()
        if self.progress.epoch == self.progress.step == 0:
            self._save("last.ckpt")  # a full disk shows now, and a run can always be resumed
        writer = SummaryWriter(str(self.run_folder / "tensorboard"))
        done = self.progress.epoch * self.steps_per_epoch + self.progress.step
        bar = tqdm(total=self.num_steps, initial=done, unit="step", smoothing=0.05)
        try:
            with GentleInterrupt() as interrupt:
                while self.progress.epoch < self.config.epochs:
                    self._train_epoch(bar, interrupt)
                    self._finish_epoch(writer, bar)
        finally:
            bar.close()
            writer.close()
        return self._write_bundle()

    def _build_network(self, *, pretrained: bool) -> PoseRegressor:
        network = PoseRegressor(
            config=self.config.network,
            num_scenes=len(self.lesson.scenes),
            pretrained_backbone=pretrained,
        )
        network.position_centroids.copy_(torch.tensor(self.lesson.position_centroids))
        network.orientation_centroids.copy_(torch.tensor(self.lesson.orientation_centroids))
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _train_epoch(self, bar: tqdm[Any], interrupt: GentleInterrupt) -> None:
        """Take the steps that the epoch under way still lacks."""
        set_training_mode(self.network, self.config)
        batches = EpochBatches(
            self.scene_of_frame, self.config, self.progress.epoch, self.progress.step
        )
        sums = self.progress.loss_sums
        saved_at = time.monotonic()
        for batch in load_batches(self.samples, batches, self.config.num_workers):
            losses = self._step(batch)
            self.progress.step += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            bar.set_postfix_str(
                f"epoch {self.progress.epoch + 1}/{self.config.epochs} "
                f"{losses['position']:.3f} m, q {losses['orientation']:.3f}",
                refresh=False,
            )
            bar.update()
            if interrupt.requested:
                self._save("last.ckpt")
                raise Interrupted(
                    "stopped by hand and saved; go on with: mspr train "
                    f"{self.run_folder / 'config.yaml'} -o {self.run_folder} --resume"
                )
            if time.monotonic() - saved_at > 60.0 * self.config.checkpoint_minutes:
                self._save("last.ckpt")
                saved_at = time.monotonic()

    def _step(self, batch: Batch) -> dict[str, float]:
        step = self.progress.epoch * self.steps_per_epoch + self.progress.step
        rate = learning_rate_at(self.config.optimizer, step, self.steps_per_epoch, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images = self.samples.preprocessor.normalize(batch.images_u8.to(self.device))
        selection = type(batch.selection)(*(ids.to(self.device) for ids in batch.selection))
        output = self.network(images, teacher=selection)
        losses: dict[str, torch.Tensor] = self.criterion(
            output, batch.position.to(self.device), batch.orientation.to(self.device), selection
        )
        if not bool(torch.isfinite(losses["total"])):
            raise MsprError(
                f"the loss became {losses['total'].item()} in step {step}; start a new run with a "
                "lower optimizer.learning_rate or with optimizer.gradient_clip_norm"
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        if self.config.optimizer.gradient_clip_norm > 0.0:
            torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.config.optimizer.gradient_clip_norm
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _finish_epoch(self, writer: SummaryWriter, bar: tqdm[Any]) -> None:
        epoch = self.progress.epoch
        losses = {
            name: value / self.steps_per_epoch for name, value in self.progress.loss_sums.items()
        }
        entry: dict[str, Any] = {"epoch": epoch + 1, "losses": losses}
        last = epoch + 1 == self.config.epochs
        self.progress.epoch, self.progress.step, self.progress.loss_sums = epoch + 1, 0, {}
        validates = last or (epoch + 1) % self.config.validation.every_epochs == 0
        if self.lesson.validation and validates:
            result = self._validate(self.answering_network)
            entry["validation"] = self._describe(result)
            entry["score"] = result.score
            summary = result.summary()
            bar.write(
                f"epoch {epoch + 1}: validation median {summary.position_error_m.median:.3f} m, "
                f"{summary.orientation_error_deg.median:.2f} deg, "
                f"scene accuracy {summary.scene_accuracy:.1%}"
            )
            if result.score < self.progress.best_score:
                self.progress.best_score, self.progress.best_epoch = result.score, epoch + 1
                self._save("best.ckpt")
        self.progress.history.append(entry)
        self._save("last.ckpt")
        self._log(entry, writer)

    def _validate(self, network: PoseRegressor) -> ValidationResult:
        return validate(
            network,
            self.lesson.validation,
            self.samples.preprocessor,
            self.device,
            self.config.batch_size,
        )

    def _describe(self, result: ValidationResult) -> dict[str, Any]:
        present = {item.scene for item in self.lesson.validation}
        scenes = {
            info.name: result.summary(index).to_dict()
            for index, info in enumerate(self.lesson.scenes)
            if index in present
        }
        return {"all": result.summary().to_dict(), "scenes": scenes}

    @property
    def answering_network(self) -> PoseRegressor:
        """The network that is judged and shipped: the averaged one where there is one."""
        if self.average is None:
            return self.network
        module = self.average.module
        assert isinstance(module, PoseRegressor)
        return module

    def _log(self, entry: dict[str, Any], writer: SummaryWriter) -> None:
        step = entry["epoch"] * self.steps_per_epoch
        for name, value in entry["losses"].items():
            writer.add_scalar(f"loss/{name}", value, step)
        writer.add_scalar("loss/s_x", self.criterion.s_x.item(), step)
        writer.add_scalar("loss/s_q", self.criterion.s_q.item(), step)
        writer.add_scalar("learning_rate", self.optimizer.param_groups[0]["lr"], step)
        for scene, summary in entry.get("validation", {}).get("scenes", {}).items():
            for kind in ("position_error_m", "orientation_error_deg"):
                median = summary[kind]["median"]
                if median is not None:
                    writer.add_scalar(f"validation/{scene}/{kind}", median, step)
        history = json.dumps(self.progress.history, indent=2)
        (self.run_folder / "history.json").write_text(history + "\n", encoding="utf-8")

    def _save(self, name: str) -> None:
        state = {
            "config": to_mapping(self.config),
            "data_hash": self.lesson.data_hash,
            "network": self.network.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "random_state": torch.get_rng_state(),
            "cuda_random_states": torch.cuda.get_rng_state_all(),  # none without CUDA
            "progress": dataclasses.asdict(self.progress),
        }
        save_checkpoint(self.run_folder / name, state)

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path)
        ours = to_mapping(self.config)
        changed = [
            key
            for key in ours
            if key not in ("num_workers", "checkpoint_minutes", "datasets")
            and ours[key] != state["config"].get(key)
        ]
        if changed:
            raise CheckpointError(
                f"{path} was made with another configuration ({', '.join(changed)} differ); "
                "resume with the same one or start a new run"
            )
        if state["data_hash"] != self.lesson.data_hash:
            raise CheckpointError(f"{path} was made from other data; start a new run")
        self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"], strict=True)
        self.criterion.load_state_dict(state["criterion"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"], strict=True)
        torch.set_rng_state(state["random_state"])
        if len(state["cuda_random_states"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_random_states"])
        self.progress = Progress(**state["progress"])

    def _write_config(self) -> None:
        text = yaml.safe_dump(to_mapping(self.config), sort_keys=False)
        (self.run_folder / "config.yaml").write_text(text, encoding="utf-8")

    def _write_bundle(self) -> dict[str, Any]:
        """Write the best network as a bundle and give what is known of it."""
        scenes = self.lesson.scenes
        validation: dict[str, Any] = {}
        if self.progress.best_epoch > 0 and self.progress.best_epoch != self.progress.epoch:
            progress = self.progress
            self._restore(load_checkpoint(self.run_folder / "best.ckpt"))
            self.progress = progress
        if self.lesson.validation:
            result = self._validate(self.answering_network)
            validation = {
                "epoch": self.progress.best_epoch,
                "frames": len(self.lesson.validation),
                **self._describe(result),
            }
            scenes = tuple(
                dataclasses.replace(info, residual_covariance=result.residual_covariance(index))
                for index, info in enumerate(scenes)
            )
        self._save_bundle(scenes, validation)
        return {"bundle": str(self.run_folder / "bundle"), "validation": validation}

    def _save_bundle(self, scenes: tuple[SceneInfo, ...], validation: dict[str, Any]) -> None:
        metadata = BundleMetadata(
            network=self.config.network,
            preprocess=self.config.preprocess,
            scenes=scenes,
            cameras=self.lesson.cameras,
            validation=validation,
            training=to_mapping(self.config),
            data_hash=self.lesson.data_hash,
        )
        save_bundle(
            self.run_folder / "bundle",
            self.answering_network,
            metadata,
            half_precision=self.config.half_precision_bundle,
        )
