"""What an answer costs as scenes grow: no training is needed to know latency and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mspr_ros.bundle import BundleMetadata, SceneInfo, save_bundle
from mspr_ros.localizer import Localizer
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.preprocess import PreprocessConfig
from mspr_ros.studies.study import Cell, CellResult, Conclusion, Setting, Table

if TYPE_CHECKING:
    from mspr_ros.camera import CameraModel

COST = "cost"
IMAGE_SHAPE = (480, 640, 3)
_TIMED, _WARM_UP = 15, 3


def measure_costs(
    bundle: Path, image: np.ndarray, camera: CameraModel | None, device: str
) -> dict[str, float]:
    """Measure what a bundle's answer to one picture costs.

    Returns:
        `latency_ms` on the wall clock and `cpu_ms` of this process (medians; where the machine is
        busy the second is nearer the truth), `parameters`, and `weights_mb` in memory.
    """
    localizer = Localizer.load(bundle, device=device)
    wall, processor = [], []
    for _ in range(_WARM_UP + _TIMED):
        started, used = time.perf_counter(), time.process_time()
        localizer.localize(image, camera)
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    tensors = [*localizer.network.parameters(), *localizer.network.buffers()]
    return {
        "latency_ms": round(1000.0 * float(np.median(wall[_WARM_UP:])), 2),
        "cpu_ms": round(1000.0 * float(np.median(processor[_WARM_UP:])), 2),
        "parameters": sum(p.numel() for p in localizer.network.parameters()),
        "weights_mb": round(sum(t.numel() * t.element_size() for t in tensors) / 1e6, 2),
    }


def cost_cells(setting: Setting, counts: Sequence[int]) -> list[Cell]:
    """Give a cell for every number of scenes, with the network of the configuration, untrained."""
    config = setting.config([Path("none")], 0)
    return [
        Cell(
            f"{COST}-{count:02d}",
            {"network": COST, "count": count},
            0,
            _measurer(config.network, config.preprocess, count, setting.device),
        )
        for count in counts
    ]


def _measurer(
    network: NetworkConfig, preprocess: PreprocessConfig, count: int, device: str
) -> Callable[[Path], dict[str, Any]]:
    def measure(run: Path) -> dict[str, Any]:
        torch.manual_seed(0)
        untrained = PoseRegressor(config=network, num_scenes=count)
        untrained.position_centroids.normal_()
        untrained.orientation_centroids.normal_()
        metadata = BundleMetadata(
            network=network,
            preprocess=preprocess,
            scenes=tuple(SceneInfo(f"place{number}") for number in range(count)),
        )
        if not (run / "bundle").exists():
            save_bundle(run / "bundle", untrained.eval(), metadata)
        image = np.random.default_rng(0).integers(0, 256, IMAGE_SHAPE, dtype=np.uint8)
        return measure_costs(run / "bundle", image, None, device)

    return measure


def conclude_costs(results: Sequence[CellResult]) -> Conclusion:
    """Say how latency and memory grow."""
    values = {one.factors["count"]: one.values for one in results}
    counts = sorted(values)
    first, last = values[counts[0]], values[counts[-1]]
    each = (last["parameters"] - first["parameters"]) / max(1, counts[-1] - counts[0])
    sentence = (
        f"From {counts[0]} to {counts[-1]} scenes an answer's processor time goes from "
        f"{first['cpu_ms']:.1f} to {last['cpu_ms']:.1f} ms (wall clock {first['latency_ms']:.1f} "
        f"to {last['latency_ms']:.1f} ms), the weights from {first['weights_mb']:.2f} to "
        f"{last['weights_mb']:.2f} MB, {each:.0f} parameters a scene; untrained networks, which "
        "cost what trained ones do."
    )
    rows = [
        (
            str(count),
            f"{values[count]['cpu_ms']:.1f}",
            f"{values[count]['latency_ms']:.1f}",
            f"{values[count]['parameters'] / 1e6:.3f}",
            f"{values[count]['weights_mb']:.2f}",
        )
        for count in counts
    ]
    header = ("scenes", "processor ms", "wall ms", "million parameters", "weights MB")

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for key, label in (("cpu_ms", "processor time"), ("latency_ms", "wall clock")):
            axes.plot(counts, [values[count][key] for count in counts], "o-", label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("scenes in one network")
        axes.set_ylabel("ms an answer")
        axes.legend()

    table = Table("What an answer costs", header, rows)
    return Conclusion(sentence, [table], draw, {"costs": {str(n): values[n] for n in counts}})
