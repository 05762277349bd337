"""The nodes as processes: clean exits, and the whole road from camera to report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_support import Harness, diagnostic_values, harness, wait_until
from test_bags import make_dataset
from tiny import TINY_CAMERA, make_tiny_bundle

from mspr_ros.bags import write_dataset_bag
from mspr_ros.cli.main import main
from mspr_ros.ros.live_bench import measure_live
from mspr_ros.ros.live_run import LiveNode, live_environment

START_S = 120.0  # torch takes long to import on a busy machine
EXIT_S = 2.0


@pytest.fixture
def ros() -> Iterator[Harness]:
    with harness() as started:
        yield started


@contextmanager
def localizer_process(ros: Harness, log: Path, **parameters: Any) -> Iterator[Any]:
    node = LiveNode("mspr_ros.ros.localizer_node", parameters, log)
    environment = {**live_environment(), "ROS_DOMAIN_ID": str(ros.context.get_domain_id())}
    with log.open("wb") as output:
        process = subprocess.Popen(
            node.command(), env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "has_bundle"),
    [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGINT, False)],
)
def test_a_signal_ends_the_process_in_order(
    ros: Harness, tmp_path: Path, number: int, has_bundle: bool
) -> None:
    bundle = tmp_path / "bundle"
    if has_bundle:
        make_tiny_bundle(bundle)
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    log = tmp_path / "log"
    with localizer_process(ros, log, bundle=str(bundle), device="cpu") as process:
        wanted = ("active", "active") if has_bundle else ("unconfigured", "is not a bundle")
        wait_until(
            lambda: (
                process.poll() is not None
                or (
                    diagnostic_values(diagnostics).get("state") == wanted[0]
                    and (has_bundle or wanted[1] in diagnostic_values(diagnostics)["message"])
                )
            ),
            timeout_s=START_S,
        )
        assert process.poll() is None, log.read_text()  # alive without a bundle, too
        start_s = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0, log.read_text()
        assert time.monotonic() - start_s < EXIT_S
    text = log.read_text()
    assert "Traceback" not in text
    if not has_bundle:
        assert sum("cannot configure" in line for line in text.splitlines()) == 1


def wait_for_state(diagnostics: list[Any], process: Any, state: str, log: Path) -> None:
    wait_until(
        lambda: process.poll() is not None or diagnostic_values(diagnostics).get("state") == state,
        f"the state {state}",
        timeout_s=START_S,
    )
    assert process.poll() is None, log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "state", "transitions"),
    [
        (signal.SIGTERM, "inactive", (Transition.TRANSITION_CONFIGURE,)),
        (signal.SIGINT, "finalized", (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,)),
    ],
)
def test_a_signal_ends_it_in_every_other_state_too(
    ros: Harness, tmp_path: Path, number: int, state: str, transitions: tuple[int, ...]
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    log = tmp_path / "log"
    with localizer_process(ros, log, bundle=str(bundle), device="cpu", autostart=False) as process:
        wait_for_state(diagnostics, process, "unconfigured", log)
        for transition in transitions:
            request = ChangeState.Request(transition=Transition(id=transition))
            assert ros.call(ChangeState, "localizer/change_state", request).success
        wait_for_state(diagnostics, process, state, log)
        start_s = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0, log.read_text()
        assert time.monotonic() - start_s < EXIT_S
    assert "Traceback" not in log.read_text()


SLOW_NODE = """
import sys, time
from mspr_ros.ros.localizer_node import LocalizerNode
from mspr_ros.ros.running import end_process, run_node

def slow(*arguments, **options):
    print("LOADING", flush=True)
    time.sleep(60.0)

