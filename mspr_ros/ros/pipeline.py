"""What the worker does with one image: decode, localize, decide about TF, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
import tf2_ros
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from mspr_ros.bundle import SceneInfo
from mspr_ros.camera import CameraModel
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array, covariance_at_offset
from mspr_ros.localizer import PoseEstimate
from mspr_ros.preprocess import ImageU8
from mspr_ros.ros.camera_infos import CameraInfos
from mspr_ros.ros.conversions import (
    image_from_compressed,
    image_from_message,
    ns_from_stamp,
    transform_from_message,
)
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.outputs import Answer, PoseOutputs, is_stamped
from mspr_ros.ros.rotation import T_rotated_cam, rotated_camera, rotated_image
from mspr_ros.ros.tf_policy import TfDecision, TfPolicy

DEFAULT_MAP_FRAME = SceneInfo(name="any").map_frame
# How long a frame waits for TF to reach its stamp (a moving mount between camera and base).
LOOKUP_TIMEOUT_S = 0.1
# Older stamps are of a recording: how long ago they were is no latency.
LONGEST_LATENCY_MS = 60_000.0


class LocalizerLike(Protocol):
    """What the node asks of a localizer."""

    metadata: Any
    device: Any
    content_hash: str
    min_confidence: float

    def localize(self, image_rgb_u8: ImageU8, camera: CameraModel | None = None) -> PoseEstimate:
        """Give the pose of one picture."""


@dataclass(frozen=True)
class Frame:
    """An image as it came in.

    Args:
        message: The message.
        received_s: Monotonic seconds of its arrival.
        reply: Gets (success, text) once it is done; for `~/localize`.
    """

    message: Image | CompressedImage
    received_s: float = field(default_factory=time.monotonic)
    reply: SimpleQueue[tuple[bool, str]] | None = None

    def instead_of(self, older: Frame) -> Frame:
        """Take over whoever waits for the answer to an older frame."""
        return replace(self, reply=self.reply or older.reply)


@dataclass(frozen=True)
class PipelineSettings:
    """The parameters that one image's way depends on; `min_confidence` may change any time."""

    map_frame: str
    image_rotation_deg: int
    min_confidence: Callable[[], float]


