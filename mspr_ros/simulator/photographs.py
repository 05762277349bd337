"""Photographs for posters, screens and surfaces: those that Python packages ship in their wheels.

None of them is copied into this project; `docs/simulator.md` lists their licences.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from mspr_ros.errors import MsprError
from mspr_ros.simulator.shapes import Image

# Name: (package, file inside it, start of its SHA-256). The hash keeps a world the same on every
# machine: a bundle knows the places by these very pictures.
PHOTOGRAPHS: dict[str, tuple[str, str, str]] = {
    "astronaut": ("skimage", "data/astronaut.png", "88431cd9653ccd53"),
    "brick": ("skimage", "data/brick.png", "7966caf324f6ba84"),
    "cat": ("skimage", "data/chelsea.png", "596aa1e7cb875eb7"),
    "coffee": ("skimage", "data/coffee.png", "cc02f8ca188b167c"),
    "coins": ("skimage", "data/coins.png", "f8d773fc9cfa6f4d"),
    "grass": ("skimage", "data/grass.png", "b6b6022426b38936"),
    "gravel": ("skimage", "data/gravel.png", "c48615b451bf1e60"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg", "3a19c5dd8a927a93"),
    "tissue": ("skimage", "data/ihc.png", "f8dd1aa387ddd1f4"),
    "retina": ("skimage", "data/retina.jpg", "38a07f36f27f095e"),
    "rocket": ("skimage", "data/rocket.jpg", "c2dd0de7c538df8d"),
    "photographer": ("skimage", "data/camera.png", "b0793d2adda0fa6a"),
    "temple": ("sklearn", "datasets/images/china.jpg", "8378025ad2519d64"),
    "flower": ("sklearn", "datasets/images/flower.jpg", "a77f6ec41e353afd"),
}


@functools.lru_cache(maxsize=32)
def photograph(name: str) -> Image:
    """Load a photograph as (h, w, 3) uint8 RGB; the array is shared and must not be written to.

    Raises:
        MsprError: If its package is missing or ships another picture.
    """
    package, file, digest = PHOTOGRAPHS[name]
    distribution = {"skimage": "scikit-image", "sklearn": "scikit-learn"}.get(package, package)
    remedy = f"`pip install {distribution}` brings it"
    # Looked up, not imported: importing these packages takes seconds.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MsprError(f"the simulator's photograph '{name}' is in {distribution}: {remedy}")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise MsprError(f"the simulator's photograph {path} is missing: {remedy}")
    data = path.read_bytes()
    if not hashlib.sha256(data).hexdigest().startswith(digest):
        raise MsprError(f"{path} is not the photograph the simulator's world is made of; {remedy}")
    decoded = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    picture = np.ascontiguousarray(np.asarray(decoded, dtype=np.uint8)[:, :, ::-1])
    picture.setflags(write=False)
    return picture
