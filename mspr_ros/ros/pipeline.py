"""What the worker does with one image: decode, localize, decide about TF, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node

from mspr_ros.bundle import UNKNOWN_SCENE, SceneInfo
from mspr_ros.errors import ImageError
from mspr_ros.geometry import Array, carry_pose
from mspr_ros.localizer import PoseEstimate
from mspr_ros.ros.conversions import ns_from_stamp
from mspr_ros.ros.correction import TiltError, planar_covariance, planar_transform
from mspr_ros.ros.diagnostics import LONGEST_LATENCY_MS, FrameStatistics
from mspr_ros.ros.frames import Frame, LocalizerLike, PipelineSettings
from mspr_ros.ros.gates import Candidate, Gates, Rejected
from mspr_ros.ros.outputs import Answer, PoseOutputs, is_stamped
from mspr_ros.ros.rig import CameraRig, View
from mspr_ros.ros.sighting import Sighting
from mspr_ros.ros.stamps import StampWatch
from mspr_ros.ros.tf_lookup import TfLookup, TfUnavailable
from mspr_ros.ros.tf_outputs import TfOutputs
from mspr_ros.ros.tf_policy import TfDecision, TfPolicy

DEFAULT_MAP_FRAME = SceneInfo(name="any").map_frame


class Pipeline:
    """Turn images into published poses. `process` runs in the worker's thread.

    Args:
        node: Its clock tells the latency.
        localizer: Replaced as a whole by `swap`.
        settings: See there.
        rig: The cameras.
        gates: Which answers are not to be believed.
        policy: What to do about TF.
        lookup: For the transform between camera and base.
        outputs: The publishers.
        tf_outputs: What follows from a pose when TF knows its stamp.
        statistics: Counts and latencies.
        warn: Logs a line, the same kind not too often.
    """

    def __init__(
        self,
        *,
        node: Node,
        localizer: LocalizerLike,
        settings: PipelineSettings,
        rig: CameraRig,
        gates: Gates,
        policy: TfPolicy,
        lookup: TfLookup,
        outputs: PoseOutputs,
        tf_outputs: TfOutputs,
        statistics: FrameStatistics,
        warn: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self.localizer = localizer
        self._settings = settings
        self.rig = rig
        self._gates = gates
        self._policy = policy
        self._lookup = lookup
        self._outputs = outputs
        self.tf_outputs = tf_outputs
        self._statistics = statistics
        self._warn = warn
        self.stamps = StampWatch()
        self._period = 0  # counts activations; what an image of an earlier one says comes too late
        self._content_hash = localizer.content_hash  # of the bundle that answered last
        self.decision: TfDecision | None = None
        self.scene = ""  # of the last image; `unknown` where that gave no pose
        self.estimate: PoseEstimate | None = None  # of the last image, published or not

    def start(self) -> None:
        """Begin anew, as after activation."""
        self._period += 1
        self.stamps.reset()
        self._gates.reset()
        self._outputs.forget()
        self.tf_outputs.start()

    def stop(self) -> None:
        """Publish nothing more, as after deactivation."""
        self._period += 1
        self.tf_outputs.stop()

    def swap(self, localizer: LocalizerLike) -> None:
        """Use another localizer from the next frame on."""
        self.localizer = localizer
        self._gates.reset()  # another scene may be forced

    def _begin_anew(self) -> None:
        self._gates.reset()
        self._outputs.forget()
        self.tf_outputs.restart()

    def is_ready(self, frame: Frame) -> bool:
        """Say whether camera and TF are known well enough, or were waited for long enough."""
        is_decided = self._policy.decide(self.rig.frame_id(frame)) is not None
        return self.rig.is_ready(frame) and is_decided

    def process(self, frame: Frame) -> None:
        """Answer one image; whatever is wrong with it is counted and reported, never raised."""
        done, period = False, self._period
        try:
            text = self._localize(frame, period)
            done = True
        except ImageError as error:
            text = str(error)
            self._statistics.malformed("image", text)
            self._warn("malformed", f"image not used: {text}")
        except Rejected as rejected:
            text = str(rejected)
            self._statistics.rejection(rejected.kind, text)
        except TfUnavailable as error:
            text = str(error)
            self._warn("tf", text)
            self._statistics.rejection("tf", text)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise  # a mistake of ours, or a GPU out of memory: the worker reports it
        finally:
            if frame.reply is not None:
                frame.reply.put((done, text))
            if not done and period == self._period:
                self.scene = UNKNOWN_SCENE
                self._outputs.publish_nothing_known(frame.message.header)

    def _localize(self, frame: Frame, period: int) -> str:
        localizer = self.localizer  # once: it may be swapped meanwhile
        if localizer.content_hash != self._content_hash:  # other scenes, another map
            self._content_hash = localizer.content_hash
            self._begin_anew()
        start_s = time.monotonic()
        localizer.min_confidence = self._settings.min_confidence()
        view = self.rig.see(localizer, frame)
        if period != self._period:
            raise Rejected("stopped", "the node was deactivated meanwhile")
        header, estimate = view.header, view.estimate
        self.estimate = estimate
        self._check(view, localizer)
        localized_s = time.monotonic()
        decision = self._decision(header)
        answer = self._answer(view, decision, localizer)
        self._outputs.publish(answer)
        self.scene = answer.scene
        end_s = time.monotonic()
        self._statistics.answer(
            {
                "wait": 1e3 * (start_s - frame.received_s),
                "decode": 1e3 * (view.decoded_s - start_s),
                **{
                    stage: estimate.timings.get(f"{stage}_ms", 0.0)
                    for stage in ("preprocess", "network", "postprocess")
                },
                "publish": 1e3 * (end_s - localized_s),
                "total": 1e3 * (end_s - frame.received_s),
                **self._stamp_latency(header.stamp),
            }
        )
        x, y, z = answer.T_map_frame[:3, 3]
        return (
            f"{answer.frame} in {answer.map_frame}: x {x:.3f} y {y:.3f} z {z:.3f} m, "
            f"scene {answer.scene}, confidence {answer.confidence:.2f}"
            + self._follow_up(frame, view, answer, decision)
        )

    def _check(self, view: View, localizer: LocalizerLike) -> None:
        """Pass the gates or raise; where time began anew, they know nothing of before."""
        stamp_ns = ns_from_stamp(view.header.stamp)
        now_ns = int(self._node.get_clock().now().nanoseconds)
        if self.stamps.restarted(stamp_ns, now_ns):
            self._node.get_logger().info("the images' stamps went back: everything begins anew")
            self._begin_anew()
        if self.stamps.problem:
            self._warn("stamps", self.stamps.problem)
        self._gates.check(
            Candidate(
                estimate=view.estimate,
                T_map_frame=view.T_map_frame,
                T_map_cam=view.T_map_cam,
                stamp_ns=stamp_ns,
                T_odom_frame=self._T_odom_frame(view.header),
            ),
            localizer.metadata.scenes,
        )

    def _T_odom_frame(self, header: Any) -> Array | None:
        """Give odometry's pose of camera or base at an image, without waiting for it."""
        odom_frame = self._policy.odometry_above(header.frame_id)
        if not odom_frame or not is_stamped(header.stamp):
            return None
        try:
            return self._lookup.T_target_source_near(
                odom_frame, header.frame_id.lstrip("/"), header.stamp
            )
        except TfUnavailable:
            return None  # told where it is needed, for map -> odom

    def _follow_up(self, frame: Frame, view: View, answer: Answer, decision: TfDecision) -> str:
        """Hand the pose on to what needs TF at its stamp; an image without one has none."""
        header = view.header
        if not header.frame_id or not is_stamped(header.stamp):
            return ""
        sighting = Sighting(
            stamp=header.stamp,
            map_frame=answer.map_frame,
            camera_frame=header.frame_id.lstrip("/"),
            T_map_cam=view.T_map_frame,
            covariance=view.estimate.covariance,
        )
        return self.tf_outputs.take(sighting, decision, asked_for=frame.reply is not None)

    def _answer(self, view: View, decision: TfDecision, localizer: LocalizerLike) -> Answer:
        header, estimate = view.header, view.estimate
        seen_frame = header.frame_id.lstrip("/")  # tf2 knows no leading slash
        T_map_frame, covariance = view.T_map_frame, estimate.covariance
        if decision.frame != seen_frame:
            T_cam_base = self._T_cam_base(seen_frame, decision.frame, header.stamp)
            T_map_frame, covariance = carry_pose(T_map_frame, covariance, T_cam_base)
        is_base = decision.frame != seen_frame or self.rig.is_of_base
        if is_base and self._settings.planar():
            T_map_frame, covariance = self._flattened(T_map_frame, covariance)
        map_frame = estimate.map_frame
        return Answer(
            stamp=header.stamp,
            map_frame=self._settings.map_frame if map_frame == DEFAULT_MAP_FRAME else map_frame,
            frame=decision.frame,
            T_map_frame=T_map_frame,
            T_map_cam=view.T_map_cam,
            covariance=np.asarray(covariance),
            scene=estimate.scene,
            confidence=estimate.confidence,
            publish_tf=decision.publish and not decision.odom_frame,
            hypotheses=estimate.hypotheses,
            map_frames={info.name: info.map_frame for info in localizer.metadata.scenes},
        )

    def _decision(self, header: Any) -> TfDecision:
        """Decide about TF for one image, and say so where that is not what the user hopes for."""
        decision = self._policy.decide(header.frame_id)
        if decision is None:  # publish_tf was changed since is_ready
            raise Rejected("tf", "TF has not settled since publish_tf was changed")
        if not header.frame_id:
            decision = TfDecision(
                "", False, "images carry no frame_id: no frame to publish on /tf", True
            )
        elif not is_stamped(header.stamp):
            decision = decision.without_tf("images carry no stamp: nothing is published on /tf")
        elif decision.publish and decision.odom_frame and self._is_of_another_clock(header.stamp):
            decision = decision.without_tf(
                "map_to_odom is published at ROS time, and the images' stamps are of another "
                "clock: nothing is published on /tf; a recording needs use_sim_time and a clock"
            )
        if decision != self.decision:
            self.decision = decision
            if decision.is_problem:
                self._warn(decision.reason, decision.reason)
            else:
                self._node.get_logger().info(f"publish_tf: {decision.reason}")
        return decision

    def _T_cam_base(self, camera_frame: str, base_frame: str, stamp: Any) -> Array:
        timeout_s = self._settings.tf_timeout_s()
        try:
            return self._lookup.T_target_source(camera_frame, base_frame, stamp, timeout_s)
        except TfUnavailable as error:
            self._warn("tf", str(error))
            raise Rejected("tf", str(error)) from None

    def _flattened(self, T_map_base: Array, covariance: Array) -> tuple[Array, Array]:
        try:
            return planar_transform(T_map_base), planar_covariance(covariance, T_map_base)
        except TiltError as error:
            self._warn("tilted", str(error))
            raise Rejected("tilted", str(error)) from None

    def _age_ms(self, stamp: Any) -> float:
        now_ns = int(self._node.get_clock().now().nanoseconds)
        return (now_ns - ns_from_stamp(stamp)) / 1e6

    def _is_of_another_clock(self, stamp: Any) -> bool:
        return abs(self._age_ms(stamp)) >= LONGEST_LATENCY_MS

    def _stamp_latency(self, stamp: Any) -> dict[str, float]:
        latency_ms = self._age_ms(stamp)
        return {"stamp_to_pose": latency_ms} if 0 <= latency_ms < LONGEST_LATENCY_MS else {}
