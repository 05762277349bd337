"""Check a dataset's convention: are these `T_map_cam` of optical frames, or something else?

Where images overlap they decide (`check_images.py`); else the poses give hints
(`check_poses.py`). Nothing is changed: a warning names the reading that fits, and the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

from mspr_ros.data.check_images import ImageEvidence, image_evidence
from mspr_ros.data.check_poses import PoseEvidence, pose_evidence
from mspr_ros.data.dataset import Dataset

_WHOLE = "the poses look inverted: they fit as cam_from_map (world to camera), not map_from_cam"
_ROTATION = "the rotations look inverted, the positions do not: `cambridge` is that convention"
_AXES = "the camera axes look like %s, not optical (x right, y down, z forward)"
_POSITIONS = (
    "the positions swing with the camera's turns: they look like translations of cam_from_map, "
    "not like camera centres in the map"
)
_OF_AXES = {"opengl": "OpenGL's (x right, y up, z back)", "ros": "ROS's (x forward, z up)"}


@dataclass(frozen=True)
class SceneCheck:
    """What was found out about one scene.

    Args:
        scene: Its name.
        frames: Number of frames.
        warnings: What looks wrong, each with the reading that fits; empty where nothing does.
        images: What pairs of images say.
        poses: What the poses alone say.
    """

    scene: str
    frames: int
    warnings: tuple[str, ...]
    images: ImageEvidence
    poses: PoseEvidence

    @property
    def verdict(self) -> str:
        """Say in a few words how far the check got."""
        if self.warnings:
            return "looks wrong"
        if self.images.confirm:
            return f"confirmed by {self.images.pairs} pairs of images"
        if self.poses.stands:
            return "nothing speaks against it, the upright camera for it"
        return "nothing speaks against it, but nothing could confirm it"


def check_dataset(dataset: Dataset) -> tuple[SceneCheck, ...]:
    """Check every scene of a dataset that has frames."""
    checks = []
    for scene in dataset.scenes:
        selected = dataset.select(scene=scene)
        if len(selected):
            images, poses = image_evidence(selected), pose_evidence(selected)
            warnings = tuple(_warnings(images, poses))
            checks.append(SceneCheck(scene, len(selected), warnings, images, poses))
    return tuple(checks)


def _warnings(images: ImageEvidence, poses: PoseEvidence) -> list[str]:
    if images.contradict:
        told = f" ({images.pairs} pairs of images fit {images.factor:.1f} times better so)"
        return [" -- or ".join(_meaning(reading, poses) for reading in images.readings) + told]
    if images.confirm:
        # The rotations are right beyond doubt; images say little about where the camera stood.
        return [_POSITIONS] if poses.translated else []
    found: list[str] = []
    if poses.leans:
        found.append(_ROTATION if poses.path_ratio > 1.0 else _WHOLE)
        found[-1] += " (the camera turns about an axis that is not its vertical, the inverse does)"
    elif poses.translated:
        found.append(_POSITIONS)
    elif poses.swings and not poses.stands:
        found.append(f"{_WHOLE} (the positions swing with the camera's turns)")
    if not found and poses.forward_is_x:
        found.append(f"{_AXES % _OF_AXES['ros']}: the camera turns about its z, moves along its x")
    if not found and (poses.backwards or poses.upside_down):
        what = "moves backwards nearly all the time" if poses.backwards else "is upside down (-z)"
        found.append(f"{_AXES % _OF_AXES['opengl']}: the camera {what}")
    return found


def _meaning(reading: str, poses: PoseEvidence) -> str:
    """Say what a reading means; `inverted opengl` is OpenGL's axes in an inverted pose."""
    inverted = reading.startswith("inverted")
    axes = reading.removeprefix("inverted").strip()
    texts = []
    if inverted:
        texts.append(_ROTATION if poses.path_ratio > 1.0 else _WHOLE)
    if axes:
        texts.append(_AXES % _OF_AXES[axes])
    return "; ".join(texts)
