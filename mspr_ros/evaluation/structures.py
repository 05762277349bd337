"""What there is to see in a picture, cell by cell: edges, corners, texture."""

from __future__ import annotations

import cv2
import numpy as np

from mspr_ros.geometry import Array
from mspr_ros.preprocess import ImageU8

# Scale of the structure tensor's window and of the texture's, pixels of the network's picture.
_WINDOW_PX = 2.0
_STRAIGHTEN_PX = 0.8


def picture_structures(picture: ImageU8) -> dict[str, Array]:
    """Measure the structures of a picture, (h, w, 3) RGB -> (h, w) each, by name.

    `edges` and `corners` come from the structure tensor's eigenvalues a >= b: what changes
    across one direction only, sqrt(a) - sqrt(b), is an edge; what changes in both, sqrt(b), a
    corner or a blob. `texture` is the strength of what is finer than both (the Laplacian's root
    mean square), `light` the brightness.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), _STRAIGHTEN_PX)
    dx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0)
    dy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    xx, xy, yy = (
        cv2.GaussianBlur(part, (0, 0), _WINDOW_PX) for part in (dx * dx, dx * dy, dy * dy)
    )
    middle, apart = 0.5 * (xx + yy), np.sqrt(0.25 * (xx - yy) ** 2 + xy**2)
    large, small = np.sqrt(middle + apart), np.sqrt(np.maximum(middle - apart, 0.0))
    fine = cv2.Laplacian(grey, cv2.CV_32F, ksize=1)
    texture = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2.0 * _WINDOW_PX))
    found = {"edges": large - small, "corners": small, "texture": texture, "light": grey}
    return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


def by_cell(values: Array, grid: tuple[int, int]) -> Array:
    """Average a map of a picture over the cells of a grid: (h, w) -> (rows, columns)."""
    small = cv2.resize(
        np.ascontiguousarray(values, dtype=np.float32), grid[::-1], interpolation=cv2.INTER_AREA
    )
    return np.asarray(small, dtype=np.float64)


def by_pixel(cells: Array, height: int, width: int) -> Array:
    """Spread cells over a picture without mixing them: (rows, columns) -> (h, w)."""
    rows = np.arange(height) * cells.shape[0] // height
    columns = np.arange(width) * cells.shape[1] // width
    return np.asarray(cells[rows][:, columns])


def rank_correlation(first: Array, second: Array, given: Array | None = None) -> float:
    """Give Spearman's correlation of two maps; 0 where one of them is constant.

    Args:
        first: A map.
        second: Another of its shape.
        given: What both may depend on: the correlation is then that of what its ranks do not
            explain linearly of theirs (the partial correlation).
    """
    rest = [_centred(_ranks(values.ravel())) for values in (first, second)]
    if given is not None:
        common = _centred(_ranks(given.ravel()))
        size = max(float(common @ common), 1e-12)
        rest = [one - common * (float(one @ common) / size) for one in rest]
    lengths = [float(np.linalg.norm(one)) for one in rest]
    if min(lengths) < 1e-6:
        return 0.0
    return float(rest[0] @ rest[1]) / (lengths[0] * lengths[1])


def _centred(values: Array) -> Array:
    return np.asarray(values - values.mean())


def _ranks(values: Array) -> Array:
    """Rank values; equal ones share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - 0.5 * (counts - 1))[inverse.reshape(-1)], dtype=np.float64)