end_process(run_node(lambda: LocalizerNode(slow), None, leave=LocalizerNode.leave))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_still_loads_a_bundle(
    ros: Harness, tmp_path: Path, number: int
) -> None:
    log = tmp_path / "log"
    environment = {**live_environment(), "ROS_DOMAIN_ID": str(ros.context.get_domain_id())}
    command = [sys.executable, "-c", SLOW_NODE, "--ros-args", "-p", "bundle:=some"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(
            lambda: "LOADING" in log.read_text() or process.poll() is not None, timeout_s=START_S
        )
        start_s = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0, log.read_text()
        assert time.monotonic() - start_s < EXIT_S
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_an_unknown_parameter_ends_the_process_with_one_line(tmp_path: Path) -> None:
    command = LiveNode("mspr_ros.ros.localizer_node", {"bundel": "x"}, tmp_path / "log").command()
    result = subprocess.run(
        command, env=live_environment(), capture_output=True, text=True, timeout=START_S
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("unknown parameter 'bundel'")
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("storage", "image_format"), [("mcap", "raw"), ("sqlite3", "compressed")])
def test_replay_answers_every_frame_of_a_bag(
    tmp_path: Path, storage: str, image_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    bag, output = tmp_path / "bag", tmp_path / "result"
    write_dataset_bag(make_dataset(tmp_path / "data"), bag, storage, image_format)
    result = tmp_path / "result.json"
    command = ["replay", str(bundle), str(bag), "-o", str(output), "--device", "cpu"]
    assert main([*command, "--json", str(result)]) == 0
    printed = capsys.readouterr().out
    assert "6 received" in printed and "kitchen" in printed
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics == json.loads(result.read_text())
    frames = metrics["frames"]
    # The gates hold some answers of a network that was taught nothing.
    assert (frames["sent"], frames["received"]) == (6, 6)
    assert frames["answered"] > 0 and frames["answered"] + frames["rejected"] == 6
    assert metrics["scenes"]["all"]["frames"] == 6
    assert metrics["scenes"]["kitchen"]["frames"] == metrics["scenes"]["office"]["frames"] == 3
    assert metrics["scenes"]["all"]["scene_accuracy"] is not None
    assert metrics["latency_ms"]["from"] == "publication"
    assert 0 < metrics["latency_ms"]["p50"] <= metrics["latency_ms"]["p99"]
    assert metrics["tf"]["transforms"] == frames["answered"]
    assert metrics["tf"]["largest_difference_to_pose"] < 1e-9
    assert (output / "trajectory.png").stat().st_size > 10_000
    assert main(command) == 1  # not overwritten


@pytest.mark.slow
def test_the_demo_meets_the_truth_in_the_cameras_own_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle", scenes=("office", "lounge"))
    output = tmp_path / "result"
    command = ["demo", "-o", str(output), "--bundle", str(bundle), "--device", "cpu"]
    assert main([*command, "--seconds", "2", "--rate-hz", "4"]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    frames = metrics["frames"]
    assert frames["sent"] == 8 and frames["answered"] > 0
    assert frames["answered"] + frames["dropped"] + frames["rejected"] == 8
    # TF knows the robot: the pose is that of its base, and comes back as the camera's.
    assert metrics["pose_frame"] == "base_link"
    assert metrics["tf"]["children"] == ["base_link"]
    assert metrics["latency_ms"]["from"] == "stamp"
    assert set(metrics["scenes"]) == {"office", "lounge", "all"}
    # A network that was taught nothing answers centroids of about a metre: the error is that of
    # the rooms' size, and the camera's height is not counted twice.
    assert 0.1 < metrics["scenes"]["all"]["position_error_m"]["median"] < 50
    assert (output / "trajectory.png").is_file()
    assert "office" in capsys.readouterr().out


@pytest.mark.slow
def test_a_demo_without_a_usable_bundle_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle", scenes=("office",))
    (bundle / "weights.safetensors").write_bytes(b"no weights")
    command = ["demo", "-o", str(tmp_path / "result"), "--bundle", str(bundle)]
    assert main([*command, "--seconds", "1"]) == 1
    assert "weights.safetensors is damaged" in capsys.readouterr().err


def test_children_never_inherit_the_wheels_mark_without_its_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in live_environment()
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    assert live_environment()["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] == "1"
    assert os.environ["LD_LIBRARY_PATH"] == "/somewhere"
    command = LiveNode("some.module", {"a": "it's", "b": True, "c": 1.5}, Path("log")).command()
    assert command[:4] == [sys.executable, "-m", "some.module", "--ros-args"]
    assert command[4:] == ["-p", "a:='it''s'", "-p", "b:=true", "-p", "c:=1.5"]


@pytest.mark.slow
def test_the_live_benchmark_tells_where_an_images_time_went(tmp_path: Path) -> None:
    images = [np.full((96, 128, 3), value, dtype=np.uint8) for value in (40, 80, 120)]
    result = measure_live(
        make_tiny_bundle(tmp_path / "bundle"),
        images,
        TINY_CAMERA,
        rate_hz=10.0,
        num_images=60,
        device="cpu",
        num_threads=1,
    )
    assert result["sent"] == 60
    assert result["received"] >= 50
    parts = result["parts_ms"]
    assert set(parts) == {
        *("stamp_to_pose", "age_at_arrival", "wait", "decode", "preprocess"),
        *("network", "postprocess", "publish"),
    }
    assert 0.0 < parts["network"]["p50"] < parts["stamp_to_pose"]["p50"]
    assert result["times_network"]["p50"] > 1.0
    assert 0.0 < result["processor_ms_an_image"] < 10_000.0
    assert "torch" in result["text"]
