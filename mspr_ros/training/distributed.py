"""Several processes train one network: `torchrun --nproc-per-node 2 -m mspr_ros train ...`.

torch.distributed does the work: gloo on the CPU, NCCL between GPUs, DistributedDataParallel for
the gradients. Each process takes its share of every batch, so that `batch_size` stays the number
of frames a step and (seed, epoch, place) still names what is drawn. The first process writes,
validates and speaks; the others wait for it.

What several processes do not share is the statistics of batch norms that are trained: each
normalises by its own share of the batch, and the first one's running statistics are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mspr_ros.device import choose_device
from mspr_ros.errors import ConfigError, MsprError
from mspr_ros.network.losses import PoseCriterion
from mspr_ros.network.regressor import PoseRegressor, Selection

T = TypeVar("T")

# Longer than the first process needs to validate or to write a cache. A process that dies does not
# keep the others this long: torchrun ends them.
_PATIENCE = timedelta(hours=24)


class GradedNetwork(nn.Module):
    """Network and criterion as one module: both have weights whose gradients are averaged.

    Args:
        network: What is trained.
        criterion: By what.
        half: Encode in bf16; heads and losses stay in fp32, for a bf16 number has three digits.
    """

    def __init__(
        self, network: PoseRegressor, criterion: PoseCriterion, *, half: bool = False
    ) -> None:
        super().__init__()
        self.half_precision = half
        self.network = network
        self.criterion = criterion

    def forward(
        self, images: Tensor, position: Tensor, orientation: Tensor, selection: Selection
    ) -> dict[str, Tensor]:
        """Give each part of the loss; shapes as for the network and the criterion."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.half_precision):
            position_out, orientation_out = self.network.encode(images)
        output = self.network.answer(
            position_out.float(), orientation_out.float(), teacher=selection
        )
        return self.criterion(output, position, orientation, selection)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them; by default it is alone.

    Args:
        rank: Of this one; 0 is the first.
        count: How many there are, on all machines.
        local_rank: Of this one on its machine, which is the number of its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Turn `auto`, `cpu` or `cuda` into the device of this process.

        Raises:
            ConfigError: If it does not exist, or one GPU is named for several processes.
        """
        device = choose_device(name)
        if self.count == 1 or device.type == "cpu":
            return device
        if device.index is not None:
            raise ConfigError(
                f"device '{name}' is one GPU, but {self.count} processes train; use cuda or auto"
            )
        device = choose_device(f"cuda:{self.local_rank}")
        torch.cuda.set_device(device)
        return device

    def check_batch_size(self, batch_size: int) -> None:
        """Refuse batches that cannot be shared out evenly.

        Raises:
            ConfigError: With the sizes that can.
        """
        if batch_size % self.count != 0:
            lower = batch_size - batch_size % self.count
            sizes = [str(size) for size in (lower, lower + self.count) if size > 0]
            raise ConfigError(
                f"batch_size {batch_size} is the number of frames a step over all processes and "
                f"must be a multiple of their number, {self.count}; use {' or '.join(sizes)}"
            )

    def wrap(self, graded: GradedNetwork) -> nn.Module:
        """Give a module whose backward pass averages gradients over all processes.

        All begin with the weights of the first. Which weights take part in an answer is found in
        the first step and is the same in all: no label and no chance switches a part off.
        """
        if self.count == 1:
            return graded
        return DistributedDataParallel(graded, static_graph=True)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Give the means over all processes, which must have the same names."""
        if self.count == 1:
            return dict(values)
        totals = torch.tensor(list(values.values()), dtype=torch.float64)
        distributed.all_reduce(totals)
        return dict(zip(values, (totals / self.count).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        return self.mean({"flag": float(flag)})["flag"] > 0.0

    def from_first(self, value: T) -> T:
        """Give the first process's value to all."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.mean({"here": 1.0})


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun, be alone.

    Raises:
        MsprError: If another process went away.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or not distributed.is_torchelastic_launched():
        yield Processes()
        return
    # Values and flags of the host go over gloo, gradients on GPUs over NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Processes(
            distributed.get_rank(), distributed.get_world_size(), int(os.environ["LOCAL_RANK"])
        )
    except RuntimeError as error:
        if not _lost_connection(error):
            raise
        raise MsprError("another of the processes stopped; its own message says why") from None
    finally:
        distributed.destroy_process_group()


def _lost_connection(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, distributed.DistBackendError) or (
        "gloo" in text or "onnection" in text
    )
