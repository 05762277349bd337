"""A short version of each long run of test/soak.py; `make soak` runs the full ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from soak import GOOD_EVERY, PARTS, SHORT, soak
from soak_messages import bad_compressed, bad_image, bad_info
from tiny import make_tiny_bundle

from mspr_ros.data.camera_info import camera_from_info
from mspr_ros.errors import ImageError
from mspr_ros.ros.conversions import image_from_message


def test_malformed_messages_are_refused_with_image_errors_only() -> None:
    """A thousand in this process: fast, and a crash is this test's own."""
    rng = np.random.default_rng(7)
    outcome: Counter[str] = Counter()
    for stamp_ns in range(1000):
        message = (bad_image if stamp_ns % 2 else bad_compressed)(rng, stamp_ns)
        try:
            pixels = image_from_message(message)
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            outcome["usable"] += 1
        except ImageError:
            outcome["refused"] += 1
        try:
            camera_from_info(bad_info(rng), rectified=bool(stamp_ns % 3))
            outcome["info usable"] += 1
        except ImageError:
            outcome["info refused"] += 1
    print(dict(outcome))
    assert outcome["refused"] > 500 and outcome["usable"] > 20
    assert outcome["info refused"] > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_node_survives_a_short_soak(tmp_path: Path) -> None:
    results = soak(make_tiny_bundle(tmp_path / "bundle"), tmp_path, SHORT, PARTS)
    assert {name: result["problems"] for name, result in results.items()} == {
        name: []
        for name in (
            *("malformed", "lifecycle", "reloads", "steady"),
            *("malformed_compressed", "disturbances"),
        )
    }
    assert results["malformed"]["good_answered"] == SHORT.malformed // GOOD_EVERY
    assert results["lifecycle"]["answered"] == SHORT.cycles
    assert results["reloads"]["done"] == SHORT.reloads
    assert results["disturbances"]["jumps"] == 3 * SHORT.disturbances
    assert results["steady"]["answered"] > 0
