"""Ask the network about the image of one camera, or of several on one robot."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from std_msgs.msg import Header

from mspr_ros.camera import CameraModel
from mspr_ros.errors import ConfigError, ImageError
from mspr_ros.geometry import Array, carry_pose, invert_transform, transform_from_pose
from mspr_ros.localizer import PoseEstimate
from mspr_ros.preprocess import ImageU8
from mspr_ros.ros.camera_infos import CameraInfos
from mspr_ros.ros.combining import BodyPose, combine
from mspr_ros.ros.conversions import image_from_message
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.frame_sets import FrameSets, frames_of
from mspr_ros.ros.frames import Frame, LocalizerLike
from mspr_ros.ros.rotation import T_rotated_cam, rotated_camera, rotated_image
from mspr_ros.ros.tf_lookup import TfLookup, TfUnavailable

NUMBERS_OF_A_POSE = 7  # x y z qx qy qz qw


@dataclass(frozen=True)
class View:
    """What the network says about one image, or about several of one moment.

    Args:
        header: Stamp of the newest image; the frame whose pose it is.
        estimate: With the covariance at that frame's origin.
        T_map_frame: (4, 4).
        T_map_cam: (4, 4), of the newest image's camera, for the drawing.
        decoded_s: Monotonic seconds at which all pictures were decoded.
    """

    header: Header
    estimate: PoseEstimate
    T_map_frame: Array
    T_map_cam: Array
    decoded_s: float


@dataclass(frozen=True, eq=False)
class _Seen:
    """One camera's accepted answer, carried to the base."""

    frame: Frame
    estimate: PoseEstimate
    T_map_cam: Array
    T_base_cam: Array
    pose: BodyPose


