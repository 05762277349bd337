"""Judge a convention from the poses alone: hints, for data without images or with few that match.

Three properties that inverted or turned-over poses lose, each with what it cannot tell:

- *upright*: a camera on a robot or in a hand turns mostly about the vertical, so one axis of the
  camera stays put in the map, and it is near the camera's own vertical, +-y. Inverted poses swap
  the two axes. Blind where the map's y is vertical, and where the camera hardly turns.
- *smooth*: read the wrong way round, a turn on the spot becomes a swing about the map's origin,
  and the path gets longer. Blind where the camera circles the origin; those cases are left out.
- *forward*: what drives, drives forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mspr_ros.data.dataset import Dataset
from mspr_ros.geometry import Array, invert_transform

MIN_FRAMES = 10
# The mean rotation's singular values: the axis that stays is kept by at least this, ...
KEPT_AXIS = 0.95
# ... and the turning about it is wide enough (60 degrees or so) for the axis to be the only one.
TURNED_AWAY = 0.85
LEANING_DEG, UPRIGHT_DEG = 60.0, 35.0
SMOOTHER_INVERTED = 0.7
LOOKS_AT_ORIGIN_DEG = 35.0
STEADY_MOTION, BACKWARDS = 0.5, -0.5
UPSIDE_DOWN = -0.9


@dataclass(frozen=True)
class PoseEvidence:
    """What the poses of one scene look like.

    Args:
        frames: Number of frames.
        kept_axis_tilt_deg: Angle between the camera's vertical axis and the one camera axis that
            the map keeps in place; NaN where no single axis is kept.
        inverse_tilt_deg: The same for the inverted poses.
        roll_deg: Angle between the optical axis and the kept camera axis; NaN likewise.
        path_ratio: Length of the path of the inverted poses over that of the poses.
        centre_ratio: The same for the centres if only the positions were those of cam_from_map.
        origin_off_axis_deg: Angle between the optical axis' line and the map's origin, as the
            camera sees it on the whole.
        motion_cam: (3,) mean direction of motion in the optical frame; its length is one where
            the camera always moves the same way.
        up_map: (3,) mean of the camera's upward direction in the map.
    """

    frames: int
    kept_axis_tilt_deg: float
    inverse_tilt_deg: float
    roll_deg: float
    path_ratio: float
    centre_ratio: float
    origin_off_axis_deg: float
    motion_cam: tuple[float, float, float]
    up_map: tuple[float, float, float]

    @property
    def leans(self) -> bool:
        """Whether the inverse is upright and the poses are not."""
        return self.kept_axis_tilt_deg > LEANING_DEG and self.inverse_tilt_deg < UPRIGHT_DEG

    @property
    def stands(self) -> bool:
        """Whether the poses are upright and the inverse is not."""
        return self.kept_axis_tilt_deg < UPRIGHT_DEG and self.inverse_tilt_deg > LEANING_DEG

    @property
    def swings(self) -> bool:
        """Whether the positions swing about the map's origin with the camera's turns."""
        return (
            self.path_ratio < SMOOTHER_INVERTED
            and self.origin_off_axis_deg > LOOKS_AT_ORIGIN_DEG
            and float(np.linalg.norm(self.motion_cam)) < STEADY_MOTION
        )

    @property
    def translated(self) -> bool:
        """Whether the positions make a path only when turned into the map by the rotations."""
        return (
            self.centre_ratio < SMOOTHER_INVERTED
            and self.centre_ratio < self.path_ratio
            and float(np.linalg.norm(self.motion_cam)) < STEADY_MOTION
        )

    @property
    def forward_is_x(self) -> bool:
        """Whether the camera turns about its z and moves along its x, as a robot's body does."""
        return self.roll_deg < UPRIGHT_DEG and self.motion_cam[0] > STEADY_MOTION

    @property
    def backwards(self) -> bool:
        """Whether the camera moves against its optical axis nearly all the time."""
        return self.motion_cam[2] < BACKWARDS

    @property
    def upside_down(self) -> bool:
        """Whether the camera's upward direction is the map's -z, steadily."""
        return self.up_map[2] < UPSIDE_DOWN


