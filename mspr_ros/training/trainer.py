"""The training loop: `mspr train CONFIG -o RUN`.

A run folder holds `config.yaml` (resolved), `last.ckpt` and `best.ckpt`, `tensorboard/`,
`history.json`, at the end `bundle/` and, where the numbers broke, `nan_batch.pt`. What the loop
does not know: where poses come from, how pictures are varied (samples.py), what the network looks
like, and how several processes talk to each other (distributed.py).
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch

from mspr_ros.config import dump_yaml, to_mapping
from mspr_ros.data.light import vary_light
from mspr_ros.evaluation.metrics import json_safe
from mspr_ros.geometry import Array
from mspr_ros.network.losses import PoseCriterion, likelihood_of
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.training.building import build_average, build_network
from mspr_ros.training.cache import open_cache_together
from mspr_ros.training.calibrating import calibrate_after_training
from mspr_ros.training.checkpoint import (
    Progress,
    TrainingState,
    check_same_run,
    load_checkpoint,
    save_checkpoint,
)
from mspr_ros.training.cluster_choice import with_chosen_clusters
from mspr_ros.training.configuration import TrainConfig
from mspr_ros.training.disk import check_disk, run_sizes
from mspr_ros.training.distributed import GradedNetwork, Processes
from mspr_ros.training.failures import BadNumbers, keep_bad_batch, told_in_one_line
from mspr_ros.training.first_checks import check_after_epoch
from mspr_ros.training.interrupt import GentleInterrupt, Interrupted
from mspr_ros.training.lesson import (
    Lesson,
    load_datasets,
    prepare_lesson,
    with_virtual_camera,
)
from mspr_ros.training.outcome import describe, in_words, write_bundle
from mspr_ros.training.progress_log import ProgressLog
from mspr_ros.training.samples import (
    Batch,
    Draw,
    EpochBatches,
    TrainingSamples,
    balance_groups,
    load_batches,
    with_epochs,
)
from mspr_ros.training.samples import steps_per_epoch as count_steps
from mspr_ros.training.schedule import (
    clip_gradients,
    learning_rate_at,
    make_optimizer,
    seed_step,
    set_training_mode,
    stops_early,
)
from mspr_ros.training.validation import ValidationResult, validate


class Trainer:
    """Train a network on a lesson and write a bundle.

    Args:
        config: What to do.
        run: The run folder; it exists.
        device: Where to train.
        resume: Go on from the folder's last checkpoint.
        processes: Those that train together, where this is one of several.

    Raises:
        CheckpointError: If there is nothing to resume, or it was made by another configuration.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: Path,
        device: torch.device,
        *,
        resume: bool = False,
        processes: Processes = Processes(),  # noqa: B008
    ) -> None:
        processes.check_batch_size(config.batch_size)
        datasets = load_datasets(config)
        config = with_virtual_camera(with_chosen_clusters(config, datasets), datasets)
        self.lesson: Lesson = prepare_lesson(config, datasets)
        config = with_epochs(config, len(self.lesson.train))
        self.config, self.run_folder, self.device = config, run, device
        self.processes = processes
        torch.manual_seed(config.seed)
        self.network, self.weight_transfer = build_network(
            config, self.lesson, device, resume=resume
        )
        self.criterion = PoseCriterion(config.loss, likelihood_of(config.network)).to(device)
        self.optimizer = make_optimizer(config.optimizer, [self.network, self.criterion])
        self.average = build_average(config, self.network)
        self.state = TrainingState(self.network, self.criterion, self.optimizer, self.average)
        self.progress = Progress()
        if resume:
            self._load(self.run_folder / "last.ckpt")
        # The network's own: initial weights and checkpoints bring the centroids they learned with.
        centroids = self._centroids()
        self.samples = TrainingSamples(self.lesson.train, config, *centroids)
        self.group_of_frame = balance_groups(self.lesson.train, config, centroids[0])
        self.steps_per_epoch = count_steps(len(self.samples), config.batch_size)
        self.num_steps = self.steps_per_epoch * config.epochs
        self.graded = processes.wrap(
            GradedNetwork(self.network, self.criterion, half=config.precision == "bf16")
        )

    def run(self) -> dict[str, Any]:
        """Train to the last epoch, write the bundle and give the validation metrics.

        Raises:
            Interrupted: If it was stopped by hand; it is saved.
            BadNumbers: If the loss is not finite; its batch is saved.
            MsprError: If memory or disk do not suffice.
        """
        sizes = run_sizes(self.network, self.config)
        with told_in_one_line(self.config, self.run_folder, self.device):
            if self.processes.is_first:
                check_disk(self.run_folder, sizes)
                self._write_config()
                if self._num_done == 0:
                    self._save("last.ckpt")  # so that a run can always be resumed
            self.open_image_cache(reserve_bytes=sum(sizes.values()))
            self._train()
            result = self._write_bundle() if self.processes.is_first else {}
            self.processes.wait()
        return result

    def open_image_cache(self, *, reserve_bytes: int = 0) -> None:
        """Read pictures from the image cache, where the configuration names one, from now on.

        Args:
            reserve_bytes: Room that the disk must have beside it, where it is yet to be written.

        Raises:
            MsprError: If it cannot be written.
        """
        if self.config.image_cache:
            self.samples.images = open_cache_together(
                self.lesson, self.config, self.processes, reserve_bytes=reserve_bytes
            )

    def _train(self) -> None:
        silent = not self.processes.is_first
        in_metres = (
            not self.config.network.normalize_positions and self.config.loss.robust_position == 0.0
        )
        log = ProgressLog(
            self.run_folder, self.num_steps, self._num_done, in_metres=in_metres, silent=silent
        )
        with log, GentleInterrupt() as interrupt:
            while self.progress.epoch < self.config.epochs:
                if stops_early(self.config.validation, self.progress):
                    log.say(
                        f"stopped early: nothing better since epoch {self.progress.best_epoch}"
                    )
                    break
                self._train_epoch(log, interrupt)
                self._finish_epoch(log)

    def _centroids(self) -> tuple[Array, Array]:
        """Give the network's centroids of positions (S, Kp, 3) and orientations (S, Ko, 4)."""
        return (
            self.network.position_centroids.double().cpu().numpy(),
            self.network.orientation_centroids.double().cpu().numpy(),
        )

    def _train_epoch(self, log: ProgressLog, interrupt: GentleInterrupt) -> None:
        """Take the steps that the epoch under way still lacks."""
        set_training_mode(self.network, self.config)
        batches = EpochBatches(
            self.group_of_frame,
            self.config,
            self.progress.epoch,
            self.progress.step,
            share=(self.processes.rank, self.processes.count),
        )
        sums = self.progress.loss_sums
        saved_at = time.monotonic()
        for batch in load_batches(self.samples, batches, self.config.num_workers):
            losses = self._step(batch, batches.draws(self.progress.step))
            self.progress.step += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            log.step(f"{self.progress.epoch + 1}/{self.config.epochs}", losses)
            if self.processes.any(interrupt.requested):
                self._save("last.ckpt")
                self.processes.wait()  # torchrun ends all when one is gone, also while it saves
                raise Interrupted(
                    "stopped by hand and saved; go on with: mspr train "
                    f"{self.run_folder / 'config.yaml'} -o {self.run_folder} --resume"
                )
            if time.monotonic() - saved_at > 60.0 * self.config.checkpoint_minutes:
                self._save("last.ckpt")
                saved_at = time.monotonic()

    def _step(self, batch: Batch, draws: list[Draw]) -> dict[str, float]:
        """Move the weights by one batch and give the parts of its loss, over all processes."""
        step = self._num_done
        seed_step(self.config.seed, step, self.processes.rank)
        rate = learning_rate_at(self.config.optimizer, step, self.steps_per_epoch, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pictures = vary_light(batch.images_u8.to(self.device), batch.light)
        images = self.samples.preprocessor.normalize(pictures)
        selection = type(batch.selection)(*(ids.to(self.device) for ids in batch.selection))
        losses: dict[str, torch.Tensor] = self.graded(
            images, batch.position.to(self.device), batch.orientation.to(self.device), selection
        )
        own = {name: float(value.detach()) for name, value in losses.items()}
        shared = self.processes.mean(own)
        if not math.isfinite(shared["total"]):
            raise self._bad_numbers("the loss", batch, draws, own)
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(self.network, self.config.optimizer.gradient_clip_norm)
        if not math.isfinite(norm):
            raise self._bad_numbers("the gradient", batch, draws, own)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return shared

    def _bad_numbers(
        self, what: str, batch: Batch, draws: list[Draw], losses: dict[str, float]
    ) -> BadNumbers:
        """Save the batch, every process its share, and give the error to raise."""
        error = keep_bad_batch(
            self.run_folder,
            f"{what} is not finite",
            batch,
            {
                "epoch": self.progress.epoch + 1,
                "step": self._num_done,
                "draws": draws,
                "images": [str(self.lesson.train[index].frame.image) for _, _, index in draws],
                "losses": losses,
            },
            rank=self.processes.rank,
        )
        self.processes.wait()
        return error

    def _finish_epoch(self, log: ProgressLog) -> None:
        epoch = self.progress.epoch + 1
        losses = {
            name: value / self.steps_per_epoch for name, value in self.progress.loss_sums.items()
        }
        entry: dict[str, Any] = {"epoch": epoch, "losses": losses}
        self.progress.epoch, self.progress.step, self.progress.loss_sums = epoch, 0, {}
        validates = epoch == self.config.epochs or epoch % self.config.validation.every_epochs == 0
        if self.lesson.validation and validates:
            if self.processes.is_first:
                result = self._validate(self.answering_network)
                entry["validation"] = describe(result, self.lesson)
                entry["score"] = result.score
                log.say(f"epoch {epoch}: validation {in_words(result)}")
            entry = self.processes.from_first(entry)
            if entry["score"] < self.progress.best_score:
                self.progress.best_score, self.progress.best_epoch = entry["score"], epoch
                self._save("best.ckpt")
        self._look_for_trouble(log, entry)
        self.progress.history.append(entry)
        self._save("last.ckpt")
        curves = {
            "loss/s_x": self.criterion.s_x.item(),
            "loss/s_q": self.criterion.s_q.item(),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        log.epoch(epoch * self.steps_per_epoch, self.progress.history, curves)

    def _look_for_trouble(self, log: ProgressLog, entry: dict[str, Any]) -> None:
        """Warn of what a young network shows; it never stops a training."""
        if not self.processes.is_first:
            return
        try:
            findings = check_after_epoch(
                self.answering_network, self.config, self.lesson, entry["epoch"],
                self.samples.preprocessor, self.device, self.samples.images,
            )  # fmt: skip
        except Exception as error:
            log.say(f"warning: the first checks could not be made: {error}")
            return
        if findings:
            entry["first_checks"] = json_safe([finding.to_dict() for finding in findings])
        for finding in findings:
            if finding.warns:
                log.say(finding.in_words())

    def _validate(self, network: PoseRegressor) -> ValidationResult:
        return validate(
            network,
            self.lesson.validation,
            self.samples.preprocessor,
            self.device,
            self.config.batch_size,
            self.samples.images,
            self.config.num_workers,
        )

    @property
    def _num_done(self) -> int:
        """Steps of the run so far."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    @property
    def answering_network(self) -> PoseRegressor:
        """The network that is judged and shipped: the averaged one where there is one."""
        if self.average is None:
            return self.network
        module = self.average.module
        assert isinstance(module, PoseRegressor)
        return module

    def _save(self, name: str) -> None:
        if self.processes.is_first:
            save_checkpoint(
                self.run_folder / name,
                {
                    "config": to_mapping(self.config),
                    "data_hash": self.lesson.data_hash,
                    "progress": dataclasses.asdict(self.progress),
                    **self.state.gather(),
                },
            )

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path)
        check_same_run(path, state, to_mapping(self.config), self.lesson.data_hash)
        self.state.restore(state)
        self.progress = Progress(**state["progress"])

    def _write_config(self) -> None:
        text = dump_yaml(to_mapping(self.config))
        (self.run_folder / "config.yaml").write_text(text, encoding="utf-8")

    def _write_bundle(self) -> dict[str, Any]:
        """Write the best network as a bundle and give what is known of it."""
        best = self.progress.best_epoch
        if best > 0 and best != self.progress.epoch:
            self.state.restore(load_checkpoint(self.run_folder / "best.ckpt"))
        network = self.answering_network
        result = self._validate(network) if self.lesson.validation else None
        folder = self.run_folder / "bundle"
        what = (folder, network, self.config, self.lesson, result, best)
        # Whatever happens in the calibration, the network is kept.
        written = write_bundle(*what)
        trust = calibrate_after_training(
            network,
            self.lesson.train,
            self.lesson.validation,
            self.samples.preprocessor,
            self.device,
            self.config,
            tuple(info.name for info in self.lesson.scenes),
            self.lesson.validation_source,
            self.samples.images,
        )
        return written if trust is None else write_bundle(*what, trust)
