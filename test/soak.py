"""Long runs of the localizer as a process: malformed messages, cycles, reloads, disturbances.

    python test/soak.py -o docs/measured/soak.json     # the full one, an hour: `make soak`
    python test/soak.py --short                        # what test_soak.py runs
    python test/soak.py -o FILE --only steady          # a part of it; FILE keeps the others

Counts are printed as they come; exit status 1 if anything was not as it must be. Memory is the
resident one of the node's process. A tiny network answers unless --bundle names another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_support import Harness, diagnostic_values, harness, image_message, info_message
from ros_support import wait_until as wait_until_s
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from soak_messages import bad_compressed, bad_image, bad_info
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tiny import make_tiny_bundle

from mspr_ros.camera import CameraModel
from mspr_ros.ros.conversions import (
    compressed_from_image,
    message_from_image,
    message_from_transform,
    ns_from_stamp,
    stamp_from_ns,
)
from mspr_ros.ros.live_run import LiveNode, live_environment

PATIENCE_S = 240.0  # a busy machine imports torch slowly
GOOD_EVERY = 20
MEMORY_GROWTH = 0.02
LATENCY_GROWTH = 1.2
PARTS = (
    *("malformed", "lifecycle", "reloads", "steady"),
    *("malformed_compressed", "disturbances"),
)


@dataclass(frozen=True)
class Amounts:
    """How much of each: the full ones are the defaults.

    A process that was just started still grows, as each thread gets its own heap: in a short run
    only what leaks whole images or networks is seen, hence its wide margin.
    """

    malformed: int = 20_000
    cycles: int = 500
    reloads: int = 200
    disturbances: int = 50
    steady_s: float = 1200.0
    memory_noise_mib: float = 8.0


SHORT = Amounts(
    malformed=200, cycles=4, reloads=3, disturbances=1, steady_s=8.0, memory_noise_mib=128.0
)


def wait_until(condition: Callable[[], Any], what: str) -> None:
    wait_until_s(condition, what, PATIENCE_S)


class Node:
    """The localizer's process, a camera for it, and what it says."""

    def __init__(self, ros: Harness, process: Any, log: Path, transport: str) -> None:
        self.ros, self.process, self.log, self.transport = ros, process, log, transport
        self.memory_noise_mib = 8.0
        self.num_scenes = 0
        self.last_stamp_ns = -1
        self.arrivals: list[tuple[int, float]] = []  # of poses: stamp in ns, monotonic s
        self.diagnostics: list[Any] = []
        subscribe = ros.tester.create_subscription
        subscribe(PoseStamped, "localizer/pose", self._on_pose, 100)
        subscribe(String, "localizer/scene", self._on_scene, 100)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        wait_until(lambda: self.value("state") == "active" or not self.is_alive(), "the node")
        self.connect()
        scene = "/localizer/scene"
        wait_until(lambda: ros.tester.count_publishers(scene) > 0, "the scene's publisher")
        assert self.answered(1), self.log.read_text()[-2000:]
        time.sleep(
            0.5
        )  # what is published is not heard at once on both sides: the others come too

    def connect(self) -> None:
        kind, topic = (Image, "image")
        if self.transport == "compressed":
            kind, topic = (CompressedImage, "image/compressed")
        self.images = self.ros.tester.create_publisher(kind, topic, 10)
        self.infos = self.ros.tester.create_publisher(CameraInfo, "camera_info", 10)
        for publisher in (self.images, self.infos):
            wait_until(lambda p=publisher: p.get_subscription_count() > 0, "its subscription")
        self.infos.publish(info_message())

    def disconnect(self) -> None:
        self.ros.tester.destroy_publisher(self.images)
        self.ros.tester.destroy_publisher(self.infos)

    def _on_pose(self, message: PoseStamped) -> None:
        self.last_stamp_ns = ns_from_stamp(message.header.stamp)
        self.arrivals.append((self.last_stamp_ns, time.monotonic()))

    def _on_scene(self, message: String) -> None:
        self.num_scenes += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics = [message]

    def value(self, key: str) -> str:
        return diagnostic_values(self.diagnostics).get(key, "")

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def memory_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def num_files_and_threads(self) -> tuple[int, int]:
        folder = Path(f"/proc/{self.process.pid}")
        return len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))

    def good(self, stamp_ns: int, camera: CameraModel | None = None) -> Any:
        message = image_message(stamp_ns)
        if camera is not None:
            pixels = np.full((camera.height, camera.width, 3), 90, np.uint8)
            message = message_from_image(pixels)
            message.header = image_message(stamp_ns).header
        if self.transport == "compressed":
            pixels = np.frombuffer(message.data, np.uint8)
            shape = (message.height, message.width, 3)
            compressed = compressed_from_image(pixels.reshape(shape))
            compressed.header = message.header
            return compressed
        return message

    def send(self, message: Any, what: str = "an answer") -> None:
        """Send an image and wait for its scene, which comes for a bad one too."""
        before = self.num_scenes
        self.images.publish(message)
        wait_until(lambda: self.num_scenes > before or not self.is_alive(), what)

    def answered(self, first_ns: int, camera: CameraModel | None = None) -> bool:
        """Send good images, stamps counting up, until a pose comes.

        The first may have none: topics have no order among each other, so that it can overtake the
        camera_info or the clock that was published before it, or find a publisher still unmatched.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        stamp_ns = first_ns
        while not first_ns <= self.last_stamp_ns < stamp_ns and self.is_alive():
            if time.monotonic() > deadline_s:
                return False
            self.images.publish(self.good(stamp_ns, camera))
            stamp_ns += 1
            time.sleep(0.1)
        return self.is_alive()

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "change_state", request).success)

    def call(self, kind: Any, name: str, request: Any = None) -> Any:
        return self.ros.call(kind, f"localizer/{name}", request, timeout_s=PATIENCE_S)


@contextmanager
def started(ros: Harness, bundle: Path, folder: Path, **parameters: Any) -> Iterator[Node]:
    values = {"bundle": str(bundle), "device": "cpu", "reliability": "reliable"}
    log = folder / f"localizer_{len(list(folder.glob('*.log')))}.log"
    process_node = LiveNode(
        "mspr_ros.ros.localizer_node", {**values, "tf_settle_s": 0.2, **parameters}, log
    )
    environment = {**live_environment(), "ROS_DOMAIN_ID": str(ros.context.get_domain_id())}
    with log.open("wb") as output:
        process = subprocess.Popen(
            process_node.command(), env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Node(ros, process, log, parameters.get("image_transport", "raw"))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


class Memory:
    """Resident memory from a point on where everything has been used once."""

    def __init__(self, node: Node) -> None:
        self._node, self.start_mb = node, node.memory_mb()

    def result(self) -> dict[str, Any]:
        end_mb = self._node.memory_mb()
        grown_mb = end_mb - self.start_mb
        problems = []
        if grown_mb > max(MEMORY_GROWTH * self.start_mb, self._node.memory_noise_mib):
            problems.append(f"memory grew from {self.start_mb:.0f} to {end_mb:.0f} MiB")
        return {
            "memory_start_mib": round(self.start_mb, 1),
            "memory_end_mib": round(end_mb, 1),
            "problems": problems,
        }


def soak_malformed(node: Node, count: int) -> dict[str, Any]:
    """Send malformed messages one by one, each answered, with good ones in between."""
    rng = np.random.default_rng(0)
    bad, warm_up = bad_image, count // 10
    if node.transport == "compressed":
        # A header flipped so that it claims a huge picture comes once in thousands of messages,
        # and the allocator then keeps some 20 MiB, once.
        bad, warm_up = bad_compressed, count // 2
    good_sent = good_answered = infos = 0
    memory = Memory(node)
    for index in range(1, count + 1):
        if index == max(1, warm_up):
            memory = Memory(node)  # every path has been used
        stamp_ns = 1_000_000_000 + index
        if rng.random() < 0.1:
            node.infos.publish(bad_info(rng))
            infos += 1
        node.send(bad(rng, stamp_ns), f"message {index}")
        if index % GOOD_EVERY == 0:
            node.infos.publish(info_message())
            good_sent += 1
            good_answered += node.answered(stamp_ns + 10**15)
    result = {"messages": count, "camera_infos": infos, "good_sent": good_sent}
    result |= {"good_answered": good_answered, "alive": node.is_alive(), **memory.result()}
    result["told_malformed"] = int(node.value("malformed") or 0)
    if good_answered != good_sent or not node.is_alive():
        result["problems"].append("a good image was not answered")
    return result


def soak_lifecycle(node: Node, cycles: int) -> dict[str, Any]:
    """Take the node down and up again, and have an image answered each time."""
    down = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
    up = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
    done = answered = 0
    memory, files_threads = Memory(node), node.num_files_and_threads()
    for cycle in range(cycles):
        if cycle == max(1, cycles // 10):
            memory, files_threads = Memory(node), node.num_files_and_threads()
        done += all([node.change(transition) for transition in (*down, *up)])
        for publisher in (node.images, node.infos):
            wait_until(lambda p=publisher: p.get_subscription_count() == 1, "one subscription")
        node.infos.publish(info_message())
        answered += node.answered(2 * 10**18 + 10**4 * cycle)
    result = {"cycles": cycles, "done": done, "answered": answered, **memory.result()}
    if (done, answered) != (cycles, cycles) or not node.is_alive():
        result["problems"].append("a transition failed, or an image was not answered after it")
    ends = node.num_files_and_threads()
    result |= {"files_threads_start": list(files_threads), "files_threads_end": list(ends)}
    if any(end > start + 4 for start, end in zip(files_threads, ends, strict=True)):
        result["problems"].append("files or threads are left open")
    return result


class Stream:
    """Send good images at a steady rate from a thread of its own."""

    def __init__(self, node: Node, rate_hz: float = 30.0) -> None:
        self._node, self._interval_s = node, 1.0 / rate_hz
        self._stopping = threading.Event()
        self.sent: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stream:
        self._node.arrivals.clear()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stopping.is_set():
            stamp_ns = time.time_ns()
            self.sent[stamp_ns] = time.monotonic()
            self._node.images.publish(self._node.good(stamp_ns))
            due_s = max(due_s + self._interval_s, time.monotonic())
            self._stopping.wait(due_s - time.monotonic())

    def latencies(self) -> list[tuple[float, float]]:
        """Give (seconds since the first image, latency in seconds) of each pose."""
        first_s = min(self.sent.values())
        return [
            (self.sent[stamp] - first_s, arrived_s - self.sent[stamp])
            for stamp, arrived_s in list(self._node.arrivals)
            if stamp in self.sent
        ]


def soak_reloads(node: Node, count: int) -> dict[str, Any]:
    """Reload under a 30 Hz stream; the largest gap between poses, beside one without."""
    done = 0
    with Stream(node):
        wait_until(lambda: len(node.arrivals) > 60, "sixty poses")
        calm_ms = _largest_gap_ms(node)
        node.arrivals.clear()
        memory, gaps_ms = Memory(node), []
        for index in range(count):
            if index == max(1, count // 10):
                memory = Memory(node)
            before = max(0, len(node.arrivals) - 1)  # the last pose before it counts
            done += bool(node.call(Trigger, "reload").success)
            gaps_ms.append(_largest_gap_ms(node, before))
        gap_ms = _largest_gap_ms(node)
        poses = len(node.arrivals)
    network_ms = float(node.value("latency_network_p50_ms") or 0)
    result = {"reloads": count, "done": done, "poses_meanwhile": poses, **memory.result()}
    result |= {"largest_gap_ms": round(gap_ms, 1), "largest_gap_before_ms": round(calm_ms, 1)}
    result["median_gap_ms"] = round(float(np.nanmedian(gaps_ms)), 1)  # of a reload's largest
    result["network_p50_ms"] = network_ms
    if done != count or not poses:
        result["problems"].append("a reload failed, or nothing was answered meanwhile")
    # A short run has too few poses to tell a gap from a busy machine.
    if count >= 100 and gap_ms > calm_ms + 2.0 * network_ms:
        result["problems"].append(f"a gap of {gap_ms:.0f} ms, {calm_ms:.0f} ms without reloads")
    return result


def _largest_gap_ms(node: Node, first: int = 0) -> float:
    times_s = [arrived_s for _, arrived_s in list(node.arrivals)[first:]]
    return float(1e3 * np.diff(times_s).max()) if len(times_s) > 1 else float("nan")


def soak_disturbances(node: Node, rounds: int) -> dict[str, Any]:
    """Jump the clock, leave gaps in TF, restart the camera, change the resolution mid-stream.

    The node runs with simulated time.
    """
    ros = node.ros
    clock = ros.tester.create_publisher(Clock, "/clock", 10)
    tf = ros.tester.create_publisher(TFMessage, "/tf", 10)
    for publisher in (clock, tf):
        wait_until(lambda p=publisher: p.get_subscription_count() > 0, "its subscription")
    other = CameraModel(width=128, height=96, fx=100.0, fy=100.0, cx=63.5, cy=47.5)
    counts = dict.fromkeys(("jumps", "tf_gaps", "camera_restarts", "resolutions"), 0)
    memory = Memory(node)
    for index in range(rounds):
        if index == max(1, rounds // 10):
            memory = Memory(node)
        for jump_s in (1000, 5000, 10):  # on, far on, and far back
            now_ns = (jump_s + 100 * index % 7) * 10**9 + index
            clock.publish(Clock(clock=stamp_from_ns(now_ns)))
            counts["jumps"] += node.answered(now_ns)
            link = message_from_transform(np.eye(4), "odom", "base", stamp_from_ns(now_ns))
            if jump_s != 5000:
                tf.publish(TFMessage(transforms=[link]))
            else:
                counts["tf_gaps"] += node.answered(now_ns + 10**4)
        node.disconnect()
        node.connect()
        counts["camera_restarts"] += node.answered(10**10 + 1000 * index)
        for camera in (other, None):
            node.infos.publish(info_message(camera) if camera else info_message())
            counts["resolutions"] += node.answered(10**11 + 1000 * index, camera)
    expected = {"jumps": 3, "tf_gaps": 1, "camera_restarts": 1, "resolutions": 2}
    result = {"rounds": rounds, **counts, **memory.result()}
    for name, each in expected.items():
        if counts[name] != each * rounds:
            result["problems"].append(f"{name}: {counts[name]} of {each * rounds} answered")
    return result


def soak_steady(node: Node, seconds: float) -> dict[str, Any]:
    """Stream at 30 Hz; compare the last twentieth of the time with the second one."""
    part_s = seconds / 20
    with Stream(node) as stream:
        time.sleep(part_s)
        memory = Memory(node)
        time.sleep(seconds - part_s)
        result = memory.result()
    wait_until(lambda: node.arrivals, "a pose")
    latencies = stream.latencies()

    def p99_ms(index: int) -> float:
        inside = [value for at, value in latencies if index * part_s <= at < (index + 1) * part_s]
        return float(1e3 * np.percentile(inside, 99)) if inside else float("nan")

    second_ms, last_ms = p99_ms(1), p99_ms(19)
    result |= {"seconds": seconds, "sent": len(stream.sent), "answered": len(latencies)}
    result |= {"p99_second_ms": round(second_ms, 1), "p99_last_ms": round(last_ms, 1)}
    # A part of a second holds too few frames for a percentile.
    if part_s >= 30 and not last_ms <= LATENCY_GROWTH * second_ms:
        result["problems"].append(f"p99 went from {second_ms:.0f} to {last_ms:.0f} ms")
    return result


def soak(
    bundle: Path, folder: Path, amounts: Amounts, only: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Run the parts named; give the counts by name, each with its list of problems."""
    results: dict[str, dict[str, Any]] = {}
    plain = {
        "malformed": (soak_malformed, amounts.malformed),
        "lifecycle": (soak_lifecycle, amounts.cycles),
        "reloads": (soak_reloads, amounts.reloads),
        "steady": (soak_steady, amounts.steady_s),
    }
    recorded = {
        "malformed_compressed": (soak_malformed, amounts.malformed),
        "disturbances": (soak_disturbances, amounts.disturbances),
    }
    options = {"image_transport": "compressed", "use_sim_time": True}
    for parts, parameters in ((plain, {}), (recorded, options)):
        wanted = {name: part for name, part in parts.items() if name in only}
        if not wanted:
            continue
        with harness() as ros, started(ros, bundle, folder, **parameters) as node:
            for name, (work, amount) in wanted.items():
                start_s, node.memory_noise_mib = time.monotonic(), amounts.memory_noise_mib
                results[name] = work(node, amount)
                results[name]["took_s"] = round(time.monotonic() - start_s, 1)
                results[name]["load"] = round(os.getloadavg()[0], 1)
                print(f"{name}: {json.dumps(results[name])}", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="JSON file; earlier parts in it stay")
    parser.add_argument("--bundle", type=Path, help="default: a tiny network of random weights")
    parser.add_argument("--short", action="store_true", help="seconds of each, not an hour")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    args = parser.parse_args()
    os.environ.update(live_environment())  # this process hears the node's: the same discovery
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.bundle or make_tiny_bundle(Path(folder) / "bundle")
        amounts = SHORT if args.short else Amounts()
        results = soak(bundle.absolute(), Path(folder), amounts, args.only)
    problems = [f"{name}: {p}" for name, result in results.items() for p in result["problems"]]
    print("\n".join(problems) or "all as it must be")
    if args.output:
        machine = {"machine": platform.platform(), "python": platform.python_version()}
        report = {"date": str(date.today()), **machine, "command": " ".join(sys.argv)}
        if args.output.exists():
            results = {**json.loads(args.output.read_text())["results"], **results}
        report |= {"bundle": str(args.bundle or "tiny"), "results": results}
        args.output.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
