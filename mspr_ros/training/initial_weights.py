"""Start a network from a bundle's weights, as the paper's second stage does from its first.

Every tensor that fits by name and shape is taken. Tensors with one row a scene (queries and
centroids) are taken row by row, matched by the scenes' names: the same scene may have another
number in the bundle. What is new here or left over there is told, not passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mspr_ros.bundle import load_bundle
from mspr_ros.errors import ConfigError
from mspr_ros.network.configuration import NetworkConfig
from mspr_ros.network.regressor import PoseRegressor

# Ends of the names of all tensors whose first axis counts scenes; a test compares them with the
# network's.
PER_SCENE = (
    "scene_queries.weight",
    "position_centroids",
    "position_units",
    "orientation_centroids",
)


@dataclass(frozen=True)
class WeightTransfer:
    """Tell what a network took from a bundle.

    Args:
        source: The bundle's folder.
        taken: Names of the tensors taken, whole or for some scenes.
        new: Tensors of the network that the bundle has not, or has in another shape.
        left_over: Tensors of the bundle that the network has not, or has in another shape.
        scenes_taken: Scenes that both know.
        scenes_new: Scenes that the bundle does not know.
        scenes_left_over: Scenes that only the bundle knows.
    """

    source: Path
    taken: tuple[str, ...]
    new: tuple[str, ...]
    left_over: tuple[str, ...]
    scenes_taken: tuple[str, ...]
    scenes_new: tuple[str, ...]
    scenes_left_over: tuple[str, ...]

    def describe(self) -> str:
        """Give a few lines for the user."""
        lines = [
            f"initial weights from {self.source}: {len(self.taken)} tensors taken; "
            f"scenes known: {_listed(self.scenes_taken)}"
        ]
        for what, names in (
            ("scenes that are new", self.scenes_new),
            ("scenes left over", self.scenes_left_over),
            ("tensors that are new", self.new),
            ("tensors left over", self.left_over),
        ):
            if names:
                lines.append(f"  {what}: {_listed(names)}")
        return "\n".join(lines)


def load_initial_weights(
    network: PoseRegressor, scenes: Sequence[str], folder: Path
) -> WeightTransfer:
    """Overwrite the tensors of a network with those of a bundle, where they fit.

    Args:
        network: The network to start; changed in place.
        scenes: Its scene names, in the order of its ids.
        folder: The bundle.

    Raises:
        BundleError: If the bundle cannot be read.
        ConfigError: If no matrix or filter fits; the network is of no use then.
    """
    bundle = load_bundle(folder)
    # Scenes that were added later have parts of their own: another network cannot take them.
    known = bundle.metadata.scene_names[: (*bundle.metadata.scene_groups, None)[0]]
    rows = {name: (scenes.index(name), known.index(name)) for name in scenes if name in known}
    target, source = network.state_dict(), bundle.network.state_dict()
    apart = _tied_to_clusters(network.config, bundle.metadata.network)
    taken = []
    for name, tensor in target.items():
        if name in source.keys() - apart and _copy(name, tensor, source[name], rows.values()):
            taken.append(name)
    # A bias or a counter of the same length proves nothing: most networks have some.
    if not any(target[name].dim() > 1 and not name.endswith(PER_SCENE) for name in taken):
        raise ConfigError(
            f"no weights of initial_weights {folder} fit this network; its `network` section "
            "must agree with that of the run that made the bundle"
        )
    return WeightTransfer(
        source=folder,
        taken=tuple(taken),
        new=tuple(name for name in target if name not in taken),
        left_over=tuple(name for name in source if name not in taken),
        scenes_taken=tuple(rows),
        scenes_new=tuple(name for name in scenes if name not in rows),
        scenes_left_over=tuple(name for name in known if name not in rows),
    )


def _tied_to_clusters(ours: NetworkConfig, theirs: NetworkConfig) -> set[str]:
    """Name the tensors that mean something else where the numbers of clusters differ.

    A network without clusters has one centroid as well, zero, of the shape of a single cluster's.
    """
    names = set()
    if ours.num_position_clusters != theirs.num_position_clusters:
        names |= {"position_centroids", "position_units"}
    if ours.num_orientation_clusters != theirs.num_orientation_clusters:
        names |= {"orientation_centroids"}
    return names


@torch.no_grad()
def _copy(
    name: str, target: torch.Tensor, source: torch.Tensor, rows: Iterable[tuple[int, int]]
) -> bool:
    """Copy a tensor, or its rows (to, from) of the scenes that both know; say whether it fits."""
    if not name.endswith(PER_SCENE):
        if target.shape != source.shape:
            return False
        target.copy_(source)
        return True
    if target.shape[1:] != source.shape[1:]:
        return False
    copied = False
    for to, origin in rows:
        target[to].copy_(source[origin])
        copied = True
    return copied


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