def pose_evidence(dataset: Dataset) -> PoseEvidence:
    """Measure the poses of one scene; with too few frames everything is NaN or zero."""
    sequences: dict[tuple[str, str], list[int]] = {}
    for index, frame in enumerate(dataset.frames):
        sequences.setdefault((frame.sequence, frame.camera), []).append(index)
    stamps = dataset.stamps_ns
    orders = [sorted(indices, key=lambda index: stamps[index]) for indices in sequences.values()]
    return measure_poses([dataset.T_map_cam[order] for order in orders])


def measure_poses(tracks: list[Array]) -> PoseEvidence:
    """Measure sequences of poses, each (N, 4, 4) `T_map_cam` in order of time."""
    frames = sum(len(track) for track in tracks)
    if frames < MIN_FRAMES:
        nan = float("nan")
        return PoseEvidence(frames, nan, nan, nan, nan, nan, nan, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    T_map_cam = np.concatenate(tracks)
    T_cam_map = invert_transform(T_map_cam)
    tilt, inverse_tilt, roll = _kept_axis_angles_deg(T_map_cam[:, :3, :3])
    length = sum(_path_length(track[:, :3, 3]) for track in tracks)
    length = length if length > 1e-9 else float("nan")  # of a camera that stands still
    inverse_length = sum(_path_length(invert_transform(track)[:, :3, 3]) for track in tracks)
    turned_length = sum(_path_length(_turned(track)) for track in tracks)
    origin_cam = T_cam_map[:, :3, 3].mean(axis=0)
    motion = np.concatenate([_motion_cam(track) for track in tracks])
    mean_motion = motion.mean(axis=0) if len(motion) else np.zeros(3)
    up_map = -T_map_cam[:, :3, 1].mean(axis=0)
    off_axis = np.arctan2(np.hypot(origin_cam[0], origin_cam[1]), abs(origin_cam[2]))
    return PoseEvidence(
        frames=frames,
        kept_axis_tilt_deg=tilt,
        inverse_tilt_deg=inverse_tilt,
        roll_deg=roll,
        path_ratio=inverse_length / length,
        centre_ratio=turned_length / length,
        origin_off_axis_deg=float(np.degrees(off_axis)),
        motion_cam=(float(mean_motion[0]), float(mean_motion[1]), float(mean_motion[2])),
        up_map=(float(up_map[0]), float(up_map[1]), float(up_map[2])),
    )


def _kept_axis_angles_deg(R_map_cam: Array) -> tuple[float, float, float]:
    """Find the camera axis that stays put in the map.

    The mean of the rotations shrinks every direction but the one that they all take to the same
    place: the first singular pair is that axis, in the map and in the camera.

    Returns:
        Its angle to y in the camera, its angle to y in the map, its angle to z in the camera.
    """
    in_map, kept, in_cam = np.linalg.svd(R_map_cam.mean(axis=0))
    if kept[0] < KEPT_AXIS or kept[1] > TURNED_AWAY:
        return float("nan"), float("nan"), float("nan")
    cosines = np.abs([in_cam[0, 1], in_map[1, 0], in_cam[0, 2]]).clip(0.0, 1.0)
    tilt, inverse_tilt, roll = np.degrees(np.arccos(cosines))
    return float(tilt), float(inverse_tilt), float(roll)


def _turned(track: Array) -> Array:
    """Give the centres (N, 3) if the positions were translations of cam_from_map."""
    return -np.asarray(np.einsum("nij,nj->ni", track[:, :3, :3], track[:, :3, 3]))


def _path_length(positions: Array) -> float:
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def _motion_cam(track: Array) -> Array:
    """Give the unit directions of motion in the optical frame, of the steps that move at all."""
    steps = np.diff(track[:, :3, 3], axis=0)
    length = np.linalg.norm(steps, axis=1)
    moving = length > 0.2 * max(float(np.median(length)), 1e-9)
    directions = steps[moving] / length[moving, None]
    return np.asarray(np.einsum("nji,nj->ni", track[:-1, :3, :3][moving], directions))
