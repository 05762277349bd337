"""The ROS 2 node `localizer`: camera images in, poses and TF out.

A managed lifecycle node. Run it with `ros2 run mspr_ros localizer`, or
`python -m mspr_ros.ros.localizer_node --ros-args -p bundle:=FOLDER -r image:=/camera/image_raw`.
"""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn

import tf2_ros
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from mspr_ros.device import is_out_of_gpu_memory
from mspr_ros.errors import ImageError
from mspr_ros.localizer import Localizer
from mspr_ros.network.backbone import import_timm
from mspr_ros.ros.assembly import build_pipeline
from mspr_ros.ros.camera_infos import CameraInfos
from mspr_ros.ros.cameras import CameraSubscriptions, camera_names, camera_qos
from mspr_ros.ros.conversions import ns_from_stamp
from mspr_ros.ros.diagnostics import FrameStatistics
from mspr_ros.ros.frame_sets import num_frames
from mspr_ros.ros.frames import Frame, LocalizerLike, OneShot
from mspr_ros.ros.loading import BundleLoader, LocalizerFactory, one_line, release_gpu_memory
from mspr_ros.ros.outputs import PoseOutputs
from mspr_ros.ros.parameter_specs import NodeParameters
from mspr_ros.ros.parameters import LOCALIZER_PARAMETERS
from mspr_ros.ros.pipeline import Pipeline
from mspr_ros.ros.report import node_report
from mspr_ros.ros.running import (
    TransitionsRefused,
    WithoutQosEvents,
    end_process,
    in_thread,
    run_node,
)
from mspr_ros.ros.tf_policy import ParentWatch, WatchedBuffer
from mspr_ros.ros.trail import taught_bounds
from mspr_ros.ros.worker import NewestFrameWorker

CAMERA_INFO_GRACE_S = 1.0
DIAGNOSTICS_PERIOD_S = 1.0
WARN_INTERVAL_S = 5.0
STOP_TIMEOUT_S = 1.5
LOCALIZE_TIMEOUT_S = 10.0
WAITING_SERVICES = 4  # calls that wait at a time; more wait for these


