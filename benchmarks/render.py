"""Measure how fast the simulator draws, on one core.

python benchmarks/render.py [--world demo] [--frames 100] [--width 640] [--height 480]

Per scene: frames along a drive, drawn with light and noise after a warm-up; median and 90th
percentile of the wall time, and of the processor time, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import platform
import time

import cv2
import numpy as np

from mspr_ros.simulator.drive import Drive
from mspr_ros.simulator.recording import pinhole
from mspr_ros.simulator.renderer import Renderer
from mspr_ros.simulator.world import World

WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="demo")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}")
    world = World.build(args.world)
    renderer = Renderer(world, pinhole(args.width, args.height, 70.0))
    for scene in world.scenes:
        started = time.perf_counter()
        faces = len(world.scene(scene).faces)
        built = time.perf_counter() - started
        wall, processor = measure(renderer, scene, args.frames)
        print(
            f"{scene:8} {faces:5} faces built in {built:5.2f} s;"
            f" wall {describe(wall)}; processor {describe(processor)}"
        )


def measure(renderer: Renderer, scene: str, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the wall and processor seconds of every frame."""
    rng = np.random.default_rng(0)
    drive = Drive(renderer.world, [scene], seed=0, rate_hz=1.0, frames_per_scene=WARM_UP + frames)
    seconds = []
    for frame in drive:
        wall, processor = time.perf_counter(), time.process_time()
        renderer.render(frame.scene, frame.T_map_cam, frame.light, rng)
        seconds.append((time.perf_counter() - wall, time.process_time() - processor))
    return tuple(np.array(seconds[WARM_UP:]).T)


def describe(seconds: np.ndarray) -> str:
    median, slow = 1000.0 * np.percentile(seconds, [50, 90])
    return f"{median:5.1f} ms (p90 {slow:5.1f}), {1.0 / seconds.mean():5.1f} frames/s"


if __name__ == "__main__":
    main()
