"""Watch one camera's stream: rate, silence, and images lost on the way. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

WINDOW = 120  # images
FEWEST = 30  # images before anything is said of losses
RATE_WINDOW_S = 5.0
# A camera's period is its shortest interval, noise apart: where nine of ten images are lost, one
# in ten intervals still is a period.
PERIOD_PERCENTILE = 5.0
# How far an interval may be off a multiple of the period, in periods, and how many may be further
# off; else the stamps are too irregular for gaps to mean anything.
MULTIPLE_TOLERANCE = 0.3
REGULAR_SHARE = 0.8
# A longer pause is a camera that stopped, not images that were lost.
LONGEST_GAP_S = 2.0
LOSS_WARNED = 0.05
REMEDY = (
    "images of this size do not fit the middleware's shared memory: with Fast DDS, start every "
    "process with FASTDDS_DEFAULT_PROFILES_FILE (in Humble and Jazzy FASTRTPS_DEFAULT_PROFILES_"
    "FILE) set to share/mspr_ros/config/fastdds_images.xml (launch argument dds_profile:=images), "
    "or use reliability: reliable with a driver that publishes so, or image_transport: compressed"
)


class StreamWatch:
    """Note what arrives; safe to use from several threads.

    Args:
        clock_s: Monotonic seconds; tests put in their own.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._since_s = clock_s()
        self._arrivals_s: deque[float] = deque(maxlen=1000)
        self._intervals_s: deque[float] = deque(maxlen=WINDOW)
        self._last_stamp_ns = 0
        self.num_received = 0

    def note(self, stamp_ns: int) -> None:
        """Take in an arrival, by its image's stamp (0 for none)."""
        with self._lock:
            self.num_received += 1
            self._arrivals_s.append(self._clock_s())
            interval_s = (stamp_ns - self._last_stamp_ns) / 1e9
            if interval_s < 0.0:  # the clock was set back: what was before means nothing now
                self._intervals_s.clear()
            elif self._last_stamp_ns and 0.0 < interval_s <= LONGEST_GAP_S:
                self._intervals_s.append(interval_s)
            self._last_stamp_ns = stamp_ns

    def silence_s(self) -> float:
        """Give the time since the last image, or since the start if there was none."""
        with self._lock:
            last_s = self._arrivals_s[-1] if self._arrivals_s else self._since_s
            return self._clock_s() - last_s

    def restart(self) -> None:
        """Begin a new time of waiting for images."""
        with self._lock:
            self._since_s = self._clock_s()
            self._arrivals_s.clear()
            self._intervals_s.clear()
            self._last_stamp_ns = 0

    def rate_hz(self) -> float:
        """Give how many images arrive a second."""
        with self._lock:
            now_s = self._clock_s()
            recent = [value for value in self._arrivals_s if now_s - value <= RATE_WINDOW_S]
            if not recent:
                return 0.0
            # As long as the stream is young, the first image starts the clock.
            whole = len(recent) < len(self._arrivals_s)
            return len(recent) / (RATE_WINDOW_S if whole else max(now_s - recent[0], 1.0))

    def lost_share(self) -> float:
        """Estimate which share of the latest images never arrived, from gaps between stamps.

        Returns:
            0 to 1; 0 while too few have come, or their stamps are too irregular to tell.
        """
        with self._lock:
            intervals_s = np.array(self._intervals_s)
        if len(intervals_s) < FEWEST:
            return 0.0
        shortest_s = np.percentile(intervals_s, PERIOD_PERCENTILE)
        period_s = np.median(intervals_s[intervals_s < 1.5 * shortest_s])
        periods = intervals_s / period_s
        regular = np.abs(periods - np.round(periods)) <= MULTIPLE_TOLERANCE
        if np.mean(regular) < REGULAR_SHARE:
            return 0.0
        sent = np.round(periods[regular]).clip(min=1).sum()
        return float(1.0 - regular.sum() / sent)

    def loss(self, label: str) -> str:
        """Say that images are lost, and the remedy; empty if too few are.

        Args:
            label: Names the camera.
        """
        share = self.lost_share()
        if share < LOSS_WARNED:
            return ""
        return f"about {100 * share:.0f} % of the images of {label} are lost on the way; {REMEDY}"
