"""Count what happens to the frames, and where their time goes."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mspr_ros.ros.stamps import LONGEST_LATENCY_NS

WINDOW = 500  # frames that the latency percentiles are taken over
RATE_WINDOW_S = 5.0
PERCENTILES = (50, 95, 99)
LONGEST_LATENCY_MS = LONGEST_LATENCY_NS / 1e6

# Where a frame's time goes, in this order; `total` is reception to the last message published.
STAGES = (
    *("wait", "decode", "preprocess", "network", "postprocess", "publish"),
    *("total", "stamp_to_pose"),
)


class FrameStatistics:
    """Collect counts, reasons and latencies; safe to use from several threads.

    Args:
        clock_s: Monotonic seconds; tests put in their own.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._latencies: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self._answered_s: deque[float] = deque(maxlen=10_000)
        self._received_s: deque[float] = deque(maxlen=10_000)
        self._ages_ms: deque[float] = deque(maxlen=WINDOW)
        self.answered = 0
        self._rejections: Counter[str] = Counter()
        self._malformed: Counter[str] = Counter()
        self._last: dict[str, str] = {}
        self._malformed_s = -float("inf")
        self._tf: Counter[str] = Counter()
        self._tf_problem_s = -float("inf")

    def received(self, age_ms: float = math.nan) -> None:
        """Note that an image has come in, and how long after its stamp.

        An age below zero or above `LONGEST_LATENCY_MS` is that of another clock, or of none.
        """
        with self._lock:
            self._received_s.append(self._clock_s())
            if 0.0 <= age_ms < LONGEST_LATENCY_MS:
                self._ages_ms.append(age_ms)

    def answer(self, latencies_ms: Mapping[str, float]) -> None:
        """Note a published pose and where its time went, by `STAGES`."""
        with self._lock:
            self.answered += 1
            self._answered_s.append(self._clock_s())
            self._latencies.append(dict(latencies_ms))

    def rejection(self, kind: str, reason: str) -> None:
        """Note a frame that was understood but whose pose is not published."""
        with self._lock:
            self._rejections[kind] += 1
            self._last["last_rejection"] = reason

    def malformed(self, kind: str, reason: str) -> None:
        """Note a message that cannot be used: `image`, `camera_info`, `stamp`, ..."""
        with self._lock:
            self._malformed[kind] += 1
            self._last["last_malformed"] = reason
            self._malformed_s = self._clock_s()

    def tf_used(self, what: str) -> None:
        """Note what TF was good for: a `correction`."""
        with self._lock:
            self._tf[what] += 1

    def tf_problem(self, kind: str, reason: str) -> None:
        """Note what TF could not give: `missing`, `late`, `too_old`, `tilted`, ..."""
        with self._lock:
            self._tf[kind] += 1
            self._last["last_tf_problem"] = reason
            self._tf_problem_s = self._clock_s()

    def tf_problem_age_s(self) -> float:
        """Give the time since TF last could not give what was wanted; infinite without that."""
        with self._lock:
            return self._clock_s() - self._tf_problem_s

    @property
    def num_malformed(self) -> int:
        """How many messages could not be used."""
        with self._lock:
            return sum(self._malformed.values())

    def malformed_age_s(self) -> float:
        """Give the time since the last message that could not be used; infinite without one."""
        with self._lock:
            return self._clock_s() - self._malformed_s

    def values(self) -> dict[str, str]:
        """Give all of it as text, for the key-value pairs of a status."""
        with self._lock:
            now = self._clock_s()
            values = {
                "answered": str(self.answered),
                "processor_time_s": f"{time.process_time():.3f}",  # of the whole process
                "rejected": str(sum(self._rejections.values())),
                "malformed": str(sum(self._malformed.values())),
                "image_rate_hz": f"{_rate_hz(self._received_s, now):.1f}",
                "pose_rate_hz": f"{_rate_hz(self._answered_s, now):.1f}",
            }
            values.update({f"rejected_{k}": str(n) for k, n in self._rejections.items()})
            values.update({f"malformed_{k}": str(n) for k, n in self._malformed.items()})
            values.update({f"tf_{k}": str(n) for k, n in self._tf.items()})
            values.update(self._last)
            latencies, ages_ms = list(self._latencies), list(self._ages_ms)
        values.update(_percentiles("age_at_arrival", ages_ms))
        for stage in STAGES:
            times = [latency[stage] for latency in latencies if stage in latency]
            values.update(_percentiles(f"latency_{stage}", times))
        return values


def _percentiles(name: str, times_ms: Sequence[float]) -> dict[str, str]:
    if not times_ms:
        return {}
    values = np.percentile(times_ms, PERCENTILES)
    return {
        f"{name}_p{p}_ms": f"{value:.1f}" for p, value in zip(PERCENTILES, values, strict=True)
    }


def _rate_hz(times_s: deque[float], now_s: float) -> float:
    recent = sum(1 for value in times_s if now_s - value <= RATE_WINDOW_S)
    since_first_s = now_s - times_s[0] if times_s else RATE_WINDOW_S
    return recent / min(RATE_WINDOW_S, max(since_first_s, 1.0))