class Pipeline:
    """Turn images into published poses. `process` runs in the worker's thread.

    Args:
        node: Its clock tells the latency.
        localizer: Replaced as a whole by `swap`.
        settings: See there.
        cameras: Intrinsics by frame.
        policy: What to do about TF.
        buffer: For the transform between camera and base.
        outputs: The publishers.
        statistics: Counts and latencies.
        warn: Logs a line, the same kind not too often.
    """

    def __init__(
        self,
        *,
        node: Node,
        localizer: LocalizerLike,
        settings: PipelineSettings,
        cameras: CameraInfos,
        policy: TfPolicy,
        buffer: tf2_ros.Buffer,
        outputs: PoseOutputs,
        statistics: FrameStatistics,
        warn: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self.localizer = localizer
        self._settings = settings
        self._cameras = cameras
        self._policy = policy
        self._buffer = buffer
        self._outputs = outputs
        self._statistics = statistics
        self._warn = warn
        self.decision: TfDecision | None = None

    def swap(self, localizer: LocalizerLike) -> None:
        """Use another localizer from the next frame on."""
        self.localizer = localizer

    def is_ready(self, frame: Frame) -> bool:
        """Say whether camera and TF are known well enough, or were waited for long enough."""
        frame_id = frame.message.header.frame_id
        return self._cameras.is_ready(frame_id) and self._policy.decide(frame_id) is not None

    def process(self, frame: Frame) -> None:
        """Answer one image; whatever is wrong with it is counted and reported, never raised."""
        done = False
        try:
            text = self._localize(frame)
            done = True
        except ImageError as error:
            text = str(error)
            self._statistics.malformed("image", text)
            self._warn("malformed", f"image not used: {text}")
        except _Rejected as rejected:
            text = str(rejected)
            self._statistics.rejection(rejected.kind, text)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise  # a mistake of ours, or a GPU out of memory: the worker reports it
        finally:
            if frame.reply is not None:
                frame.reply.put((done, text))
            if not done:
                self._outputs.publish_nothing_known(frame.message.header)

    def _localize(self, frame: Frame) -> str:
        localizer = self.localizer  # once: it may be swapped meanwhile
        header = frame.message.header
        start_s = time.monotonic()
        image = (
            image_from_message(frame.message)
            if isinstance(frame.message, Image)
            else image_from_compressed(frame.message)
        )
        decoded_s = time.monotonic()
        localizer.min_confidence = self._settings.min_confidence()
        estimate, T_map_cam = self._ask(localizer, image, header.frame_id)
        if not estimate.accepted:
            raise _Rejected("estimate", estimate.rejection)
        localized_s = time.monotonic()
        answer = self._answer(header, estimate, T_map_cam)
        self._outputs.publish(answer)
        end_s = time.monotonic()
        self._statistics.answer(
            {
                "wait": 1e3 * (start_s - frame.received_s),
                "decode": 1e3 * (decoded_s - start_s),
                "preprocess": estimate.timings.get("preprocess_ms", 0.0),
                "network": estimate.timings.get("network_ms", 0.0)
                + estimate.timings.get("postprocess_ms", 0.0),
                "publish": 1e3 * (end_s - localized_s),
                "total": 1e3 * (end_s - frame.received_s),
                **self._stamp_latency(header.stamp),
            }
        )
        x, y, z = answer.T_map_frame[:3, 3]
        return (
            f"{answer.frame} in {answer.map_frame}: x {x:.3f} y {y:.3f} z {z:.3f} m, "
            f"scene {answer.scene}, confidence {answer.confidence:.2f}"
        )

    def _ask(
        self, localizer: LocalizerLike, image: ImageU8, frame_id: str
    ) -> tuple[PoseEstimate, Array]:
        """Ask the network; the pose is that of the camera as it is mounted."""
        rotation_deg = self._settings.image_rotation_deg
        camera = self._cameras.camera_for(frame_id, image.shape[1], image.shape[0])
        if rotation_deg == 0:
            estimate = localizer.localize(image, camera)
            return estimate, estimate.T_map_cam
        estimate = localizer.localize(
            rotated_image(image, rotation_deg),
            rotated_camera(camera, rotation_deg) if camera else None,
        )
        return estimate, estimate.T_map_cam @ T_rotated_cam(rotation_deg)

    def _answer(self, header: Any, estimate: PoseEstimate, T_map_cam: Array) -> Answer:
        camera_frame = header.frame_id.lstrip("/")  # tf2 knows no leading slash
        decision = self._decision(header)
        T_map_frame, covariance = T_map_cam, estimate.covariance
        if decision.frame != camera_frame:
            T_map_frame = T_map_cam @ self._T_cam_base(camera_frame, decision.frame, header.stamp)
            offset_map = T_map_frame[:3, 3] - T_map_cam[:3, 3]
            covariance = covariance_at_offset(covariance, offset_map)
        map_frame = estimate.map_frame
        return Answer(
            stamp=header.stamp,
            map_frame=self._settings.map_frame if map_frame == DEFAULT_MAP_FRAME else map_frame,
            frame=decision.frame,
            T_map_frame=T_map_frame,
            T_map_cam=T_map_cam,
            covariance=np.asarray(covariance),
            scene=estimate.scene,
            confidence=estimate.confidence,
            publish_tf=decision.publish,
        )

    def _decision(self, header: Any) -> TfDecision:
        """Decide about TF for one image, and say so where that is not what the user hopes for."""
        decision = self._policy.decide(header.frame_id)
        assert decision is not None, "is_ready was true, and a decision is not taken back"
        if not header.frame_id:
            decision = TfDecision(
                "", False, "images carry no frame_id: no frame to publish on /tf", True
            )
        elif not is_stamped(header.stamp):
            decision = TfDecision(
                decision.frame, False, "images carry no stamp: nothing is published on /tf", True
            )
        if decision != self.decision:
            self.decision = decision
            if decision.is_problem:
                self._warn(decision.reason, decision.reason)
            else:
                self._node.get_logger().info(f"publish_tf: {decision.reason}")
        return decision

    def _T_cam_base(self, camera_frame: str, base_frame: str, stamp: Any) -> Array:
        try:
            found = self._buffer.lookup_transform(
                camera_frame,
                base_frame,
                Time.from_msg(stamp),
                Duration(nanoseconds=int(1e9 * LOOKUP_TIMEOUT_S)),
            )
        except tf2_ros.TransformException as error:
            reason = f"no transform from {base_frame} to {camera_frame} at the image: {error}"
            self._warn("tf", reason)
            raise _Rejected("tf", reason) from None
        return transform_from_message(found.transform)

    def _stamp_latency(self, stamp: Any) -> dict[str, float]:
        now_ns = self._node.get_clock().now().nanoseconds
        latency_ms = (now_ns - ns_from_stamp(stamp)) / 1e6
        return {"stamp_to_pose": latency_ms} if 0 <= latency_ms < LONGEST_LATENCY_MS else {}


class _Rejected(Exception):
    """A frame that was understood but whose pose is not to be published."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
