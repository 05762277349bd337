"""Teach a bundle a further place without its old images, and without changing its old answers.

The new scenes are trained as a network of their own on the old one's frozen trunk, by the same
trainer as anything else. What they learned then joins the old bundle as another group
(network/grown.py), and the group learns to tell its own images from others.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mspr_ros.bundle import Bundle, BundleMetadata, load_bundle, save_bundle
from mspr_ros.network.grown import TRUNK_PARTS, Familiarity, GrownRegressor
from mspr_ros.preprocess import Preprocessor
from mspr_ros.training.configuration import TrainConfig, load_train_config
from mspr_ros.training.growing_trust import extend_trust
from mspr_ros.training.lesson import Lesson, prepare_lesson
from mspr_ros.training.samples import LabeledFrame, evenly_per_scene
from mspr_ros.training.validation import network_inputs

# Share of the new scenes' held-back frames that are recognised; fewer would spare the old scenes.
RECOGNISED = 0.95
# Log odds of the median frame to be of the new scenes.
CERTAINTY = 4.0
# Frames of each scene whose embeddings say where they lie.
MOST_FRAMES = 1000


def with_frozen_trunk(config: TrainConfig) -> TrainConfig:
    """Train decoders, queries and heads alone; the rest is that of `initial_weights`."""
    shape = config.network
    frozen = [
        part
        for part in TRUNK_PARTS
        if not (part == "position_encoding" and shape.position_encoding == "sine")
        and not (part.startswith("orientation_transformer.") and shape.shared_encoder)
    ]
    return dataclasses.replace(
        config, frozen_parts=tuple(frozen), frozen_backbone_stages=-1, freeze_batch_norm=False
    )


def grow_bundle(old: Path, run: Path, output: Path, *, device: torch.device) -> dict[str, Any]:
    """Join the scenes of a run on a bundle's frozen trunk to that bundle.

    Args:
        old: The bundle; it stays as it is.
        run: The run folder, with its bundle and configuration.
        output: The bundle to write.
        device: Where to ask the network about the new frames.

    Returns:
        What was done, JSON-ready.
    """
    before, learned = load_bundle(old), load_bundle(run / "bundle")
    lesson = prepare_lesson(load_train_config(run / "config.yaml"))
    network = join(before, learned).to(device).eval()
    recognised = _learn_familiarity(network, learned.metadata, lesson, device)
    trust = extend_trust(before, learned, network, lesson.train, lesson.validation, device)
    metadata = _metadata(before.metadata, learned.metadata, network)
    if trust is not None:
        metadata = dataclasses.replace(metadata, calibration=trust.calibration)
    prototypes = trust.prototypes if trust is not None else None
    save_bundle(output, network.cpu(), metadata, prototypes=prototypes)
    return {
        "bundle": str(output),
        "scenes": list(learned.metadata.scene_names),
        "calibrated": trust is not None,
        "new_parameters": sum(p.numel() for p in network.added[-1].parameters()),
        **recognised,
    }


def join(before: Bundle, learned: Bundle) -> GrownRegressor:
    """Put what was learned of new scenes beside a bundle's network, as another group."""
    groups = before.metadata.scene_groups or (len(before.metadata.scenes),)
    network = GrownRegressor(
        config=before.metadata.network, groups=(*groups, len(learned.metadata.scenes))
    )
    network.load_state_dict(before.network.state_dict() | _of_group(network, before, learned))
    return network


def _of_group(network: GrownRegressor, before: Bundle, learned: Bundle) -> dict[str, torch.Tensor]:
    """Name the tensors of the new group, and the tables that grow by its scenes."""
    number = len(network.added) - 1
    state, new = network.state_dict(), learned.network.state_dict()
    prefix = f"added.{number}."
    tensors = {name: new[name.removeprefix(prefix)] for name in state if name.startswith(prefix)}
    own = f"familiarity.{number}."
    tensors |= {name: state[name] for name in state if name.startswith(own)}
    for name in ("position_centroids", "orientation_centroids", "position_units"):
        if name in new:
            tensors[name] = torch.cat([before.network.state_dict()[name], new[name]])
    return tensors


@torch.no_grad()
def _learn_familiarity(
    network: GrownRegressor, metadata: BundleMetadata, lesson: Lesson, device: torch.device
) -> dict[str, Any]:
    """Fit where the new group's embeddings lie, and from which distance on they are another's."""
    familiarity = network.familiarity[-1]
    assert isinstance(familiarity, Familiarity)
    preprocessor = Preprocessor(metadata.preprocess)
    trained = evenly_per_scene(lesson.train, MOST_FRAMES)
    embeddings = _embeddings(network, trained, preprocessor, device)
    scenes = np.array([item.scene for item in trained])
    for scene in range(len(metadata.scenes)):
        rows = torch.from_numpy(np.flatnonzero(scenes == scene)).to(device)
        familiarity.fit(scene, embeddings[rows, scene])
    held_back = evenly_per_scene(lesson.validation, MOST_FRAMES)
    if held_back:
        embeddings = _embeddings(network, held_back, preprocessor, device)
    distances = familiarity(embeddings).amin(dim=1)
    threshold, median = distances.quantile(RECOGNISED), distances.median()
    familiarity.threshold.copy_(threshold)
    familiarity.slope.copy_(CERTAINTY / (threshold - median).clamp_min(1e-3))
    return {
        "familiar_up_to": float(threshold),
        "familiar_median": float(median),
        "judged_on": "validation" if held_back else "training",
    }


def _embeddings(
    network: GrownRegressor,
    frames: Sequence[LabeledFrame],
    preprocessor: Preprocessor,
    device: torch.device,
    batch_size: int = 16,
) -> torch.Tensor:
    """Give the decoder outputs of the last group, (N, n, 2 D)."""
    count, found = network.groups[-1], []
    for tensor in network_inputs(frames, preprocessor, batch_size):
        with torch.no_grad():
            both = torch.cat(network.encode(tensor.to(device)), dim=-1)
        found.append(both[:, -count:])
    return torch.cat(found)


def _metadata(
    before: BundleMetadata, learned: BundleMetadata, network: GrownRegressor
) -> BundleMetadata:
    hashes = f"{before.data_hash}{learned.data_hash}"
    scenes = {
        **before.validation.get("scenes", {}),
        **learned.validation.get("scenes", {}),
    }
    return dataclasses.replace(
        before,
        scenes=(*before.scenes, *learned.scenes),
        scene_groups=network.groups,
        calibration=None,  # of the old scenes alone
        cameras={**before.cameras, **learned.cameras},
        validation={**before.validation, "scenes": scenes},
        training=learned.training,
        data_hash=hashlib.sha256(hashes.encode()).hexdigest(),
    )