class CameraRig:
    """Turn images into a pose: of the only camera, or of the base that carries several.

    Args:
        sets: Brings the images of several cameras together.
        infos: Intrinsics by camera name.
        base_frame: Whose pose it is; empty for that of the camera itself.
        T_base_cam: (4, 4) by camera name; a camera that is not there is looked up in TF.
        rotation_deg: Turns every picture clockwise.
        lookup: Reads TF.
        tf_timeout_s: How long a camera's transform is waited for.
        statistics: Counts what cannot be used.
    """

    def __init__(
        self,
        *,
        sets: FrameSets,
        infos: Mapping[str, CameraInfos],
        base_frame: str,
        T_base_cam: Mapping[str, Array],
        rotation_deg: int,
        lookup: TfLookup,
        tf_timeout_s: Callable[[], float],
        statistics: FrameStatistics,
    ) -> None:
        self.sets = sets
        self._infos = infos
        self._base_frame = base_frame
        self._T_base_cam = T_base_cam
        self._rotation_deg = rotation_deg
        self._lookup = lookup
        self._tf_timeout_s = tf_timeout_s
        self._statistics = statistics
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def is_of_base(self) -> bool:
        """Whether the pose is the base's already, wherever the cameras are."""
        return bool(self._base_frame)

    def frame_id(self, frame: Frame) -> str:
        """Give the frame whose pose an image will tell: TF is asked about that one."""
        return self._base_frame or str(frame.message.header.frame_id)

    def is_ready(self, frame: Frame) -> bool:
        """Say whether intrinsics and other images are there, or were waited for long enough."""
        ready = [
            self._infos[each.camera].is_ready(each.message.header.frame_id)
            for each in frames_of(frame)
        ]
        return all(ready) and self.sets.is_complete(frame)

    def values(self) -> dict[str, str]:
        """Give what diagnostics tell of combined poses."""
        with self._lock:
            return {name: str(count) for name, count in self._counts.items()}

    def see(self, localizer: LocalizerLike, frame: Frame) -> View:
        """Ask the network.

        Args:
            localizer: The network.
            frame: An image, with those that were taken at the same time.

        Raises:
            ImageError: If no image can be used.
            TfUnavailable: If TF does not know where the cameras are on the base.
        """
        usable, pictures, cameras = self._decoded(list(frames_of(frame)))
        decoded_s = time.monotonic()
        estimates = (
            localizer.localize_batch(pictures, cameras)
            if len(pictures) > 1
            else [localizer.localize(pictures[0], cameras[0])]
        )
        T_rotated = T_rotated_cam(self._rotation_deg)
        T_map_cams = [estimate.T_map_cam @ T_rotated for estimate in estimates]
        accepted = [estimate.accepted for estimate in estimates]
        if not self.is_of_base or not any(accepted):
            header = usable[0].message.header
            return View(header, estimates[0], T_map_cams[0], T_map_cams[0], decoded_s)
        answers = zip(usable, estimates, T_map_cams, strict=True)
        seen = self._on_base([answer for answer in answers if answer[1].accepted])
        return self._combined(seen, decoded_s)

    def _decoded(
        self, frames: Sequence[Frame]
    ) -> tuple[list[Frame], list[ImageU8], list[CameraModel | None]]:
        usable: list[Frame] = []
        pictures: list[ImageU8] = []
        cameras: list[CameraModel | None] = []
        for frame in frames:
            try:
                picture, camera = self._picture(frame)
            except ImageError as error:
                if len(usable) == 0 and frame is frames[-1]:
                    raise  # none is left; the pipeline counts it
                self._statistics.malformed("image", f"camera {frame.camera}: {error}")
                continue
            usable.append(frame)
            pictures.append(picture)
            cameras.append(camera)
        return usable, pictures, cameras

    def _picture(self, frame: Frame) -> tuple[ImageU8, CameraModel | None]:
        image = image_from_message(frame.message)
        frame_id = frame.message.header.frame_id
        camera = self._infos[frame.camera].camera_for(frame_id, image.shape[1], image.shape[0])
        if self._rotation_deg == 0:
            return image, camera
        return (
            rotated_image(image, self._rotation_deg),
            rotated_camera(camera, self._rotation_deg) if camera else None,
        )

    def _on_base(self, answers: Sequence[tuple[Frame, PoseEstimate, Array]]) -> list[_Seen]:
        """Carry each camera's pose to the base; who TF does not know is left out."""
        seen: list[_Seen] = []
        failure: TfUnavailable | None = None
        for frame, estimate, T_map_cam in answers:
            try:
                T_base_cam = self._extrinsic(frame)
            except TfUnavailable as error:
                failure = error
                self._statistics.tf_problem(error.kind, f"camera {frame.camera}: {error}")
                continue
            T_cam_base = invert_transform(T_base_cam)
            carried = carry_pose(T_map_cam, estimate.covariance, T_cam_base)
            pose = BodyPose(frame.camera, *carried, estimate.confidence)
            seen.append(_Seen(frame, estimate, T_map_cam, T_base_cam, pose))
        if not seen:
            assert failure is not None, "there was an answer, used or not"
            raise failure
        return seen

    def _extrinsic(self, frame: Frame) -> Array:
        if frame.camera in self._T_base_cam:
            return self._T_base_cam[frame.camera]
        header = frame.message.header
        return self._lookup.T_target_source(
            self._base_frame, header.frame_id.lstrip("/"), header.stamp, self._tf_timeout_s()
        )

    def _combined(self, seen: Sequence[_Seen], decoded_s: float) -> View:
        scene = _most_trusted_scene(seen)
        same = [each for each in seen if each.estimate.scene == scene]
        combined = combine([each.pose for each in same])
        self._count(seen, same, combined.used)
        used = [each for each in same if each.pose.camera in combined.used]
        best = max((each.estimate for each in used), key=lambda estimate: estimate.confidence)
        first = used[0]
        newest = seen[0].frame.message.header
        timings: Counter[str] = Counter()
        for each in seen:
            timings.update(each.estimate.timings)
        return View(
            header=Header(stamp=newest.stamp, frame_id=self._base_frame),
            estimate=replace(
                best,
                T_map_cam=combined.T_map_body,
                covariance=combined.covariance,
                timings=dict(timings),
            ),
            T_map_frame=combined.T_map_body,
            T_map_cam=combined.T_map_body @ first.T_base_cam,
            decoded_s=decoded_s,
        )

    def _count(self, seen: Sequence[_Seen], same: Sequence[_Seen], used: Sequence[str]) -> None:
        if not seen[0].frame.camera:
            return  # the only camera
        with self._lock:
            self._counts[f"poses_of_{len(used)}_cameras"] += 1
            for each in seen:
                if each not in same:
                    self._counts[f"camera_{each.pose.camera}_other_scene"] += 1
                elif each.pose.camera not in used:
                    self._counts[f"camera_{each.pose.camera}_outlier"] += 1


def _most_trusted_scene(seen: Sequence[_Seen]) -> str:
    votes: Counter[str] = Counter()
    for each in seen:
        votes[each.estimate.scene] += each.estimate.confidence  # type: ignore[assignment]
    return max(votes, key=lambda scene: votes[scene])


def extrinsics(numbers: Sequence[Any], names: Sequence[str]) -> dict[str, Array]:
    """Read the parameter `base_to_camera`: (4, 4) `T_base_cam` by camera name.

    Args:
        numbers: x y z qx qy qz qw of each camera's optical frame in `base_frame`; may be empty.
        names: Of the cameras, in the same order.

    Raises:
        ConfigError: If they are too few or too many, not finite, or a quaternion has no direction.
    """
    if not numbers:
        return {}
    values = np.asarray(numbers, dtype=np.float64)
    if len(values) != NUMBERS_OF_A_POSE * len(names) or not np.isfinite(values).all():
        raise ConfigError(
            "parameter 'base_to_camera' must be x, y, z, qx, qy, qz, qw for each camera, "
            f"{NUMBERS_OF_A_POSE * len(names)} finite numbers, got {list(numbers)}"
        )
    rows = values.reshape(-1, NUMBERS_OF_A_POSE)
    try:
        return {
            name: transform_from_pose(row[:3], row[3:])
            for name, row in zip(names, rows, strict=True)
        }
    except ValueError as error:
        raise ConfigError(f"parameter 'base_to_camera': {error}") from None
