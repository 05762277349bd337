"""Notice what is wrong with images' stamps: none, another clock's, or time that begins anew."""

from __future__ import annotations

from mspr_ros.ros.correction import JUMP_BACK_NS

# Older stamps are of a recording, or of another clock: how long ago they were is no latency.
LONGEST_LATENCY_NS = 60_000_000_000


class StampWatch:
    """Look at each image's stamp."""

    def __init__(self) -> None:
        self._newest_ns = 0
        self.problem = ""  # of the last image

    def reset(self) -> None:
        """Forget the stamps of before."""
        self._newest_ns = 0
        self.problem = ""

    def restarted(self, stamp_ns: int, now_ns: int) -> bool:
        """Take in a stamp; say whether time went back, as when a bag starts again.

        Args:
            stamp_ns: The image's; 0 for none.
            now_ns: ROS time; 0 before a simulated clock's first message.
        """
        self.problem = stamp_problem(stamp_ns, now_ns)
        if stamp_ns == 0:
            return False
        restarted = stamp_ns < self._newest_ns - JUMP_BACK_NS
        self._newest_ns = stamp_ns if restarted else max(self._newest_ns, stamp_ns)
        return restarted


def stamp_problem(stamp_ns: int, now_ns: int) -> str:
    """Name what is wrong with a stamp, with the remedy; empty if nothing is."""
    if stamp_ns == 0:
        return "images carry no stamp: the camera's driver must set header.stamp"
    age_ns = now_ns - stamp_ns
    if abs(age_ns) < LONGEST_LATENCY_NS:
        return ""
    when = "behind" if age_ns > 0 else "ahead of"
    return (
        f"images' stamps are {abs(age_ns) / 1e9:.0f} s {when} ROS time, of another clock; a "
        "recording needs use_sim_time and a clock, two machines need synchronised ones"
    )
