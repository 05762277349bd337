"""Time the localizer's process from its start until it is active, and a reload; a few times.

    python benchmarks/startup.py [BUNDLE] [--times 5]

The first time may be longer: files are read from the disk.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path

from lifecycle_msgs.srv import GetState
from std_srvs.srv import Trigger

from mspr_ros.ros.live_run import LiveNode, live_environment, own_node, running

TIMEOUT_S = 120.0
PATIENCE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("models/demo"))
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    environment = live_environment()
    node = LiveNode(
        "mspr_ros.ros.localizer_node",
        {"bundle": str(args.bundle.resolve()), "device": "cpu"},
        Path("/dev/null"),
    )
    starts, reloads = [], []
    with own_node("startup", environment) as (listener, spin):
        states = listener.create_client(GetState, "localizer/get_state")
        reload = listener.create_client(Trigger, "localizer/reload")
        for _ in range(args.times):
            start_s = time.perf_counter()
            with running(node, environment) as process:
                wait_until_active(states, spin, process, start_s)
                active_s = time.perf_counter()
                starts.append(active_s - start_s)
                future = reload.call_async(Trigger.Request())
                while not future.done():
                    spin()
                if not future.result().success:
                    raise SystemExit(f"no reload: {future.result().message}")
                reloads.append(time.perf_counter() - active_s)
            print(f"active after {starts[-1]:.2f} s, reload {reloads[-1]:.2f} s", flush=True)
    print(
        f"median of {args.times}: active after {statistics.median(starts):.2f} s, "
        f"reload {statistics.median(reloads):.2f} s"
    )


def wait_until_active(client, spin, process: subprocess.Popen[bytes], start_s: float) -> None:
    """Ask for the state until it is active."""
    future, asked_s = None, 0.0
    while True:
        now_s = time.perf_counter()
        if process.poll() is not None or now_s - start_s > TIMEOUT_S:
            raise SystemExit("the localizer does not become active")
        if future is None and client.service_is_ready():
            future, asked_s = client.call_async(GetState.Request()), now_s
        spin()
        if future is not None and future.done():
            if future.result().current_state.label == "active":
                return
            future = None
        elif now_s - asked_s > PATIENCE_S:
            future = None  # the process before may have been asked, which is gone


if __name__ == "__main__":
    main()