class LocalizerNode(WithoutQosEvents, TransitionsRefused, LifecycleNode):
    """Publish the pose of a camera in the map its bundle was taught.

    Args:
        localizer_factory: Called as `Localizer.load` is; tests put in their own.
        **node_arguments: Passed on to the node: context, parameter_overrides, ...

    Raises:
        ConfigError: If a parameter given at the start is unknown or invalid.
    """

    def __init__(
        self, localizer_factory: LocalizerFactory = Localizer.load, **node_arguments: Any
    ) -> None:
        super().__init__("localizer", **node_arguments)
        self._settings = NodeParameters(self, LOCALIZER_PARAMETERS)
        self._loader = BundleLoader(self, self._settings, localizer_factory)
        self._statistics = FrameStatistics()
        self._failure = ""  # why the last configure or reload failed
        self._last_warned_s: dict[str, float] = {}
        self._is_loading = False  # a bundle, while the node answers with another
        self._answering: LocalizerLike | None = None  # whose answer the worker waits for
        self._lock = threading.Lock()  # one loading, one teardown at a time
        # What on_configure creates and on_cleanup releases.
        self._pipeline: Pipeline | None = None
        self._outputs: PoseOutputs | None = None
        self._cameras: CameraSubscriptions | None = None
        self._infos: dict[str, CameraInfos] = {}
        self._tf_listener: tf2_ros.TransformListener | None = None
        # What on_activate creates and on_deactivate releases.
        self._worker: NewestFrameWorker[Frame] | None = None
        self._asked = OneShot()  # ~/localize waits for the next image
        self._waiting = ThreadPoolExecutor(WAITING_SERVICES, "localizer-service")
        # Services stay whatever the state is: whoever waits for an answer gets one. Apart from the
        # other callbacks, which go on meanwhile.
        group = MutuallyExclusiveCallbackGroup()
        self.create_service(Trigger, "~/localize", self._on_localize, callback_group=group)
        self.create_service(Trigger, "~/reload", self._on_reload, callback_group=group)
        # Diagnostics stand apart: they must also tell why the node is not configured. Their timer
        # runs on a clock that never stands still, simulated time or not.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self.create_timer(
            DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady
        )
        self._autostart_timer: Timer | None = None
        if self._settings["autostart"]:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    # Lifecycle ---------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle and create everything; failure leaves the node unconfigured."""
        try:
            with self._lock:
                self._create(self._load())
        except Exception as error:  # rclpy would swallow it without a word
            self._failure = f"cannot configure: {one_line(error)}"
            self.get_logger().error(self._failure)
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._failure = ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start answering images."""
        assert self._pipeline is not None, "only a configured node is activated"
        assert self._cameras is not None, "created with the pipeline"
        self._cameras.restart()
        self._pipeline.start()
        sets = self._pipeline.rig.sets
        self._worker = NewestFrameWorker(
            partial(self._process, self._pipeline),
            on_error=self._frame_failed,
            is_ready=self._pipeline.is_ready,
            interval_s=self._interval_s,
            merge=sets.merged,
            split=sets.split,
            size=num_frames,
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the image in work and stop."""
        self._stop_worker()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        result = super().on_cleanup(state)
        self._release()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, for good."""
        result = super().on_shutdown(state)
        self._release()
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after a transition that broke."""
        self.get_logger().error("a transition failed; the node is unconfigured now")
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        timer, self._autostart_timer = self._autostart_timer, None
        if timer is None:
            return  # due again before it was destroyed
        self.destroy_timer(timer)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Creating and releasing --------------------------------------------------------------------

    def _load(self) -> LocalizerLike:
        localizer = self._loader.load()
        self.get_logger().info(
            f"bundle {localizer.content_hash} on {localizer.device}: "
            f"{', '.join(localizer.metadata.scene_names)}"
        )
        return localizer

    def _create(self, localizer: LocalizerLike) -> None:
        """Create publishers, subscriptions and services."""
        parameters = self._settings
        watch = ParentWatch(ros_clock_s=lambda: self.get_clock().now().nanoseconds / 1e9)
        buffer = WatchedBuffer(watch)
        self._tf_listener = tf2_ros.TransformListener(buffer, self)
        self._outputs = PoseOutputs(self, watch)
        self._outputs.set_taught(taught_bounds(localizer.metadata))
        self._cameras = self._subscribe()
        self._infos = {
            name: CameraInfos(
                rectified=topics.is_rectified,
                wanted=self._wants_intrinsics,
                grace_s=CAMERA_INFO_GRACE_S,
                warn=lambda text: self._warn(text, text),
            )
            for name, topics in self._cameras.topics.items()
        }
        self._pipeline = build_pipeline(
            node=self,
            localizer=localizer,
            parameters=parameters,
            cameras=self._cameras,
            infos=self._infos,
            watch=watch,
            buffer=buffer,
            outputs=self._outputs,
            statistics=self._statistics,
            warn=self._warn,
        )

    def _wants_intrinsics(self) -> bool:
        pipeline = self._pipeline
        if pipeline is None:
            return False
        return pipeline.localizer.metadata.preprocess.virtual_camera is not None

    def _subscribe(self) -> CameraSubscriptions:
        parameters = self._settings
        return CameraSubscriptions(
            node=self,
            names=camera_names(parameters["cameras"]),
            compressed=parameters["image_transport"] == "compressed",
            qos=lambda: camera_qos(parameters["reliability"], parameters["qos_depth"]),
            on_image=self._on_image,
            on_info=self._on_camera_info,
            warn=self._warn,
        )

    def _release(self) -> None:
        """Destroy what _create created; also after it stopped half-way."""
        self._stop_worker()
        with self._lock:
            if self._cameras is not None:
                self._cameras.release()
            if self._tf_listener is not None:
                self._tf_listener.unregister()
            if self._outputs is not None:
                self._outputs.release()
            self._infos = {}
            self._tf_listener = self._outputs = self._cameras = self._pipeline = None

    def _stop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(STOP_TIMEOUT_S):
            self.get_logger().warning("the image in work is abandoned: it takes too long")
        if self._pipeline is not None:
            self._pipeline.stop()

    # Callbacks ---------------------------------------------------------------------------------

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        worker = self._worker  # once: deactivation may take it away meanwhile
        if worker is not None:
            self._statistics.received(self._age_ms(message.header.stamp))
            reply = self._asked.take()
            frame = Frame(message, reply=reply, camera=camera)
            worker.submit(frame, urgent=reply is not None)

    def _on_camera_info(self, camera: str, message: CameraInfo) -> None:
        infos = self._infos.get(camera)
        if infos is None:
            return  # not created yet, or released already
        try:
            infos.take(message)
        except ImageError as error:
            self._statistics.malformed("camera_info", str(error))
            self._warn("camera_info", f"camera_info not used: {error}")

    async def _on_localize(self, request: Any, response: Trigger.Response) -> Trigger.Response:
        return await in_thread(self, self._waiting, lambda: self._localize_next(response))

    async def _on_reload(self, request: Any, response: Trigger.Response) -> Trigger.Response:
        return await in_thread(self, self._waiting, lambda: self._reload(response))

    def _process(self, pipeline: Pipeline, frame: Frame) -> None:
        """Answer an image, leaving a core to whoever loads a bundle meanwhile."""
        # Threads on all cores would wait for the one that has lost its core, in each step anew.
        torch.set_num_threads(1 if self._is_loading else self._loader.num_threads)
        self._answering = pipeline.localizer
        pipeline.process(frame)

    def _localize_next(self, response: Trigger.Response) -> Trigger.Response:
        """Localize the next image at once, whatever max_rate_hz says.

        The next, not the last: a camera that died a minute ago must not place the robot now.
        """
        worker = self._worker
        if worker is None:
            response.success, response.message = False, "the node is not active"
        else:
            topic = self._image_topics
            response.success, response.message = self._asked.ask(
                LOCALIZE_TIMEOUT_S, still_asked=lambda: self._worker is worker, topic=topic
            )
        return response

    def _reload(self, response: Trigger.Response) -> Trigger.Response:
        """Load the bundle anew and swap it in between two images; a bad one changes nothing."""
        try:
            with self._lock:
                pipeline = self._pipeline
                if pipeline is None:
                    response.success, response.message = False, "the node is not configured"
                    return response
                self._is_loading = True
                try:
                    localizer = self._load()  # meanwhile the old one answers
                finally:
                    self._is_loading = False
                pipeline.swap(localizer)
                if self._outputs is not None:
                    self._outputs.set_taught(taught_bounds(localizer.metadata))
        except Exception as error:  # told to the caller and in diagnostics
            self._failure = f"reload failed, the old bundle goes on: {one_line(error)}"
            self.get_logger().error(self._failure)
            response.success, response.message = False, self._failure
            return response
        self._failure = ""
        response.success = True
        response.message = f"now with bundle {localizer.content_hash}"
        return response

    def _interval_s(self) -> float:
        rate_hz = self._settings["max_rate_hz"]
        return 1.0 / rate_hz if rate_hz > 0.0 else 0.0

    def _frame_failed(self, error: Exception) -> None:
        if not self.context.ok():
            return  # shutting down: the publishers are gone
        if is_out_of_gpu_memory(error) and self._go_on_on_cpu(error):
            return
        detail = "".join(traceback.format_exception(error))
        self._warn("failed", f"image not answered: {one_line(error)}\n{detail}")

    def _go_on_on_cpu(self, error: Exception) -> bool:
        """Swap in the same bundle on the CPU, unless the GPU was not the reason."""
        with self._lock:  # a reload may be under way
            pipeline, failed = self._pipeline, self._answering
            if pipeline is None or failed is None or str(failed.device) == "cpu":
                return False
            if pipeline.localizer is not failed:
                return True  # the reload has put another in its place
            try:
                pipeline.swap(self._loader.load_on_cpu(error))
            except Exception as failure:  # the bundle has gone, or the CPU's memory is full, too
                reason = one_line(failure)
                self._failure = f"GPU out of memory, and the CPU cannot take over: {reason}"
                self.get_logger().error(self._failure)
            self._answering = failed = None
        release_gpu_memory(error)  # the old network's: others have a use for it
        return True

    def _age_ms(self, stamp: Any) -> float:
        now_ns = int(self.get_clock().now().nanoseconds)
        return (now_ns - ns_from_stamp(stamp)) / 1e6

    def _warn(self, kind: str, text: str) -> None:
        """Log a warning, the same kind at most once in a while."""
        now_s = time.monotonic()
        if now_s - self._last_warned_s.get(kind, -1e9) >= WARN_INTERVAL_S:
            self._last_warned_s[kind] = now_s
            self.get_logger().warning(text)

    # Diagnostics -------------------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        message = node_report(
            name=self.get_fully_qualified_name().lstrip("/"),
            state=self.state_label,
            failure=self._failure,
            fallback=self._loader.fallback,
            pipeline=self._pipeline,
            worker=self._worker,
            statistics=self._statistics,
            cameras=self._cameras,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    @property
    def _image_topics(self) -> str:
        cameras = self._cameras  # once: cleanup may take it away meanwhile
        return ", ".join(topics.image for topics in cameras.topics.values()) if cameras else ""

    @property
    def state_label(self) -> str:
        """The lifecycle state: `unconfigured`, `inactive`, `active` or `finalized`."""
        return str(self._state_machine.current_state[1])

    def leave(self) -> None:
        """Stop and release everything, in whatever state the node is."""
        if self.state_label in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node as a process."""
    # What was imported stays. Looking through it for garbage, as Python does now and then, would
    # stop everything for a quarter of a second.
    import_timm()
    gc.freeze()
    end_process(run_node(LocalizerNode, arguments, leave=LocalizerNode.leave))


if __name__ == "__main__":
    main()
